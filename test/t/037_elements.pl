# 037_elements.pl - columns of half vectors and of bit strings through all of a node's life: restarts, crashes, lost files,
# a standby and its promotion.
#
# Rows go through the log, snapshots, the table and the journal as they do for floats; so each way is gone once here, and the
# answers are those of a sequential scan.
use strict;
use warnings;
use File::Path qw(remove_tree);
use IqdbTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('primary', init => [ allows_streaming => 1 ], conf => "iqdb.fsync_interval = 50ms\n");
$node->start;
install($node);
$node->safe_psql('postgres', <<'SQL');
SELECT iqdb_create_pgvector_support();
CREATE FUNCTION random_bits(length int) RETURNS bit VOLATILE LANGUAGE sql AS
	$$SELECT string_agg(CASE WHEN random() < .5 THEN '1' ELSE '0' END, '')::bit(90) FROM generate_series(1, length)$$;
SQL
my @methods = methods($node);
my %column = (v => [ 'iqhalfvec_cosine_ops', '<=>' ], w => [ 'iqhalfvec_l1_ops', '<+>' ], b => [ 'bit_jaccard_ops', '<%>' ]);

sub add
{
	my ($method, $count) = @_;
	return "INSERT INTO t_$method (v, w, b) SELECT iqdb_random(12), iqdb_random(12), random_bits(90) FROM generate_series(1, $count) i";
}

for my $method (@methods)
{
	my $place = place_of_vectors($method);

	$node->safe_psql('postgres', "CREATE TABLE t_$method (id serial, v iqhalfvec(12), w iqhalfvec(12), b bit(90)); " . add($method, 700));
	$node->safe_psql('postgres', "CREATE INDEX t_${method}_$_ ON t_$method USING $method ($_ $column{$_}[0]) $place") for sort keys %column;
	$node->safe_psql('postgres', add($method, 60));
}

sub right
{
	my ($where, $what) = @_;

	for my $method (@methods)
	{
		for my $name (sort keys %column)
		{
			agree($where, "$method: $what: $column{$name}[0]", table => "t_$method", column => $name, op => $column{$name}[1],
				method => $method, queries => 3);
			sound($where, "t_${method}_$name", "$method: $what: $column{$name}[0]: iqdb_check") if $what =~ /^after/;
		}
	}
}

# How the indexes came to be since an offset in the log: the sums of what its lines say.
sub opened
{
	my ($where, $offset) = @_;
	my %sum = (loaded => 0, replayed => 0, fetched => 0, rebuilt => 0);
	my $log = log_since($where, $offset);

	while ($log =~ /opened in \S+ ms: (\d+) rows loaded from snapshot, (\d+) changes replayed from log, (\d+) rows fetched by journal, (\d+) rows rebuilt/g)
	{
		$sum{loaded} += $1;
		$sum{replayed} += $2;
		$sum{fetched} += $3;
		$sum{rebuilt} += $4;
	}
	return \%sum;
}

right($node, 'as built');
$node->backup('base');
my $standby = new_node('standby', from_backup => [ $node, 'base', has_streaming => 1 ]);
$standby->start;
right($standby, 'after a base backup');

for my $method (@methods)
{
	$node->safe_psql('postgres', "DELETE FROM t_$method WHERE id % 7 = 2; UPDATE t_$method SET v = iqdb_random(12), b = random_bits(90) WHERE id % 7 = 3; "
		  . "UPDATE t_$method SET w = NULL, b = 0::bit(90) WHERE id % 11 = 4");
	$node->safe_psql('postgres', "VACUUM t_$method");
	$node->safe_psql('postgres', add($method, 150));
}
right($node, 'after changes');
wait_replay($node, $standby);
right($standby, 'after changes, on a standby');

my $offset = log_size($node);
$node->restart;
right($node, 'after a restart');
cmp_ok(opened($node, $offset)->{loaded}, '>', 0, 'rows came from snapshots');
is(opened($node, $offset)->{rebuilt}, 0, 'none from the table');

# what is in the log only
for my $method (@methods)
{
	$node->safe_psql('postgres', "SELECT iqdb_flush('t_${method}_$_')") for sort keys %column;
	$node->safe_psql('postgres', add($method, 80));
	$node->safe_psql('postgres', "SET iqdb.fsync = always; " . add($method, 20));
}
$offset = log_size($node);
kill_server($node);
$node->start;
right($node, 'after a crash');
cmp_ok(opened($node, $offset)->{replayed}, '>', 0, 'changes came from logs');
is(opened($node, $offset)->{rebuilt}, 0, 'again none from the table');

$node->stop('fast');
remove_tree($node->data_dir . '/iqdb');
$offset = log_size($node);
$node->start;
right($node, 'after the loss of all own files');
cmp_ok(opened($node, $offset)->{rebuilt}, '>', 0, 'all rows came from the table');

$node->safe_psql('postgres', "REINDEX INDEX CONCURRENTLY t_${_}_b; ALTER TABLE t_$_ ALTER v TYPE iqhalfvec(12); "
	  . "ALTER TABLE t_$_ ALTER b TYPE bit(90) USING ~b") for @methods;
right($node, 'after a rewrite of the table');
wait_replay($node, $standby);
$standby->promote;
$standby->safe_psql('postgres', add($_, 30)) for @methods;
right($standby, 'after a promotion');

$standby->stop;
$node->stop;
done_testing();
