# report.awk - readable tables from the result file of the SQL bench. Of several rounds the median is shown; ratios are
# taken between medians of one run. Usage: awk -f report.awk sql_bench.tsv

BEGIN { FS = "\t" }
FNR == 1 { next }
$1 == "setup" {
    if ($6 == "note") notes[++note_count] = $2
    else setup[$6] = $7
    next
}
{
    key = $1 SUBSEP $2 SUBSEP $3 SUBSEP $4 SUBSEP $6
    samples[key, ++sample_count[key]] = $7 + 0
    if (!(($1, $2) in method_seen)) {
        method_seen[$1, $2] = 1
        methods[$1, ++method_count[$1]] = $2
    }
    if (!(($1, $2, $3) in config_seen)) {
        config_seen[$1, $2, $3] = 1
        configs[$1, $2, ++config_count[$1, $2]] = $3
    }
    if (!(($1, $3) in step_seen)) {
        step_seen[$1, $3] = 1
        steps[$1, ++step_count[$1]] = $3
    }
}

function known(section, method, config, clients, figure) {
    return (section SUBSEP method SUBSEP config SUBSEP clients SUBSEP figure) in sample_count
}

function median(section, method, config, clients, figure,    key, n, i, j, x, list) {
    key = section SUBSEP method SUBSEP config SUBSEP clients SUBSEP figure
    n = sample_count[key]
    if (!n) return ""
    for (i = 1; i <= n; i++) {
        x = samples[key, i]
        for (j = i - 1; j > 0 && list[j] > x; j--) list[j + 1] = list[j]
        list[j + 1] = x
    }
    return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
}

# a number in about four digits; "-" for nothing
function short(x) {
    if (x == "") return "-"
    if (x >= 1000 || x == int(x)) return sprintf("%.0f", x)
    if (x >= 100) return sprintf("%.1f", x)
    if (x >= 1) return sprintf("%.2f", x)
    return sprintf("%.3f", x)
}
function megabytes(x) { return x == "" ? "-" : sprintf("%.1f", x / 1048576) }
function ratio(a, b) { return a == "" || b == "" || b + 0 == 0 ? "" : sprintf("%.2fx", a / b) }
function title(text) { printf "\n%s\n\n", text }
function rival(method) {
    if (method == "iqdb_flat") return "pgvector scan"
    if (method == "iqdb_hnsw") return "pgvector hnsw"
    if (method == "iqdb_ivf") return "pgvector ivfflat"
    return ""
}

function floors(    i, c, method) {
    title("Round trip of a prepared statement, microseconds")
    printf "%-26s %8s %10s %10s %10s %10s %10s\n", "", "clients", "cpu", "p50", "p95", "p99", "1/s"
    for (i = 1; i <= method_count["floor"]; i++)
        for (c = 1; c <= 2; c++) {
            method = methods["floor", i]
            printf "%-26s %8d %10s %10s %10s %10s %10s\n", method, c,
                short(median("floor", method, "-", c, "processor")), short(median("floor", method, "-", c, "p50")),
                short(median("floor", method, "-", c, "p95")), short(median("floor", method, "-", c, "p99")),
                short(median("floor", method, "-", c, "qps"))
        }
}

function loads(    i, method) {
    title("COPY into a table without index")
    printf "%-26s %10s %10s\n", "", "seconds", "MB"
    for (i = 1; i <= method_count["load"]; i++) {
        method = methods["load", i]
        printf "%-26s %10s %10s\n", method, short(median("load", method, "-", 1, "seconds")),
            megabytes(median("load", method, "-", 1, "table_bytes"))
    }
}

function builds(    i, j, method, config, other) {
    if (!method_count["build"]) return
    title("CREATE INDEX (ratio: time of pgvector's / time)")
    printf "%-18s %-12s %10s %8s %10s %10s\n", "", "", "seconds", "ratio", "disk MB", "memory MB"
    for (i = 1; i <= method_count["build"]; i++)
        for (j = 1; j <= config_count["build", methods["build", i]]; j++) {
            method = methods["build", i]
            config = configs["build", method, j]
            other = rival(method)
            printf "%-18s %-12s %10s %8s %10s %10s\n", method, config, short(median("build", method, config, 1, "seconds")),
                ratio(median("build", other, config, 1, "seconds"), median("build", method, config, 1, "seconds")),
                megabytes(median("build", method, config, 1, "index_bytes")),
                megabytes(median("build", method, config, 1, "memory_bytes"))
        }
}

