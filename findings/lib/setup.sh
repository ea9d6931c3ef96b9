# setup.sh - what the findings share: a system with pinned packages, a server in it, a comparison. To be sourced.
#
# The server runs in the chroot, in a folder of its own that is removed at the end.

set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
. test/lib/chroot.sh
use_chroot trixie

# packages NAME=VERSION...: these versions must be installed in there; says so.
packages() {
    local pinned wanted=()
    for pinned in "$@"; do
        [ "$(inside dpkg-query -W -f '${Version}' "${pinned%%=*}" 2>/dev/null)" = "${pinned#*=}" ] || wanted+=("$pinned")
    done
    if [ ${#wanted[@]} -gt 0 ]; then
        inside sh -c 'apt-get update -q && apt-get install -qy --no-install-recommends --allow-downgrades "$@"' sh \
            "${wanted[@]}" >"$ROOT.log" 2>&1 || fail "could not be installed: ${wanted[*]}, see $ROOT.log"
    fi
    echo "with $*"
}

# npm_packages NAME@VERSION...: these packages of node's in a folder of their own in there, $NODE_FOLDER for the commands of
# on_server. They are fetched by the npm of this machine; none of their install scripts is run.
npm_packages() {
    local folder
    command -v npm >/dev/null || fail "this needs npm: apt-get install npm"
    folder=/opt/npm-$(printf '%s\n' "$*" | sha256sum | cut -c1-16)
    if [ ! -d "$ROOT$folder" ]; then
        rm -rf "$ROOT$folder.new"
        mkdir -p "$ROOT$folder.new"
        npm install --prefix "$ROOT$folder.new" --ignore-scripts --no-audit --no-fund "$@" >"$ROOT.log" 2>&1 ||
            fail "could not be installed: $*, see $ROOT.log"
        chmod -R a+rX "$ROOT$folder.new"
        mv "$ROOT$folder.new" "$ROOT$folder"
    fi
    NODE_FOLDER=$folder
    echo "with $*"
}

# on_server: runs the bash commands of its standard input beside a new server, as its superuser; psql finds it.
on_server() {
    local folder code
    folder=$(mktemp -d "$ROOT/tmp/finding.XXXXXX") || exit 1
    cat >"$folder/commands"
    chmod -R a+rX "$folder"
    # shellcheck disable=SC2016
    inside bash -c '
        mkdir "$1/s" && chown postgres "$1/s" && cd "$1/s" || exit 1
        as_postgres=(setpriv --reuid=postgres --regid=postgres --clear-groups env PATH="/usr/lib/postgresql/17/bin:$PATH"
            HOME="$1/s" PGHOST="$1/s" PGUSER=postgres PGDATABASE=postgres NODE_FOLDER="$2")
        "${as_postgres[@]}" initdb -D d -A trust --no-sync --no-locale -E UTF8 >/dev/null &&
        "${as_postgres[@]}" pg_ctl -D d -l log -w -o "-c listen_addresses= -k $1/s -c autovacuum=off" start >/dev/null || exit 1
        "${as_postgres[@]}" bash ../commands
        "${as_postgres[@]}" pg_ctl -D d -m fast stop >/dev/null' sh "${folder#"$ROOT"}" "${NODE_FOLDER:-}" 2>&1
    code=$?
    rm -rf "$folder"
    return $code
}

# expect TEXT: compares it with standard input, which is shown; ends the script.
expect() {
    local seen
    seen=$(cat)
    printf '%s\n' "$seen"
    if [ "$seen" = "$1" ]; then echo "as before"; exit 0; fi
    printf '%s\n' "---- expected:" "$1" "CHANGED"
    exit 1
}
