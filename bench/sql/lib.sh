# lib.sh - what run.sh is made of: the server, timing, and one function per part of the bench. To be sourced.
#
# A "system" is one way to answer a query: table iq (iqvector) or pv (pgvector's vector), with or without an index.

step() { printf '\n== %s\n' "$*"; }
note() { printf '   %s\n' "$*"; }
fail() {
    printf '\nThe bench stopped: %s\n' "$*"
    [ ! -e "${LOG:-}" ] || tail -n 30 "$LOG"
    exit 1
}

finish() {
    local code=$?
    trap - EXIT
    sleep_again
    stop_servers "$WORK"
    wait 2>/dev/null
    [ -z "${ARENA_FOLDER:-}" ] || rm -rf "$ARENA_FOLDER"
    rm -rf "$WORK"
    exit "$code"
}

# Busy loops that run only when nothing else wants a processor, so that none of them ever has to be woken up.
AWAKE_LOOPS=()
stay_awake() {
    [ "$AWAKE" = 1 ] || return 0
    for _ in $(seq "$(nproc)"); do
        chrt -i 0 bash -c "while :; do :; done" &
        AWAKE_LOOPS+=($!)
    done
}
sleep_again() {
    [ ${#AWAKE_LOOPS[@]} -eq 0 ] || kill "${AWAKE_LOOPS[@]}"
    AWAKE_LOOPS=()
}

# ---- programs and server ---------------------------------------------------------------------------------------------

build_programs() {
    local cc=${CC:-gcc} flags="-std=c11 -Wall -Wextra"
    mkdir -p "$WORK/bin"
    # shellcheck disable=SC2086
    $cc $flags -O3 bench/sql/truth.c bench/sql/vectors.c -o "$WORK/bin/truth" -lpthread &&
        $cc $flags -O3 bench/sql/generate.c bench/sql/vectors.c -o "$WORK/bin/generate" -lm &&
        $cc $flags -O3 bench/sql/marks.c bench/sql/vectors.c -o "$WORK/bin/marks" &&
        $cc $flags -O2 bench/sql/load.c bench/sql/vectors.c -o "$WORK/bin/load" &&
        $cc $flags -O2 -I"$("$PG_CONFIG" --includedir)" bench/sql/client*.c bench/sql/vectors.c -o "$WORK/bin/client" \
            -L"$("$PG_CONFIG" --libdir)" -lpq -lpthread -lm
}

# Rows and queries of one kind, where no files are named.
make_up_rows() {
    [ "$ROWS" -gt 0 ] || ROWS=20000
    BASE=$WORK/base.fvecs QUERIES=$WORK/queries.fvecs
    "$WORK/bin/generate" "$ROWS" "$DIMENSION" "$BASE" 1 &&
        "$WORK/bin/generate" "$QUERY_COUNT" "$DIMENSION" "$QUERIES" 2
}

# How many rows, queries and lists there are, and what is done with them.
choose_set() {
    [ -n "$BASE" ] || make_up_rows || fail "no rows could be made up"
    ROWS=$("$WORK/bin/load" "$BASE" count "$ROWS") || exit 1
    DIMENSION=$("$WORK/bin/load" "$BASE" dimension 0) || exit 1
    QUERY_COUNT=$("$WORK/bin/load" "$QUERIES" count "$QUERY_COUNT") || exit 1
    [ "$LISTS" -gt 0 ] || LISTS=$(awk -v n="$ROWS" 'BEGIN { x = int(2 * sqrt(n)); print x < 1 ? 1 : x }')
    [ "$INSERT_BASE" -gt 0 ] || INSERT_BASE=$((ROWS / 2 < 50000 ? ROWS / 2 : 50000))
    INSERT_ROWS=$(awk -v n=$(((ROWS - INSERT_BASE) / 3)) -v w="$INSERT_ROWS" 'BEGIN { print n < w ? n : w }')
}

load_set() {
    step "loading $ROWS rows of $DIMENSION dimensions, exact answers to $QUERY_COUNT queries"
    load_tables
    "$WORK/bin/truth" "$BASE" "$ROWS" "$QUERIES" "$QUERY_COUNT" 10 "$WORK/truth" "$(nproc)" || exit 1
    step "round trips"
    measure_floor
}

prepare_server() {
    local tree=${SERVER:-$WORK/pg}
    choose_server_user || return 1
    "${MAKE:-make}" --no-print-directory -s -j "$(nproc)" PG_CONFIG="$PG_CONFIG" all || return 1
    if [ -x "$tree$("$PG_CONFIG" --bindir)/postgres" ]; then
        SERVER_BIN=$tree$("$PG_CONFIG" --bindir)
        "${MAKE:-make}" --no-print-directory -s PG_CONFIG="$PG_CONFIG" DESTDIR="$tree" install ||
            return 1
    else
        make_server_tree "$tree" || return 1
    fi
    make_arena_folder "$WORK" || return 1
    mkdir -p "$WORK/server" || return 1
    chmod 711 "$WORK"
    chmod -R a+rX "$tree" "$WORK/bin"
    [ -z "$SERVER_USER" ] || chown -R "$SERVER_USER" "$WORK/server"
    LOG=$WORK/server/log
    as_user initdb -D "$WORK/server/data" -U bench -A trust --no-sync --no-locale -E UTF8 >/dev/null || return 1
    as_user tee -a "$WORK/server/data/postgresql.conf" >/dev/null <<END
listen_addresses = ''
unix_socket_directories = '$WORK/server'
shared_buffers = $SHARED_BUFFERS
maintenance_work_mem = 4GB
max_wal_size = 32GB
checkpoint_timeout = 1h
autovacuum = off
jit = off
max_parallel_workers_per_gather = 0
iqdb.arena_directory = '$ARENA_FOLDER'
END
    CONNINFO="host=$WORK/server user=bench dbname=postgres"
}

as_user() { "${AS_SERVER_USER[@]}" env HOME="$WORK/server" PATH="$SERVER_BIN:$PATH" "$@"; }
sql() { "$SERVER_BIN/psql" -X -q -At -v ON_ERROR_STOP=1 "$CONNINFO" "$@"; }
value() { sql -c "$1"; }
client() {
    local mode=$1
    shift
    "$WORK/bin/client" "$mode" conninfo="$CONNINFO" "$@"
}

start_server() {
    as_user pg_ctl -D "$WORK/server/data" -l "$LOG" -w -t 120 start >/dev/null || return 1
    value "CREATE EXTENSION IF NOT EXISTS iqdb" || return 1
    HAVE_PGVECTOR=0
    if value "CREATE EXTENSION IF NOT EXISTS vector" 2>/dev/null; then HAVE_PGVECTOR=1; fi
}

# Kills the server and all its processes, as a machine's operator would not.
kill_server() {
    local postmaster children pid
    postmaster=$(head -n 1 "$WORK/server/data/postmaster.pid")
    children=$(pgrep -P "$postmaster")
    # shellcheck disable=SC2086
    kill -9 "$postmaster" $children 2>/dev/null
    for pid in $postmaster $children; do
        while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
    done
}

describe_setup() {
    local vector
    vector=$(value "SELECT extversion FROM pg_extension WHERE extname = 'vector'")
    if [ -n "$BASE" ]; then
        put setup - - - 0 rows "$ROWS" ""
        put setup - - - 0 dimension "$DIMENSION" ""
        put setup - - - 0 queries "$QUERY_COUNT" ""
        put setup - - - 0 lists "$LISTS" ""
    fi
    {
        [ -z "$BASE" ] || echo "data $(basename "$BASE"), queries $(basename "$QUERIES")"
        echo "processor $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) of them"
        echo "kernel $(uname -r)"
        value "SELECT 'server ' || split_part(version(), ' on ', 1)"
        value "SELECT 'iqdb ' || iqdb_version() || ', distances by ' || iqdb_simd()"
        [ -z "$vector" ] || echo "pgvector $vector"
        echo "shared_buffers $SHARED_BUFFERS, ${SECONDS_EACH} s a point, $ROUNDS rounds"
        [ "$AWAKE" = 0 ] || echo "processors kept awake while searches are timed"
        echo "load average at start $(cut -d' ' -f1-3 /proc/loadavg)"
    } | while read -r line; do
        note "$line"
        put setup "$line" - - 0 note 0 ""
    done
}

# ---- figures ---------------------------------------------------------------------------------------------------------

# put SECTION SYSTEM CONFIG CLIENTS ROUND FIGURE VALUE UNIT: one line of the result file
put() { (IFS=$'\t' && printf '%s\n' "$*") >>"$TSV"; }

# keep SECTION SYSTEM CONFIG CLIENTS ROUND: lines "figure value unit" from standard input into the result file
keep() {
    local prefix
    prefix=$(IFS=$'\t' && printf '%s' "$*")
    sed "s|^|$prefix\t|" >>"$TSV"
}

# timed "SET..." STATEMENT: milliseconds the statement took; nothing if it failed or took too long
timed() {
    local output
    output=$(sql -c "SET statement_timeout = '${LIMIT}s'; $1" -c '\timing on' -c "$2" 2>>"$WORK/errors") || return 0
    echo "$output" |
        sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p' | tail -n 1
}

# ---- tables and round trips ------------------------------------------------------------------------------------------

tables() { if [ $HAVE_PGVECTOR = 1 ]; then echo iq pv; else echo iq; fi; }
type_of() { if [ "$1" = pv ]; then echo vector; else echo iqvector; fi; }

load_tables() {
    local table ms
    for table in $(tables); do
        value "CREATE TABLE $table (id bigint, v $(type_of "$table")($DIMENSION))"
        ms=$EPOCHREALTIME
        "$WORK/bin/load" "$BASE" rows "$ROWS" | sql -c "COPY $table FROM STDIN (FORMAT binary)" || exit 1
        put load "$(type_of "$table")" - 1 1 seconds "$(awk -v a="$ms" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }')" s
        value "VACUUM (ANALYZE, FREEZE) $table"
        put load "$(type_of "$table")" - 1 1 table_bytes "$(value "SELECT pg_total_relation_size('$table')")" bytes
    done
}

measure_floor() {
    local clients round
    stay_awake
    for round in $(seq "$ROUNDS"); do
        for clients in 1 2; do
            client floor "sql=SELECT \$1::bigint" seconds="$SECONDS_EACH" clients=$clients |
                keep floor "one bigint" - $clients "$round"
            client search "sql=SELECT id FROM iq WHERE \$1::iqvector IS NOT NULL LIMIT 10" queries="$QUERIES" \
                seconds="$SECONDS_EACH" clients=$clients count="$QUERY_COUNT" |
                keep floor "vector in, ten rows out" - $clients "$round"
        done
    done
    sleep_again
}

# ---- systems ---------------------------------------------------------------------------------------------------------

# Facts about a system: table, access method, WITH, the setting that trades recall for speed, plan it must have.
table_of() { case $1 in pgvector*) echo pv ;; *) echo iq ;; esac; }
method_of() {
    case $1 in
        iqdb_*) echo "$1" ;;
        "pgvector hnsw") echo hnsw ;;
        "pgvector ivfflat") echo ivfflat ;;
    esac
}
options_of() {
    case $1 in
        *hnsw) echo "WITH (m = 16, ef_construction = 200)" ;;
        *ivf | *ivfflat) echo "WITH (lists = ${2:-$LISTS})" ;;
    esac
}
setting_of() {
    case $1 in
        iqdb_hnsw) echo iqdb.hnsw_ef_search ;;
        iqdb_ivf) echo iqdb.ivf_probes ;;
        "pgvector hnsw") echo hnsw.ef_search ;;
        "pgvector ivfflat") echo ivfflat.probes ;;
    esac
}
plan_of() { if [ -n "$(method_of "$1")" ]; then echo "Index Scan"; else echo "Seq Scan"; fi; }
opclass_of() { if [ "$(table_of "$1")" = pv ]; then echo vector_l2_ops; else echo iqvector_l2_ops; fi; }
statement_of() { echo "SELECT id FROM ${2:-$(table_of "$1")} ORDER BY v <-> \$1 LIMIT 10"; }

