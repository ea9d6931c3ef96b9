#!/usr/bin/env bash
# run.sh - runs the suites with a server of another Debian release, in a chroot. Called by "make check-server VERSION=N".
#
#   test/server/run.sh VERSION [SUITE...]        SUITE: regress isolation tap, unless said otherwise; as of test/run.sh
#
# Only for root on Debian, and no part of "make check": it fetches a whole system, once for each version, and keeps it in
# the folder IQDB_CHROOTS (${TMPDIR:-/tmp}/iqdb-chroots).
#
# Environment: TESTS, JOBS, KEEP as of test/run.sh. COMPILERS (words, "gcc-13 clang-19"): the core and the extension are
# compiled with each of them first, warnings being errors; with "none" as SUITE that is all.

set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 1
. test/lib/chroot.sh

# The release of Debian that has this server. 14 and 16 are in none that the archive still serves.
suite_of() {
    case $1 in
        15) echo bookworm ;;
        17) echo trixie ;;
        18) echo sid ;;
        19) echo experimental ;;
        *) return 1 ;;
    esac
}

# The flags that the server was built with, less those that another compiler or an older one does not know. The server's
# headers, made for gcc, hold an attribute that clang has no name for.
flags_for() {
    [[ $1 != clang* ]] || printf '%s ' -Wno-ignored-attributes
    # shellcheck disable=SC2016
    inside sh -c 'for flag in $("$2" --cflags); do
            "$1" -Werror "$flag" -c -x c /dev/null -o /dev/null 2>/dev/null && printf "%s " "$flag"
        done' sh "$1" "$PG_CONFIG"
}

# Compiles all with each of COMPILERS; a line each.
compile() {
    local compiler log
    for compiler in ${COMPILERS:-}; do
        log=$ROOT.$compiler.log
        if ! inside sh -c "command -v $compiler || apt-get install -qy --no-install-recommends $compiler" >"$log" 2>&1; then
            echo "  $compiler: not in this release"
        elif inside make -s -k -C /src/iqdb -j "${JOBS:-1}" BUILD="/src/build-$compiler" CC="$compiler" STRICT=1 \
            CFLAGS="$(flags_for "$compiler")" PG_CONFIG="$PG_CONFIG" all >"$log" 2>&1; then
            echo "  ok     $compiler: $(inside "$compiler" --version | head -n 1)"
        else
            echo "  FAILED $compiler:"
            grep -E 'error|Error' "$log" | head -n 40
            FAILED=1
        fi
    done
}

# ---- main ------------------------------------------------------------------------------------------------------------

VERSION=${1:-}
SUITE=$(suite_of "$VERSION") || fail "VERSION must be one of 15 17 18 19: no release of Debian has another"
shift
[ $# -gt 0 ] || set -- regress isolation tap
PG_CONFIG=/usr/lib/postgresql/$VERSION/bin/pg_config
FAILED=0

use_chroot "$SUITE"
copy_tree || fail "the tree could not be copied"
inside env PG_CONFIG="$PG_CONFIG" bash -c 'cd /src/iqdb && . test/lib/packages.sh && need_packages server' ||
    fail "packages are missing in the chroot"
commit=$(git describe --always --dirty 2>/dev/null)
echo "Debian $SUITE: $(inside "${PG_CONFIG%/*}/postgres" --version)${commit:+, iqdb of commit $commit}"
compile
[ "$*" != none ] || exit "$FAILED"
inside env PG_CONFIG="$PG_CONFIG" BUILD=/src/build TESTS="${TESTS:-}" JOBS="${JOBS:-}" KEEP="${KEEP:-0}" \
    bash /src/iqdb/test/run.sh "$@" || FAILED=1
exit "$FAILED"
