# server.sh - a private copy of the installed server, with the extension in it. To be sourced, after packages.sh.
#
# PostgreSQL 15 loads extensions from its own folders only, and those belong to root. But a server finds its folders
# relative to its own program file. So the tests use a tree of their own: the programs copied (a link would lead back
# to the installed place), all the rest symbolic links, and the extension installed into that. Nothing outside the
# given folder is written, and the clusters of the system are never touched.
#
# PostgreSQL refuses to run as root: started by root, servers run as "postgres" or, where there is none, as "nobody".

# Sets SERVER_USER ("" = as the caller) and the array AS_SERVER_USER to put before a command.
choose_server_user() {
    SERVER_USER=
    AS_SERVER_USER=()
    [ "$(id -u)" -eq 0 ] || return 0
    for SERVER_USER in postgres nobody; do
        if id "$SERVER_USER" >/dev/null 2>&1; then
            AS_SERVER_USER=(setpriv --reuid="$SERVER_USER" --regid="$(id -g "$SERVER_USER")" --clear-groups)
            return 0
        fi
    done
    echo "no user \"postgres\" or \"nobody\" to run a server as" >&2
    return 1
}

# make_server_tree FOLDER: builds the extension and the tree FOLDER/usr/..., sets SERVER_BIN and SERVER_PGXS.
make_server_tree() {
    local tree=$1 pg_config bindir pkglibdir sharedir entry
    pg_config=$(find_pg_config)
    bindir=$("$pg_config" --bindir)
    pkglibdir=$("$pg_config" --pkglibdir)
    sharedir=$("$pg_config" --sharedir)

    mkdir -p "$tree$bindir" "$tree$pkglibdir" "$tree$sharedir/extension" || return 1
    cp -L "$bindir"/* "$tree$bindir/" || return 1
    for entry in "$pkglibdir"/* "$sharedir"/* "$sharedir"/extension/*; do
        case $entry in
            */iqdb.so | */iqdb.control | */iqdb--* | "$sharedir/extension" | "$bindir") ;;
            *) ln -s "$entry" "$tree$entry" || return 1 ;;
        esac
    done
    "${MAKE:-make}" --no-print-directory -s PG_CONFIG="$pg_config" DESTDIR="$tree" install || return 1
    # what older versions have made, for tests of updates
    cp test/fixtures/iqdb--*.sql "$tree$sharedir/extension/" || return 1
    # its pgvector, or what stands in for it
    [ -e "$tree$sharedir/extension/vector.control" ] ||
        cp test/stand_in/vector* "$tree$sharedir/extension/" || return 1
    SERVER_BIN=$tree$bindir
    SERVER_PGXS=$(dirname "$("$pg_config" --pgxs)")/../..

    # It must find itself, or the tests would run against something else.
    if [ "$("$SERVER_BIN/pg_config" --pkglibdir)" != "$tree$pkglibdir" ]; then
        echo "the private server tree is not relocatable: $("$SERVER_BIN/pg_config" --pkglibdir)" >&2
        return 1
    fi
}

# Sets ARENA_FOLDER to a folder of our own for the memory that servers share, to be removed at the end: a server that
# was killed leaves its files there, and would clean up only at its next start. In /dev/shm where that can be written to.
make_arena_folder() {
    ARENA_FOLDER=$(mktemp -d /dev/shm/iqdb-test.XXXXXX 2>/dev/null) ||
        ARENA_FOLDER=$(mktemp -d "$1/arena.XXXXXX") || return 1
    [ -z "$SERVER_USER" ] || chown "$SERVER_USER" "$ARENA_FOLDER"
}

# stop_servers FOLDER: ends every server whose data lies under FOLDER.
stop_servers() {
    local file pid
    find "$1" -name postmaster.pid 2>/dev/null | while read -r file; do
        pid=$(head -n 1 "$file" 2>/dev/null)
        [[ $pid =~ ^[0-9]+$ ]] || continue
        # a process id may have been given to somebody else meanwhile
        [ "$(readlink "/proc/$pid/cwd")" = "$(dirname "$file")" ] || continue
        kill -QUIT "$pid" 2>/dev/null
        for _ in $(seq 50); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
    done
}
