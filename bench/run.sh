#!/usr/bin/env bash
# run.sh - builds and runs the benchmarks. bench/README.md says what each one measures and how to read it.
#
#   bench/run.sh NAME [argument]...
#
#   kernels [table]...               distance kernels against the speed of memory
#   handle [quick]                   the embedded database: calls, exact search, log and snapshots
#   hnsw BASE QUERIES [option]...    the graph engine in process; beside hnswlib where its headers are installed
#   ivf BASE QUERIES [option]...     the inverted-file engine in process
#   sql --base FILE --queries FILE [option value]...     everything through a server, beside pgvector where present
#
# A name stands for bench/micro_NAME.c or bench/core_NAME.c. BASE and QUERIES are .fvecs or .bvecs files.

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

# hnswlib on the same files, right after ours. Our metric and quantization mean nothing to it.
run_peer() {
    local argument arguments=() header
    header=$(find /usr/include /usr/local/include -path '*hnswlib/hnswlib.h' 2>/dev/null | head -n 1)
    [ -n "$header" ] || return 0
    for argument in "$@"; do
        case $argument in
            metric=l2 | quantization=* | delete=*) ;;
            metric=*) return 0 ;;
            *) arguments+=("$argument") ;;
        esac
    done
    # shellcheck disable=SC2046
    g++ -O3 $(processor_flags) -o "$BUILD/plain/bench/hnswlib_peer" bench/hnswlib_peer.cpp -lpthread || return 1
    echo
    echo "hnswlib"
    "$BUILD/plain/bench/hnswlib_peer" "${arguments[@]}"
}

[ $# -gt 0 ] || usage
name=$1
shift
if [ "$name" = sql ]; then
    exec bench/sql/run.sh "$@"
fi
for program in "micro_$name" "core_$name"; do
    [ -e "bench/$program.c" ] || continue
    "$MAKE" --no-print-directory -s -j "$(nproc)" BUILD="$BUILD" "$BUILD/plain/bench/$program" || exit 1
    "$BUILD/plain/bench/$program" "$@" || exit 1
    if [ "$name" = hnsw ]; then
        run_peer "$@" || exit 1
    fi
    exit 0
done
usage
