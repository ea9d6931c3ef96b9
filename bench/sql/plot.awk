# plot.awk - draws searches a second over recall as SVG: one line a system, solid for one client, dashed for two.
# Usage: awk -f plot.awk sql_bench.tsv > sql_bench.svg

BEGIN { FS = "\t"; left = 70; right = 220; top = 40; bottom = 50; width = 900; height = 520 }
$1 == "setup" && $6 != "note" { setup[$6] = $7 }
$1 == "setup" && $6 == "note" && $2 ~ /^data/ { data = $2 }
$1 == "search" && ($6 == "recall" || $6 == "qps") {
    line = $2 SUBSEP $4
    if (!(line in points)) { lines[++line_count] = line }
    if (!((line, $3) in point_seen)) { point_seen[line, $3] = 1; configs[line, ++points[line]] = $3 }
    key = line SUBSEP $3 SUBSEP $6
    samples[key, ++sample_count[key]] = $7 + 0
}

function median(key,    n, i, j, x, list) {
    n = sample_count[key]
    for (i = 1; i <= n; i++) {
        x = samples[key, i]
        for (j = i - 1; j > 0 && list[j] > x; j--) list[j + 1] = list[j]
        list[j + 1] = x
    }
    return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
}

# Recalls near 1 are what matters: the axis shows -log10 of what is missing, the right border being 0.9999 and more.
function lost(recall) { return -log(recall > 0.9999 ? 0.0001 : 1 - recall) / log(10) }
function x_of(recall) { return left + (lost(recall) - low) / (4 - low) * (width - left - right) }
function y_of(qps) {
    return height - bottom - (log(qps) - log(least)) / (log(most) - log(least)) * (height - top - bottom)
}
function escape(text) { gsub(/&/, "\\&amp;", text); gsub(/</, "\\&lt;", text); return text }
function label(x, y, text, anchor) {
    printf "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor, escape(text)
}
function rule(x1, y1, x2, y2) {
    printf "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>\n", x1, y1, x2, y2
}

function dashes(clients) { return clients == 1 ? "" : " stroke-dasharray=\"6 4\"" }

function axes(    ticks, n, i, decade, step) {
    n = split("0.5 0.8 0.9 0.95 0.98 0.99 0.995 0.999 0.9999", ticks, " ")
    for (i = 1; i <= n; i++)
        if (lost(ticks[i]) >= low) {
            rule(x_of(ticks[i]), top, x_of(ticks[i]), height - bottom)
            label(x_of(ticks[i]), height - bottom + 18, ticks[i] == "0.9999" ? "1" : ticks[i], "middle")
        }
    for (decade = 1; decade < 1e7; decade *= 10)
        for (step = 1; step <= 5; step = step == 1 ? 2 : step == 2 ? 5 : 10)
            if (decade * step >= least && decade * step <= most) {
                rule(left, y_of(decade * step), width - right, y_of(decade * step))
                label(left - 8, y_of(decade * step) + 4, decade * step, "end")
            }
    label(left + (width - left - right) / 2, height - 10, "recall@10", "middle")
    label(8, top - 10, "searches/s", "start")
}

function draw(line, number,    i, c, parts, path, x, y, colour) {
    split(line, parts, SUBSEP)
    colour = colour_of[parts[1]]
    path = ""
    for (i = 1; i <= points[line]; i++) {
        c = configs[line, i]
        x = x_of(median(line SUBSEP c SUBSEP "recall"))
        y = y_of(median(line SUBSEP c SUBSEP "qps"))
        path = path sprintf("%s%.1f,%.1f", i > 1 ? " " : "", x, y)
        printf "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"><title>%s %s</title></circle>\n", x, y, colour,
            escape(parts[1]), c
    }
    printf "<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"1.8\"%s/>\n", path, colour,
        dashes(parts[2])
    printf "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\" stroke=\"%s\" stroke-width=\"2\"%s/>\n", width - right + 14,
        top + 18 * number, width - right + 44, top + 18 * number, colour, dashes(parts[2])
    label(width - right + 50, top + 18 * number + 4,
        parts[1] ", " parts[2] (parts[2] == 1 ? " client" : " clients"), "start")
}

END {
    split("#c0392b #2471a3 #d68910 #1e8449 #7d3c98 #566573", palette, " ")
    low = 4
    least = 1e12
    most = 1
    for (i = 1; i <= line_count; i++) {
        split(lines[i], parts, SUBSEP)
        if (!(parts[1] in colour_of)) colour_of[parts[1]] = palette[1 + (colours++ % 6)]
        for (j = 1; j <= points[lines[i]]; j++) {
            r = median(lines[i] SUBSEP configs[lines[i], j] SUBSEP "recall")
            q = median(lines[i] SUBSEP configs[lines[i], j] SUBSEP "qps")
            if (lost(r) < low) low = lost(r)
            if (q < least) least = q
            if (q > most) most = q
        }
    }
    least *= 0.8
    most *= 1.25
    if (low > 0.5) low = low < 1 ? 0.5 : 1
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" ", width, height,
        width, height
    print "font-family=\"sans-serif\" font-size=\"12\">"
    print "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
    label(left, 16, data ": " setup["rows"] " rows of " setup["dimension"] " dimensions", "start")
    if (line_count > 0) axes()
    for (i = 1; i <= line_count; i++) draw(lines[i], i)
    print "</svg>"
}
