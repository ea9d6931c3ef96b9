# filter.sh - the part "filter" of the SQL bench: searches with WHERE, by every way to combine a filter with an index.
# To be sourced behind lib.sh.
#
# A way is "SYSTEM HOW". HOW, for a method of iqdb:
#
#   alone     the index knows the vector only; the executor throws rows away that do not match
#   bitmap    a B-tree on the filter's column finds the matching rows, and the search gets their set
#   columns   the filter's columns are columns of the index
#   planned   an index on the vector and B-trees, and the planner's choice
#
# for pgvector hnsw, strict and relaxed are its iterative scans, partial an index on the rows that match and no others; and
# "table sort" is what needs no index on the vector: the matching rows by a B-tree, all distances, sorted.

FILTER_COLUMNS="scattered around grouped"

# Of a kind of filter: the column, and the queries.
filter_column() { case $1 in near | far) echo around ;; *) echo "$1" ;; esac; }
filter_queries() { case $1 in near | far) echo "$WORK/$1.fvecs" ;; *) echo "$QUERIES" ;; esac; }
filter_bound() { awk -v n="$ROWS" -v s="$1" 'BEGIN { printf "%d", n * s / 100 + 0.5 }'; }

# Tables with columns to filter by, which rows match, and exact answers among these.
filter_prepare() {
    local table column kind share number=1
    "$WORK/bin/marks" "$BASE" "$ROWS" "$QUERIES" "$QUERY_COUNT" "$WORK" || fail "no columns to filter by"
    value "CREATE TABLE marks (id bigint, scattered int, around int, grouped int)"
    sql -c "COPY marks FROM STDIN" <"$WORK/marks" || fail "no columns to filter by"
    for table in $(tables); do
        value "CREATE TABLE filter_$table AS SELECT id, v, scattered, around, grouped FROM $table JOIN marks USING (id)
            ORDER BY id; ALTER TABLE filter_$table ALTER v TYPE $(type_of "$table")($DIMENSION)"
        value "VACUUM (ANALYZE, FREEZE) filter_$table"
    done
    for column in $FILTER_COLUMNS; do
        number=$((number + 1))
        for share in $SHARES; do
            awk -F'\t' -v c="$number" -v b="$(filter_bound "$share")" '{ printf "%s", $c < b ? 1 : 0 }' "$WORK/marks" \
                >"$WORK/matches.$column.$share"
        done
    done
    for kind in $KINDS; do
        for share in $SHARES; do
            [ "$(filter_bound "$share")" -ge 10 ] || continue
            "$WORK/bin/truth" "$BASE" "$ROWS" "$(filter_queries "$kind")" "$QUERY_COUNT" 10 "$WORK/truth.$kind.$share" \
                "$(nproc)" "$WORK/matches.$(filter_column "$kind").$share" || exit 1
        done
    done
}

filter_trees() {
    local table=$1 column
    for column in $FILTER_COLUMNS; do value "CREATE INDEX ${table}_$column ON $table ($column)"; done
    value "ANALYZE $table"
}

filter_drop_trees() {
    local column
    for column in $FILTER_COLUMNS; do drop_index "$1_$column"; done
}

# filter_build NAME METHOD COLUMNS...: an index on table filter_iq, and how long it took
filter_build() {
    local name=$1 method=$2 columns=$3 ms
    drop_index filter_index
    ms=$(timed "SET max_parallel_maintenance_workers = 0; SET client_min_messages = warning" \
        "CREATE INDEX filter_index ON filter_iq USING $method (v iqvector_l2_ops$columns) $(options_of "$method")")
    [ -n "$ms" ] || return 1
    note "$name: built in $(awk -v x="$ms" 'BEGIN { printf "%.2f s", x / 1000 }')"
    put "filter build" "$name" - 1 1 seconds "$(awk -v x="$ms" 'BEGIN { print x / 1000 }')" s
    put "filter build" "$name" - 1 1 memory_bytes "$(value "SELECT memory FROM iqdb_index_stats('filter_index')")" bytes
}

# Settings that trade recall for speed, from the quickest on.
filter_settings() {
    case $1 in
        *hnsw* | pgvector*) echo "$FILTER_EFS" ;;
        *ivf*) echo "$FILTER_PROBES" ;;
        *) echo - ;;
    esac
}

# What a session sets for a way.
filter_set() {
    local way=$1 config=$2 system=${1%% *}
    [ "$system" != pgvector ] || system="pgvector hnsw"
    [ "$config" = - ] || echo "SET $(setting_of "$system") = $config;"
    case $way in
        *" planned") ;;
        "table sort") echo "SET enable_seqscan = off; SET enable_indexscan = off;" ;;
        *" alone" | *" columns") echo "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off;" ;;
        *" bitmap") echo "SET enable_seqscan = off; SET enable_sort = off;" ;;
        # without these two it gives up early, and answers lack rows
        pgvector*)
            echo "SET enable_seqscan = off; SET hnsw.max_scan_tuples = 2147483647;"
            echo "SET hnsw.scan_mem_multiplier = 1000;"
            ;;
    esac
    case $way in
        *" strict") echo "SET hnsw.iterative_scan = strict_order;" ;;
        *" relaxed") echo "SET hnsw.iterative_scan = relaxed_order;" ;;
    esac
}

