#!/usr/bin/env bash
# same_output.sh EXPECTED PROGRAM...: runs the program, compares what it prints with a file.
set -o pipefail
expected=$1
shift
"$@" | diff -u "$expected" -
