#!/usr/bin/env bash
# run.sh SOURCE - runs the tests of a pgvector source tree against iqdb; README.md says how and why.
#
# Environment: PASSES ("iqvector vector"), TESTS (words; only tests whose name contains one of them), KEEP=1 (keeps the work
# folder), PG_CONFIG. The last line is "N passed, N failed".
set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 1
. test/lib/packages.sh
. test/lib/server.sh

SOURCE=$(realpath -e "${1:?usage: test/judge/run.sh PATH-OF-PGVECTOR}") || exit 1
[ -d "$SOURCE/test/sql" ] || { echo "$SOURCE holds no tests of pgvector"; exit 1; }
need_packages server || exit 1
PG_CONFIG=$(find_pg_config)
export PG_CONFIG
export LC_ALL=C.UTF-8
unset MAKEFLAGS MAKELEVEL PGHOST PGPORT PGUSER PGDATABASE PGDATA PGOPTIONS PGSERVICE
WORK=$(mktemp -d "${TMPDIR:-/tmp}/iqdb-judge.XXXXXX") || exit 1
# What a pass has no counterpart for.
declare -A FOREIGN=([iqvector]='sparsevec' [vector]="no such thing")
PASSED=0
FAILED=0

finish() {
    stop_servers "$WORK"
    rm -rf "${ARENA_FOLDER:-}"
    if [ "${KEEP:-0}" = 1 ]; then echo "kept: $WORK"; else rm -rf "$WORK"; fi
}
trap finish EXIT

wanted() {
    local word
    [ -n "${TESTS:-}" ] || return 0
    for word in $TESTS; do [[ $1 == *"$word"* ]] && return 0; done
    return 1
}

as_server_user() { "${AS_SERVER_USER[@]}" env HOME="$WORK/home" TMPDIR="$WORK/home" PATH="$SERVER_BIN:$PATH" "$@"; }

# The reason for a difference; fails where there is none. Reasons that served are noted.
reason() {
    local pass=$1 name=$2 what=$3 line
    line=$(awk -v p="$pass" -v n="$name" -v w="$what" \
        '!/^#/ && ($1 == p || $1 == "both") && $2 == n && ($3 == w || $3 == "*") { print; exit }' test/judge/differences)
    [ -n "$line" ] || return 1
    echo "$line" >>"$WORK/served"
    cut -d' ' -f4- <<<"$line"
}

result() {
    local word=$1
    shift
    if [ "$word" = ok ]; then PASSED=$((PASSED + 1)); else FAILED=$((FAILED + 1)); fi
    printf '  %-7s%s\n' "$word" "$*"
}

# ---- the tree and the tests ------------------------------------------------------------------------------------------

