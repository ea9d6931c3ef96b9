#!/usr/bin/env bash
# headers.sh - every core header compiles by itself, and has the include guard that its path prescribes.
flags=$("$MAKE" --no-print-directory -s print-CORE_CFLAGS)
status=0
count=0
for header in src/core/*/*.h; do
    count=$((count + 1))
    # shellcheck disable=SC2086
    printf '#include "%s"\ntypedef int iqdb_lint_not_empty;\n' "${header#src/}" |
        "$CC" $flags -Wno-unused-function -fsyntax-only -x c - || { echo "$header: does not compile by itself"; status=1; }
    # IQDB_<FOLDER>_<FILE>_H; the folder need not be said twice when the file's name begins with it
    path=${header#src/core/}
    short=${path/#"${path%%/*}/${path%%/*}_"/"${path%%/*}_"}
    guard=$(grep -m 1 '^#ifndef' "$header" | cut -d' ' -f2)
    case $guard in
        "IQDB_$(tr 'a-z/.' 'A-Z__' <<<"$path")" | "IQDB_$(tr 'a-z/.' 'A-Z__' <<<"$short")") ;;
        *) echo "$header: include guard is not IQDB_$(tr 'a-z/.' 'A-Z__' <<<"$path")" && status=1 ;;
    esac
    grep -q "^#define $guard\$" "$header" || { echo "$header: include guard is not defined" && status=1; }
done
[ $count -gt 0 ] || { echo "no header was found"; status=1; }
exit $status
