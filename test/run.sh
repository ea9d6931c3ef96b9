#!/usr/bin/env bash
# run.sh - runs test suites, counts, prints a table. Called by "make check" and its relatives.
#
#   test/run.sh SUITE...      suites: lint unit asan fault crash steps fuzz library regress isolation tap tsan
#                             torture torture=SECONDS (for each access method; METHOD and SEED choose)
#                             fuzz-live=SECONDS (searches for new inputs with libFuzzer)
#
# Environment: TESTS (words; only tests whose name contains one of them are run), BUILD, CC, ONLY, PG_CONFIG, JOBS,
# KEEP=1 (keeps the work folder), EMULATOR (runs C programs of another processor), PROGRAM_SECONDS (for each program: 900).
# Every test program speaks TAP; what it prints is shown when it fails. The last line is "N passed, N failed"; the exit code
# is 0 only if nothing failed and every suite that was asked for ran something.
#
# Everything made while testing is in one work folder under ${TMPDIR:-/tmp} and, for servers, one under /dev/shm; both
# are removed at the end.

set -u -o pipefail
cd "$(dirname "$0")/.." || exit 1
ROOT=$PWD
. test/lib/packages.sh
. test/lib/server.sh

BUILD=${BUILD:-build}
TESTS=${TESTS:-}
MAKE=${MAKE:-make}
JOBS=${JOBS:-$(nproc)}
[ "$JOBS" -le 4 ] || JOBS=4
PROGRAM_SECONDS=${PROGRAM_SECONDS:-900}
export LC_ALL=C.UTF-8 CMOCKA_MESSAGE_OUTPUT=TAP
unset MAKEFLAGS MAKELEVEL PGHOST PGPORT PGUSER PGDATABASE PGDATA PGOPTIONS PGSERVICE

ALL_SUITES="lint unit asan fault crash steps fuzz library regress isolation tap torture tsan"
TABLE=()
TOTAL_PASSED=0
TOTAL_FAILED=0
BROKEN=0

say() { printf '%s\n' "$*"; }
seconds_since() { awk -v b="$1" -v e="$EPOCHREALTIME" 'BEGIN { printf "%.1f", e - b }'; }

finish() {
    local code=$?
    trap - EXIT
    if [ -n "${WORK:-}" ]; then
        stop_servers "$WORK"
        [ -z "${ARENA_FOLDER:-}" ] || rm -rf "$ARENA_FOLDER"
        if [ "${KEEP:-0}" = 1 ]; then say "kept: $WORK"; else rm -rf "$WORK"; fi
    fi
    exit "$code"
}

# One suite could not even start.
give_up() {
    say "$1"
    summary_row "$2" 0 1 0
    BROKEN=1
    summary
}

summary_row() {
    TABLE+=("$(printf '%-12s %8s %8s %9s' "$1" "$2" "$3" "$4")")
    TOTAL_PASSED=$((TOTAL_PASSED + $2))
    TOTAL_FAILED=$((TOTAL_FAILED + $3))
}

