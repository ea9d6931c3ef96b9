# 038_columns.pl - columns behind the vector through all of a node's life: restarts, crashes, lost files, files of another shape,
# a standby and its promotion, values out of line, dead rows, changes of one column alone.
#
# Values go through the log, snapshots, the table and the journal, each way once here. The answers are those of a sequential
# scan, and iqdb_check compares every value with the table's.
use strict;
use warnings;
use File::Path qw(remove_tree);
use IqdbTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('primary', init => [ allows_streaming => 1 ], conf => "iqdb.fsync_interval = 50ms\njit = off\n");
$node->start;
install($node);
$node->safe_psql('postgres', <<'SQL');
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN price AS float8 CHECK (VALUE >= 0);
-- a long text that cannot be compressed, the same for the same number
CREATE FUNCTION long_text(n int) RETURNS text IMMUTABLE LANGUAGE sql AS
	$$SELECT string_agg(md5(n || ' ' || i), '') FROM generate_series(1, 200) i$$;
SQL
my @methods = methods($node);
my @filters = (
	"n = 3", "n > 5 AND p < 0.5", "t = 'text 4'", "t IN ('text 1', 'text 2') AND NOT b", "m > 'sad'", "l && '{1,2}'", "3 = ANY (l)",
	"n IS NULL", "long = long_text(3)", "b AND l @> '{4}' AND n <> 2", "d BETWEEN '2026-01-03' AND '2026-01-20'");

sub add
{
	my ($method, $count) = @_;
	return "INSERT INTO t_$method (v, n, p, b, d, t, m, l, long) SELECT CASE WHEN random() < 0.9 THEN iqdb_random(6) END, "
	  . "nullif(floor(random() * 10), 7), random(), random() < 0.5, date '2026-01-01' + floor(random() * 30)::int, "
	  . "'text ' || floor(random() * 6), (enum_range(NULL::mood))[1 + floor(random() * 3)], "
	  . "ARRAY[floor(random() * 5), floor(random() * 5)]::int[], long_text(floor(random() * 5)::int) FROM generate_series(1, $count);";
}

for my $method (@methods)
{
	my $place = place_of_vectors($method);

	$node->safe_psql('postgres', "CREATE TABLE t_$method (id serial, v iqvector(6), n smallint, p price, b boolean, d date, t text, "
		  . "m mood, l int[], long text); ALTER TABLE t_$method ALTER long SET STORAGE external; " . add($method, 500));
	$node->safe_psql('postgres', "CREATE INDEX t_${method}_v ON t_$method USING $method (v, n, p, b, d, t, m, l, long) $place");
	$node->safe_psql('postgres', "CREATE INDEX t_${method}_e ON t_$method USING $method (v iqvector_cosine_ops, (n + 1), lower(t)) $place WHERE b");
	$node->safe_psql('postgres', add($method, 60));
}

# Each filter by an index of each method.
sub right
{
	my ($where, $what) = @_;

	for my $method (@methods)
	{
		my @statements = map { agree_sql(table => "t_$method", method => $method, queries => 1, limit => 5, filter => $_, recall => 0.7) } @filters;
		push @statements, agree_sql(table => "t_$method", op => '<=>', method => $method, queries => 2, limit => 5, recall => 0.7,
			filter => "b AND n + 1 < 5 AND lower(t) = 'text 3'");
		my ($code, $out, $err) = $where->psql('postgres', join("\n", @statements));
		is("$code|$out|$err", '0||', "$method: $what");
		sound($where, "t_${method}_v", "$method: $what: iqdb_check");
		sound($where, "t_${method}_e", "$method: $what: iqdb_check of expressions");
	}
}

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

# The plans of these queries do take the conditions.
for my $method (@methods)
{
	for my $filter (@filters)
	{
		like(one($node, "SET enable_seqscan = off; EXPLAIN (COSTS OFF) SELECT id FROM t_$method WHERE $filter ORDER BY v <-> '[1,0,1,0,1,0]' LIMIT 5"),
			qr/Index Cond/, "$method takes $filter");
	}
}
right($node, 'as built');
$node->backup('base');
my $standby = new_node('standby', from_backup => [ $node, 'base', has_streaming => 1 ]);
$standby->start;
right($standby, 'after a base backup');

# one column alone, the vector alone, both; to NULL and back; rows that VACUUM takes
for my $method (@methods)
{
	$node->safe_psql('postgres', "DELETE FROM t_$method WHERE id % 7 = 2; UPDATE t_$method SET n = (id % 10)::smallint WHERE id % 7 = 3; "
		  . "UPDATE t_$method SET t = 'text 4', l = NULL WHERE id % 11 = 4; UPDATE t_$method SET v = iqdb_random(6) WHERE id % 13 = 5; "
		  . "UPDATE t_$method SET v = NULL WHERE id % 17 = 6; UPDATE t_$method SET long = long_text(3) WHERE id % 19 = 7; "
		  . "UPDATE t_$method SET m = 'sad', v = iqdb_random(6), n = NULL WHERE id % 23 = 8;");
	$node->safe_psql('postgres', "VACUUM t_$method");
	$node->safe_psql('postgres', add($method, 100));
}
right($node, 'after changes');
wait_replay($node, $standby);
right($standby, 'after changes, on a standby');

