#!/usr/bin/env bash
# header.sh - the installed header says all by itself: it compiles alone, as C11, as C17 and as C++11 to C++20, with every
# warning an error; it includes nothing but three headers of the standard; its version is that of the pkg-config file.
header=$LIBRARY_ROOT/include/iqdb.h
status=0
complain() { echo "$1"; status=1; }

compiles() { # COMPILER STANDARD LANGUAGE
    printf '#include "%s"\n#include "%s"\nint main(void) { return IQDB_OK; }\n' "$header" "$header" |
        "$1" -std="$2" -Wall -Wextra -Werror -pedantic -Wno-unused-function -fsyntax-only -x "$3" - ||
        complain "does not compile with $1 as $2"
}
for compiler in "${CC:-gcc}" clang; do
    command -v "$compiler" >/dev/null || continue
    for standard in c11 c17; do compiles "$compiler" $standard c; done
done
for compiler in g++ clang++; do
    command -v "$compiler" >/dev/null || continue
    for standard in c++11 c++17 c++20; do compiles "$compiler" $standard c++; done
done

strange=$(grep -E '^[[:space:]]*#[[:space:]]*include' "$header" | grep -vE '<std(bool|def|int)\.h>')
[ -z "$strange" ] || complain "includes more than it needs: $strange"
! grep -nE '_Atomic|pthread_|Iqdbi|iqdbi_' "$header" || complain "shows what is inside"
version=$(sed -n 's/^#define IQDB_VERSION "\(.*\)"/\1/p' "$header")
numbers=$(sed -n 's/^#define IQDB_VERSION_[A-Z]* \([0-9]*\)$/\1/p' "$header" | paste -sd.)
[ "$version" = "$numbers" ] || complain "IQDB_VERSION is $version, its parts are $numbers"
[ "$(pkg-config --modversion iqdb)" = "$version" ] || complain "iqdb.pc and the header are of two versions"
exit $status
