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
    if (!($1 in section_seen)) {
        section_seen[$1] = 1
        sections[++section_count] = $1
    }
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


# What the functions below print figures of.
function look_at(section, method, config, clients) {
    now_section = section
    now_method = method
    now_config = config
    now_clients = clients
}
function raw(figure) { return median(now_section, now_method, now_config, now_clients, figure) }
function of(method, figure) { return median(now_section, method, now_config, now_clients, figure) }

# a number in about four digits; "-" for nothing
function short(x) {
    if (x == "") return "-"
    if (x >= 1000 || x == int(x)) return sprintf("%.0f", x)
    if (x >= 100) return sprintf("%.1f", x)
    if (x >= 1) return sprintf("%.2f", x)
    return sprintf("%.3f", x)
}
function f(figure) { return short(raw(figure)) }
function share(figure) { return raw(figure) == "" ? "-" : sprintf("%.2f%%", 100 * raw(figure)) }
function megabytes(x) { return x == "" ? "-" : sprintf("%.1f", x / 1048576) }
function ratio(a, b) { return a == "" || b == "" || b + 0 == 0 ? "" : sprintf("%.2fx", a / b) }
function title(text) { printf "\n%s\n\n", text }
function rival(method) {
    if (method == "iqdb_flat") return "pgvector scan"
    if (method == "iqdb_hnsw") return "pgvector hnsw"
    if (method == "iqdb_ivf") return "pgvector ivfflat"
    return ""
}
function floor_of(clients) { return median("floor", "vector in, ten rows out", "-", clients, "p50") }

function floors(    i, c, form) {
    title("Round trip of a prepared statement, microseconds")
    form = "%-26s %8s %10s %10s %10s %10s %10s\n"
    printf form, "", "clients", "cpu", "p50", "p95", "p99", "1/s"
    for (i = 1; i <= method_count["floor"]; i++)
        for (c = 1; c <= 2; c++) {
            look_at("floor", methods["floor", i], "-", c)
            printf form, now_method, c, f("processor"), f("p50"), f("p95"), f("p99"), f("qps")
        }
}

function loads(    i) {
    title("COPY into a table without index")
    printf "%-26s %10s %10s\n", "", "seconds", "MB"
    for (i = 1; i <= method_count["load"]; i++) {
        look_at("load", methods["load", i], "-", 1)
        printf "%-26s %10s %10s\n", now_method, f("seconds"), megabytes(raw("table_bytes"))
    }
}

function builds(    i, j, form) {
    if (!method_count["build"]) return
    title("CREATE INDEX (ratio: time of pgvector's / time)")
    form = "%-18s %-12s %10s %8s %10s %10s\n"
    printf form, "", "", "seconds", "ratio", "disk MB", "memory MB"
    for (i = 1; i <= method_count["build"]; i++)
        for (j = 1; j <= config_count["build", methods["build", i]]; j++) {
            look_at("build", methods["build", i], configs["build", methods["build", i], j], 1)
            printf form, now_method, now_config, f("seconds"), ratio(of(rival(now_method), "seconds"), raw("seconds")),
                megabytes(raw("index_bytes")), megabytes(raw("memory_bytes"))
        }
}

function curves(    i, j, c, form) {
    if (!method_count["search"]) return
    title("Searches: ten nearest rows (above floor: p50 less that of \"vector in, ten rows out\")")
    form = "%-16s %7s %7s %9s %7s %7s %7s %7s %9s %9s %9s %9s %9s %9s\n"
    printf form, "", "setting", "clients", "recall@10", "p1", "worst", "< half", "lost", "1/s", "cpu us", "p50 us", "p95 us",
        "p99 us", "above fl."
    for (i = 1; i <= method_count["search"]; i++)
        for (j = 1; j <= config_count["search", methods["search", i]]; j++)
            for (c = 1; c <= 2; c++) {
                look_at("search", methods["search", i], configs["search", methods["search", i], j], c)
                if (!known("search", now_method, now_config, c, "qps")) continue
                printf form, now_method, now_config, c, sprintf("%.4f", raw("recall")), short(raw("recall_p1")),
                    short(raw("recall_least")), share("recall_below_half"), share("recall_at_zero"), f("qps"),
                    f("processor"), f("p50"), f("p95"), f("p99"), short(raw("p50") - floor_of(c))
            }
}

# A figure at a recall: the best of the points at or above it and of the lines between neighbouring points.
function at_recall(section, method, c, target, figure,    j, r0, q0, r1, q1, best, q, less) {
    best = ""
    less = figure != "qps"
    for (j = 1; j <= config_count[section, method]; j++) {
        look_at(section, method, configs[section, method, j], c)
        if (raw(figure) == "") continue
        r1 = raw("recall")
        q1 = log(raw(figure))
        if (r1 >= target && (best == "" || (less ? q1 < best : q1 > best))) best = q1
        if (r0 != "" && r0 < target && r1 > target) {
            q = q0 + (q1 - q0) * (target - r0) / (r1 - r0)
            if (best == "" || (less ? q < best : q > best)) best = q
        }
        r0 = r1
        q0 = q1
    }
    return best == "" ? "" : exp(best)
}

