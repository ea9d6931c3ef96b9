# 013_standby.pl - standbys, promotion, base backups under load, and recovery to a point in time.
#
# A standby gets the journal and the table by the server's own replication and makes its own index of them. Whatever a
# query there sees of the table, it finds through the index. Own files of other histories are refused.
use strict;
use warnings;
use File::Copy qw(copy);
use File::Path qw(make_path remove_tree);
use IqdbTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = new_node('primary', init => [ allows_streaming => 1, has_archiving => 1 ], conf => <<'CONF');
max_wal_size = 256MB
wal_keep_size = 128MB
iqdb.fsync_interval = 50ms
CONF
$primary->start;
install($primary);
my @methods = methods($primary);
my $add = 'INSERT INTO %s (v) SELECT iqdb_random(6) FROM generate_series(1, %d)';

for my $method (@methods)
{
	$primary->safe_psql('postgres', "CREATE TABLE t_$method (id serial, v iqvector(6)); "
		  . sprintf("$add; ", "t_$method", 400)
		  . "CREATE INDEX t_${method}_v ON t_$method USING $method (v) @{[place_of_vectors($method)]}; "
		  . sprintf($add, "t_$method", 50));
}

# ---- a base backup under load ----
my $load = start_load($primary, 30, 2, {
	map { (
		"\\set i random(1, 2000)\nINSERT INTO t_$_ (v) SELECT iqdb_random(6) FROM generate_series(1, 5);\n" => 3,
		"\\set i random(1, 2000)\nDELETE FROM t_$_ WHERE id BETWEEN :i AND :i + 4;\n" => 3,
		"VACUUM t_$_;\n" => 1,
		"SELECT iqdb_flush('t_${_}_v');\n" => 1,
		"CHECKPOINT;\n" => 1) } @methods });
$primary->backup('under_load');
my $standby = new_node('standby', from_backup => [ $primary, 'under_load', has_streaming => 1 ]);
$standby->start;
$load->{run}->signal('INT');
finish_load($load);

# The standby answers as its own table does, and its table is the primary's.
sub same
{
	my ($what, $table, $method, %args) = @_;
	wait_replay($primary, $standby);
	is(one($standby, "SELECT count(*), sum(id) FROM $table"), one($primary, "SELECT count(*), sum(id) FROM $table"),
		"$method: $what: the standby's table is the primary's");
	agree($standby, "$method: $what: the standby's index is as a sequential scan", table => $table, method => $method,
		queries => 4, %args);
}

# Copies own files of a node, for every index, or puts them back in place of those that are there.
sub save_files
{
	my ($node, $folder) = @_;
	remove_tree($folder);
	system_or_bail('cp', '-r', $node->data_dir . '/iqdb', $folder);
}

sub put_files
{
	my ($node, $folder) = @_;
	remove_tree($node->data_dir . '/iqdb');
	system_or_bail('cp', '-r', $folder, $node->data_dir . '/iqdb');
}