# set_of SYSTEM CONFIG: what a session sets; CONFIG is a number, or "-" for the default
set_of() {
    local setting
    setting=$(setting_of "$1")
    [ -n "$(method_of "$1")" ] && echo "SET enable_seqscan = off;"
    [ -z "$setting" ] || [ "$2" = - ] || echo "SET $setting = $2;"
}

# Does the server have the system? iqdb's methods may be declared without an engine behind them.
has_system() {
    local method
    [ "$(table_of "$1")" = iq ] || [ $HAVE_PGVECTOR = 1 ] || return 1
    method=$(method_of "$1")
    [ -n "$method" ] || return 0
    sql -c "BEGIN; CREATE TABLE try (v $(type_of "$(table_of "$1")")(2)); INSERT INTO try VALUES ('[1,2]');
        CREATE INDEX ON try USING $method (v $(opclass_of "$1")) $(options_of "$1" 1); ROLLBACK" >/dev/null 2>&1
}

systems_of() {
    local name
    case $1 in
        flat) set -- iqdb_flat "pgvector scan" ;;
        hnsw) set -- iqdb_hnsw "pgvector hnsw" ;;
        ivf) set -- iqdb_ivf "pgvector ivfflat" ;;
    esac
    SYSTEMS=()
    for name in "$@"; do
        if has_system "$name"; then SYSTEMS+=("$name"); else note "$name: not on this server"; fi
    done
}

