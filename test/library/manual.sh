#!/usr/bin/env bash
# manual.sh - the C blocks of docs/library.md are one program: the first one is its top, the others the body of main. It builds
# by pkg-config alone, and prints what the blocks of text show.
status=0
complain() { echo "$1"; status=1; }

awk '/^```c$/ { inside = 1; block++; if (block == 2) print "int\nmain(void)\n{"; next }
    /^```/ { inside = 0; next }
    inside { print }
    END { print "\treturn 0;\n}" }' docs/library.md >"$TMPDIR/manual.c"
awk '/^```text$/ { inside = 1; next } /^```/ { inside = 0 } inside { print }' docs/library.md >"$TMPDIR/manual.out"
[ "$(grep -c . "$TMPDIR/manual.out")" -gt 0 ] || complain "the manual shows no output"
# shellcheck disable=SC2046
"${CC:-gcc}" -std=c11 -Wall -Wextra -Werror -pedantic "$TMPDIR/manual.c" $(pkg-config --cflags --libs iqdb) \
    -o "$TMPDIR/manual" || complain "the blocks do not compile"
cd "$TMPDIR" && ./manual | diff manual.out - || complain "the output is not what the manual says"
exit $status
