#!/usr/bin/env bash
# layers.sh - includes follow the arrows of src/README.md: down only, engines never each other, no server in the core,
# and of the core the glue sees only its door and the two folders that hold nothing but types and arithmetic.

# What a folder's files may name in an #include, besides their own folder.
may_include() {
    case $1 in
        public) echo "" ;;
        base) echo "public" ;;
        vec | meta) echo "public base" ;;
        quant) echo "public base vec" ;;
        engine) echo "public base vec meta" ;;
        flat | hnsw | ivf) echo "public base vec meta quant engine" ;;
        persist) echo "public base meta engine" ;;
        cache) echo "public base vec meta" ;;
        db) echo "public base vec meta quant engine flat hnsw ivf persist cache" ;;
        *) echo "?" ;;
    esac
}

status=0
complain() { echo "$1"; status=1; }

# "file folder-of-included-file rest" for each include in quotes
includes() { grep -HoE '^[[:space:]]*#[[:space:]]*include[[:space:]]+"[^"]+"' "$@" | sed -E 's/^([^:]+):.*"([^"]+)"/\1 \2/'; }

for folder in src/core/*/; do
    folder=$(basename "$folder")
    allowed=$(may_include "$folder")
    [ "$allowed" != "?" ] || complain "src/core/$folder: has no row in this script's table"
    compgen -G "src/core/$folder/*.[ch]" >/dev/null || continue
    while read -r file included; do
        case $included in
            core/"$folder"/*) ;;
            core/*/*_private.h) complain "$file: includes the private header $included of another folder" ;;
            core/*/*)
                target=${included#core/}
                [[ " $allowed " == *" ${target%%/*} "* ]] || complain "$file: may not include $included"
                ;;
            *) complain "$file: \"$included\" is not rooted at src/core" ;;
        esac
    done < <(includes src/core/"$folder"/*.[ch])
    # The same again by the compiler, which sees through macros: nothing outside src/core and the C library.
    for file in src/core/"$folder"/*.c; do
        [ -e "$file" ] || continue
        strange=$("$CC" -std=c11 -Isrc -MM "$file" | tr -s ' \\\n' '\n\n\n' | grep -vE '^src/core/|^[a-z0-9_]+\.o:$|^$')
        [ -z "$strange" ] || complain "$file: depends on $strange"
    done
done

if compgen -G 'src/pg/*.[ch]' >/dev/null; then
    while read -r file included; do
        case $included in
            core/db/iqdb.h) ;;
            core/*_private.h | core/*_format.h) complain "$file: may not include $included" ;;
            core/vec/*.h | core/base/*.h) ;;
            core/*) complain "$file: may not include $included (only core/db/iqdb.h, core/vec, core/base)" ;;
        esac
    done < <(includes src/pg/*.[ch])
    for file in src/pg/*.c; do
        first=$(grep -m 1 -E '^[[:space:]]*#[[:space:]]*include' "$file")
        [[ $first == *'"postgres.h"'* ]] || complain "$file: postgres.h is not its first include"
    done
fi
exit $status