function curves(    i, j, c, method, config, floor) {
    if (!method_count["search"]) return
    title("Searches: ten nearest rows (above floor: p50 less that of \"vector in, ten rows out\")")
    printf "%-16s %7s %7s %9s %9s %9s %9s %9s %9s %9s\n", "", "setting", "clients", "recall@10", "1/s", "cpu us", "p50 us",
        "p95 us", "p99 us", "above fl."
    for (i = 1; i <= method_count["search"]; i++)
        for (j = 1; j <= config_count["search", methods["search", i]]; j++)
            for (c = 1; c <= 2; c++) {
                method = methods["search", i]
                config = configs["search", method, j]
                if (!known("search", method, config, c, "qps")) continue
                floor = median("floor", "vector in, ten rows out", "-", c, "p50")
                printf "%-16s %7s %7d %9.4f %9s %9s %9s %9s %9s %9s\n", method, config, c,
                    median("search", method, config, c, "recall"), short(median("search", method, config, c, "qps")),
                    short(median("search", method, config, c, "processor")),
                    short(median("search", method, config, c, "p50")), short(median("search", method, config, c, "p95")),
                    short(median("search", method, config, c, "p99")),
                    short(median("search", method, config, c, "p50") - floor)
            }
}

# Rate at a recall: the best of the points at or above it and of the lines between neighbouring points.
function rate_at(method, c, target, figure,    j, n, r0, q0, r1, q1, best, q, worse) {
    n = config_count["search", method]
    best = ""
    worse = figure != "qps"
    for (j = 1; j <= n; j++) {
        if (!known("search", method, configs["search", method, j], c, "qps")) continue
        r1 = median("search", method, configs["search", method, j], c, "recall")
        if (!known("search", method, configs["search", method, j], c, figure)) continue
        q1 = log(median("search", method, configs["search", method, j], c, figure))
        if (r1 >= target && (best == "" || (worse ? q1 < best : q1 > best))) best = q1
        if (j > 1 && r0 != "" && r0 < target && r1 > target) {
            q = q0 + (q1 - q0) * (target - r0) / (r1 - r0)
            if (best == "" || (worse ? q < best : q > best)) best = q
        }
        r0 = r1
        q0 = q1
    }
    return best == "" ? "" : exp(best)
}

function at_recall(    i, c, t, method, other, mine, theirs, targets, floor, cpu) {
    if (!method_count["search"]) return
    split("0.90 0.95 0.99", targets, " ")
    title("At a recall, interpolated between the settings (ratio: to pgvector's; cpu: of the server, per search)")
    printf "%-16s %7s %7s %9s %8s %9s %8s %9s %9s\n", "", "clients", "recall", "1/s", "ratio", "cpu us", "ratio", "p50 us",
        "above fl."
    for (i = 1; i <= method_count["search"]; i++)
        for (c = 1; c <= 2; c++)
            for (t = 1; t <= 3; t++) {
                method = methods["search", i]
                if (config_count["search", method] < 2) {
                    if (t < 3) continue
                    targets[t] = "all"
                }
                mine = rate_at(method, c, targets[t] + 0, "qps")
                other = rival(method)
                theirs = other == "" || !config_count["search", other] ? "" : rate_at(other, c, targets[t] + 0, "qps")
                floor = median("floor", "vector in, ten rows out", "-", c, "p50")
                cpu = rate_at(method, c, targets[t] + 0, "processor")
                printf "%-16s %7d %7s %9s %8s %9s %8s %9s %9s\n", method, c, targets[t], short(mine), ratio(mine, theirs), short(cpu),
                    theirs == "" ? "" : ratio(rate_at(other, c, targets[t] + 0, "processor"), cpu),
                    short(rate_at(method, c, targets[t] + 0, "p50")),
                    mine == "" ? "-" : short(rate_at(method, c, targets[t] + 0, "p50") - floor)
                targets[3] = "0.99"
            }
}

