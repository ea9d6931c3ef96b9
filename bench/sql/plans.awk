# plans.awk - the table of the part "plans" from the result file of the SQL bench: time of the plan that was chosen over
# time of the quickest. Usage: awk -f plans.awk sql_bench.tsv

BEGIN { FS = "\t" }
$1 ~ /^planning / {
    if (!($1 in planned)) plannings[++planning_count] = $1
    planned[$1] = 1
    time_of[$1, $2, $6] = $7
    if (!($2 in seen_planning)) planning_systems[++planning_system_count] = $2
    seen_planning[$2] = 1
    next
}
$1 !~ /^plans / { next }
{
    split($3, parts, "/")
    row = $1 SUBSEP $2 SUBSEP parts[1] SUBSEP parts[2]
    if (!(row in seen)) rows[++row_count] = row
    seen[row] = 1
    if (!(parts[3] in seen_limit)) limits[++limit_count] = parts[3]
    seen_limit[parts[3]] = 1
    cell[row, parts[3]] = sprintf("%.2f %s%s", $7, short($6), $7 > 3 ? " !!" : $7 > 1.5 ? " !" : "")
    cells++
    if ($7 > 1.5) bad[++bad_count] = sprintf("%-18s %-18s %-22s %5.2f  %s", substr($1, 7), $2, $3, $7, $8)
    if ($7 > 3) terrible++
    if ($7 <= 1.05) best++
    log_sum += log($7)
}

# i/b: the index was taken, a bitmap with a sort is quicker
function short(names,    parts) {
    split(names, parts, "/")
    return parts[1] == parts[2] ? letter(parts[1]) : letter(parts[1]) "/" letter(parts[2])
}
function letter(name) {
    if (name == "index+bitmap") return "n"
    if (name == "table") return "s"
    if (name == "btree") return "t"
    return substr(name, 1, 1)
}

END {
    if (!cells) exit
    print "\nTime of the plan that was chosen over time of the quickest, and which these are, where not the same: i index,"
    print "n index with a bitmap below, s sequential scan, b bitmap, t B-tree (these three sorted), p another one"
    for (i = 1; i <= row_count; i++) {
        split(rows[i], parts, SUBSEP)
        if (parts[1] parts[2] != last) {
            last = parts[1] parts[2]
            printf "\n%-40s %8s", substr(parts[1], 7) ", " parts[2], "share %"
            for (j = 1; j <= limit_count; j++) printf " %-12s", (limits[j] == "-" ? "no limit" : "LIMIT " limits[j])
            print ""
        }
        line = sprintf("%-40s %8s", parts[3] == "rows" ? "" : parts[3], parts[4])
        for (j = 1; j <= limit_count; j++) line = line sprintf(" %-12s", cell[rows[i], limits[j]])
        sub(/ *$/, "", line)
        print line
    }
    printf "\n%d cells: within 5 %% of the quickest %d, above 1.5 %d, above 3 %d; geometric mean %.3f\n", cells, best,
        bad_count, terrible, exp(log_sum / cells)
    if (bad_count) print "\nAbove 1.5 (microseconds of processor time, and the planner's cost in brackets):"
    for (i = 1; i <= bad_count; i++) print bad[i]
    print "\nPlanning, microseconds (the first of a session in brackets)"
    for (i = 1; i <= planning_count; i++) {
        printf "%-18s", substr(plannings[i], 10)
        for (j = 1; j <= planning_system_count; j++)
            if ((plannings[i], planning_systems[j], "planning") in time_of)
                printf "  %s %.0f (%.0f)", planning_systems[j], time_of[plannings[i], planning_systems[j], "planning"],
                    time_of[plannings[i], planning_systems[j], "planning_first"]
        print ""
    }
}
