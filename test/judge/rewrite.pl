#!/usr/bin/perl
# rewrite.pl PASS < in > out - names of pgvector's tests as iqdb has them. PASS is "iqvector" or "vector"; see README.md.
use strict;
use warnings;

my $pass = shift;
my @patterns = (
	[ qr/\bUSING hnsw\b/i => 'USING iqdb_hnsw' ],
	[ qr/\bUSING ivfflat\b/i => 'USING iqdb_ivf' ],
	[ qr/"hnsw"/ => '"iqdb_hnsw"' ],
	[ qr/"ivfflat"/ => '"iqdb_ivf"' ],
	[ qr/\bhnsw\.ef_search\b/ => 'iqdb.hnsw_ef_search' ],
	[ qr/\bivfflat\.probes\b/ => 'iqdb.ivf_probes' ],
	[ qr/\bhnsw\.max_scan_tuples\b/ => 'iqdb.max_scan_tuples' ]);

# What makes operator classes for types that are not ours, bit among them.
my $support = "DO 'BEGIN PERFORM iqdb_create_pgvector_support(); END';";

push @patterns,
  ($pass eq 'vector')
  ? ([ qr/CREATE EXTENSION vector;/ => "CREATE EXTENSION vector; CREATE EXTENSION iqdb; $support" ])
  : ([ qr/\b(vector|halfvec)_(l2|ip|cosine|l1)_ops\b/ => 'iq$1_$2_ops' ],
	[ qr/\bCREATE EXTENSION vector;/ => "CREATE EXTENSION iqdb; $support" ],
	[ qr/\barray_to_(vector|halfvec)\b/ => 'array_to_iq$1' ],
	[ qr/\bhalfvec(_(?:avg|accum|combine|cmp))?\b/ => 'iqhalfvec$1' ],
	[ qr/\bvector_(avg|accum|combine|cmp)\b/ => 'iqvector_$1' ],
	[ qr/\bvector\b/ => 'iqvector' ]);

while (my $line = <STDIN>)
{
	for my $pattern (@patterns)
	{
		my ($from, $to) = @$pattern;
		$line =~ s/$from/my @parts = ($1 \/\/ '', $2 \/\/ ''); $to =~ s{\$([12])}{$parts[$1 - 1]}gr/ge;
	}
	print $line;
}