function comparisons(    i, method) {
    for (i = 1; i <= method_count["compare"]; i++) {
        method = methods["compare", i]
        title("Row by row: " method)
        printf "%d queries, %d rows: %d with the same id, %d with another id of the same distance, %d different; ",
            median("compare", method, "-", 1, "queries"), median("compare", method, "-", 1, "rows"),
            median("compare", method, "-", 1, "same_id"), median("compare", method, "-", 1, "other_id_same_distance"),
            median("compare", method, "-", 1, "different")
        printf "distances differ by at most %.2g of themselves\n",
            median("compare", method, "-", 1, "largest_relative_difference")
    }
}

function firsts(    i, j, method, config) {
    if (!method_count["first"]) return
    title("New sessions, microseconds (p50)")
    printf "%-18s %-24s %10s %10s %10s %10s %10s\n", "", "", "connect", "query 1", "query 2", "query 3", "query 20"
    for (i = 1; i <= method_count["first"]; i++)
        for (j = 1; j <= config_count["first", methods["first", i]]; j++) {
            method = methods["first", i]
            config = configs["first", method, j]
            printf "%-18s %-24s %10s %10s %10s %10s %10s\n", method, config, short(median("first", method, config, 1, "connect")),
                short(median("first", method, config, 1, "query_1")), short(median("first", method, config, 1, "query_2")),
                short(median("first", method, config, 1, "query_3")), short(median("first", method, config, 1, "query_20"))
        }
}

function restarts(    i, j, method, config) {
    if (!method_count["restart"]) return
    title("Restarts (ready: from the start of the server to the first session, s; queries in ms)")
    printf "%-18s %-32s %10s %10s %10s\n", "", "", "ready s", "query 1", "query 2"
    for (i = 1; i <= method_count["restart"]; i++)
        for (j = 1; j <= config_count["restart", methods["restart", i]]; j++) {
            method = methods["restart", i]
            config = configs["restart", method, j]
            printf "%-18s %-32s %10s %10s %10s\n", method, config, short(median("restart", method, config, 1, "ready")),
                short(median("restart", method, config, 1, "query_1") / 1000),
                short(median("restart", method, config, 1, "query_2") / 1000)
        }
}

function inserts(    i, j, n, method, config, plain, wal, more, other, other_plain) {
    n = method_count["insert"]
    if (!n) return
    title("Inserts (slower: time / time without index; index WAL: less that of the table without index)")
    printf "%-18s %-22s %10s %10s %8s %8s %10s %10s %10s\n", "", "", "rows/s", "us/row", "slower", "cpu us", "WAL/row",
        "index WAL", "pgv./iqdb"
    for (j = 1; j <= step_count["insert"]; j++) {
        config = steps["insert", j]
        for (i = 1; i <= n; i++) {
            method = methods["insert", i]
            plain = method ~ /^pgvector/ ? "pgvector table" : "iqvector table"
            wal = median("insert", method, config, 1, "wal_per_row")
            more = method == plain ? "" : wal - median("insert", plain, config, 1, "wal_per_row")
            other = rival(method)
            printf "%-18s %-22s %10s %10s %8s %8s %10s %10s %10s\n", method, config,
                short(median("insert", method, config, 1, "rate")),
                short(median("insert", method, config, 1, "mean")),
                method == plain ? "" : ratio(median("insert", method, config, 1, "mean"), median("insert", plain, config, 1, "mean")),
                short(median("insert", method, config, 1, "processor")),
                short(wal), short(more), ratio(median("insert", other, config, 1, "mean"), median("insert", method, config, 1, "mean"))
        }
    }
}

function vacuums(    i, method) {
    if (!method_count["vacuum"]) return
    title("VACUUM after deleting a fifth of the rows")
    printf "%-18s %10s %14s\n", "", "seconds", "pgv./iqdb"
    for (i = 1; i <= method_count["vacuum"]; i++) {
        method = methods["vacuum", i]
        printf "%-18s %10s %14s\n", method, short(median("vacuum", method, "a fifth deleted", 1, "seconds")),
            ratio(median("vacuum", rival(method), "a fifth deleted", 1, "seconds"),
                median("vacuum", method, "a fifth deleted", 1, "seconds"))
    }
}

END {
    for (i = 1; i <= note_count; i++) print notes[i]
    printf "%d rows of %d dimensions, %d queries, %d lists\n", setup["rows"], setup["dimension"], setup["queries"], setup["lists"]
    floors()
    loads()
    builds()
    at_recall()
    curves()
    comparisons()
    firsts()
    inserts()
    vacuums()
    restarts()
}
