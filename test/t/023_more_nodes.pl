# 023_more_nodes.pl - what comes to a node by other ways than streaming from a primary: a standby of a standby, transactions
# that were prepared before a promotion, an old primary brought back by pg_rewind, a backup without own files, a server that
# has not got the library.
use strict;
use warnings;
use File::Path qw(remove_tree);
use IqdbTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = new_node('primary', init => [ allows_streaming => 1 ], conf => <<'CONF');
wal_log_hints = on
wal_keep_size = 256MB
wal_retrieve_retry_interval = 100ms
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
		  . "CREATE INDEX t_${method}_v ON t_$method USING $method (v); "
		  . sprintf($add, "t_$method", 50));
}

# Every index of these nodes is as a sequential scan, and sound; and their tables are alike.
sub all_right
{
	my ($what, @nodes) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	for my $method (@methods)
	{
		my $t = "t_$method";
		my $rows = one($nodes[0], "SELECT count(*), sum(id) FROM $t");
		for my $node (@nodes)
		{
			my $label = "$method: $what, " . $node->name;
			is(one($node, "SELECT count(*), sum(id) FROM $t"), $rows, "$label: the table");
			agree($node, "$label: as a sequential scan", table => $t, method => $method, queries => 3);
			sound($node, "${t}_v", "$label: iqdb_check");
		}
	}
}

sub on_each
{
	my ($node, $sql) = @_;
	$node->safe_psql('postgres', join ';', map { $sql =~ s/\bTABLE\b/t_$_/gr } @methods);
	# VACUUM stands alone
	$node->safe_psql('postgres', "VACUUM t_$_") for @methods;
}

my $new = 'INSERT INTO TABLE (v) SELECT iqdb_random(6) FROM generate_series(1, 60)';

# ---- a standby of a standby ----
$primary->backup('base');
my $near = new_node('near', from_backup => [ $primary, 'base', has_streaming => 1 ]);
$near->start;
$near->backup('base');
my $far = new_node('far', from_backup => [ $near, 'base', has_streaming => 1 ]);
$far->start;

on_each($primary, $new);
wait_replay($primary, $near, $far);
all_right('new rows', $primary, $near, $far);
on_each($primary, $new);
wait_replay($primary, $near);
is(one($near, "SELECT state, journal_lag FROM iqdb_index_stats('t_${_}_v')"), 'behind|60', "$_: a standby says how far it is behind")
  for @methods;
all_right('and catches up', $primary, $near);
is(one($near, "SELECT state, journal_lag FROM iqdb_index_stats('t_${_}_v')"), 'ready|0', "$_: a standby that has caught up")
  for @methods;
on_each($primary, 'DELETE FROM TABLE WHERE id % 5 = 1; UPDATE TABLE SET v = iqdb_random(6) WHERE id % 5 = 2');
on_each($primary, 'INSERT INTO TABLE (v) SELECT NULL FROM generate_series(1, 200)');
wait_replay($primary, $near, $far);
all_right('places taken by rows without vector', $primary, $near, $far);

# an index that is made anew beside readers of the standbys
for my $method (@methods)
{
	my $t = "t_$method";
	my @readers = map { start_load($_, 3, 1, { "SET enable_seqscan = off;\n"
			  . "SELECT 1 / (count(*) - 3)::int FROM (SELECT id FROM $t ORDER BY v <-> '[1,1,1,1,1,1]' LIMIT 4) s;\n" => 1 }) }
	  $near, $far;
	$primary->safe_psql('postgres', "REINDEX INDEX CONCURRENTLY ${t}_v");
	$primary->safe_psql('postgres', sprintf($add, $t, 20));
	$primary->safe_psql('postgres', "REINDEX INDEX CONCURRENTLY ${t}_v");
	for my $reader (@readers)
	{
		my ($ok, $said) = finish_load($reader);
		# the lock that the end of REINDEX takes may end a reader, as on any standby
		$said =~ s/ERROR: +canceling statement due to conflict with recovery//;
		unlike($said, qr/ERROR/, "$method: REINDEX CONCURRENTLY beside readers of a standby");
	}
}
wait_replay($primary, $near, $far);
all_right('REINDEX CONCURRENTLY', $primary, $near, $far);

