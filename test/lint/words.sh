#!/usr/bin/env bash
# words.sh - words that must not be in the tree: unfinished work, flags that bind the build to one machine, unbounded
# string functions.
status=0
forbid() {
    local pattern=$1 why=$2
    shift 2
    if grep -rnIE --exclude=words.sh -e "$pattern" "$@" 2>/dev/null; then
        echo "  ^ $why"
        status=1
    fi
}
everything="src sql test bench Makefile README.md CONTRIBUTING.md CHANGELOG.md META.json iqdb.control"
# shellcheck disable=SC2086
{
    forbid '\b(TODO|FIXME|XXX|HACK)\b' 'finish it, or say in the README what is not done and why' $everything
    forbid '-(march|mtune)=native|-ffast-math|-Ofast' 'the build must run on any machine, and give the same numbers' $everything
    forbid '\b(sprintf|strcpy|strcat|gets|alloca)[[:space:]]*\(' 'unbounded' src
    forbid '\|\| true' 'a test whose failure is swallowed' Makefile .ci
}
exit $status
