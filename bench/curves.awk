# curves.awk - from what the in-process benches and peers print, one line per system: build, bytes per row, and searches
# per second at recalls, interpolated linearly in recall and logarithm. Ratios: of build times to the first system's, of
# the first system's searches per second to those.

function finish(    i) {
    if (system_name == "")
        return
    name[++systems] = system_name
    for (i = 1; i <= points; i++) {
        recalls[systems, i] = point_recall[i]
        rates[systems, i] = point_rate[i]
    }
    count[systems] = points
    build[systems] = seconds
    bytes[systems] = row_bytes
    system_name = ""
}

function at(who, wanted,    i, share) {
    for (i = 1; i <= count[who]; i++) {
        if (recalls[who, i] < wanted)
            continue
        if (i == 1 || recalls[who, i] <= recalls[who, i - 1])
            return rates[who, i]
        share = (wanted - recalls[who, i - 1]) / (recalls[who, i] - recalls[who, i - 1])
        return exp(log(rates[who, i - 1]) * (1 - share) + log(rates[who, i]) * share)
    }
    return 0
}

function cell(value, first,    ratio) {
    if (value == 0)
        return sprintf("%17s", "-")
    ratio = first > 0 ? sprintf("%5.2fx", first / value) : ""
    return sprintf("%10.0f %6s", value, ratio)
}

# "iqdb ivf: 100000 rows, dimension 128, ..."
/^[a-z].*: [0-9]+ rows, dimension/ {
    finish()
    system_name = $0
    sub(/: .*/, "", system_name)
    points = 0
    curve = 1
}
/^build / {
    seconds = $2
    if (match($0, /processor [0-9.]+/))
        seconds = substr($0, RSTART + 10, RLENGTH - 10)
    row_bytes = match($0, /[0-9]+ bytes per row/) ? substr($0, RSTART, RLENGTH) + 0 : 0
}
/^drift:/ { curve = 0 }
/^  (ef|probes) +[0-9]+ +recall/ && curve {
    point_recall[++points] = $4
    point_rate[points] = $5 + 0
}
END {
    finish()
    printf "%-16s%10s%8s%10s%18s%18s%18s\n", "", "build s", "ratio", "bytes/row", "1/s at 0.90 ratio", "0.95 ratio", \
        "0.99 ratio"
    for (i = 1; i <= systems; i++)
        printf "%-16s%10.2f%7.1fx%10s %s %s %s\n", name[i], build[i], build[i] / build[1], bytes[i] ? bytes[i] : "-", \
            cell(at(i, 0.90), at(1, 0.90)), cell(at(i, 0.95), at(1, 0.95)), cell(at(i, 0.99), at(1, 0.99))
}
