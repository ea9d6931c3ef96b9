#!/usr/bin/env bash
# symbols.sh - both forms of the library export the functions that the header declares with IQDB_API, all of them, and nothing
# else; those of the shared one have the library's version; it is hardened; every function has its place in the manual.
header=$LIBRARY_ROOT/include/iqdb.h
shared=$LIBRARY_ROOT/lib/libiqdb.so
status=0
complain() { echo "$1"; status=1; }

declared=$(grep -E '^IQDB_API ' "$header" | grep -oE 'iqdb_[a-z0-9_]+\(' | tr -d '(' | sort)
[ -n "$declared" ] || complain "the header declares nothing"
[ "$(sort -u <<<"$declared")" = "$declared" ] || complain "the header declares something twice"
dynamic=$(nm -D --defined-only "$shared" | awk '$2 != "A" { print $3 }')
! grep -v '@@IQDB_0$' <<<"$dynamic" || complain "symbols without the library's version"
diff <(echo "$declared") <(sed 's/@@.*//' <<<"$dynamic" | sort) || complain "the header and the shared library differ"
diff <(echo "$declared") <(nm -g --defined-only "$LIBRARY_ROOT/lib/libiqdb.a" | awk 'NF == 3 { print $3 }' | sort) ||
    complain "the header and the static library differ"

dynamic=$(readelf -dlW "$shared")
grep -q 'SONAME.*\[libiqdb\.so\.0\]' <<<"$dynamic" || complain "its name for the linker is not libiqdb.so.0"
grep -q 'BIND_NOW\|FLAGS.*NOW' <<<"$dynamic" || complain "symbols are bound late"
grep -q GNU_RELRO <<<"$dynamic" || complain "tables of addresses stay writable"
grep 'GNU_STACK' <<<"$dynamic" | grep -qv 'RWE' || complain "the stack is executable"
nm -D --undefined-only "$shared" | grep -q '__stack_chk_fail' || complain "the stack is not guarded"
nm -D --undefined-only "$shared" | grep -q '__[a-z]*_chk' || complain "calls of the C library are not checked"

for name in $declared; do
    grep -qw "$name" docs/library.md || complain "docs/library.md does not mention $name"
done
exit $status