# ---- prepared before a promotion, ended behind it ----
for my $method (@methods)
{
	my $t = "t_$method";
	my $sql = sprintf("$add; DELETE FROM $t WHERE id %% 7 = 3", $t, 30);
	$primary->safe_psql('postgres', "BEGIN; $sql; PREPARE TRANSACTION 'kept_$method'");
	# it must not wait for the first
	$sql = sprintf("$add; UPDATE $t SET v = iqdb_random(6) WHERE id %% 7 = 4", $t, 30);
	$primary->safe_psql('postgres', "BEGIN; $sql; PREPARE TRANSACTION 'dropped_$method'");
	$primary->safe_psql('postgres', "CREATE TABLE made_$method (id serial, v iqvector(6)); "
		  . sprintf("$add; ", "made_$method", 40) . "CREATE INDEX made_${method}_v ON made_$method USING $method (v)");
	$primary->safe_psql('postgres', "BEGIN; TRUNCATE made_$method; " . sprintf($add, "made_$method", 25)
		  . "; PREPARE TRANSACTION 'truncated_$method'");
}
wait_replay($primary, $near, $far);
agree($near, "$_: beside prepared transactions", table => "t_$_", method => $_, queries => 2) for @methods;
$near->promote;
for my $method (@methods)
{
	$near->safe_psql('postgres', "COMMIT PREPARED 'kept_$method'");
	$near->safe_psql('postgres', "ROLLBACK PREPARED 'dropped_$method'");
	$near->safe_psql('postgres', "COMMIT PREPARED 'truncated_$method'");
	wait_replay($near, $far);
	for my $node ($near, $far)
	{
		is(one($node, "SELECT count(*) FROM made_$method"), 25, "$method: a TRUNCATE prepared before the promotion, " . $node->name);
		agree($node, "$method: and its index, " . $node->name, table => "made_$method", method => $method, queries => 2);
	}
}
all_right('prepared transactions ended behind the promotion', $near, $far);
on_each($near, $new);
wait_replay($near, $far);
all_right('the standby of the new primary goes on', $near, $far);

# ---- the old primary comes back by pg_rewind ----
for my $method (@methods)
{
	# rows, and a snapshot of them, that only the old one has: in places that the new one gives to others
	$primary->safe_psql('postgres', "ROLLBACK PREPARED '${_}_$method'") for qw(kept dropped truncated);
	$primary->safe_psql('postgres', sprintf("$add; SELECT iqdb_flush('t_${method}_v'); ", "t_$method", 70)
		  . sprintf($add, "t_$method", 30));
	$near->safe_psql('postgres', sprintf($add, "t_$method", 15) . "; INSERT INTO t_$method (v) SELECT NULL FROM generate_series(1, 80)");
}
$primary->stop;
my $kept = PostgreSQL::Test::Utils::tempdir();
system_or_bail('cp', '-r', $primary->data_dir . '/iqdb', "$kept/old");
system_or_bail('cp', $primary->data_dir . '/postgresql.conf', $kept);
# until its first checkpoint a promoted server's control file names the old timeline
$near->safe_psql('postgres', 'CHECKPOINT');
command_ok([ 'pg_rewind', '--source-server', $near->connstr('postgres'), '--target-pgdata', $primary->data_dir, '--no-sync',
		'--config-file', "$kept/postgresql.conf" ], 'pg_rewind');
system_or_bail('cp', "$kept/postgresql.conf", $primary->data_dir);
$primary->append_conf('postgresql.conf', "primary_conninfo = '" . $near->connstr . " application_name=primary'\n");
$primary->set_standby_mode;
$primary->start;
wait_replay($near, $primary);
all_right('rewound', $near, $primary);