my $offset = log_size($node);
$node->restart;
right($node, 'after a restart');
cmp_ok(opened($node, $offset)->{loaded}, '>', 0, 'rows came from snapshots');
is(opened($node, $offset)->{rebuilt}, 0, 'none from the table');

# what is in the log only, and what is in the journal only
for my $method (@methods)
{
	$node->safe_psql('postgres', "SELECT iqdb_flush('t_${method}_v'), iqdb_flush('t_${method}_e')");
	$node->safe_psql('postgres', add($method, 60));
	$node->safe_psql('postgres', "SET iqdb.fsync = always; " . add($method, 20));
}
$offset = log_size($node);
kill_server($node);
$node->start;
right($node, 'after a crash');
cmp_ok(opened($node, $offset)->{replayed}, '>', 0, 'changes came from logs');
is(opened($node, $offset)->{rebuilt}, 0, 'again none from the table');

$node->safe_psql('postgres', "SELECT iqdb_flush('t_${_}_v'), iqdb_flush('t_${_}_e')") for @methods;
$node->safe_psql('postgres', add($_, 40)) for @methods;
$node->stop('fast');
unlink map { $node->data_dir . "/$_" } own_files($node, 'log');
$offset = log_size($node);
$node->start;
right($node, 'after the loss of all logs');

$node->stop('fast');
remove_tree($node->data_dir . '/iqdb');
$offset = log_size($node);
$node->start;
right($node, 'after the loss of all own files');
cmp_ok(opened($node, $offset)->{rebuilt}, '>', 0, 'all rows came from the table');

# a snapshot of an index that has other columns is none of this one's
for my $method (@methods)
{
	$node->safe_psql('postgres', "CREATE TABLE shape_$method (id serial, v iqvector(6), n smallint, k bigint); "
		  . "INSERT INTO shape_$method (v, n, k) SELECT iqdb_random(6), i % 7, i % 5 FROM generate_series(1, 300) i; "
		  . "CREATE INDEX shape_${method}_v ON shape_$method USING $method (v, n)");
	# the catalog says now that the index has the other column, which the table's rows have, and no snapshot
	$node->safe_psql('postgres', "SET allow_system_table_mods = on; "
		  . "UPDATE pg_index SET indkey = '2 4' WHERE indexrelid = 'shape_${method}_v'::regclass; "
		  . "UPDATE pg_attribute SET atttypid = 'bigint'::regtype, attlen = 8, attalign = 'd' WHERE attrelid = 'shape_${method}_v'::regclass AND attnum = 2; "
		  . "UPDATE pg_index SET indclass = (indclass[0] || ' ' || (SELECT c.oid FROM pg_opclass c JOIN pg_am a ON a.oid = opcmethod "
		  . "WHERE amname = '$method' AND opcname = 'int8_ops'))::oidvector WHERE indexrelid = 'shape_${method}_v'::regclass");
}
$offset = log_size($node);
$node->restart;
for my $method (@methods)
{
	agree($node, "$method: an index whose snapshot has other columns", table => "shape_$method", method => $method, queries => 2, filter => 'k = 3',
		recall => 0.7);
	sound($node, "shape_${method}_v", "$method: iqdb_check of it");
}
like(log_since($node, $offset), qr/snapshot .* is refused: it is of an index of other/, 'the log says why');

$node->safe_psql('postgres', "ALTER TYPE mood ADD VALUE 'bored' BEFORE 'ok'");
$node->safe_psql('postgres', "DROP TABLE shape_$_") for @methods;
$node->safe_psql('postgres', "UPDATE t_$_ SET m = 'bored' WHERE id % 5 = 1") for @methods;
right($node, 'after a new label of the enum between the others');
for my $method (@methods)
{
	$node->safe_psql('postgres', $_) for "REINDEX INDEX CONCURRENTLY t_${method}_v", "ALTER TABLE t_$method ALTER n TYPE integer", "VACUUM FULL t_$method";
}
right($node, 'after a column has another type');
wait_replay($node, $standby);
right($standby, 'and on a standby');
$standby->promote;
$standby->safe_psql('postgres', add($_, 30)) for @methods;
right($standby, 'after a promotion');

# a column without a place: what a dropped column leaves
$node->safe_psql('postgres', "ALTER TABLE t_$_ DROP COLUMN d") for @methods;
is(one($node, "SELECT count(*) FROM pg_class WHERE relname ~ '^t_.*_v\$'"), 0, 'an index goes with any of its columns');

$standby->stop;
$node->stop;
done_testing();
