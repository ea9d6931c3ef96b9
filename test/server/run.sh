#!/usr/bin/env bash
# run.sh - runs the suites with a server of another Debian release, in a chroot. Called by "make check-server VERSION=N".
#
#   test/server/run.sh VERSION [SUITE...]        SUITE: regress isolation tap, unless said otherwise; as of test/run.sh
#
# Only for root on Debian, and no part of "make check": it fetches a whole system. The chroot is made once for each
# version and kept in IQDB_CHROOTS (${TMPDIR:-/tmp}/iqdb-chroots); remove it there to have newer packages. Nothing is
# installed outside of it but debootstrap, and what is mounted in it is seen by this script's own processes alone.
#
# Environment: TESTS, JOBS, KEEP as of test/run.sh. COMPILERS (words, "gcc-13 clang-19"): the core and the extension are
# compiled with each of them first, warnings being errors; with "none" as SUITE that is all.

set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 1
CHROOTS=${IQDB_CHROOTS:-${TMPDIR:-/tmp}/iqdb-chroots}

say() { printf '%s\n' "$*"; }
fail() { say "check-server: $*"; exit 1; }

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

# The mirror that this machine installs Debian's own packages from.
mirror() {
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Identifier: Packages' |
        awk -F'|' '$1 == "Debian" && $2 == "Debian" { print $3; exit }'
}

# inside COMMAND...: runs as root in the chroot, with processes, mounts and /dev/shm of its own that end with it.
inside() {
    # shellcheck disable=SC2016
    unshare --mount --pid --fork --kill-child sh -c '
        root=$1
        shift
        mount --rbind /dev "$root/dev" && mount -t proc proc "$root/proc" &&
        mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm" &&
        exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
            DEBIAN_FRONTEND=noninteractive ${http_proxy:+http_proxy="$http_proxy"} "$@"' sh "$ROOT" "$@" </dev/null
}

# Makes the chroot, under another name until it is complete.
make_chroot() {
    local suite=$1 base=$1 address
    command -v debootstrap >/dev/null || apt-get install -qy --no-install-recommends debootstrap >/dev/null </dev/null ||
        fail "debootstrap could not be installed"
    address=$(mirror)
    [ -n "$address" ] || fail "apt of this machine knows no mirror of Debian"
    # experimental is no whole release: it is laid over sid
    [ "$suite" != experimental ] || base=sid
    say "making a chroot of Debian $suite (once) ..."
    rm -rf --one-file-system "$ROOT.new" || exit 1
    debootstrap --variant=minbase "$base" "$ROOT.new" "$address" >"$ROOT.log" 2>&1 ||
        { tail -n 20 "$ROOT.log"; fail "debootstrap failed, all it said is in $ROOT.log"; }
    # no service starts in there, and no cluster is made
    printf '#!/bin/sh\nexit 101\n' >"$ROOT.new/usr/sbin/policy-rc.d"
    chmod 755 "$ROOT.new/usr/sbin/policy-rc.d"
    # nothing in there needs to outlive a loss of power; a mirror may be a copy of an earlier day
    echo force-unsafe-io >"$ROOT.new/etc/dpkg/dpkg.cfg.d/unsafe-io"
    echo 'Acquire::Check-Valid-Until "false";' >"$ROOT.new/etc/apt/apt.conf.d/90any-day"
    if [ "$suite" = experimental ]; then
        echo "deb $address experimental main" >"$ROOT.new/etc/apt/sources.list.d/experimental.list"
        printf 'Package: %s\nPin: release a=experimental\nPin-Priority: 990\n' \
            "src:postgresql-$VERSION" >"$ROOT.new/etc/apt/preferences.d/experimental"
    fi
    mv "$ROOT.new" "$ROOT"
}

# The files of this tree that git has or would take; times are kept, so that make compiles what has changed.
copy_tree() {
    rm -rf "$ROOT/src/iqdb" && mkdir -p "$ROOT/src/iqdb" || return 1
    if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
        git ls-files -z --cached --others --exclude-standard
    else
        find . -path ./build -prune -o -type f -print0
    fi | xargs -0 ls -d 2>/dev/null | tar -c -T - | tar -x --no-same-owner -C "$ROOT/src/iqdb"
}

# Compiles all with each of COMPILERS; a row of the table each.
compile() {
    local compiler log
    for compiler in ${COMPILERS:-}; do
        log=$ROOT.$compiler.log
        if ! inside sh -c "command -v $compiler || apt-get install -qy --no-install-recommends $compiler" >"$log" 2>&1; then
            say "  $compiler: not in this release"
        elif inside make -s -k -C /src/iqdb -j "${JOBS:-1}" BUILD="/src/build-$compiler" CC="$compiler" STRICT=1 \
            PG_CONFIG="$PG_CONFIG" all >"$log" 2>&1; then
            say "  ok     $compiler: $(inside "$compiler" --version | head -n 1)"
        else
            say "  FAILED $compiler:"
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
[ "$(id -u)" -eq 0 ] || fail "only root can make and enter a chroot"
command -v apt-get >/dev/null || fail "this needs a Debian to make a chroot from"
ROOT=$CHROOTS/$SUITE
PG_CONFIG=/usr/lib/postgresql/$VERSION/bin/pg_config
FAILED=0

mkdir -p "$CHROOTS" || exit 1
exec 9>"$ROOT.lock"
flock -n 9 || fail "another run works in $ROOT"
[ -d "$ROOT" ] || make_chroot "$SUITE"
copy_tree || fail "the tree could not be copied"
inside env PG_CONFIG="$PG_CONFIG" bash -c 'cd /src/iqdb && . test/lib/packages.sh && need_packages server' ||
    fail "packages are missing in the chroot"
say "Debian $SUITE: $(inside "${PG_CONFIG%/*}/postgres" --version)"
compile
[ "$*" != none ] || exit "$FAILED"
inside env PG_CONFIG="$PG_CONFIG" BUILD=/src/build TESTS="${TESTS:-}" JOBS="${JOBS:-}" KEEP="${KEEP:-0}" \
    bash /src/iqdb/test/run.sh "$@" || FAILED=1
exit "$FAILED"
