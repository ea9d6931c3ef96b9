#!/usr/bin/env bash
# run.sh - the SQL bench: one throw-away server, one data set, iqdb beside whatever else that server has to offer.
#
#   bench/sql/run.sh [--base FILE --queries FILE] [option value]...
#
#   --base FILE         the rows, .fvecs or .bvecs; without files, rows and queries are made up          20000 rows
#   --dimension N       of made-up rows                                                                         128
#   --rows N            rows of the base file to use (0: all)                                                     0
#   --query-count N     queries of the query file to use (0: all)                                              1000
#   --seconds S         time per measured point; plans: at most for each plan of a statement, but for the first two   2
#                       executions
#   --rounds N          rounds over all points of a curve; systems take turns within a round                      3
#   --parts "..."       flat hnsw ivf insert filter plans growth trip (what to do)             "flat hnsw ivf insert"
#   --efs "..."         ef_search settings for graphs                              "10 20 40 64 100 160 250 400 800"
#   --lists N           lists of the inverted files                                     2 * square root of the rows
#   --probes "..."      probes of the inverted files                                     "1 2 4 8 16 32 64 128"
#   --shares "..."      filter: percent of the rows that match                                       "50 10 3 1 0.1"
#   --kinds "..."       filter: where these are (bench/README.md)                      "scattered near far grouped"
#   --methods "..."     filter, plans, growth: methods of iqdb                      "iqdb_hnsw iqdb_ivf iqdb_flat"
#   --steps "..."       growth: numbers of rows                                               "100000 300000 1000000"
#   --shapes "..."      plans: rows x dimensions, i: vectors in the table's rows, t: in its TOAST table
#                                                                     "1000x32 10000x128 50000x32 10000x768 10000x768i"
#   --plan-shares "..." plans: percent of the rows that match                                      "0.1 1 10 50 100"
#   --limits "..."      plans: values of LIMIT                                                           "1 10 100"
#   --insert-base N     rows that are there before the insert, vacuum and crash part begins    half, at most 50000
#   --insert-rows N     rows inserted in each of its three steps                                               5000
#   --limit S           statement_timeout of a build or a VACUUM                                               1200
#   --shared-buffers X  of the server                                                                           2GB
#   --server FOLDER     keeps the private copy of the server's programs there and uses it again, along with whatever
#                       other extensions it has been given; otherwise it is thrown away
#   --awake 1           keeps the processors from falling asleep while searches are timed (see bench/README.md)    0
#   --out FOLDER        where sql_bench.tsv, .txt and .svg go                                     build/sql_bench
#
# pgvector takes part when CREATE EXTENSION vector works on that server. Nothing outside the work folder (in
# ${TMPDIR:-/tmp}), /dev/shm and the --out and --server folders is written.

set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 1
. test/lib/packages.sh
. test/lib/server.sh
. bench/sql/lib.sh
. bench/sql/filter.sh
. bench/sql/plans.sh
. bench/sql/growth.sh
. bench/sql/trip.sh
export LC_ALL=C.UTF-8
unset MAKEFLAGS MAKELEVEL PGHOST PGPORT PGUSER PGDATABASE PGDATA PGOPTIONS PGSERVICE

usage() {
    sed -n '2,/^$/p' bench/sql/run.sh | sed 's/^# \{0,1\}//'
    exit 2
}

BASE= QUERIES= ROWS=0 QUERY_COUNT=1000 SECONDS_EACH=2 ROUNDS=3 PARTS="flat hnsw ivf insert" LISTS=0
EFS="10 20 40 64 100 160 250 400 800" PROBES="1 2 4 8 16 32 64 128" INSERT_BASE=0 INSERT_ROWS=5000 LIMIT=1200
SHARED_BUFFERS=2GB SERVER= AWAKE=0 DIMENSION=128 SHARES="50 10 3 1 0.1" KINDS="scattered near far grouped"
METHODS="iqdb_hnsw iqdb_ivf iqdb_flat" FILTER_EFS="20 40 80 160 320 640" FILTER_PROBES="2 4 8 16 32 64"
SHAPES="1000x32 10000x128 50000x32 10000x768 10000x768i" PLAN_SHARES="0.1 1 10 50 100" LIMITS="1 10 100"
STEPS="100000 300000 1000000"
export BUILD=${BUILD:-build}
OUT=$BUILD/sql_bench
[ $# -gt 0 ] || usage
while [ $# -gt 1 ]; do
    case $1 in
        --base) BASE=$(realpath "$2") ;;
        --queries) QUERIES=$(realpath "$2") ;;
        --dimension) DIMENSION=$2 ;;
        --rows) ROWS=$2 ;;
        --query-count) QUERY_COUNT=$2 ;;
        --seconds) SECONDS_EACH=$2 ;;
        --rounds) ROUNDS=$2 ;;
        --parts) PARTS=$2 ;;
        --efs) EFS=$2 ;;
        --lists) LISTS=$2 ;;
        --probes) PROBES=$2 ;;
        --shares) SHARES=$2 ;;
        --kinds) KINDS=$2 ;;
        --methods) METHODS=$2 ;;
        --shapes) SHAPES=$2 ;;
        --plan-shares) PLAN_SHARES=$2 ;;
        --limits) LIMITS=$2 ;;
        --steps) STEPS=$2 ;;
        --insert-base) INSERT_BASE=$2 ;;
        --insert-rows) INSERT_ROWS=$2 ;;
        --limit) LIMIT=$2 ;;
        --shared-buffers) SHARED_BUFFERS=$2 ;;
        --server) SERVER=$(realpath -m "$2") ;;
        --awake) AWAKE=$2 ;;
        --out) OUT=$2 ;;
        *) break ;;
    esac
    shift 2
done
[ $# -eq 0 ] || usage
# both files or none
[ -z "$BASE$QUERIES" ] || { [ -n "$BASE" ] && [ -n "$QUERIES" ]; } || usage

need_packages server || exit 1
PG_CONFIG=$(find_pg_config)
export PG_CONFIG
trap finish EXIT
trap 'exit 130' INT TERM
WORK=$(mktemp -d "${TMPDIR:-/tmp}/iqdb-bench.XXXXXX") || exit 1
mkdir -p "$OUT" || exit 1
OUT=$(realpath "$OUT")
TSV=$OUT/sql_bench.tsv
printf 'section\tsystem\tconfig\tclients\tround\tfigure\tvalue\tunit\n' >"$TSV"

step "building"
build_programs || fail "the bench's programs do not compile"
prepare_server || fail "no private server could be made"
start_server || fail "the server does not start"
# parts that make tables of their own
case $PARTS in plans | growth) own_tables=1 ;; *) own_tables=0 ;; esac
[ $own_tables = 1 ] || choose_set
describe_setup
[ $own_tables = 1 ] || load_set

for part in $PARTS; do
    case $part in
        flat | hnsw | ivf | filter | plans | growth | trip) part_"$part" ;;
        insert) for system in $(change_systems); do part_change "$system"; done ;;
        *) fail "unknown part $part" ;;
    esac
done

step "results"
{ awk -f bench/sql/report.awk "$TSV" && awk -f bench/sql/plans.awk "$TSV"; } | tee "$OUT/sql_bench.txt"
awk -f bench/sql/plot.awk "$TSV" >"$OUT/sql_bench.svg"
echo
echo "written: $TSV, sql_bench.txt and sql_bench.svg beside it"