# What the plan must show.
filter_plan() {
    case $1 in
        *" planned") echo Limit ;;
        *" bitmap" | "table sort") echo "Bitmap" ;;
        *" columns") if [ -n "$2" ]; then echo "Index Cond"; else echo "Order By"; fi ;;
        *) echo "Order By" ;;
    esac
}

# filter_point WAY KIND SHARE CONFIG ROUND: KIND "all" is a search without filter. The recall is left in RECALL.
filter_point() {
    local way=$1 kind=$2 share=$3 config=$4 round=$5 table=filter_iq where="" queries=$QUERIES truth=$WORK/truth
    local options=()
    case $way in pgvector*) table=filter_pv ;; esac
    RECALL=
    if [ "$kind" != all ]; then
        where="WHERE $(filter_column "$kind") < $(filter_bound "$share")"
        queries=$(filter_queries "$kind")
        truth=$WORK/truth.$kind.$share
        options=(matches="$WORK/matches.$(filter_column "$kind").$share")
    fi
    client search "sql=SELECT id FROM $table $where ORDER BY v <-> \$1 LIMIT 10" "set=$(filter_set "$way" "$config")" \
        plan="$(filter_plan "$way" "$where")" queries="$queries" base="$BASE" truth="$truth" count="$QUERY_COUNT" \
        seconds="$SECONDS_EACH" "${options[@]}" >"$WORK/point" 2>"$WORK/point.errors" ||
        { note "$way, $kind $share %, $config: $(tail -n 1 "$WORK/point.errors")"; return 1; }
    keep "filter $kind $share" "$way" "$config" 1 "$round" <"$WORK/point"
    RECALL=$(awk -F'\t' '$1 == "recall" { print $2 }' "$WORK/point")
}

# filter_curve WAY KIND SHARE: settings from the quickest on, up to the first that reaches the recall
filter_curve() {
    local way=$1 config round
    for config in $(filter_settings "$way"); do
        for round in $(seq "$ROUNDS"); do filter_point "$way" "$2" "$3" "$config" "$round" || return 1; done
        ! awk -v r="$RECALL" 'BEGIN { exit !(r >= 0.95) }' || break
    done
}

# filter_ways WAY...: all kinds and shares, the ways beside each other
filter_ways() {
    local kind share way
    for kind in $KINDS; do
        for share in $SHARES; do
            if [ "$(filter_bound "$share")" -lt 10 ]; then
                note "$share % are fewer rows than an answer has: left out"
                continue
            fi
            for way in "$@"; do
                if [[ $way == *" bitmap" ]] && ! takes_bitmap "$(filter_column "$kind")" "$(filter_bound "$share")"; then
                    note "$way, $kind $share %: the planner does without a bitmap"
                    continue
                fi
                filter_curve "$way" "$kind" "$share"
            done
        done
    done
}

# takes_bitmap COLUMN BOUND: does the planner, where nothing but the index is left to it, put a bitmap below the search, to be
# read from the start?
takes_bitmap() {
    local plan
    plan=$(sql -c "$(filter_set "iqdb bitmap" -) EXPLAIN SELECT id FROM filter_iq WHERE $1 < $2
        ORDER BY v <-> (SELECT v FROM iq LIMIT 1) LIMIT 10")
    [[ $plan == *Bitmap* && $plan != *"Bitmap: at need"* ]]
}

filter_method() {
    local method=$1
    filter_build "$method alone" "$method" "" || { note "$method: no index: $(tail -n 1 "$WORK/errors")"; return; }
    filter_curve "$method alone" all 100
    filter_ways "$method alone"
    filter_trees filter_iq
    filter_ways "$method bitmap" "$method planned"
    filter_drop_trees filter_iq
    if filter_build "$method columns" "$method" ", ${FILTER_COLUMNS// /, }"; then
        filter_curve "$method columns" all 100
        filter_ways "$method columns"
    else
        note "$method columns: this server refuses them: $(tail -n 1 "$WORK/errors")"
    fi
    drop_index filter_index
}

filter_pgvector() {
    local kind share
    value "SET client_min_messages = warning; CREATE INDEX filter_peer ON filter_pv USING hnsw (v vector_l2_ops)
        $(options_of "pgvector hnsw")"
    filter_curve "pgvector strict" all 100
    filter_ways "pgvector strict" "pgvector relaxed"
    drop_index filter_peer
    for share in $SHARES; do
        [ "$(filter_bound "$share")" -ge 10 ] || continue
        # an index on most rows takes as long to build as one on all, and says nothing new
        [ "${share%.*}" -le 10 ] || continue
        for kind in $KINDS; do
            value "CREATE INDEX filter_peer ON filter_pv USING hnsw (v vector_l2_ops) $(options_of "pgvector hnsw")
                WHERE $(filter_column "$kind") < $(filter_bound "$share")"
            filter_curve "pgvector partial" "$kind" "$share"
            drop_index filter_peer
        done
    done
}

part_filter() {
    local method
    step "filters: columns and exact answers"
    filter_prepare
    for method in $METHODS; do
        step "filters: $method"
        filter_method "$method"
    done
    step "filters: a B-tree, and all matching rows sorted"
    filter_trees filter_iq
    filter_ways "table sort"
    filter_drop_trees filter_iq
    has_system "pgvector hnsw" || { note "pgvector hnsw: not on this server"; return 0; }
    step "filters: pgvector hnsw"
    filter_pgvector
}