prepare() {
    choose_server_user && make -s -j "$(nproc)" all && make_server_tree "$WORK/pg" && make_arena_folder "$WORK" || return 1
    # the real one, in place of what stands in for it
    rm -f "$WORK/pg$("$PG_CONFIG" --sharedir)"/extension/vector*
    cp -r "$SOURCE" "$WORK/pgvector" && rm -f "$WORK"/pgvector/{vector.so,src/*.o} &&
        make -s -C "$WORK/pgvector" -j "$(nproc)" OPTFLAGS= with_llvm=no all >/dev/null &&
        make -s -C "$WORK/pgvector" OPTFLAGS= with_llvm=no DESTDIR="$WORK/pg" install >/dev/null || return 1
    echo "iqdb.arena_directory = '$ARENA_FOLDER'" >"$WORK/conf"
    mkdir -p "$WORK/home"
}

# rewritten PASS: the tests in $WORK/PASS, as this pass wants them
rewritten() {
    local pass=$1 file
    mkdir -p "$WORK/$pass"
    for file in sql expected t; do cp -r "$SOURCE/test/$file" "$WORK/$pass/"; done
    for file in "$WORK/$pass"/*/*; do
        perl test/judge/rewrite.pl "$pass" <"$file" >"$WORK/rewritten" && cp "$WORK/rewritten" "$file" || return 1
    done
    chmod 711 "$WORK"
    chmod -R a+rX "$WORK/pg" "$WORK/$pass" "$WORK/conf"
    [ -z "$SERVER_USER" ] || chown -R "$SERVER_USER" "$WORK/home" "$WORK/$pass"
}

# ---- regression tests ------------------------------------------------------------------------------------------------

regress() {
    local pass=$1 name names=() extensions="--load-extension=iqdb" digest why differs
    for name in $(cd "$WORK/$pass/sql" && ls); do
        name=${name%.sql}
        if ! wanted "$name" || why=$(reason "$pass" "$name" "*"); then continue; fi
        names+=("$name")
    done
    [ ${#names[@]} -gt 0 ] || return 0
    [ "$pass" = iqvector ] || extensions="--load-extension=vector --load-extension=iqdb"
    # tests begin with the classes in place: those for pgvector's types, and those for bit
    for name in "${names[@]}"; do
        sed -i "1i DO 'BEGIN PERFORM iqdb_create_pgvector_support(); END';" "$WORK/$pass/sql/$name.sql" \
            "$WORK/$pass/expected/$name.out"
    done
    # shellcheck disable=SC2086
    (cd "$WORK/$pass" && as_server_user "$SERVER_PGXS/src/test/regress/pg_regress" --inputdir="$WORK/$pass" \
        --outputdir="$WORK/$pass" --temp-instance="$WORK/$pass/instance" --temp-config="$WORK/conf" \
        --bindir="$SERVER_BIN" $extensions --encoding=UTF8 --no-locale --dbname=judge "${names[@]}") \
        >"$WORK/$pass.log" 2>&1 </dev/null
    for name in "${names[@]}"; do
        if [ ! -e "$WORK/$pass/results/$name.out" ]; then
            result FAILED "$name: did not run"
            tail -n 20 "$WORK/$pass.log"
            continue
        fi
        perl test/judge/compare.pl "$name" "$WORK/$pass/sql/$name.sql" "$WORK/$pass/expected/$name.out" \
            "$WORK/$pass/results/$name.out" "${FOREIGN[$pass]}" >"$WORK/$pass/$name.differs"
        differs=0
        while read -r _ digest; do
            why=$(reason "$pass" "$name" "$digest") && continue
            differs=1
            result FAILED "$name $digest"
            sed -n "/^$name $digest/,/^$name /{/^    /p}" "$WORK/$pass/$name.differs"
        done < <(grep "^$name " "$WORK/$pass/$name.differs")
        [ "$differs" = 1 ] || result ok "$name"
    done
}

# ---- TAP tests -------------------------------------------------------------------------------------------------------

tap() {
    local pass=$1 file name out number why bad
    for file in "$WORK/$pass"/t/*.pl; do
        name=$(basename "$file" .pl)
        if ! wanted "$name" || why=$(reason "$pass" "$name" "*"); then continue; fi
        out=$WORK/home/$pass/$name
        as_server_user mkdir -p "$out"
        "${AS_SERVER_USER[@]}" env -C "$out" HOME="$WORK/home" TMPDIR="$WORK/home" PATH="$SERVER_BIN:$PATH" \
            TESTDIR="$out" TESTDATADIR="$out/data" TESTLOGDIR="$out/log" PG_TEST_PORT_DIR="$WORK/home/portlock" PGPORT=65432 \
            PG_REGRESS="$SERVER_PGXS/src/test/regress/pg_regress" TEMP_CONFIG="$WORK/conf" \
            timeout -k 10 900 perl -I "$SERVER_PGXS/src/test/perl" "$file" >"$out/out" 2>"$out/err" </dev/null
        bad=$?
        for number in $(sed -n 's/^not ok \([0-9]*\).*/\1/p' "$out/out"); do
            if why=$(reason "$pass" "$name" "$number"); then bad=0; continue; fi
            result FAILED "$name $number"
            grep "^not ok $number " "$out/out" | sed 's/^/    /'
            bad=told
        done
        case $bad in
            0) result ok "$name" ;;
            told) tail -n 30 "$out/err" | sed 's/^/    /' ;;
            *) result FAILED "$name"; tail -n 30 "$out/err" | sed 's/^/    /' ;;
        esac
    done
}

# A line that nothing differs from any more is to be taken out. Only a run of everything can tell.
unused() {
    [ -z "${TESTS:-}${PASSES:-}" ] || return 0
    touch "$WORK/served"
    while IFS= read -r line; do
        grep -qxF "$line" "$WORK/served" || result FAILED "no longer differs: $line"
    done < <(grep -v '^#\|^$' test/judge/differences)
}

prepare || { echo "no server could be made"; exit 1; }
for pass in ${PASSES:-iqvector vector}; do
    echo "pass $pass"
    rewritten "$pass" || exit 1
    regress "$pass"
    tap "$pass"
done
unused
echo "$PASSED passed, $FAILED failed"
[ "$FAILED" -eq 0 ] && [ "$PASSED" -gt 0 ]