function recall_line(form, method, c, target, name,    other, qps, cpu, p50) {
    other = rival(method)
    qps = at_recall("search", method, c, target, "qps")
    cpu = at_recall("search", method, c, target, "processor")
    p50 = at_recall("search", method, c, target, "p50")
    printf form, method, c, name, short(qps), other == "" ? "" : ratio(qps, at_recall("search", other, c, target, "qps")),
        short(cpu), other == "" ? "" : ratio(at_recall("search", other, c, target, "processor"), cpu), short(p50),
        p50 == "" ? "-" : short(p50 - floor_of(c))
}

function recalls(    i, c, t, count, targets, form) {
    if (!method_count["search"]) return
    count = split("0.90 0.95 0.99", targets, " ")
    title("At a recall, interpolated between the settings (ratio: to pgvector's; cpu: of the server, per search)")
    form = "%-16s %7s %7s %9s %8s %9s %8s %9s %9s\n"
    printf form, "", "clients", "recall", "1/s", "ratio", "cpu us", "ratio", "p50 us", "above fl."
    for (i = 1; i <= method_count["search"]; i++)
        for (c = 1; c <= 2; c++) {
            if (config_count["search", methods["search", i]] < 2) {
                recall_line(form, methods["search", i], c, 0, "exact")
                continue
            }
            for (t = 1; t <= count; t++) recall_line(form, methods["search", i], c, targets[t] + 0, targets[t])
        }
}

function comparisons(    i) {
    for (i = 1; i <= method_count["compare"]; i++) {
        look_at("compare", methods["compare", i], "-", 1)
        title("Row by row: " now_method)
        printf "%d queries, %d rows: %d with the same id, %d with another id of the same distance, %d different; ",
            raw("queries"), raw("rows"), raw("same_id"), raw("other_id_same_distance"), raw("different")
        printf "distances differ by at most %.2g of themselves\n", raw("largest_relative_difference")
    }
}

function firsts(    i, j, form) {
    if (!method_count["first"]) return
    title("New sessions, microseconds (p50)")
    form = "%-18s %-24s %10s %10s %10s %10s %10s\n"
    printf form, "", "", "connect", "query 1", "query 2", "query 3", "query 20"
    for (i = 1; i <= method_count["first"]; i++)
        for (j = 1; j <= config_count["first", methods["first", i]]; j++) {
            look_at("first", methods["first", i], configs["first", methods["first", i], j], 1)
            printf form, now_method, now_config, f("connect"), f("query_1"), f("query_2"), f("query_3"), f("query_20")
        }
}

function restarts(    i, j, form) {
    if (!method_count["restart"]) return
    title("Restarts (ready: from the start of the server to the first session, s; queries in ms)")
    form = "%-18s %-32s %10s %10s %10s\n"
    printf form, "", "", "ready s", "query 1", "query 2"
    for (i = 1; i <= method_count["restart"]; i++)
        for (j = 1; j <= config_count["restart", methods["restart", i]]; j++) {
            look_at("restart", methods["restart", i], configs["restart", methods["restart", i], j], 1)
            printf form, now_method, now_config, f("ready"), short(raw("query_1") / 1000), short(raw("query_2") / 1000)
        }
}

function inserts(    i, j, plain, form) {
    if (!method_count["insert"]) return
    title("Inserts (slower: time / time without index; index WAL: less that of the table without index)")
    form = "%-18s %-22s %10s %10s %8s %8s %10s %10s %10s\n"
    printf form, "", "", "rows/s", "us/row", "slower", "cpu us", "WAL/row", "index WAL", "pgv./iqdb"
    for (j = 1; j <= step_count["insert"]; j++)
        for (i = 1; i <= method_count["insert"]; i++) {
            look_at("insert", methods["insert", i], steps["insert", j], 1)
            plain = now_method ~ /^pgvector/ ? "pgvector table" : "iqvector table"
            if (now_method == plain) plain = "none"
            printf form, now_method, now_config, f("rate"), f("mean"), ratio(raw("mean"), of(plain, "mean")),
                f("processor"), f("wal_per_row"),
                plain == "none" ? "" : short(raw("wal_per_row") - of(plain, "wal_per_row")),
                ratio(of(rival(now_method), "mean"), raw("mean"))
        }
}

function vacuums(    i) {
    if (!method_count["vacuum"]) return
    title("VACUUM after deleting a fifth of the rows")
    printf "%-18s %10s %10s\n", "", "seconds", "pgv./iqdb"
    for (i = 1; i <= method_count["vacuum"]; i++) {
        look_at("vacuum", methods["vacuum", i], "a fifth deleted", 1)
        printf "%-18s %10s %10s\n", now_method, f("seconds"), ratio(of(rival(now_method), "seconds"), raw("seconds"))
    }
}

# The unfiltered search that a way to filter is compared with: of the same index.
function unfiltered(way) {
    if (way ~ /^iqdb.* (bitmap|planned)$/) sub(/ [a-z]*$/, " alone", way)
    if (way ~ /^pgvector/) way = "pgvector strict"
    return way
}

