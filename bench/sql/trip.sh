# trip.sh - the part "trip" of the SQL bench: where the microseconds of a search by a graph go, from the statement's message to
# its answer's. To be sourced after lib.sh.
#
# Statements that differ by one thing run beside each other (client_trip.c), and a difference of their times is what that thing
# takes. The graph's ef_search is the least of TRIP_EFS that finds 0.95 of the neighbours.

# Fewer than twice the ten rows would be searched for a second time.
TRIP_EFS="22 28 34 40 48 56 64 80 100 130 160 200 260 320 400 600 800"

trip_recall() {
    client search "sql=$(statement_of "$1")" "set=$(set_of "$1" "$2")" plan="Index Scan" queries="$QUERIES" base="$BASE" \
        truth="$WORK/truth" count="$QUERY_COUNT" seconds=0.1 | awk -F'\t' '$1 == "recall" { print $2 }'
}

# trip_setting SYSTEM: the first of TRIP_EFS with so much recall; the last if there is none
trip_setting() {
    local config recall
    for config in $TRIP_EFS; do
        recall=$(trip_recall "$1" "$config")
        if awk -v r="$recall" 'BEGIN { exit r < 0.95 }'; then break; fi
    done
    note "$1: recall $recall with $(setting_of "$1") = $config" >&2
    echo "$config"
}

# A table of twenty rows, whose index has next to nothing to search.
trip_tables() {
    value "SET client_min_messages = warning; DROP TABLE IF EXISTS few;
        CREATE TABLE few (id bigint, v iqvector($DIMENSION)); INSERT INTO few SELECT id, v FROM iq LIMIT 20;
        CREATE INDEX few_index ON few USING iqdb_flat (v)"
    value "VACUUM (ANALYZE, FREEZE) few"
}

trip_line() { printf '%s\t%s\t%s\n' "$1" "${2//$'\n'/ }" "$3"; }

# trip_lines EF EF-OF-PGVECTOR: name, settings, statement
trip_lines() {
    local index="SET enable_seqscan = off;" graph
    graph=$(set_of iqdb_hnsw "$1")
    trip_line row "" "SELECT 1::bigint WHERE \$1::iqvector IS NOT NULL"
    trip_line floor "" "SELECT id FROM iq WHERE \$1::iqvector IS NOT NULL LIMIT 10"
    trip_line text "" "SELECT id FROM iq WHERE \$1::iqvector::text::iqvector IS NOT NULL LIMIT 10"
    trip_line sorted "" "SELECT id FROM (SELECT id, v FROM iq LIMIT 10) s ORDER BY v <-> \$1 LIMIT 10"
    trip_line few1 "$index" "SELECT id FROM few ORDER BY v <-> \$1 LIMIT 1"
    trip_line few10 "$index" "SELECT id FROM few ORDER BY v <-> \$1 LIMIT 10"
    trip_line graph1 "$graph" "SELECT id FROM iq ORDER BY v <-> \$1 LIMIT 1"
    trip_line graph10 "$graph" "SELECT id FROM iq ORDER BY v <-> \$1 LIMIT 10"
    trip_line planned "$graph SET plan_cache_mode = force_custom_plan" "SELECT id FROM iq ORDER BY v <-> \$1 LIMIT 10"
    [ -z "$2" ] || trip_line pgvector "$(set_of "pgvector hnsw" "$2")" "SELECT id FROM pv ORDER BY v <-> \$1 LIMIT 10"
}

# The table of one round's times: name, processor time, time.
trip_pieces() {
    awk -F'\t' '
        function piece(what, cpu, all) { printf "%s\t%.1f\t%.1f\n", what, cpu, all }
        function less(what, a, b) { piece(what, cpu[a] - cpu[b], all[a] - all[b]) }
        { cpu[$1] = $2; all[$1] = $3 }
        END {
            piece("message with a vector, one row", cpu["row"], all["row"])
            less("ten rows: the floor, with the line above", "floor", "row")
            less("ten distances of rows, sorted", "sorted", "floor")
            less("an index scan: opened, ten hits, closed", "few10", "sorted")
            less("search and re-rank, one row", "graph1", "few1")
            piece("nine rows more, here and there in the table", cpu["graph10"] - cpu["graph1"] - cpu["few10"] + cpu["few1"],
                all["graph10"] - all["graph1"] - all["few10"] + all["few1"])
            piece("= all", cpu["graph10"], all["graph10"])
            less("= above the floor", "graph10", "floor")
            less("beside: planned each time", "planned", "graph10")
            less("beside: a vector to text and back", "text", "floor")
            if ("pgvector" in cpu) piece("beside: pgvector hnsw, all", cpu["pgvector"], all["pgvector"])
        }'
}

# The first and the second search of a session that has used iqdb, but not this index.
trip_sessions() {
    client first "sql=$(statement_of iqdb_hnsw)" "set=$(set_of iqdb_hnsw "$1")" queries="$QUERIES" count=25 \
        touch="SELECT '[1]'::iqvector" | awk -F'\t' '$1 ~ /^query_/ {
            sub(/query_/, "", $1); printf "beside: search %d of a session\t\t%.1f\n", $1, $2 }'
}

part_trip() {
    local ef pgvector="" round what cpu all
    step "the way of a search through SQL"
    build_index iqdb_hnsw iq iq_index 1 >/dev/null
    value "SELECT iqdb_prewarm('iq_index')" >/dev/null
    trip_tables
    ef=$(trip_setting iqdb_hnsw)
    if [ $HAVE_PGVECTOR = 1 ] && [ -n "$(build_index "pgvector hnsw" pv pv_index 1)" ]; then
        pgvector=$(trip_setting "pgvector hnsw")
    fi
    stay_awake
    for round in $(seq "$ROUNDS"); do
        {
            trip_lines "$ef" "$pgvector" | client trip queries="$QUERIES" count="$QUERY_COUNT" seconds=$((SECONDS_EACH * 5)) \
                >"$WORK/times" || fail "a statement cannot be run"
            trip_pieces <"$WORK/times"
            trip_sessions "$ef"
        } >"$WORK/trip"
        while IFS=$'\t' read -r what cpu all; do
            [ -z "${cpu// /}" ] || put trip "$what" "ef_search $ef" 1 "$round" processor "$cpu" us
            put trip "$what" "ef_search $ef" 1 "$round" time "$all" us
        done < <(sed 's/\t\t/\t \t/' "$WORK/trip")
    done
    sleep_again
    value "DROP TABLE few"
    drop_index iq_index
    drop_index pv_index
}
