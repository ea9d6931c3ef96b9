# plans.sh - the part "plans" of the SQL bench: is the plan that is chosen the quickest there is? To be sourced behind
# lib.sh.
#
# A shape is ROWSxDIMENSIONS, followed by i where vectors lie in the table's rows, or t where they are in its TOAST table;
# without either, vectors of more than 480 dimensions are, as they would be by default.

# plans_load ROWS DIMENSION STORAGE: table plan_rows, with a column k that numbers the rows at random, so that so many are
# below a bound, a B-tree on it, and a small table to join
plans_load() {
    local rows=$1 dimension=$2 storage=$3
    "$WORK/bin/generate" "$rows" "$dimension" "$WORK/plans.fvecs" 1 &&
        "$WORK/bin/generate" 100 "$dimension" "$WORK/plans.queries.fvecs" 2 || exit 1
    value "SET client_min_messages = warning; DROP TABLE IF EXISTS plan_load, plan_rows, plan_groups;
        CREATE TABLE plan_load (id bigint, v iqvector($dimension)); ALTER TABLE plan_load ALTER v SET STORAGE PLAIN;
        CREATE TABLE plan_rows (id bigint, k int, g int, v iqvector($dimension));
        CREATE TABLE plan_groups (g int PRIMARY KEY, w int)"
    case $storage in
        i) value "ALTER TABLE plan_rows ALTER v SET STORAGE PLAIN" ;;
        t) value "ALTER TABLE plan_rows ALTER v SET STORAGE EXTERNAL, SET (toast_tuple_target = 128)" ;;
    esac
    "$WORK/bin/load" "$WORK/plans.fvecs" rows 0 | sql -c "COPY plan_load FROM STDIN (FORMAT binary)" || exit 1
    value "INSERT INTO plan_rows SELECT id, row_number() OVER (ORDER BY hashint8(id)) - 1, id % 100, v FROM plan_load
            ORDER BY id;
        INSERT INTO plan_groups SELECT g, g FROM generate_series(0, 99) g; DROP TABLE plan_load"
    value "CREATE INDEX ON plan_rows (k)"
    value "SET default_statistics_target = 1000; ANALYZE plan_rows (k, g)"
    value "VACUUM (ANALYZE, FREEZE) plan_rows, plan_groups"
}

# plans_line NAME FROM... TAIL: a statement, and the same in an order that no index gives
plans_line() {
    printf '%s\tSELECT %s ORDER BY v <-> $1%s\tSELECT %s ORDER BY 0 + (v <-> $1)%s\n' "$1" "$2" "$3" "$2" "$3"
}

# What is asked, line by line: name is KIND/SHARE/LIMIT.
plans_lines() {
    local rows=$1 share limit where
    for share in $PLAN_SHARES; do
        where="WHERE k < $(awk -v n="$rows" -v s="$share" 'BEGIN { printf "%d", n * s / 100 + 0.5 }')"
        [ "$share" != 100 ] || where=
        for limit in $LIMITS; do
            [ "$limit" -le "$rows" ] && plans_line "rows/$share/$limit" "id FROM plan_rows $where" " LIMIT $limit"
        done
    done
    plans_line "offset 100/100/10" "id FROM plan_rows" " LIMIT 10 OFFSET 100"
    plans_line "offset 100/10/10" "id FROM plan_rows WHERE k < $((rows / 10))" " LIMIT 10 OFFSET 100"
    plans_line "two orders/100/10" "id FROM plan_rows" ", id LIMIT 10"
    plans_line "join/100/10" "id FROM plan_rows JOIN plan_groups USING (g)" " LIMIT 10"
    plans_line "join, a tenth/100/10" "id FROM plan_rows JOIN plan_groups USING (g) WHERE w < 10" " LIMIT 10"
    plans_line "join, a tenth/1/10" "id FROM plan_rows JOIN plan_groups USING (g) WHERE w < 10 AND k < $((rows / 100))" \
        " LIMIT 10"
    plans_line "no limit/100/-" "id FROM plan_rows" ""
    plans_line "no limit/1/-" "id FROM plan_rows WHERE k < $((rows / 100))" ""
}

# The time of the planner, with the index or without.
plans_planning() {
    client planning "sql=SELECT id FROM plan_rows WHERE k < 10 ORDER BY v <-> (SELECT v FROM plan_rows LIMIT 1) LIMIT 10" |
        keep "planning $1" "$2" - 1 1
}

plans_shape() {
    local shape=$1 rows dimension storage method ms columns
    rows=${shape%%x*}
    dimension=${shape#*x}
    storage=${dimension##*[0-9]}
    dimension=${dimension%[it]}
    step "plans: $rows rows of $dimension dimensions ${storage:+($storage)}"
    plans_load "$rows" "$dimension" "$storage"
    plans_planning "$shape" "no index"
    for method in $METHODS; do
        for columns in "" ", k"; do
            ms=$(timed "SET client_min_messages = warning" \
                "CREATE INDEX plan_index ON plan_rows USING $method (v iqvector_l2_ops$columns)")
            if [ -z "$ms" ]; then
                note "$method (v$columns): no index: $(tail -n 1 "$WORK/errors")"
                continue
            fi
            value "SELECT iqdb_prewarm('plan_index')" >/dev/null
            plans_planning "$shape" "$method (v$columns)"
            plans_lines "$rows" | client plans queries="$WORK/plans.queries.fvecs" seconds="$SECONDS_EACH" \
                "set=SET client_min_messages = warning" \
                >"$WORK/plans" || { note "$method (v$columns): stopped"; cat "$WORK/plans"; }
            while IFS=$'\t' read -r name chosen quickest ratio times; do
                put "plans $shape" "$method (v$columns)" "$name" 1 1 "$chosen/$quickest" "$ratio" "$times"
            done <"$WORK/plans"
            drop_index plan_index
        done
    done
}

part_plans() {
    local shape
    for shape in $SHAPES; do plans_shape "$shape"; done
}
