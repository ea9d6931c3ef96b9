#!/usr/bin/env bash
# versions.sh - one version number everywhere: control file, META.json, CHANGELOG.md, install script, both libraries. From each
# version before it that the changelog has, update scripts lead to it.
version=$(sed -n "s/^default_version = '\(.*\)'/\1/p" iqdb.control)
status=0
complain() { echo "$1"; status=1; }
[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || complain "iqdb.control: no version"
[ "$(grep -c "\"version\": \"$version\"" META.json)" -eq 2 ] || complain "META.json: both version fields must be $version"
grep -q "\"file\": \"sql/iqdb--$version.sql\"" META.json || complain "META.json: the file is not sql/iqdb--$version.sql"
grep -qE "^## $version( |\$)" CHANGELOG.md || complain "CHANGELOG.md has no section $version"
[ -e "sql/iqdb--$version.sql" ] || complain "there is no sql/iqdb--$version.sql"
# version strings in the sources must be this one
while IFS=: read -r file line text; do
    [[ $text == *"\"$version\""* ]] || complain "$file:$line: not version $version: $text"
done < <(grep -rnE '#define[[:space:]]+IQDB_(LIBRARY_)?VERSION[[:space:]]+"' src)
IFS=. read -r major minor patch <<<"$version"
for part in "MAJOR $major" "MINOR $minor" "PATCH $patch"; do
    grep -qx "#define IQDB_VERSION_$part" src/core/public/iqdb.h ||
        complain "src/core/public/iqdb.h: IQDB_VERSION_$part is wanted"
done
# from each older version along the update scripts, which lead to newer ones
while read -r old; do
    at=$old
    while [ "$at" != "$version" ]; do
        step=$(compgen -G "sql/iqdb--$at--*.sql" | head -n 1)
        [ -n "$step" ] || { complain "no update script leads from $old to $version"; break; }
        at=${step#"sql/iqdb--$at--"}
        at=${at%.sql}
    done
done < <(sed -nE 's/^## ([0-9]+\.[0-9]+\.[0-9]+).*/\1/p' CHANGELOG.md)
exit $status