summary() {
    say ""
    printf '%-12s %8s %8s %9s\n' suite passed failed seconds
    say "------------ -------- -------- ---------"
    [ ${#TABLE[@]} -eq 0 ] || printf '%s\n' "${TABLE[@]}"
    say ""
    say "$TOTAL_PASSED passed, $TOTAL_FAILED failed"
    [ "$TOTAL_FAILED" -eq 0 ] && [ "$BROKEN" -eq 0 ] && [ "$TOTAL_PASSED" -gt 0 ]
    exit
}

# Is this test wanted?
wanted() {
    local word
    [ -n "$TESTS" ] || return 0
    for word in $TESTS; do [[ $1 == *"$word"* ]] && return 0; done
    return 1
}

build() { "$MAKE" --no-print-directory -s -j "$JOBS" BUILD="$BUILD" ONLY="${ONLY:-}" CC="${CC:-gcc}" "$@"; }

# start FOLDER NAME COMMAND...: runs a test program, at most $JOBS at a time; what it says goes to FOLDER/NAME.*
start() {
    local folder=$1 name=$2
    shift 2
    while [ "$(jobs -rp | wc -l)" -ge "$JOBS" ]; do wait -n; done
    {
        begun=$EPOCHREALTIME
        timeout -k 10 "$PROGRAM_SECONDS" "$@" >"$folder/$name.out" 2>"$folder/$name.err" </dev/null
        code=$?
        read -r passed failed skipped <<<"$(awk -v rc=$code -f test/lib/count_tap.awk "$folder/$name.out")"
        echo "$passed $failed $skipped" >"$folder/$name.count"
        report "$folder" "$name" "$passed" "$failed" "$skipped" "$code" "$begun"
    } &
}

# What is worth reading of a failed program: what it said on standard error, its tests that failed, its last lines. The
# modules for tests with servers keep what a script says when it dies in a file of their own.
excerpt() {
    local name=$1 file
    for file in "$WORK/server/tap/$(basename "$name")"/tmp_check/log/regress_log_*; do
        [ ! -e "$file" ] || grep -v '^#\|^ok\|^###' "$file" | tail -n 20 | sed 's/^/  ! /'
    done
    tail -n 60 "$name.err" | sed 's/^/  ! /'
    grep -n -B 4 -A 8 '^ *not ok' "$name.out" | head -n 90 | sed 's/^/  | /'
    say "  | [...]"
    tail -n 12 "$name.out" | sed 's/^/  | /'
}

# Prints the line of one program, in one piece; after a failure with what it had to say.
report() {
    local folder=$1 name=$2 passed=$3 failed=$4 skipped=$5 code=$6 begun=$7 word=ok note=
    [ "$failed" -eq 0 ] || word=FAILED
    [ "$skipped" -eq 0 ] || note=", $skipped skipped"
    {
        printf '  %-7s%-36s %4d passed, %d failed%s, %s s\n' \
            $word "$name" "$passed" "$failed" "$note" "$(seconds_since "$begun")"
        if [ "$failed" -gt 0 ]; then
            say "  ---- $name, exit code $code$([ "$code" -eq 124 ] && echo " (took longer than $PROGRAM_SECONDS s)")"
            excerpt "$folder/$name"
            say "  ----"
        fi
    } >"$folder/$name.report"
    cat "$folder/$name.report"
}

# Adds up what the programs of a suite have counted.
collect() {
    local folder=$1 passed=0 failed=0 p f s file
    wait
    for file in "$folder"/*.count; do
        [ -e "$file" ] || continue
        read -r p f s <"$file"
        passed=$((passed + p))
        failed=$((failed + f))
    done
    PASSED=$passed
    FAILED=$failed
}

run_programs() {
    local folder=$1 variant=$2 kind=$3 source name
    build VARIANT="$variant" "$kind-programs" >"$folder/build.log" 2>&1 ||
        { say "  building failed:"; tail -n 60 "$folder/build.log"; FAILED=1; PASSED=0; return; }
    for source in "test/$kind"/test_*.c; do
        [ -e "$source" ] || continue
        name=$(basename "$source" .c)
        wanted "$name" || continue
        # gates on the quality of answers run the code that others run, only much more of it
        [[ $variant == asan && $name == *_recall ]] && continue
        mkdir -p "$folder/tmp/$name"
        TMPDIR="$folder/tmp/$name" start "$folder" "$name" ${EMULATOR:-} "$BUILD/$variant/test/$kind/$name"
    done
    collect "$folder"
}

suite_unit() { run_programs "$1" plain unit; }
suite_asan() { run_programs "$1" asan unit; }
suite_tsan() { run_programs "$1" tsan unit; }
suite_fault() { run_programs "$1" asan fault; }
suite_crash() { run_programs "$1" plain crash; }
suite_steps() { run_programs "$1" steps steps; }

suite_lint() {
    local folder=$1 script name
    for script in test/lint/*.sh; do
        name=$(basename "$script" .sh)
        wanted "$name" || continue
        start "$folder" "$name" test/lib/as_tap.sh "$name" env BUILD="$BUILD" CC="${CC:-gcc}" MAKE="$MAKE" "$script"
    done
    collect "$folder"
}

suite_fuzz() {
    local folder=$1 source name
    build VARIANT=asan replay-programs >"$folder/build.log" 2>&1 ||
        { say "  building failed:"; tail -n 60 "$folder/build.log"; FAILED=1; PASSED=0; return; }
    for source in test/fuzz/fuzz_*.c; do
        [ -e "$source" ] || continue
        name=$(basename "$source" .c)
        wanted "$name" || continue
        mkdir -p "$folder/tmp/$name"
        TMPDIR="$folder/tmp/$name" start "$folder" "$name" \
            "$BUILD/asan/test/fuzz/$name" "test/fuzz/corpus/${name#fuzz_}"
    done
    collect "$folder"
}

# Not part of the check: looks for new inputs. What it finds interesting is added to the corpus folder's copy only.
suite_fuzz-live() {
    local folder=$1 source name
    command -v clang >/dev/null || { say "  needs clang: apt-get install clang"; FAILED=1; PASSED=0; return; }
    build VARIANT=fuzz fuzz-programs || { FAILED=1; PASSED=0; return; }
    for source in test/fuzz/fuzz_*.c; do
        [ -e "$source" ] || continue
        name=$(basename "$source" .c)
        wanted "$name" || continue
        mkdir -p "$folder/$name.new" "$BUILD/fuzz-found"
        PROGRAM_SECONDS=$((FUZZ_SECONDS + 60)) start "$folder" "$name" test/lib/as_tap.sh "$name" \
            "$BUILD/fuzz/test/fuzz/${name}_live" -max_total_time="$FUZZ_SECONDS" -print_final_stats=1 \
            -artifact_prefix="$BUILD/fuzz-found/${name#fuzz_}-" "$folder/$name.new" "test/fuzz/corpus/${name#fuzz_}"
    done
    collect "$folder"
}

# Installs the C library into a folder of its own, and uses it there as a program would that knows nothing of this tree.
suite_library() {
    local folder=$1 source name root=$WORK/library
    build install-lib PREFIX=/opt/iqdb DESTDIR="$root" >"$folder/build.log" 2>&1 ||
        { say "  installing failed:"; tail -n 60 "$folder/build.log"; FAILED=1; PASSED=0; return; }
    export PKG_CONFIG_PATH=$root/opt/iqdb/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root
    export LD_LIBRARY_PATH=$root/opt/iqdb/lib LIBRARY_ROOT=$root/opt/iqdb
    for source in test/library/*.sh docs/examples/*.c; do
        name=$(basename "${source%.*}")
        wanted "$name" || continue
        mkdir -p "$folder/tmp/$name"
        case $source in
            *.sh) TMPDIR="$folder/tmp/$name" start "$folder" "$name" test/lib/as_tap.sh "$name" "$source" ;;
            *)
                # shellcheck disable=SC2046
                "${CC:-gcc}" -std=c11 -Wall -Wextra -Werror -pedantic "$source" $(pkg-config --cflags --libs iqdb) \
                    -o "$folder/tmp/$name.program" 2>"$folder/$name.build.err" || cat "$folder/$name.build.err"
                TMPDIR="$folder/tmp/$name" start "$folder" "$name" test/lib/as_tap.sh "$name" \
                    test/lib/same_output.sh "docs/examples/$name.out" "$folder/tmp/$name.program"
                ;;
        esac
    done
    collect "$folder"
    unset LD_LIBRARY_PATH PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR
}

# ---- with a server ---------------------------------------------------------------------------------------------------

# Once: builds, makes the private server tree, and copies what the server's user must be able to read.
prepare_server() {
    [ -z "${SERVER_READY:-}" ] || return 0
    choose_server_user || return 1
    make_server_tree "$WORK/pg" || return 1
    mkdir -p "$WORK/src" "$WORK/server"
    cp -r sql expected test README.md docs "$WORK/src/" || return 1
    make_arena_folder "$WORK" || return 1
    echo "iqdb.arena_directory = '$ARENA_FOLDER'" >"$WORK/server/tap.conf"
    { cat "$WORK/server/tap.conf"; echo "fsync = off"; } >"$WORK/server/regress.conf"
    chmod 711 "$WORK"
    chmod -R a+rX "$WORK/pg" "$WORK/src"
    [ -z "$SERVER_USER" ] || chown -R "$SERVER_USER" "$WORK/server" "$WORK/src"
    SERVER_READY=1
}

# as_server_user COMMAND...: as the user that may run a server, with the private programs first in the path.
as_server_user() {
    "${AS_SERVER_USER[@]}" env HOME="$WORK/server" TMPDIR="$WORK/server" PATH="$SERVER_BIN:$PATH" "$@"
}

# Runs pg_regress or pg_isolation_regress on its own temporary server and turns its lines into TAP.
run_pg_regress() {
    local folder=$1 program=$2 input=$3 out=$WORK/server/$4 code begun=$EPOCHREALTIME skipped
    shift 4
    as_server_user mkdir -p "$out"
    (cd "$WORK/server" && as_server_user timeout -k 10 600 "$SERVER_PGXS/src/test/$program" --inputdir="$input" \
        --outputdir="$out" --temp-instance="$out/instance" --temp-config="$WORK/server/regress.conf" \
        --bindir="$SERVER_BIN" --load-extension=iqdb --encoding=UTF8 --no-locale --dbname=regression "$@") \
        >"$folder/pg_regress.log" 2>"$folder/result.err" </dev/null
    code=$?
    # from 16 on they speak TAP themselves
    awk '/^test .*\.\.\. / { name = $2; print (/\.\.\. +ok/ ? "ok - " : "not ok - ") name }
        /^(not )?ok / { print }' "$folder/pg_regress.log" >"$folder/result.out"
    grep -E '^(test|ok|not ok) ' "$folder/pg_regress.log" | sed 's/^/  /'
    if [ $code -ne 0 ]; then
        [ ! -e "$out/regression.diffs" ] || head -n 400 "$out/regression.diffs"
        # it did not get to the end
        grep -qE 'tests? (passed|failed)' "$folder/pg_regress.log" "$folder/result.err" ||
            { cat "$folder/pg_regress.log" "$folder/result.err"; tail -n 50 "$out"/log/*.log; }
    fi
    read -r PASSED FAILED skipped <<<"$(awk -v rc=$code -f test/lib/count_tap.awk "$folder/result.out")"
}

suite_regress() {
    local folder=$1 name names=()
    for name in $("$MAKE" --no-print-directory -s print-REGRESS); do wanted "$name" && names+=("$name"); done
    [ ${#names[@]} -gt 0 ] || return 0
    run_pg_regress "$folder" regress/pg_regress "$WORK/src" regress "${names[@]}"
}

suite_isolation() {
    local folder=$1 file name names=()
    for file in test/isolation/specs/*.spec; do
        [ -e "$file" ] || continue
        name=$(basename "$file" .spec)
        wanted "$name" && names+=("$name")
    done
    [ ${#names[@]} -gt 0 ] || return 0
    run_pg_regress "$folder" isolation/pg_isolation_regress "$WORK/src/test/isolation" isolation "${names[@]}"
}

# A second tree whose module has fail points.
prepare_fail_server() {
    [ -z "${FAIL_BIN:-}" ] || return 0
    build PG_CONFIG="$PG_CONFIG" fail-module >"$WORK/fail-module.log" 2>&1 ||
        { tail -n 60 "$WORK/fail-module.log"; return 1; }
    cp -a "$WORK/pg" "$WORK/pg-fail" || return 1
    cp "$BUILD/fail/iqdb.so" "$WORK/pg-fail$("$PG_CONFIG" --pkglibdir)/iqdb.so" || return 1
    FAIL_BIN=$WORK/pg-fail${SERVER_BIN#"$WORK/pg"}
}

# Tests that use FailTest.pm get a module with fail points.
suite_tap() {
    local folder=$1 file name out bin
    for file in test/t/*.pl; do
        [ -e "$file" ] || continue
        name=$(basename "$file" .pl)
        wanted "$name" || continue
        bin=$SERVER_BIN
        if grep -q '^use FailTest;' "$file"; then
            prepare_fail_server || { say "  the module with fail points could not be made"; FAILED=1; PASSED=0; return; }
            bin=$FAIL_BIN
        fi
        out=$WORK/server/tap/$name
        as_server_user mkdir -p "$out"
        start "$folder" "$name" "${AS_SERVER_USER[@]}" env -C "$out" HOME="$WORK/server" TMPDIR="$WORK/server" \
            PATH="$bin:$PATH" TESTDIR="$out" TESTDATADIR="$out/tmp_check" TESTLOGDIR="$out/tmp_check/log" \
            PG_TEST_PORT_DIR="$WORK/server/portlock" PGPORT=65432 \
            PG_REGRESS="$SERVER_PGXS/src/test/regress/pg_regress" PG_TEST_TIMEOUT_DEFAULT=60 \
            TEMP_CONFIG="$WORK/server/tap.conf" IQDB_DOCUMENTATION="$WORK/src" \
            perl -I "$SERVER_PGXS/src/test/perl" -I "$WORK/src/test/t" "$WORK/src/test/t/$name.pl"
    done
    collect "$folder"
    [ "$FAILED" -eq 0 ] || show_server_logs
}

# Random load and accidents on servers, one run for each access method, side by side.
suite_torture() {
    local folder=$1 method out
    build PG_CONFIG="$PG_CONFIG" torture-program >"$folder/build.log" 2>&1 ||
        { say "  building failed:"; tail -n 60 "$folder/build.log"; FAILED=1; PASSED=0; return; }
    mkdir -p "$WORK/torture"
    cp "$BUILD/plain/test/torture/torture" "$WORK/torture/" && chmod -R a+rX "$WORK/torture"
    for method in ${METHOD:-iqdb_flat iqdb_hnsw iqdb_ivf}; do
        wanted "$method" || continue
        out=$WORK/server/t/$method
        as_server_user mkdir -p "$out" "$ARENA_FOLDER/$method"
        PROGRAM_SECONDS=$((TORTURE_SECONDS + 240)) JOBS=3 start "$folder" "$method" \
            "${AS_SERVER_USER[@]}" env HOME="$WORK/server" TMPDIR="$WORK/server" nice "$WORK/torture/torture" \
            --method="$method" --seconds="$TORTURE_SECONDS" --seed="${SEED:-0}" --bin="$SERVER_BIN" \
            --folder="$out/s" --arenas="$ARENA_FOLDER/$method"
    done
    collect "$folder"
}

# The ends of the server logs of the tests that failed.
show_server_logs() {
    local file name
    for file in "$WORK"/results/tap/*.count; do
        name=$(basename "$file" .count)
        [ "$(cut -d' ' -f2 "$file")" -gt 0 ] || continue
        for file in "$WORK/server/tap/$name"/tmp_check/log/*.log; do
            [ -e "$file" ] || continue
            say "  ---- $name: end of $(basename "$file")"
            tail -n 40 "$file" | sed 's/^/  . /'
        done
    done
}

# ---- main ------------------------------------------------------------------------------------------------------------

[ $# -gt 0 ] || set -- help
for suite in "$@"; do
    case " $ALL_SUITES " in *" ${suite} "*) continue ;; esac
    [[ $suite =~ ^(fuzz-live|torture)=[0-9]+$ ]] && continue
    say "suites: $ALL_SUITES torture=SECONDS fuzz-live=SECONDS"
    [ "$suite" = help ]
    exit
done

needs=core
for suite in "$@"; do
    case $suite in regress | isolation | tap | torture*) needs=server ;; esac
done
need_packages "$needs" || give_up "" packages
PG_CONFIG=$(find_pg_config)
export PG_CONFIG

trap finish EXIT
trap 'exit 130' INT TERM
WORK=$(mktemp -d "${TMPDIR:-/tmp}/iqdb.XXXXXX") || exit 1

begun=$EPOCHREALTIME
say "build"
build libiqdb || give_up "the core does not compile" build
build bench-programs || give_up "a benchmark does not compile" build
# Without a server suite the extension is wanted by one lint only, which says so itself when it is not there.
if [ -n "$PG_CONFIG" ] && [[ "$needs $*" =~ server|lint ]]; then
    if ! build PG_CONFIG="$PG_CONFIG" STRICT=1 all; then
        [ "$needs" = core ] || give_up "the extension does not compile" build
        rm -f iqdb.so
    fi
fi
summary_row build 0 0 "$(seconds_since "$begun")"

for suite in "$@"; do
    FUZZ_SECONDS=${suite#*=}
    TORTURE_SECONDS=60
    [[ $suite != torture=* ]] || TORTURE_SECONDS=${suite#*=}
    suite=${suite%%=*}
    say "$suite"
    begun=$EPOCHREALTIME
    mkdir -p "$WORK/results/$suite"
    PASSED=0
    FAILED=0
    case $suite in
        regress | isolation | tap | torture) prepare_server || give_up "no private server could be made" "$suite" ;;
    esac
    "suite_$suite" "$WORK/results/$suite"
    summary_row "$suite" "$PASSED" "$FAILED" "$(seconds_since "$begun")"
    if [ $((PASSED + FAILED)) -eq 0 ] && [ -z "$TESTS" ]; then
        say "  nothing was run"
        BROKEN=1
    fi
done
summary
