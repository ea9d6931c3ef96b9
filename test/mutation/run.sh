#!/usr/bin/env bash
# run.sh [NAME...] - do the tests notice when a safeguard is missing? Switches one off at a time in a copy of the tree,
# and runs the tests that should fail then.
#
# A file NAME.mutation says: what the safeguard is (comment lines), in which file it is, which TAP tests to run, and a
# perl expression that takes it out of that file's text. The copy is built with fail points. KEEP=1 keeps everything,
# JOBS is for make. Not part of "make check": it takes a minute or so for each. The exit code is 0 if every mutation was
# noticed.

set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 1
. test/lib/packages.sh
. test/lib/server.sh
MAKE=${MAKE:-make}
JOBS=${JOBS:-2}
unset MAKEFLAGS MAKELEVEL PGHOST PGPORT PGUSER PGDATABASE PGDATA PGOPTIONS PGSERVICE
export LC_ALL=C.UTF-8

need_packages server || exit 1
PG_CONFIG=$(find_pg_config)
LIBDIR=$("$PG_CONFIG" --pkglibdir)
TOP=$PWD
WORK=$(mktemp -d "${TMPDIR:-/tmp}/iqdb-mutation.XXXXXX") || exit 1
finish() {
    local code=$?
    trap - EXIT
    stop_servers "$WORK"
    [ -z "${ARENA_FOLDER:-}" ] || rm -rf "$ARENA_FOLDER"
    if [ "${KEEP:-0}" = 1 ]; then echo "kept: $WORK"; else rm -rf "$WORK"; fi
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

build() { "$MAKE" --no-print-directory -s -C "$WORK/tree" -j "$JOBS" PG_CONFIG="$PG_CONFIG" "$@"; }

# Takes the module just built into the servers' tree.
use_module() {
    local target="$WORK/pg$LIBDIR/iqdb.so"
    cp "$WORK/tree/build/fail/iqdb.so" "$target.new" && mv "$target.new" "$target"
}

# run_test NAME: one TAP test; what it said is in $WORK/out/NAME. Fails if the test does.
run_test() {
    local name=$1 out=$WORK/server/$1
    rm -rf "$out"
    "${AS_SERVER_USER[@]}" mkdir -p "$out"
    "${AS_SERVER_USER[@]}" env -C "$out" HOME="$WORK/server" TMPDIR="$WORK/server" PATH="$SERVER_BIN:$PATH" TESTDIR="$out" \
        PG_TEST_PORT_DIR="$WORK/server/portlock" PGPORT=65433 PG_TEST_TIMEOUT_DEFAULT=30 IQDB_METHODS=iqdb_flat \
        PG_REGRESS="$SERVER_PGXS/src/test/regress/pg_regress" TEMP_CONFIG="$WORK/server/tap.conf" \
        timeout -k 10 300 perl -I "$SERVER_PGXS/src/test/perl" -I "$WORK/src/test/t" "$WORK/src/test/t/$name.pl" \
        >"$WORK/out/$name" 2>"$WORK/out/$name.err" </dev/null
    local code=$?
    stop_servers "$out"
    return $code
}

# What the first failing test was called.
first_failure() {
    local line
    line=$(grep -m 1 '^not ok' "$WORK/out/$1" | sed 's/^not ok [0-9]* - //')
    echo "${line:-the test does not come to its end}"
}

choose_server_user || exit 1
mkdir -p "$WORK/tree" "$WORK/src" "$WORK/server" "$WORK/out"
cp -r src sql expected test Makefile iqdb.control "$WORK/tree/"
cp -r test "$WORK/src/"
(cd "$WORK/tree" && MAKE="$MAKE" && make_server_tree "$WORK/pg" && echo "SERVER_BIN='$SERVER_BIN' SERVER_PGXS='$SERVER_PGXS'" \
    >"$WORK/tree.env") >"$WORK/out/tree" 2>&1 || { tail -n 40 "$WORK/out/tree"; exit 1; }
. "$WORK/tree.env"
make_arena_folder "$WORK" || exit 1
echo "iqdb.arena_directory = '$ARENA_FOLDER'" >"$WORK/server/tap.conf"
chmod 711 "$WORK"
chmod -R a+rX "$WORK/pg" "$WORK/src"
[ -z "$SERVER_USER" ] || chown -R "$SERVER_USER" "$WORK/server" "$WORK/src"

build fail-module >"$WORK/out/build" 2>&1 || { tail -n 40 "$WORK/out/build"; exit 1; }
noticed=0
survived=0
for mutation in "$TOP"/test/mutation/*.mutation; do
    name=$(basename "$mutation" .mutation)
    [ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
    file= tests= edit=
    . "$mutation"
    cp "$TOP/$file" "$WORK/original"
    perl -0777 -pe "$edit" "$WORK/original" >"$WORK/mutant" || exit 1
    if cmp -s "$WORK/original" "$WORK/mutant"; then
        echo "$name: nothing to take out of $file: the mutation is out of date"
        survived=$((survived + 1))
        continue
    fi
    cp "$WORK/mutant" "$WORK/tree/$file"
    if build fail-module >"$WORK/out/build" 2>&1; then
        use_module
        verdict=
        for test in $tests; do
            run_test "$test" || { verdict="$test: $(first_failure "$test")"; break; }
        done
        if [ -n "$verdict" ]; then
            echo "$name: noticed by $verdict"
            noticed=$((noticed + 1))
        else
            echo "$name: NOT NOTICED by $tests"
            survived=$((survived + 1))
        fi
    else
        grep -m 3 'error' "$WORK/out/build"
        echo "$name: does not compile"
        survived=$((survived + 1))
    fi
    cp "$WORK/original" "$WORK/tree/$file"
done
echo "$noticed noticed, $survived not noticed"
[ "$survived" -eq 0 ]