# and with the own files that it had before
$primary->stop;
remove_tree($primary->data_dir . '/iqdb');
system_or_bail('cp', '-r', "$kept/old", $primary->data_dir . '/iqdb');
my $offset = log_size($primary);
$primary->start;
on_each($near, "DELETE FROM TABLE WHERE id % 9 = 2");
on_each($near, $new);
wait_replay($near, $primary);
all_right('rewound, with the own files from before', $near, $primary);
like(log_since($primary, $offset), qr/snapshot "\S+" of index "t_${_}_v" is refused: it is of another history/,
	"$_: a snapshot from before the rewind is refused") for @methods;

# ---- a backup without the own folder ----
$near->backup('bare');
my $folder = $near->backup_dir . '/bare';
remove_tree("$folder/iqdb");
my $bare = new_node('bare', from_backup => [ $near, 'bare', has_streaming => 1 ]);
$bare->start;
wait_replay($near, $bare);
all_right('a backup without own files', $near, $bare);
like(log_since($bare, 0), qr/index "t_${_}_v" opened in [\d.]+ ms: 0 rows loaded from snapshot, .* [1-9]\d* rows rebuilt/,
	"$_: all rows came from the table") for @methods;

# ---- a server without the library ----
my $bin = one_line('--bindir');
my $tree = PostgreSQL::Test::Utils::tempdir();
my ($top) = common_folder($bin, one_line('--pkglibdir'), one_line('--sharedir'));
system_or_bail('cp', '-a', "$top/.", $tree);
unlink one_line('--pkglibdir') =~ s/^\Q$top\E/$tree/r . '/iqdb.so' or die 'no library';
$bare->stop;
# the preload of a test setting would keep it from starting, as it should
{
	local $ENV{PATH} = ($bin =~ s/^\Q$top\E/$tree/r) . ":$ENV{PATH}";
	my @settings = grep { !/^iqdb\./ } split /^/, slurp_file($bare->data_dir . '/postgresql.conf');
	my $with = slurp_file($bare->data_dir . '/postgresql.conf');
	write_text($bare->data_dir . '/postgresql.conf', join '', @settings);
	$bare->start;
	write_text($bare->data_dir . '/postgresql.conf', $with);
}
on_each($near, $new);
on_each($near, 'DELETE FROM TABLE WHERE id % 8 = 5');
$near->safe_psql('postgres', 'CREATE TABLE other AS SELECT 7 AS i');
wait_replay($near, $bare);
is(one($bare, 'SELECT i FROM other'), 7, 'without the library: the standby runs');
for my $method (@methods)
{
	sql_fails($bare, "SELECT id FROM t_$method ORDER BY v <-> '[1,1,1,1,1,1]' LIMIT 1;", '58P01', 'could not (access file|load library) "[^"]*iqdb"',
		"$method: without the library: a query says what is missing");
}
unlike(log_since($bare, 0), qr/PANIC|TRAP|terminated by signal/, 'without the library: the server lives');
$bare->stop;
$bare->start;
wait_replay($near, $bare);
all_right('with the library again', $near, $bare);

sub one_line
{
	my ($option) = @_;
	my $text = `pg_config $option`;
	chomp $text;
	return $text;
}

# The deepest folder that all of these are in.
sub common_folder
{
	my ($first, @others) = @_;
	my $folder = $first;
	$folder =~ s{/[^/]*$}{} while grep { index("$_/", "$folder/") != 0 } @others;
	return $folder;
}

sub write_text
{
	my ($path, $text) = @_;
	open my $file, '>', $path or die "$path: $!";
	print $file $text;
	close $file;
}

for my $node ($bare, $primary, $far, $near)
{
	$node->stop;
	is_deeply([ arena_files($node) ], [], 'nothing is left in shared memory: ' . $node->name);
}
done_testing();
