#!/usr/bin/env bash
# run.sh - shows the extension at work: searches by meaning in PostgreSQL's own descriptions and in a hundred thousand texts
# made of them, indexed, measured, filtered, and the same answers after the server was killed. Called by "make demo".
#
# Everything happens on a server of its own in a temporary folder (socket only), which is removed at the end.

set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 1
. test/lib/packages.sh
. test/lib/server.sh
export LC_ALL=C.UTF-8 PAGER=cat
unset MAKEFLAGS MAKELEVEL PGHOST PGPORT PGUSER PGDATABASE PGDATA PGOPTIONS PGSERVICE

bold= plain=
if [ -t 1 ]; then bold=$'\e[1m' plain=$'\e[0m'; fi

step() { printf '\n%s== %s%s\n\n' "$bold" "$*" "$plain"; }
note() { printf '   %s\n' "$*"; }
fail() {
    printf '\nThe demo stopped: %s\n' "$*"
    [ ! -e "${LOG:-}" ] || tail -n 30 "$LOG"
    exit 1
}

finish() {
    local code=$?
    trap - EXIT
    stop_servers "$WORK"
    wait 2>/dev/null
    rm -rf "$WORK" ${ARENA_FOLDER:+"$ARENA_FOLDER"}
    exit "$code"
}

as_user() { "${AS_SERVER_USER[@]}" env HOME="$WORK/data" PATH="$SERVER_BIN:$PATH" "$@"; }

# Reads SQL from standard input; fails when a statement fails.
sql() { as_user psql -X -q -v ON_ERROR_STOP=1 -P footer=off -h "$WORK/socket" -U demo "$@" demo; }
value() { sql -At -c "$1"; }

start_server() {
    as_user pg_ctl -D "$WORK/data" -l "$LOG" -w -t 60 start >/dev/null 2>&1 </dev/null || fail "the server did not start"
}

# Ends the server the hard way: no process of it gets a chance to do anything more.
kill_server() {
    local postmaster children
    postmaster=$(head -n 1 "$WORK/data/postmaster.pid")
    children=$(cat /proc/[0-9]*/stat 2>/dev/null |
        awk -v parent="$postmaster" '{ sub(/\(.*\)/, "x"); if ($4 == parent) print $1 }')
    # shellcheck disable=SC2086
    kill -9 "$postmaster" $children
    while kill -0 "$postmaster" 2>/dev/null; do sleep 0.05; done
    note "kill -9 to process $postmaster and its $(wc -w <<<"$children") children"
}

search_as_text() {
    { cat test/demo/search.sql; echo "EXECUTE search('absolute value');"; } | sql -At
    value "SELECT id, embedding <=> (SELECT embed('absolute value')) FROM note WHERE team < 500
           ORDER BY embedding <=> (SELECT embed('absolute value')) LIMIT 40"
}

need_packages server || exit 1
choose_server_user || exit 1
trap 'exit 130' INT TERM
WORK=$(mktemp -d "${TMPDIR:-/tmp}/iqdb-demo.XXXXXX") || exit 1
trap finish EXIT
chmod 711 "$WORK"
LOG=$WORK/socket/server.log
begun=$SECONDS

step "Building, and starting a server of its own in $WORK"
make_server_tree "$WORK/pg" || fail "the extension could not be built"
mkdir "$WORK/data" "$WORK/socket"
[ -z "$SERVER_USER" ] || chown "$SERVER_USER" "$WORK/data" "$WORK/socket"
make_arena_folder "$WORK" || fail "no folder for shared memory"
as_user initdb -N -A trust -U demo -E UTF8 --locale=C.UTF-8 -D "$WORK/data" >/dev/null || fail "initdb"
cat >>"$WORK/data/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$WORK/socket'
iqdb.arena_directory = '$ARENA_FOLDER'
CONF
start_server
as_user createdb -h "$WORK/socket" -U demo demo || fail "createdb"
echo "CREATE EXTENSION iqdb;" | sql || fail "CREATE EXTENSION"
note "$(value "SELECT 'PostgreSQL ' || current_setting('server_version') || ', iqdb ' || extversion
             FROM pg_extension WHERE extname = 'iqdb'")"

step "Loading PostgreSQL's own descriptions"
sql <test/demo/load.sql || fail "load.sql"

step "Embedding them in 256 dimensions, in SQL"
sql <test/demo/embed.sql || fail "embed.sql"