# ---- build -----------------------------------------------------------------------------------------------------------

# build_index SYSTEM TABLE INDEX WORKERS: milliseconds
build_index() {
    value "ALTER TABLE $2 SET (parallel_workers = $4)"
    timed "SET max_parallel_maintenance_workers = $4; SET client_min_messages = warning" \
        "CREATE INDEX $3 ON $2 USING $(method_of "$1") (v $(opclass_of "$1")) $(options_of "$1")"
}

drop_index() { value "SET client_min_messages = warning; DROP INDEX IF EXISTS $1"; }

# Sizes of an index under the system's name; disk space of iqdb's own files included.
report_size() {
    local system=$1 index=$2 config=$3
    case $system in
        iqdb_*)
            put build "$system" "$config" 1 1 index_bytes "$(value "SELECT iqdb_index_size('$index')")" bytes
            put build "$system" "$config" 1 1 memory_bytes \
                "$(value "SELECT memory FROM iqdb_index_stats('$index')")" bytes
            ;;
        *)
            put build "$system" "$config" 1 1 index_bytes "$(value "SELECT pg_relation_size('$index')")" bytes
            put build "$system" "$config" 1 1 memory_bytes "$(value "SELECT pg_relation_size('$index')")" bytes
            ;;
    esac
}

# Builds with no and with one worker; the second index stays.
part_build() {
    local system workers index ms
    for workers in 0 1; do
        for system in "${SYSTEMS[@]}"; do
            [ -n "$(method_of "$system")" ] || continue
            index=$(table_of "$system")_index
            drop_index "$index"
            ms=$(build_index "$system" "$(table_of "$system")" "$index" $workers)
            if [ -z "$ms" ]; then
                note "$system: no build within $LIMIT s: $(tail -n 1 "$WORK/errors")"
                continue
            fi
            note "$system, $workers workers: $(awk -v x="$ms" 'BEGIN { printf "%.2f s", x / 1000 }')"
            put build "$system" "workers $workers" 1 1 seconds "$(awk -v x="$ms" 'BEGIN { print x / 1000 }')" s
            report_size "$system" "$index" "workers $workers"
        done
    done
}

