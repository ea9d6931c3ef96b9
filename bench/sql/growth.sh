# growth.sh - the part "growth" of the SQL bench: what one row costs as there are more of them. To be sourced after lib.sh.
#
# One table of made-up (or given) rows, cut off after as many rows as each step says; for each step and method: the build, what
# the index takes, searches up to recall 0.99, single-row inserts, VACUUM after a tenth was deleted, and a restart. The steps
# follow each other within one run, so their figures can be compared; report.awk puts the cost per row over that of the
# smallest step. What has grown faster than n log n there is a fault.

growth_largest() { tr ' ' '\n' <<<"$STEPS" | sort -n | tail -n 1; }

# The rows that are inserted one by one lie behind those of the largest step.
growth_rows() {
    local rows=$(($(growth_largest) + INSERT_ROWS))
    if [ -z "$BASE" ]; then
        BASE=$WORK/base.fvecs QUERIES=$WORK/queries.fvecs
        "$WORK/bin/generate" "$rows" "$DIMENSION" "$BASE" 1 &&
            "$WORK/bin/generate" "$QUERY_COUNT" "$DIMENSION" "$QUERIES" 2 || return 1
    fi
    DIMENSION=$("$WORK/bin/load" "$BASE" dimension 0) || return 1
    QUERY_COUNT=$("$WORK/bin/load" "$QUERIES" count "$QUERY_COUNT") || return 1
    [ "$("$WORK/bin/load" "$BASE" count 0)" -ge "$rows" ] || fail "$BASE has fewer rows than the largest step and the inserts"
    value "CREATE TABLE iq (id bigint, v iqvector($DIMENSION))" &&
        "$WORK/bin/load" "$BASE" rows "$rows" | sql -c "COPY iq FROM STDIN (FORMAT binary)"
}

growth_settings() {
    case $1 in
        iqdb_hnsw) echo "$EFS" ;;
        iqdb_ivf) echo "$PROBES" ;;
        *) echo - ;;
    esac
}

# Settings from the quickest on, up to the first that reaches recall 0.99.
growth_searches() {
    local step=$1 method=$2 config round
    for config in $(growth_settings "$method"); do
        for round in $(seq "$ROUNDS"); do
            client search "sql=$(statement_of "$method" growth)" "set=$(set_of "$method" "$config")" plan="Index Scan" \
                queries="$QUERIES" base="$BASE" truth="$WORK/truth.$step" count="$QUERY_COUNT" \
                seconds="$SECONDS_EACH" >"$WORK/point" || { note "$method $config: failed"; return 1; }
            keep "growth $step" "$method" "$config" 1 "$round" <"$WORK/point"
        done
        ! awk -F'\t' '$1 == "recall" { exit !($2 >= 0.99) }' "$WORK/point" || break
    done
}

growth_put() { put "growth $1" "$2" - 1 1 "$3" "$4" "$5"; }

# growth_method STEP METHOD: everything that is asked of an index; the table is as it was before, but for rows that are dead
growth_method() {
    local step=$1 method=$2 ms since
    LISTS=$(awk -v n="$step" 'BEGIN { print int(2 * sqrt(n)) }')
    ms=$(build_index "$method" growth growth_index 1)
    [ -n "$ms" ] || { note "$method: no build within $LIMIT s: $(tail -n 1 "$WORK/errors")"; return; }
    note "$method, $step rows: built in $(awk -v x="$ms" 'BEGIN { printf "%.2f s", x / 1000 }')"
    growth_put "$step" "$method" build_ms "$ms" ms
    growth_put "$step" "$method" disk "$(value "SELECT iqdb_index_size('growth_index')")" bytes
    growth_put "$step" "$method" memory "$(value "SELECT memory FROM iqdb_index_stats('growth_index')")" bytes
    growth_searches "$step" "$method"
    insert_rows growth "$(growth_largest)" 1 off >"$WORK/point" || fail "no rows could be inserted"
    growth_put "$step" "$method" insert_us "$(awk -F'\t' '$1 == "processor" { print $2 }' "$WORK/point")" us
    growth_restart "$step" "$method"
    value "DELETE FROM growth WHERE id % 10 = 0 OR id >= $(growth_largest)"
    ms=$(timed "" "VACUUM (INDEX_CLEANUP ON) growth")
    growth_put "$step" "$method" vacuum_ms "$ms" ms
    sound growth_index
    drop_index growth_index
    value "INSERT INTO growth SELECT id, v FROM iq WHERE id % 10 = 0 AND id < $step"
    value "VACUUM (ANALYZE, FREEZE) growth"
}

# A clean stop, and the time from the start of the server to the first answer.
growth_restart() {
    as_user pg_ctl -D "$WORK/server/data" -w -m fast stop >/dev/null || fail "the server does not stop"
    local since=$EPOCHREALTIME
    as_user pg_ctl -D "$WORK/server/data" -l "$LOG" -W start >/dev/null 2>&1
    client first "sql=$(statement_of "$2" growth)" "set=$(set_of "$2" -)" queries="$QUERIES" count=1 wait=300 \
        since="$since" >"$WORK/point" || fail "no answer after a restart"
    growth_put "$1" "$2" restart_ms \
        "$(awk -F'\t' '{ ms[$1] = $2 / 1000 } END { print ms["ready"] * 1e6 + ms["query_1"] }' "$WORK/point")" ms
}

part_growth() {
    local step method
    step "growth: $STEPS rows"
    growth_rows || fail "no rows"
    for step in $STEPS; do
        "$WORK/bin/truth" "$BASE" "$step" "$QUERIES" "$QUERY_COUNT" 10 "$WORK/truth.$step" "$(nproc)" || exit 1
        value "DROP TABLE IF EXISTS growth; CREATE TABLE growth (id bigint PRIMARY KEY, v iqvector($DIMENSION))" 2>/dev/null
        value "INSERT INTO growth SELECT id, v FROM iq WHERE id < $step"
        value "VACUUM (ANALYZE, FREEZE) growth"
        for method in $METHODS; do growth_method "$step" "$method"; done
    done
}