# The methods that this version has, simplest first; the last one stays for what follows.
methods=$(value "SELECT amname FROM pg_am WHERE amname LIKE 'iqdb\_%'
                 ORDER BY array_position('{iqdb_flat,iqdb_ivf,iqdb_hnsw}', amname::text)")
[ -n "$methods" ] || fail "there is no index access method"
for method in $methods; do
    step "CREATE INDEX ON item USING $method (embedding iqvector_cosine_ops)"
    index=item_embedding_${method#iqdb_}
    value "DROP INDEX IF EXISTS ${previous:-none}" 2>/dev/null
    echo "\\timing on
CREATE INDEX $index ON item USING $method (embedding iqvector_cosine_ops);" | sql || fail "CREATE INDEX"
    previous=$index
    { cat test/demo/search.sql test/demo/measure.sql; } | sql -v method="$method" -v index="$index" || fail "measure.sql"
done

step "Nearest to: absolute value"
{
    cat test/demo/search.sql
    echo "\\timing on
EXECUTE show('absolute value');
\\timing off
\\echo
\\echo '   How PostgreSQL finds them:'
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) EXECUTE search('absolute value');"
} | sql || fail "the search"

for words in "convert a timestamp to text" "disk space used by a table" "is one array contained in another"; do
    step "Nearest to: $words"
    { cat test/demo/search.sql; printf "EXECUTE show(%s);\n" "'$words'"; } | sql || fail "the search"
done

step "A hundred thousand texts, by a thousand teams"
sql <test/demo/notes.sql || fail "notes.sql"
echo "SET maintenance_work_mem = '512MB';
\\timing on
CREATE INDEX note_embedding ON note USING iqdb_hnsw (embedding iqvector_cosine_ops);
\\timing off
SELECT round(mean_recall::numeric, 3) AS \"recall@10\", round(at_zero::numeric, 3) AS \"queries that find nothing\",
       round(qps) AS \"searches a second\", round(exact_qps) AS \"exact ones\"
FROM iqdb_recall('note_embedding', 10, 200, held_out => true);" | sql || fail "CREATE INDEX"

step "Only those of some teams: WHERE team < ..., ORDER BY embedding <=> ... LIMIT 10"
sql <test/demo/filter.sql || fail "filter.sql"

if [ "$(value "SELECT count(*) FROM pg_available_extension_versions WHERE name = 'vector' AND version <> '0.0.1'")" != 0 ]; then
    step "The same texts in a column of pgvector's type"
    sql <test/demo/pgvector.sql || fail "pgvector.sql"
fi

step "Pulling the plug"
note "One more item is inserted and committed; another one is inserted, but its transaction is still open."
value "INSERT INTO item (kind, name, description, embedding)
       VALUES ('example', 'committed', 'absolute value', embed('absolute value'))" || fail "INSERT"
value "BEGIN; INSERT INTO item (kind, name, description, embedding)
       VALUES ('example', 'never committed', 'absolute value', embed('absolute value')); SELECT pg_sleep(60)" \
    >/dev/null 2>&1 &
for _ in $(seq 100); do
    [ "$(value "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")" = 1 ] && break
    sleep 0.05
done
search_as_text >"$WORK/before" || fail "the search"
lines_before=$(wc -l <"$LOG")
kill_server
start_server
note "started again; the server's log since then:"
tail -n +"$((lines_before + 1))" "$LOG" >"$WORK/log"
echo
grep -E 'redo|recovery|ready' "$WORK/log" | sed -E 's/^[0-9-]+ [0-9:.]+ [A-Z]+ /   /'
echo "\\timing on
SELECT count(*) AS items, count(*) FILTER (WHERE kind = 'example') AS examples FROM item;" | sql

step "The same search again"
search_as_text >"$WORK/after" || fail "the search"
tail -n +"$((lines_before + 1))" "$LOG" | grep iqdb | grep -v 'listening on' | sed -E 's/^[0-9-]+ [0-9:.]+ [A-Z]+ /   /'
{
    cat test/demo/search.sql
    echo "\\timing on
EXECUTE show('absolute value');
\\timing off
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) EXECUTE search('absolute value');"
} | sql || fail "the search"
if ! cmp -s "$WORK/before" "$WORK/after"; then
    diff "$WORK/before" "$WORK/after"
    fail "the answers before and after the crash differ"
fi
grep -q '|never committed|' "$WORK/after" && fail "a row was found that was never committed"
grep -q '|committed|' "$WORK/after" || fail "the committed row was not found"
findings=$(value "SELECT i.index, finding FROM iqdb_indexes() AS i, iqdb_check(i.index) AS finding") ||
    fail "iqdb_check"
[ -z "$findings" ] || fail "iqdb_check: $findings"
note "All $(wc -l <"$WORK/after") hits, of both tables, are the same as before the crash."
note "The committed row is among them, the open one is not."
note "iqdb_check finds nothing wrong with the indexes."
printf '\nDone in %s seconds. Nothing is left behind.\n' $((SECONDS - begun))