for my $method (@methods)
{
	my $t = "t_$method";

	same('after a base backup under load', $t, $method);
	sound($standby, "${t}_v", "$method: iqdb_check on the standby");

	# ---- rows come and go ----
	$primary->safe_psql('postgres', sprintf($add, $t, 60));
	same('new rows', $t, $method);
	$primary->safe_psql('postgres', "DELETE FROM $t WHERE id % 5 = 1; UPDATE $t SET v = iqdb_random(6) WHERE id % 5 = 2");
	same('deleted and updated rows', $t, $method);
	$primary->safe_psql('postgres', "VACUUM $t");
	same('vacuum', $t, $method);
	$primary->safe_psql('postgres', "INSERT INTO $t (v) SELECT NULL FROM generate_series(1, 200)");
	same('places of deleted rows taken by rows without vector', $t, $method);
	sound($standby, "${t}_v", "$method: iqdb_check on the standby, after reuse");
	is(one($standby, "SELECT journal_lag FROM iqdb_index_stats('${t}_v')"), 0, "$method: nothing is behind");

	# the same between two looks of the standby at its index: it learns of each row when the row is gone
	$primary->safe_psql('postgres', "DELETE FROM $t WHERE v IS NULL");
	$primary->safe_psql('postgres', "VACUUM $t");
	$primary->safe_psql('postgres', sprintf($add, $t, 150));
	$primary->safe_psql('postgres', "DELETE FROM $t WHERE id > (SELECT max(id) - 150 FROM $t)");
	$primary->safe_psql('postgres', "VACUUM $t");
	$primary->safe_psql('postgres', "INSERT INTO $t (v) SELECT CASE WHEN i % 2 = 0 THEN iqdb_random(6) END FROM generate_series(1, 100) i");
	same('rows that came and went unseen', $t, $method);
	sound($standby, "${t}_v", "$method: iqdb_check on the standby, after rows unseen");

	# the primary forgets what it has applied (its index opens anew), and vacuums rows that it has never had in memory
	$primary->safe_psql('postgres', sprintf($add, $t, 80));
	wait_replay($primary, $standby);
	agree($standby, "$method: the standby has rows ...", table => $t, method => $method, queries => 2);
	$primary->safe_psql('postgres', "DELETE FROM $t WHERE id % 7 = 2");
	kill_server($primary);
	remove_tree($primary->data_dir . '/iqdb') if $method eq $methods[0];
	$primary->start;
	# prunes, so that a fresh look at the table finds dead line pointers only
	one($primary, "SET enable_indexscan = off; SELECT count(*) FROM $t WHERE v IS NOT NULL");
	one($primary, "SELECT iqdb_prewarm('${t}_v')");
	$primary->safe_psql('postgres', "VACUUM $t");
	$primary->safe_psql('postgres', "INSERT INTO $t (v) SELECT NULL FROM generate_series(1, 150)");
	same('... that the primary deletes after it has lost its files', $t, $method);
	agree($primary, "$method: the primary as well", table => $t, method => $method, queries => 2);
	sound($standby, "${t}_v", "$method: iqdb_check on the standby, after the primary's crash");
	$primary->safe_psql('postgres', "DELETE FROM $t WHERE v IS NULL");

	# ---- a snapshot on the standby that is taken before the rows it will see ----
	my $reader = $standby->background_psql('postgres');
	$reader->query_safe("SET enable_seqscan = off; BEGIN ISOLATION LEVEL REPEATABLE READ; "
		  . "SELECT count(*) FROM (SELECT 1 FROM $t ORDER BY v <-> '[1,1,1,1,1,1]') s");
	my $seen = one($standby, "SELECT count(*) FROM $t WHERE v IS NOT NULL");
	$primary->safe_psql('postgres', sprintf($add, $t, 33));
	wait_replay($primary, $standby);
	is($reader->query_safe("SELECT count(*) FROM (SELECT 1 FROM $t ORDER BY v <-> '[1,1,1,1,1,1]') s"), $seen,
		"$method: an old snapshot on the standby sees what it saw");
	$reader->query_safe('COMMIT');
	is($reader->query_safe("SELECT count(*) FROM (SELECT 1 FROM $t ORDER BY v <-> '[1,1,1,1,1,1]') s"), $seen + 33,
		"$method: the next one sees the new rows");
	$reader->quit;

	# ---- other generations ----
	$primary->safe_psql('postgres', "REINDEX INDEX ${t}_v; " . sprintf($add, $t, 20));
	same('REINDEX', $t, $method);
	$primary->safe_psql('postgres', "CREATE INDEX ${t}_w ON $t USING $method (v iqvector_l1_ops); " . sprintf($add, $t, 20));
	same('a new index', $t, $method, op => '<+>');
	$primary->safe_psql('postgres', "DROP INDEX ${t}_w");
	$primary->safe_psql('postgres', "BEGIN; TRUNCATE $t; ROLLBACK; BEGIN; TRUNCATE $t; " . sprintf("$add; COMMIT", $t, 70));
	same('TRUNCATE', $t, $method);
	$primary->safe_psql('postgres', sprintf($add, $t, 300));
	$primary->safe_psql('postgres', "VACUUM FULL $t");
	same('VACUUM FULL', $t, $method);

	# ---- own files of the standby ----
	$primary->safe_psql('postgres', sprintf($add, $t, 40));
	wait_replay($primary, $standby);
	cmp_ok(one($standby, "SELECT iqdb_flush('${t}_v')"), '>', 300 * 2, "$method: a standby writes snapshots of its own");
	$primary->safe_psql('postgres', sprintf($add, $t, 25));
	wait_replay($primary, $standby);
	agree($standby, "$method: rows behind it", table => $t, method => $method, queries => 2);
	my $offset;
	for my $way ('restart', 'crash')
	{
		if ($way eq 'crash') { kill_server($standby) }
		else { $standby->stop }
		$primary->safe_psql('postgres', sprintf("$add; DELETE FROM $t WHERE id %% 9 = 4", $t, 15));
		$offset = log_size($standby);
		$standby->start;
		same("$way of the standby", $t, $method);
		like(log_since($standby, $offset), qr/index "${t}_v" opened in [\d.]+ ms: [1-9]\d* rows loaded from snapshot, .* 0 rows rebuilt/,
			"$method: $way of the standby: from its own snapshot");
		sound($standby, "${t}_v", "$method: $way: iqdb_check on the standby");
	}
	grow_old($standby);
	one($standby, 'SELECT iqdb_sweep()');
	my $generations = one($standby, "SELECT string_agg(s.generation, '|') FROM pg_class c JOIN pg_am a ON a.oid = c.relam, "
		  . "iqdb_index_stats(c.oid::regclass) s WHERE a.amname LIKE 'iqdb%' AND c.relkind = 'i'");
	is_deeply([ grep { !/$generations/ } arena_files($standby), own_files($standby) ], [],
		"$method: a sweep on the standby removes what is gone");
}

