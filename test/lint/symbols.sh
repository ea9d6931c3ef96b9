#!/usr/bin/env bash
# symbols.sh - iqdb.so exports the magic block, _PG_init, the functions that SQL calls and the main functions of workers,
# and nothing else: the server loads libraries into one name space. Each function named in the SQL script exists; each
# exported one is named there. And a worker's main function sees to its end.
status=0
complain() { echo "$1"; status=1; }

[ -n "$PG_CONFIG" ] || { echo "no server to build for"; exit 77; }
[ -e iqdb.so ] || { echo "iqdb.so has not been built"; exit 1; }
exported=$(nm -D --defined-only iqdb.so | awk '{ print $3 }')
for symbol in Pg_magic_func _PG_init; do
    grep -qx "$symbol" <<<"$exported" || complain "$symbol is not exported: the server would refuse the library"
done
functions=$(sed -n 's/^pg_finfo_//p' <<<"$exported")
[ -n "$functions" ] || complain "no function is exported"
while read -r symbol; do
    case $symbol in
        Pg_magic_func | _PG_init | pg_finfo_* | iqdb_*_main) ;;
        iqdb* | iqvector* | iqhalfvec*)
            grep -qx "$symbol" <<<"$functions" || complain "exported, but not declared for SQL: $symbol" ;;
        *) complain "exported, but its name does not begin with iqdb, iqvector or iqhalfvec: $symbol" ;;
    esac
done <<<"$exported"

# a worker is found by name too, when it is started
for symbol in $(grep -rhoE '"iqdb_[a-z_]+_main"' src/pg | tr -d '"' | sort -u); do
    grep -qx "$symbol" <<<"$exported" || complain "named as a worker's main function, but not exported: $symbol"
    # what the server sets up ends the process from within the signal handler, wherever it is, under locks too
    head=$(grep -hA20 "^$symbol(Datum" src/pg/*.c | sed '/BackgroundWorkerUnblockSignals/q')
    [[ $head != *UnblockSignals* || $head == *'pqsignal(SIGTERM'* ]] ||
        complain "has no handler of its own for SIGTERM: $symbol"
done

called=$(cat sql/iqdb--*.sql | tr '\n' ' ' | grep -oE "AS +'MODULE_PATHNAME' *, *'[a-z0-9_]+'" |
    sed -E "s/.*'([a-z0-9_]+)'$/\1/" | sort -u)
# with no second string after MODULE_PATHNAME, the function's own name is meant
implied=$(cat sql/iqdb--*.sql | sed 's/--.*//' | tr '\n' ' ' | tr ';' '\n' | grep -E "AS +'MODULE_PATHNAME' *($|[A-Z])" |
    sed -nE 's/.*CREATE( OR REPLACE)? FUNCTION +([a-z0-9_]+) *\(.*/\2/p' | sort -u)
for symbol in $called $implied; do
    grep -qx "$symbol" <<<"$functions" || complain "named in the SQL script, but not exported: $symbol"
done
for symbol in $functions; do
    grep -qwx "$symbol" <<<"$called"$'\n'"$implied" || complain "exported, but not named in the SQL script: $symbol"
done
exit $status
