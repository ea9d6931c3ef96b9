#!/usr/bin/env bash
# deb.sh - a Debian package of the extension for one installed server: postgresql-15-iqdb_VERSION-1_ARCHITECTURE.deb. Called by
# "make deb", with MAKE, PG_CONFIG, and the folder for it in OUT.
#
# The package is put together from what "make install" installs; nothing of debhelper is needed, nor root.
set -eu -o pipefail
cd "$(dirname "$0")/../.."
. test/lib/packages.sh

missing=
for program in dpkg-deb:dpkg dpkg-shlibdeps:dpkg-dev strip:binutils; do
    command -v "${program%%:*}" >/dev/null || missing+=" ${program##*:}"
done
[ -z "$missing" ] || { echo "Missing for packages: sudo apt-get install$missing"; exit 1; }
PG_CONFIG=$(find_pg_config)
if [ -z "$PG_CONFIG" ]; then
    echo "No server to build for: install postgresql-server-dev-$(pg_major), or give PG_CONFIG=..."
    exit 1
fi
bindir=$("$PG_CONFIG" --bindir)
[[ $bindir =~ ^/usr/lib/postgresql/([0-9]+)/bin$ ]] ||
    { echo "The server of $PG_CONFIG is none of Debian's packages (its programs are in $bindir): use make install."; exit 1; }
major=${BASH_REMATCH[1]}
package=postgresql-$major-iqdb
version=$(sed -n "s/^default_version = '\(.*\)'/\1/p" iqdb.control)
architecture=$(dpkg --print-architecture)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
root=$work/root
doc=$root/usr/share/doc/$package
"${MAKE:-make}" --no-print-directory -s PG_CONFIG="$PG_CONFIG" DESTDIR="$root" all install
library=$root$("$PG_CONFIG" --pkglibdir)/iqdb.so
strip --strip-unneeded "$library"
mkdir -p "$doc/docs" "$root/DEBIAN"
cp README.md "$doc/"
cp docs/*.md "$doc/docs/"
{ printf 'Files: *\nLicense: Apache-2.0\n\n'; cat LICENSE; } >"$doc/copyright"
gzip -9n <CHANGELOG.md >"$doc/changelog.gz"

# What the library is linked with says which packages it needs; dpkg-shlibdeps wants to see a source package.
mkdir -p "$work/source/debian"
printf 'Source: iqdb\n\nPackage: %s\nArchitecture: any\n' "$package" >"$work/source/debian/control"
depends=$(cd "$work/source" && dpkg-shlibdeps -O "$library" 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
[ -n "$depends" ] || { echo "dpkg-shlibdeps does not know what iqdb.so needs"; exit 1; }

(cd "$root" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
cat >"$root/DEBIAN/control" <<CONTROL
Package: $package
Source: iqdb
Version: $version-1
Section: database
Priority: optional
Architecture: $architecture
Maintainer: The iqdb maintainers
Installed-Size: $(du -sk "$root/usr" | cut -f1)
Depends: postgresql-$major, $depends
Description: vector search for PostgreSQL $major
 Vector types, distances, and three index access methods (flat, HNSW, IVF)
 that lie in memory shared by all sessions and come back after a crash.
CONTROL
# not what the caller's umask says
find "$root" -type d -exec chmod 755 {} +
find "$root" -type f -exec chmod u=rwX,go=rX {} +
mkdir -p "$OUT"
if [ -z "${SOURCE_DATE_EPOCH:-}" ] && SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null); then
    export SOURCE_DATE_EPOCH
fi
dpkg-deb --root-owner-group --build "$root" "$OUT/${package}_$version-1_$architecture.deb" >/dev/null
echo "$OUT/${package}_$version-1_$architecture.deb"
