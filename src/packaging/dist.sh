#!/usr/bin/env bash
# dist.sh - the source archive of a release, as PGXN takes it: iqdb-VERSION.zip, and the same as .tar.gz, of what is committed.
# Called by "make dist", with the folder for them in OUT.
set -eu -o pipefail
cd "$(dirname "$0")/../.."

git rev-parse --git-dir >/dev/null 2>&1 || { echo "make dist archives a commit: this is no git checkout"; exit 1; }
[ -z "$(git status --porcelain --untracked-files=no)" ] || echo "Changes that are not committed stay out."
test/lint/versions.sh || { echo "The versions must agree before a release."; exit 1; }
version=$(sed -n "s/^default_version = '\(.*\)'/\1/p" iqdb.control)
mkdir -p "$OUT"
for format in zip tar.gz; do
    git archive --format="$format" --prefix="iqdb-$version/" -o "$OUT/iqdb-$version.$format" HEAD
    echo "$OUT/iqdb-$version.$format"
done