# ---- search ----------------------------------------------------------------------------------------------------------

search_point() {
    local system=$1 config=$2 clients=$3 round=$4
    client search "sql=$(statement_of "$system")" "set=$(set_of "$system" "$config")" plan="$(plan_of "$system")" \
        queries="$QUERIES" base="$BASE" truth="$WORK/truth" count="$QUERY_COUNT" clients="$clients" \
        seconds="$SECONDS_EACH" >"$WORK/point" || { note "$system $config: failed"; return 1; }
    keep search "$system" "$config" "$clients" "$round" <"$WORK/point"
}

# part_search CONFIG...
part_search() {
    local round config clients system
    stay_awake
    for round in $(seq "$ROUNDS"); do
        for config in "$@"; do
            for clients in 1 2; do
                for system in "${SYSTEMS[@]}"; do
                    case "$system:$config" in
                        "pgvector hnsw":[0-9][0-9][0-9][0-9]*) [ "$config" -le 1000 ] || continue ;;
                    esac
                    search_point "$system" "$config" $clients "$round"
                done
            done
        done
    done
    sleep_again
}

# New sessions: the first query against later ones.
part_first() {
    local config=$1 system type
    for system in "${SYSTEMS[@]}"; do
        [ -n "$(method_of "$system")" ] || continue
        type=$(type_of "$(table_of "$system")")
        client first "sql=$(statement_of "$system")" "set=$(set_of "$system" "$config")" queries="$QUERIES" count=25 |
            keep first "$system" "new session" 1 1
        client first "sql=$(statement_of "$system")" "set=$(set_of "$system" "$config")" queries="$QUERIES" count=25 \
            touch="SELECT '[1]'::$type" | keep first "$system" "library loaded before" 1 1
    done
}