# ---- points in time ----
$primary->backup('point');
for my $method (@methods)
{
	$primary->safe_psql('postgres', sprintf("$add; SELECT iqdb_flush('t_${method}_v')", "t_$method", 30));
	$primary->safe_psql('postgres', sprintf($add, "t_$method", 31));
}
my $files = $primary->data_dir . '/../files';
save_files($primary, "$files.before");
my %count_before = map { $_ => one($primary, "SELECT count(*) FROM t_$_") } @methods;
$primary->safe_psql('postgres', "SELECT pg_create_restore_point('before')");
for my $method (@methods)
{
	$primary->safe_psql('postgres', "DELETE FROM t_$method WHERE id % 6 = 0");
	$primary->safe_psql('postgres', "VACUUM t_$method");
	$primary->safe_psql('postgres', sprintf("$add; SELECT iqdb_flush('t_${method}_v')", "t_$method", 100));
}
save_files($primary, "$files.after");
$primary->safe_psql('postgres', "SELECT pg_create_restore_point('after')");
my %count_after = map { $_ => one($primary, "SELECT count(*) FROM t_$_") } @methods;
# the file's name is of the place switched from: what the server itself writes afterwards stands in the next one
my $file = one($primary, 'SELECT pg_walfile_name(pg_switch_wal())');
$primary->poll_query_until('postgres', "SELECT last_archived_wal >= '$file' FROM pg_stat_archiver")
  or die 'not archived';

my $number = 0;
for my $case ([ 'before', 'before' ], [ 'before', 'after' ], [ 'after', 'before' ], [ 'after', 'after' ])
{
	my ($point, $kept) = @$case;
	my $node = new_node('point' . $number++, from_backup => [ $primary, 'point', has_restoring => 1, standby => 0 ],
		conf => "recovery_target_name = '$point'\nrecovery_target_action = promote\n");
	put_files($node, "$files.$kept");
	$node->start;
	$node->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'no end of recovery';
	for my $method (@methods)
	{
		my $what = "$method: the point '$point' with own files of '$kept'";
		is(one($node, "SELECT count(*) FROM t_$method"), $point eq 'before' ? $count_before{$method} : $count_after{$method},
			"$what: the table is right");
		agree($node, "$what: as a sequential scan", table => "t_$method", method => $method, queries => 4);
		like(log_since($node, 0), qr/snapshot "\S+" of index "t_${method}_v" is refused: it is of another history/,
			"$what: the future is refused") if $point eq 'before' && $kept eq 'after';
		like(log_since($node, 0), qr/index "t_${method}_v" opened in [\d.]+ ms: [1-9]\d* rows loaded from snapshot, .* 0 rows rebuilt/,
			"$what: own files are of use") if $point eq 'after';
		$node->safe_psql('postgres', sprintf("$add; DELETE FROM t_$method WHERE id %% 10 = 3", "t_$method", 20));
		$node->safe_psql('postgres', "VACUUM t_$method; ");
		$node->safe_psql('postgres', sprintf($add, "t_$method", 20));
		agree($node, "$what: and goes on", table => "t_$method", method => $method, queries => 2);
		sound($node, "t_${method}_v");
	}
	$node->stop('immediate');
}

# ---- promotion, and files of the other timeline ----
wait_replay($primary, $standby);
$standby->promote;
$standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'no promotion';
for my $method (@methods)
{
	my $t = "t_$method";
	agree($standby, "$method: after promotion", table => $t, method => $method);
	# the same places, other vectors: the journals hold the same entries but for their epochs
	for my $node ($primary, $standby)
	{
		$node->safe_psql('postgres', sprintf("$add; SELECT iqdb_flush('${t}_v')", $t, 50));
		$node->safe_psql('postgres', sprintf($add, $t, 10));
		agree($node, "$method: each goes its way", table => $t, method => $method, queries => 3);
	}
}
save_files($_->[0], "$files.$_->[1]") for [ $primary, 'old' ], [ $standby, 'new' ];
for my $case ([ $primary, 'new' ], [ $standby, 'old' ])
{
	my ($node, $whose) = @$case;
	$node->stop;
	put_files($node, "$files.$whose");
	my $offset = log_size($node);
	$node->start;
	for my $method (@methods)
	{
		agree($node, "$method: with files of the $whose timeline", table => "t_$method", method => $method);
		sound($node, "t_${method}_v", "$method: iqdb_check, files of the $whose timeline");
		like(log_since($node, $offset), qr/snapshot "\S+" of index "t_${method}_v" is refused: it is of another history/,
			"$method: files of the $whose timeline are refused");
	}
}
for my $method (@methods)
{
	$standby->safe_psql('postgres', "DELETE FROM t_$method WHERE id % 3 = 0");
	$standby->safe_psql('postgres', "VACUUM t_$method");
	$standby->safe_psql('postgres', sprintf($add, "t_$method", 100));
	agree($standby, "$method: the promoted standby goes on", table => "t_$method", method => $method);
	sound($standby, "t_${method}_v", "$method: iqdb_check of the promoted standby");
}
$standby->stop;
$primary->stop;
is_deeply([ arena_files($standby), arena_files($primary) ], [], 'nothing is left in shared memory');
done_testing();
