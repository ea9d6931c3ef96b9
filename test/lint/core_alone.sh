#!/usr/bin/env bash
# core_alone.sh - the core compiles without the server's headers, as strict C11; with clang too where it is installed.
flags=$("$MAKE" --no-print-directory -s print-CORE_CFLAGS)
status=0
for compiler in "$CC" clang; do
    command -v "$compiler" >/dev/null || { echo "$compiler is not installed: skipped"; continue; }
    for source in $("$MAKE" --no-print-directory -s print-CORE_SOURCES); do
        # shellcheck disable=SC2086
        "$compiler" $flags -fsyntax-only "$source" || { echo "$source: does not compile alone with $compiler"; status=1; }
        if "$compiler" $flags -M "$source" 2>/dev/null | grep -q '/postgresql/'; then
            echo "$source: includes a header of the server"
            status=1
        fi
    done
done
[ -n "$source" ] || { echo "no core source was found"; status=1; }
exit $status