# A clean restart, then the first query.
part_restart() {
    local config=$1 system since
    for system in "${SYSTEMS[@]}"; do
        [ -n "$(method_of "$system")" ] || continue
        as_user pg_ctl -D "$WORK/server/data" -w -m fast stop >/dev/null || fail "the server does not stop"
        since=$EPOCHREALTIME
        as_user pg_ctl -D "$WORK/server/data" -l "$LOG" -W start >/dev/null 2>&1
        client first "sql=$(statement_of "$system")" "set=$(set_of "$system" "$config")" queries="$QUERIES" count=1 \
            wait=120 since="$since" | keep restart "$system" "clean stop" 1 1
    done
}

part_flat() {
    step "exact search"
    systems_of flat
    part_build
    part_search -
    if [[ " ${SYSTEMS[*]} " == *iqdb_flat*pgvector* ]]; then
        client compare "sql=SELECT id, v <-> \$1 FROM iq ORDER BY v <-> \$1 LIMIT 10" \
            "set=SET enable_seqscan = off" plan="Index Scan" \
            "sql2=SELECT id, v <-> \$1 FROM pv ORDER BY v <-> \$1 LIMIT 10" plan2="Seq Scan" \
            queries="$QUERIES" count="$QUERY_COUNT" seconds=$((SECONDS_EACH * 5)) |
            keep compare "iqdb_flat against pgvector scan" - 1 1
    fi
    part_first -
    part_restart -
    drop_index iq_index
}

part_hnsw() {
    step "graphs"
    systems_of hnsw
    part_build
    # shellcheck disable=SC2086
    part_search $EFS
    part_first 64
    part_restart 64
    drop_index iq_index
    drop_index pv_index
}

part_ivf() {
    step "inverted files, $LISTS lists"
    systems_of ivf
    part_build
    # shellcheck disable=SC2086
    part_search $PROBES
    part_first 8
    part_restart 8
    drop_index iq_index
    drop_index pv_index
}

# ---- inserts, crash, VACUUM ------------------------------------------------------------------------------------------

change_systems() {
    local part names=("iqvector_table")
    [ $HAVE_PGVECTOR = 0 ] || names+=("pgvector_table")
    for part in $PARTS; do
        [ "$part" = insert ] && continue
        systems_of "$part" >/dev/null
        for name in "${SYSTEMS[@]}"; do
            [ -z "$(method_of "$name")" ] || names+=("${name// /_}")
        done
    done
    echo "${names[@]}"
}

wal() { value "SELECT pg_current_wal_insert_lsn() - '0/0'"; }

