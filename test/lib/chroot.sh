# chroot.sh - systems of other Debian releases in a folder, made from the mirror that this machine uses. To be sourced.
#
# Only for root on Debian. Nothing is installed outside of the folder but debootstrap, and what is mounted in it is seen by
# the processes in there alone. A chroot is made once and kept under $CHROOTS; remove it there to have newer packages.

CHROOTS=${IQDB_CHROOTS:-${TMPDIR:-/tmp}/iqdb-chroots}

fail() { printf '%s\n' "${0##*/}: $*"; exit 1; }

# The mirror that this machine installs Debian's own packages from.
mirror() {
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Identifier: Packages' |
        awk -F'|' '$1 == "Debian" && $2 == "Debian" { print $3; exit }'
}

# inside COMMAND...: runs as root in $ROOT, with processes, mounts and /dev/shm of its own that end with it. The folder
# becomes the root of these mounts, rather than of processes alone: some tests make name spaces of their own, which the
# kernel refuses to a process in a chroot.
inside() {
    # shellcheck disable=SC2016
    unshare --mount --pid --fork --kill-child sh -c '
        root=$1
        shift
        mount --rbind "$root" "$root" && mount --rbind /dev "$root/dev" && mount -t proc proc "$root/proc" &&
        mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm" && cd "$root" && pivot_root . mnt &&
        exec chroot . sh -c "umount -l /mnt && exec \"\$@\"" sh "$@"' sh "$ROOT" \
        /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        ${http_proxy:+http_proxy="$http_proxy"} "$@" </dev/null
}

# The release itself, under another name until it is complete.
make_chroot() {
    local suite=$1 base=$1 address
    command -v debootstrap >/dev/null || apt-get install -qy --no-install-recommends debootstrap >/dev/null </dev/null ||
        fail "debootstrap could not be installed"
    address=$(mirror)
    [ -n "$address" ] || fail "apt of this machine knows no mirror of Debian: apt-get update"
    # experimental is no whole release: it is laid over sid
    [ "$suite" != experimental ] || base=sid
    echo "making a chroot of Debian $suite (once) ..."
    rm -rf --one-file-system "$ROOT.new" || exit 1
    debootstrap --variant=minbase "$base" "$ROOT.new" "$address" >"$ROOT.log" 2>&1 ||
        { tail -n 20 "$ROOT.log"; fail "debootstrap failed, all it said is in $ROOT.log"; }
    # no service starts in there
    printf '#!/bin/sh\nexit 101\n' >"$ROOT.new/usr/sbin/policy-rc.d"
    chmod 755 "$ROOT.new/usr/sbin/policy-rc.d"
    # nothing in there needs to outlive a loss of power; a mirror may be a copy of an earlier day
    echo force-unsafe-io >"$ROOT.new/etc/dpkg/dpkg.cfg.d/unsafe-io"
    echo 'Acquire::Check-Valid-Until "false";' >"$ROOT.new/etc/apt/apt.conf.d/90any-day"
    if [ "$suite" = experimental ]; then
        echo "deb $address experimental main" >"$ROOT.new/etc/apt/sources.list.d/experimental.list"
    fi
    mv "$ROOT.new" "$ROOT"
}

# use_chroot SUITE: sets ROOT to a chroot of this release of Debian, for this script alone until it ends.
use_chroot() {
    [ "$(id -u)" -eq 0 ] || fail "only root can make and enter a chroot"
    command -v apt-get >/dev/null || fail "this needs a Debian to make a chroot from"
    ROOT=$CHROOTS/$1
    mkdir -p "$CHROOTS" || exit 1
    exec 9>"$ROOT.lock"
    flock -n 9 || fail "another script works in $ROOT"
    [ -d "$ROOT" ] || make_chroot "$1"
}

# Into /src/iqdb of the chroot: the files of this tree that git has or would take. Times are kept, so that make compiles what
# has changed.
copy_tree() {
    rm -rf "$ROOT/src/iqdb" && mkdir -p "$ROOT/src/iqdb" || return 1
    if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
        git ls-files -z --cached --others --exclude-standard
    else
        find . -path ./build -prune -o -type f -print0
    fi | xargs -0 ls -d 2>/dev/null | tar -c -T - | tar -x --no-same-owner -C "$ROOT/src/iqdb"
}
