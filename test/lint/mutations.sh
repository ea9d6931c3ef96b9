#!/usr/bin/env bash
# mutations.sh - every mutation (test/mutation/README.md) still finds what it takes out, and the tests it names exist.
status=0
complain() { echo "$1"; status=1; }
for mutation in test/mutation/*.mutation; do
    file= tests= edit=
    . "$mutation"
    [ -e "$file" ] || { complain "$mutation: there is no $file"; continue; }
    perl -0777 -pe "$edit" "$file" | cmp -s - "$file" && complain "$mutation: finds nothing to take out of $file"
    for test in $tests; do
        [ -e "test/t/$test.pl" ] || complain "$mutation: there is no test/t/$test.pl"
    done
done
exit $status
