#!/usr/bin/env bash
# reference.sh - docs/reference.md names what SQL cannot list: the options of WITH with their defaults, and the conditions of
# errors; of both all that the sources have, and no other. (t/041_reference.pl compares the rest with a server.)
page=docs/reference.md
status=0
complain() { echo "$1"; status=1; }

# The rows of a table of the page: those below the line that begins with the given head.
rows() { awk -v head="| $1 |" 'index($0, head) == 1 { on = 1; next } !/^\|/ { on = 0 } on && !/^\|[-|]*$/' $page; }

# name and default, from the engines' tables and from what all methods have
options() {
    sed -n '/^const IqdbOption /,/^};/p' src/core/*/*_options.c | tr '\n\t' '  ' |
        grep -oE '\{"[a-z_0-9]+", "[^"]*",[^}]*\}' | sed -E 's/^\{"([a-z_0-9]+)", "[^"]*", *(.*)\}/\1|\2/' |
        awk -F'|' '{ n = split($2, field, / *, */); print $1, field[n - 1] }'
    grep -oE 'add_(enum|integer)\([a-z]+, "[a-z_]+"' src/pg/pg_options.c | sed -E 's/.*"(.*)"/\1/'
}
while read -r name default; do
    row=$(rows option | grep "^| \`$name\` |")
    [ -n "$row" ] || { complain "$page: option $name is missing"; continue; }
    [ -z "$default" ] || [ "$(cut -d'|' -f4 <<<"$row")" = " $default " ] || complain "$page: the default of $name is $default"
done < <(options)
while read -r name; do
    options | grep -q "^$name\( \|$\)" || complain "$page: there is no option $name"
done < <(rows option | sed 's/^| `\([a-z_0-9]*\)`.*/\1/')
[ "$(options | wc -l)" -gt 8 ] || complain "the options were not found in the sources"

# The server's names of errors, in its own spelling: ERRCODE_NULL_VALUE_NOT_ALLOWED is null_value_not_allowed.
conditions() {
    grep -ohE '(errcode\(|return )ERRCODE_[A-Z_]+' src/pg/*.c | sed 's/.*ERRCODE_//' | tr '[:upper:]' '[:lower:]'
    grep -ohE "ERRCODE = '[a-z_]+'" sql/iqdb--*.sql | sed "s/.*'\(.*\)'/\1/"
}
listed=$(rows SQLSTATE | awk -F'|' '{ gsub(/[` ]/, "", $3); print $3 }')
for condition in $(conditions | sort -u); do
    # what cannot reach a user of SQL: records and files of the C library's databases
    case $condition in no_data_found | unique_violation | object_in_use) continue ;; esac
    grep -qx "$condition" <<<"$listed" || complain "$page: errors of condition $condition are missing"
done
for condition in $listed; do
    conditions | grep -qx "$condition" || complain "$page: no error has condition $condition"
done
exit $status