# part_change SYSTEM: on a table of its own: rows by INSERT ... SELECT, row by row, and row by row again before a crash;
# then a fifth is deleted and vacuumed
part_change() {
    local system=${1//_hnsw/ hnsw} source table=change ms before first=$INSERT_BASE
    case $1 in
        iqdb_*) system=$1 ;;
        *) system=${1//_/ } ;;
    esac
    step "changes: $system"
    source=$(table_of "$system")
    value "SET client_min_messages = warning; DROP TABLE IF EXISTS $table;
        CREATE TABLE $table (id bigint PRIMARY KEY, v $(type_of "$source")($DIMENSION))"
    value "INSERT INTO $table SELECT id, v FROM $source WHERE id < $INSERT_BASE"
    if [ -n "$(method_of "$system")" ]; then
        ms=$(build_index "$system" $table change_index 1)
        [ -n "$ms" ] || { note "no build within $LIMIT s: $(tail -n 1 "$WORK/errors")"; return; }
    fi
    value "VACUUM ANALYZE $table"

    before=$(wal)
    ms=$(timed "" "INSERT INTO $table SELECT id, v FROM $source WHERE id >= $first AND id < $((first + INSERT_ROWS))")
    awk -v n="$INSERT_ROWS" -v t="$ms" \
        'BEGIN { printf "rate\t%.1f\trows/s\nmean\t%.3f\tus\n", n / t * 1e3, t * 1e3 / n }' |
        keep insert "$system" "INSERT SELECT" 1 1
    put insert "$system" "INSERT SELECT" 1 1 wal_per_row \
        "$(awk -v a="$before" -v b="$(wal)" -v n="$INSERT_ROWS" 'BEGIN { print (b - a) / n }')" bytes
    first=$((first + INSERT_ROWS))

    before=$(wal)
    insert_rows "$table" $first 1 off | keep insert "$system" "one row a transaction" 1 1
    put insert "$system" "one row a transaction" 1 1 wal_per_row \
        "$(awk -v a="$before" -v b="$(wal)" -v n="$INSERT_ROWS" 'BEGIN { print (b - a) / n }')" bytes
    first=$((first + INSERT_ROWS))
    [ -z "$(method_of "$system")" ] || crash "$system" $table $first

    value "DELETE FROM $table WHERE id % 5 = 0"
    ms=$(timed "" "VACUUM (INDEX_CLEANUP ON) $table")
    [ -n "$ms" ] || { note "no VACUUM within $LIMIT s"; return; }
    put vacuum "$system" "a fifth deleted" 1 1 seconds "$(awk -v x="$ms" 'BEGIN { print x / 1000 }')" s
    [[ $system != iqdb_* ]] || sound change_index
}

insert_rows() {
    client insert "sql=INSERT INTO $1 VALUES (\$1, \$2)" set="SET synchronous_commit = $4" base="$BASE" first="$2" \
        count="$INSERT_ROWS" batch="$3" seconds="$LIMIT"
}

# Is an index of iqdb as it should be? Said, not fatal: the bench is about time.
sound() {
    local findings
    findings=$(value "SELECT iqdb_check('$1')")
    [ -z "$findings" ] || note "iqdb_check: $findings"
}

# Rows since the last snapshot and checkpoint, a killed server, and the time until it has answered the first query.
crash() {
    local system=$1 table=$2 first=$3 since last found
    [[ $system != iqdb_* ]] || value "SELECT iqdb_flush('change_index')" >/dev/null
    value CHECKPOINT
    # else the first system to crash pays for files that were never flushed: the server syncs its folder after a crash
    sync -f "$WORK/server/data"
    insert_rows "$table" "$first" 100 on >/dev/null
    last=$((first + INSERT_ROWS - 1))
    kill_server
    since=$EPOCHREALTIME
    as_user pg_ctl -D "$WORK/server/data" -l "$LOG" -W start >/dev/null 2>&1
    client first "sql=$(statement_of "$system" "$table")" "set=$(set_of "$system" -)" queries="$QUERIES" count=1 \
        wait=300 since="$since" | keep restart "$system" "killed, $INSERT_ROWS rows behind" 1 1
    found=$(value "SET enable_seqscan = off; SET enable_sort = off; SELECT count(*) FROM $table a
        WHERE a.id > $last - 20 AND (SELECT b.v <-> a.v FROM $table b ORDER BY b.v <-> a.v LIMIT 1) = 0")
    note "of the last 20 rows before the crash, $found are found by the index"
    [[ $system != iqdb_* ]] || sound change_index
}