# The last setting that was measured: the one with the best recall.
function look_at_last(section, way) { look_at(section, way, configs[section, way, config_count[section, way]], 1) }

function filter_line(form, section, percent, way,    recall, rows, qps, cpu, p99) {
    look_at_last(section, way)
    recall = raw("recall")
    rows = raw("rows_least")
    qps = at_recall(section, way, 1, 0.95, "qps")
    cpu = at_recall(section, way, 1, 0.95, "processor")
    p99 = at_recall(section, way, 1, 0.95, "p99")
    printf form, way, percent, sprintf("%.3f", recall), rows, short(qps),
        ratio(qps, at_recall("filter all 100", unfiltered(way), 1, 0.95, "qps")), short(cpu),
        ratio(at_recall("filter all 100", unfiltered(way), 1, 0.95, "processor"), cpu), short(p99)
}

function filters(    i, j, section, parts, form, kind) {
    if (!method_count["filter all 100"]) return
    title("CREATE INDEX without and with three columns to filter by")
    printf "%-18s %10s %10s\n", "", "seconds", "memory MB"
    for (i = 1; i <= method_count["filter build"]; i++) {
        look_at("filter build", methods["filter build", i], "-", 1)
        printf "%-18s %10s %10s\n", now_method, f("seconds"), megabytes(raw("memory_bytes"))
    }
    title("Ten nearest of the rows that match: at recall 0.95 among these (ratio: to the same index without a filter)")
    form = "%-18s %9s %9s %9s %9s %9s %9s %9s %9s\n"
    for (i = 1; i <= section_count; i++) {
        section = sections[i]
        if (section !~ /^filter / || section == "filter build") continue
        split(section, parts, " ")
        if (parts[2] != kind) {
            kind = parts[2]
            printf "\n" form, kind, "share %", "recall", "rows", "1/s", "ratio", "cpu us", "ratio", "p99 us"
        }
        for (j = 1; j <= method_count[section]; j++) filter_line(form, section, parts[3], methods[section, j])
    }
}

function trips(    i) {
    if (!method_count["trip"]) return
    title("The way of a search by iqdb_hnsw at recall 0.95 through SQL, " configs["trip", methods["trip", 1], 1])
    printf "%-46s %14s %12s\n", "", "processor us", "in all us"
    for (i = 1; i <= method_count["trip"]; i++) {
        look_at("trip", methods["trip", i], configs["trip", methods["trip", i], 1], 1)
        printf "%-46s %14s %12s\n", now_method, raw("processor") == "" ? "-" : sprintf("%.1f", raw("processor")),
            sprintf("%.1f", raw("time"))
    }
}

# One figure of a step of part growth, as the table below shows it: a cost per row, or per search.
function growth_cost(section, method, name,    rows) {
    rows = substr(section, 8) + 0
    look_at(section, method, "-", 1)
    if (name == "build us") return raw("build_ms") * 1000 / rows
    if (name == "vacuum us") return raw("vacuum_ms") * 1000 / rows
    if (name == "restart us") return raw("restart_ms") * 1000 / rows
    if (name == "memory bytes" || name == "disk bytes") return raw(name == "disk bytes" ? "disk" : "memory") / rows
    if (name == "insert us") return raw("insert_us")
    return at_recall(section, method, 1, name == "search us 0.95" ? 0.95 : name == "search us 0.99" ? 0.99 : 0, "processor")
}

function growth_line(steps_of, count, method, name,    j, cost, first) {
    printf "%-12s %-16s", method, name
    for (j = 1; j <= count; j++) {
        cost = growth_cost(steps_of[j], method, name)
        if (j == 1) first = cost
        printf " %10s %8s", short(cost), ratio(cost, first)
    }
    printf "\n"
}

function growths(    i, j, k, count, steps_of, names, name_count, method) {
    for (i = 1; i <= section_count; i++)
        if (sections[i] ~ /^growth /) steps_of[++count] = sections[i]
    if (!count) return
    title("Growth: per row of the table, per search, per row inserted; beside it the ratio to the first step")
    printf "%-12s %-16s", "", "rows"
    for (j = 1; j <= count; j++) printf " %10s %8s", substr(steps_of[j], 8), ""
    printf "\n"
    name_count = split("build us,memory bytes,disk bytes,search us 0.95,search us 0.99,insert us,vacuum us,restart us", names, ",")
    for (i = 1; i <= method_count[steps_of[1]]; i++) {
        method = methods[steps_of[1], i]
        for (k = 1; k <= name_count; k++) growth_line(steps_of, count, method, names[k])
    }
}

END {
    for (i = 1; i <= note_count; i++) print notes[i]
    growths()
    if (!setup["rows"]) exit
    printf "%d rows of %d dimensions, %d queries, %d lists\n", setup["rows"], setup["dimension"], setup["queries"],
        setup["lists"]
    floors()
    loads()
    builds()
    recalls()
    curves()
    comparisons()
    firsts()
    inserts()
    vacuums()
    restarts()
    filters()
    trips()
}
