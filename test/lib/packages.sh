# packages.sh - finds out which Debian packages are missing, and installs them where that is allowed. To be sourced.
#
# Owns: the list of what building and testing needs. Nothing here is needed to use an installed extension.

# Prints the packages that are missing, for "core" (C library and its tests) or "server" (the extension too).
missing_packages() {
    local part=$1 header

    command -v gcc >/dev/null || echo gcc
    command -v make >/dev/null || echo make
    command -v nm >/dev/null || echo binutils
    command -v g++ >/dev/null || echo g++
    command -v pkg-config >/dev/null || echo pkg-config
    [ -e /usr/include/stdio.h ] || echo libc6-dev
    # a minimal system has a perl without its modules, of which lint/packages.sh reads META.json with one
    perl -MJSON::PP -e 1 2>/dev/null || echo perl
    for header in zstd.h:libzstd-dev lz4.h:liblz4-dev cmocka.h:libcmocka-dev; do
        find /usr/include /usr/local/include -maxdepth 2 -name "${header%%:*}" 2>/dev/null | grep -q . ||
            echo "${header##*:}"
    done
    # the run-time of the sanitizers, which the tests are built with
    if command -v gcc >/dev/null && [ "$(gcc -print-file-name=libasan.so)" = libasan.so ]; then
        echo "libgcc-$(gcc -dumpversion)-dev"
    fi
    [ "$part" = server ] || return 0
    [ -n "$(find_pg_config)" ] || echo "postgresql-server-dev-$(pg_major)"
    [ -x "$(pg_bindir)/postgres" ] || echo "postgresql-$(pg_major)"
    [ -x "$(pg_bindir)/psql" ] || echo "postgresql-client-$(pg_major)"
    perl -MIPC::Run -MTest::More -e 1 2>/dev/null || echo libipc-run-perl perl
    command -v setpriv >/dev/null || echo util-linux
}

# The pg_config of the server to build for, with its build files in place; nothing if there is none. Another major
# version than 15 must be asked for by name.
find_pg_config() {
    local candidate
    for candidate in ${PG_CONFIG:-/usr/lib/postgresql/15/bin/pg_config pg_config}; do
        candidate=$(command -v "$candidate") || continue
        case $("$candidate" --version 2>/dev/null) in
            "PostgreSQL 15"*) ;;
            "PostgreSQL 1"[46789]*) [ -n "${PG_CONFIG:-}" ] || continue ;;
            *) continue ;;
        esac
        [ -e "$("$candidate" --pgxs)" ] && [ -e "$("$candidate" --includedir-server)/postgres.h" ] || continue
        echo "$candidate"
        return
    done
}

# The major version of Debian's packages: that of the PG_CONFIG asked for, in Debian's place for it, or 15.
pg_major() {
    if [[ ${PG_CONFIG:-} =~ ^/usr/lib/postgresql/(1[4-9])/bin/pg_config$ ]]; then echo "${BASH_REMATCH[1]}"; else echo 15; fi
}

pg_bindir() {
    local pg_config
    pg_config=$(find_pg_config)
    if [ -n "$pg_config" ]; then "$pg_config" --bindir; else echo "/usr/lib/postgresql/$(pg_major)/bin"; fi
}

# Installs what is missing (root on Debian), or says what to install and fails.
need_packages() {
    local missing
    missing=$(missing_packages "$1" | tr '\n' ' ')
    missing=${missing% }
    [ -n "$missing" ] || return 0

    if ! command -v apt-get >/dev/null; then
        echo "These Debian packages, or what they are called on this system, are missing: $missing"
        return 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        echo "Some packages are missing. Install them with:"
        echo
        echo "    sudo apt-get install -y --no-install-recommends $missing"
        echo
        return 1
    fi
    echo "Installing: $missing"
    # The packaged server is wanted for its programs only: unless its owner has chosen otherwise, no cluster is made.
    local conf=/etc/postgresql-common/createcluster.conf conf_is_ours=0
    if [[ $missing == *postgresql-1[4-9]* ]] && [ ! -e $conf ]; then
        mkdir -p "${conf%/*}"
        echo 'create_main_cluster = false' >$conf
        conf_is_ours=1
    fi
    apt-get update -q >/dev/null </dev/null || echo "apt-get update failed; going on with the lists that are there"
    # shellcheck disable=SC2086
    if ! DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $missing </dev/null >/dev/null; then
        echo "apt-get could not install: $missing"
        echo "(PostgreSQL 15 is in Debian 12; for other releases see https://apt.postgresql.org)"
        [ $conf_is_ours -eq 0 ] || rm -f $conf
        return 1
    fi
    [ $conf_is_ours -eq 0 ] || cp /usr/share/postgresql-common/createcluster.conf $conf
    missing=$(missing_packages "$1" | tr '\n' ' ')
    if [ -n "${missing% }" ]; then
        echo "Still missing after the installation: $missing"
        return 1
    fi
}
