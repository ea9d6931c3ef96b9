#!/usr/bin/env bash
# packages.sh - "make dist" archives what is committed, with a META.json that PGXN takes; "make deb" makes a package that holds
# what "make install" installs, and asks for the libraries it needs. Each where the machine has what it takes.
status=0
complain() { echo "$1"; status=1; }
version=$(sed -n "s/^default_version = '\(.*\)'/\1/p" iqdb.control)
out=$(mktemp -d) || exit 1
trap 'rm -rf "$out"' EXIT

perl -MJSON::PP - META.json <<'PERL' || status=1
my $text = do { local $/; open my $in, '<', shift or die $!; <$in> };
my $meta = eval { JSON::PP->new->utf8->decode($text) } or do { print "META.json: $@"; exit 1; };
my @wrong = grep { !$meta->{$_} } qw(name version abstract description maintainer license provides meta-spec release_status);
print "META.json: no $_\n" for @wrong;
for my $name (keys %{ $meta->{provides} })
{
	for my $file (grep { !-e } @{ $meta->{provides}{$name} }{qw(file docfile)})
	{
		print "META.json: $name: there is no $file\n";
		push @wrong, $file;
	}
}
exit(@wrong ? 1 : 0);
PERL
# the oldest server that the sources know
oldest=$(sed -n 's/^#if PG_VERSION_NUM < \([0-9]*\)0000$/\1/p' src/pg/pg_compat.h)
grep -q "\"PostgreSQL\": \"$oldest.0.0\"" META.json || complain "META.json: the oldest server is $oldest"

if git rev-parse --git-dir >/dev/null 2>&1; then
    OUT=$out src/packaging/dist.sh >"$out/said" || { cat "$out/said"; status=1; }
    tar -tzf "$out/iqdb-$version.tar.gz" | grep -v '/$' | sort >"$out/archived"
    git ls-tree -r --name-only HEAD | grep -v '^\.' | sed "s|^|iqdb-$version/|" | sort | comm -23 - "$out/archived" |
        sed 's/^/missing in the archive: /' >"$out/missing"
    [ ! -s "$out/missing" ] || { cat "$out/missing"; status=1; }
    tar -xzOf "$out/iqdb-$version.tar.gz" "iqdb-$version/META.json" | cmp -s - <(git show HEAD:META.json) ||
        complain "META.json of the archive is not the committed one"
    [ -s "$out/iqdb-$version.zip" ] || complain "there is no .zip"
fi

if [ -e iqdb.so ] && command -v dpkg-shlibdeps >/dev/null && [ -x "/usr/lib/postgresql/15/bin/pg_config" ]; then
    OUT=$out PG_CONFIG=/usr/lib/postgresql/15/bin/pg_config src/packaging/deb.sh >"$out/said" 2>&1 ||
        { cat "$out/said"; status=1; }
    package=$out/postgresql-15-iqdb_$version-1_$(dpkg --print-architecture).deb
    [ "$(dpkg-deb -f "$package" Version)" = "$version-1" ] || complain "the package is not of version $version-1"
    for name in postgresql-15 libzstd1 liblz4-1 libc6; do
        [[ ", $(dpkg-deb -f "$package" Depends)," =~ ", $name"[,\ ] ]] || complain "the package does not ask for $name"
    done
    dpkg-deb -c "$package" >"$out/files"
    ! grep -v ' root/root ' "$out/files" || complain "not all files of the package are root's"
    for name in lib/postgresql/15/lib/iqdb.so lib/postgresql/15/bin/iqdb_copy \
        $(basename -a iqdb.control sql/iqdb--*.sql | sed 's|^|share/postgresql/15/extension/|') \
        share/doc/postgresql-15-iqdb/{copyright,README.md,docs/reference.md}; do
        grep -q " \./usr/$name\$" "$out/files" || complain "the package has no usr/$name"
    done
    dpkg-deb --fsys-tarfile "$package" | tar -xO ./usr/share/postgresql/15/extension/iqdb.control | cmp -s - iqdb.control ||
        complain "iqdb.control of the package is not ours"
fi
exit $status
