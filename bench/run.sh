#!/usr/bin/env bash
# run.sh - builds and runs the benchmarks. bench/README.md says what each one measures and how to read it.
#
#   bench/run.sh NAME [argument]...
#
#   kernels [table]...               distance kernels against the speed of memory
#   handle [quick | codes | threads] the embedded database: calls, exact search, log and snapshots
#   hnsw BASE QUERIES [option]...    the graph engine in process; beside hnswlib where its headers are installed
#   ivf BASE QUERIES [option]...     the inverted-file engine in process; beside faiss, our graph engine, and hnswlib
#   filter BASE QUERIES [option]...  searches with a filter on columns, in process
#   sql [option value]...            everything through a server, beside pgvector where present
#   plans [option value]...          are the plans that are chosen the quickest? (sql --parts plans)
#   trip [option value]...           where the time of a search through SQL goes (sql --parts trip)
#   growth [option value]...         what a row costs as there are more of them (sql --parts growth)
#
# A name stands for bench/micro_NAME.c or bench/core_NAME.c, which say what options there are. BASE and QUERIES are
# .fvecs or .bvecs files.

set -u -o pipefail
cd "$(dirname "$0")/.." || exit 1
BUILD=${BUILD:-build}
MAKE=${MAKE:-make}
unset MAKEFLAGS MAKELEVEL

usage() {
    sed -n '2,/^$/p' bench/run.sh | sed 's/^# \{0,1\}//'
    exit 2
}

# Flags for a peer that chooses its instructions when it is compiled: what this processor has.
processor_flags() {
    local flag flags=
    for flag in sse4_2 avx avx2 fma avx512f avx512bw avx512vl avx512dq; do
        grep -qm 1 "^flags.*\b$flag\b" /proc/cpuinfo && flags+=" -m${flag/_/.}"
    done
    echo "$flags"
}

# has_header FILE: the header is installed
has_header() { [ -n "$(find /usr/include /usr/local/include -path "*$1" 2>/dev/null | head -n 1)" ]; }

# peer NAME BASE QUERIES [option]...: a program of another library, compiled for this processor
peer() {
    local name=$1 libraries=-lpthread
    shift
    [ "$name" = hnswlib ] || libraries="-lfaiss -llapack -lblas -lgomp"
    mkdir -p "$BUILD/plain/bench"
    # shellcheck disable=SC2046,SC2086
    g++ -O3 $(processor_flags) -o "$BUILD/plain/bench/${name}_peer" "bench/${name}_peer.cpp" $libraries || return 1
    echo
    "$BUILD/plain/bench/${name}_peer" "$@"
}

# core NAME BASE QUERIES [option]...: an engine of ours
core() {
    local name=$1
    shift
    "$MAKE" --no-print-directory -s -j "$(nproc)" BUILD="$BUILD" "$BUILD/plain/bench/core_$name" || return 1
    "$BUILD/plain/bench/core_$name" "$@"
}

# curves NAME BASE QUERIES [option]...: the engine, and on the same files what else there is, one after the other. Peers
# know squared L2 only, and mean nothing else by a quantization; graphs and lists have settings of their own.
curves() {
    local name=$1 argument shared=() peers=1
    shift
    for argument in "${@:3}"; do
        case $argument in
            rows=* | seconds=*) shared+=("$argument") ;;
            metric=l2) ;;
            metric=*) peers=0 ;;
        esac
    done
    core "$name" "$@" || return 1
    [ "$peers" = 1 ] || return 0
    if [ "$name" = ivf ]; then
        if has_header faiss/IndexIVF.h; then peer faiss "$@" || return 1; fi
        echo
        core hnsw "$1" "$2" "${shared[@]}" || return 1
        set -- "$1" "$2" "${shared[@]}"
    fi
    if has_header hnswlib/hnswlib.h; then peer hnswlib "$@" || return 1; fi
}

[ $# -gt 0 ] || usage
name=$1
shift
if [ "$name" = sql ]; then
    exec bench/sql/run.sh "$@"
fi
case $name in plans | growth | trip) exec bench/sql/run.sh --parts "$name" "$@" ;; esac
case $name in
    hnsw | ivf)
        report=$(mktemp) || exit 1
        trap 'rm -f "$report"' EXIT
        curves "$name" "$@" | tee "$report" || exit 1
        echo
        awk -f bench/curves.awk "$report"
        exit
        ;;
esac
if [ "$name" = filter ]; then
    core filter "$@"
    exit
fi
[ -e "bench/micro_$name.c" ] || usage
"$MAKE" --no-print-directory -s -j "$(nproc)" BUILD="$BUILD" "$BUILD/plain/bench/micro_$name" || exit 1
"$BUILD/plain/bench/micro_$name" "$@"
