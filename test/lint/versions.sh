#!/usr/bin/env bash
# versions.sh - one version number everywhere: control file, META.json, CHANGELOG.md, install script, iqdb_version().
version=$(sed -n "s/^default_version = '\(.*\)'/\1/p" iqdb.control)
status=0
complain() { echo "$1"; status=1; }
[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || complain "iqdb.control: no version"
[ "$(grep -c "\"version\": \"$version\"" META.json)" -eq 2 ] || complain "META.json: both version fields must be $version"
grep -qm 1 "^## .*$version" CHANGELOG.md || complain "CHANGELOG.md has no section $version"
[ -e "sql/iqdb--$version.sql" ] || complain "there is no sql/iqdb--$version.sql"
# a version string in the sources must be this one
while IFS=: read -r file line text; do
    [[ $text == *"\"$version\""* ]] || complain "$file:$line: not version $version: $text"
done < <(grep -rnE '#define[[:space:]]+IQDB_VERSION(_STRING)?[[:space:]]+"' src)
exit $status
