# 033_recovery.pl - who recovers an index that nobody has open, and what the others do meanwhile.
#
# Statements that change rows never wait for it, nor does the planner; searches read the table; a worker does it, and what was
# done is kept when somebody is interrupted. Whatever goes wrong, the statements on the table go on. And a full index comes
# back when rows have gone.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IqdbTest;
use FailTest;

my $node = new_node('recovery', conf => "iqdb.fsync_interval = 50ms\n");
$node->start;
install($node);
prepare_answers($node);
my @methods = $ENV{IQDB_METHODS} ? split(/ /, $ENV{IQDB_METHODS}) : methods($node);
my $distance = "v <-> '[1,1,1,1]'";
my $search = "SET enable_seqscan = off; SELECT count(*) FROM (SELECT 1 FROM t ORDER BY $distance LIMIT 5) s";

sub state { return one($node, "SELECT state FROM iqdb_index_stats('t_v')") }
sub planned { return one($node, "SET enable_seqscan = off; EXPLAIN (COSTS OFF) SELECT id FROM t ORDER BY $distance LIMIT 3") =~ /Index Scan using t_v/ ? 'index' : 'table' }
sub opened { my ($offset) = @_; return scalar(() = log_since($node, $offset) =~ /index "t_v" opened in/g) }

sub fresh_table
{
	my ($method, $rows, $with) = @_;
	$node->safe_psql('postgres', "DROP TABLE IF EXISTS t; CREATE TABLE t (id serial, v iqvector(4)); "
		  . "INSERT INTO t (v) SELECT vec() FROM generate_series(1, $rows); CREATE INDEX t_v ON t USING $method (v)");
}

# Memory is gone, and own files too unless they are kept; the next statement finds the index closed.
sub close_index
{
	my ($files_too) = @_;
	unlink glob($node->data_dir . '/iqdb/*/*') if $files_too;
	unlink glob(arena_folder_of($node) . '/*');
}

# Statements of every kind, none of which may fail.
sub statements_go_on
{
	my ($what) = @_;
	my ($code, $out, $err) = $node->psql('postgres', "SET client_min_messages = error; $search;\nINSERT INTO t (v) SELECT vec() FROM generate_series(1, 5);\n"
		  . "UPDATE t SET v = vec() WHERE id % 50 = 3;\nDELETE FROM t WHERE id % 50 = 4;\nEXPLAIN SELECT 1 FROM t ORDER BY $distance LIMIT 5;\n", on_error_stop => 0);
	is($err, '', "$what: statements go on");
	like($out, qr/^5$/m, "$what: a search answers");
}

for my $method (@methods)
{
	# ---- a worker recovers, and is held up in the middle ----
	fresh_table($method, 500);
	close_index(1);
	my $offset = log_size($node);
	is(planned(), 'index', "$method: the planner opens nothing");
	is(state(), 'closed', "$method: and asks nobody to");
	setting($node, 'iqdb.fail_point', 'rebuild-row:sleep:20');
	$node->safe_psql('postgres', 'INSERT INTO t (v) SELECT vec()');
	wait_for_point($node, 'rebuild-row');
	is(state(), 'recovering', "$method: the state says so");
	is(planned(), 'table', "$method: the planner leaves it out");
	statements_go_on("$method: while a worker reads the table");
	is(one($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'iqdb recovery'"), 1, "$method: there is one worker");
	setting($node, 'iqdb.fail_point', undef);
	let_go($node, 'rebuild-row');
	wait_until('the worker', sub { state() !~ /recovering|building/ });
	is(opened($offset), 1, "$method: it was opened once");
	is(planned(), 'index', "$method: and is used");
	same($node, 't', "$method: as the table");

	# ---- a search without own files ----
	close_index(1);
	is(one($node, $search), 5, "$method: a search reads the table");
	wait_until('the worker', sub { state() eq 'ready' });
	same($node, 't', "$method: and asks for a worker");

	# ---- a search that is cancelled while it loads files: somebody goes on ----
	$node->safe_psql('postgres', "SELECT iqdb_flush('t_v')");
	close_index(0);
	$offset = log_size($node);
	my $session = background($node, 'loaded:sleep', $search);
	wait_for_point($node, 'loaded');
	$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%ORDER BY v%' AND pid <> pg_backend_pid()");
	$node->safe_psql('postgres', 'INSERT INTO t (v) SELECT vec() FROM generate_series(1, 2000)');
	let_go($node, 'loaded');
	like(finish($session), qr/canceling statement/, "$method: a search is cancelled while it loads");
	wait_until('the worker', sub { state() !~ /closed|recovering/ });
	like(log_since($node, $offset), qr/opened in [\d.]+ ms: [1-9]\d* rows loaded/, "$method: and a worker loads instead");
	same($node, 't', "$method: as the table");

	# ---- what was read is kept ----
	setting($node, 'iqdb.background_worker', 'off');
	close_index(1);
	$offset = log_size($node);
	my (undef, undef, $err) = $node->psql('postgres', "LOAD 'iqdb'; SET iqdb.fail_point = 'finish-build:error'; SELECT iqdb_prewarm('t_v')");
	like($err, qr/fail point/, "$method: interrupted when the rows are there");
	is(state(), 'building', "$method: they are of use already");
	is(planned(), 'index', "$method: searches take them");
	is(one($node, $search), 5, "$method: and answer");
	same($node, 't', "$method: as the table");
	is(state(), 'ready', "$method: iqdb_prewarm goes on");
	is(opened($offset), 1, "$method: the table was read once");

	# ---- every failure of a load is one of the load alone: the same code for every method ----
	for my $point ($method eq $methods[0] ? ('snapshot-read', 'replay-frame', 'rebuild-put') : ())
	{
		# of IqdbStatus, from its first error to its last; a cancel that nobody asked for is no failure
		for my $status (grep { $_ != 15 } 1 .. 17)
		{
			$node->safe_psql('postgres', "SELECT iqdb_flush('t_v'); INSERT INTO t (v) SELECT vec() FROM generate_series(1, 3)");
			close_index($point eq 'rebuild-put');
			$node->append_conf('postgresql.conf', "iqdb.fail_point = '$point:status$status'\n");
			$node->reload;
			statements_go_on("$method: $point returns $status");
			$node->append_conf('postgresql.conf', "iqdb.fail_point = ''\n");
			$node->reload;
			same($node, 't', "$method: $point returns $status: and then as the table");
		}
	}
	setting($node, 'iqdb.background_worker', undef);
}

# ---- a worker that fails: nobody asks for another with each row ----
{
	fresh_table('iqdb_flat', 100);
	$node->safe_psql('postgres', "CREATE TABLE o AS SELECT * FROM t; CREATE INDEX o_v ON o USING iqdb_flat (v); SELECT iqdb_flush('t_v')");
	setting($node, 'iqdb.on_corruption', 'error');
	for my $path (glob($node->data_dir . '/iqdb/*/*.snap'))
	{
		truncate $path, int((-s $path) / 2) or die "$path: $!";
	}
	close_index(0);
	my $offset = log_size($node);
	my $failed = sub { return scalar(() = log_since($node, $offset) =~ /worker "iqdb recovery" \(PID \d+\) exited with exit code 1/g) };
	$node->safe_psql('postgres', 'INSERT INTO t (v) SELECT vec()');
	wait_until('the worker', sub { $failed->() == 1 });
	$node->safe_psql('postgres', 'INSERT INTO t (v) SELECT vec()') for 1 .. 5;
	# with one for another index, any that were asked for before have come, too
	$node->safe_psql('postgres', 'INSERT INTO o (v) SELECT vec()');
	wait_until('the other worker', sub { $failed->() >= 2
		  && one($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'iqdb recovery'") == 0 });
	is($failed->(), 2, 'a worker that fails has no successor at once');
	is(state(), 'closed', 'and the state says that nobody is at it');
	like(($node->psql('postgres', $search))[2], qr/is damaged/, 'a search says what is wrong');
	setting($node, 'iqdb.on_corruption', undef);
	$node->safe_psql('postgres', 'DROP TABLE o');
	same($node, 't', 'as the table');
}

# ---- an expression that cannot be evaluated ----
$node->safe_psql('postgres', <<'SQL');
CREATE SCHEMA elsewhere;
CREATE FUNCTION elsewhere.twice(v iqvector) RETURNS iqvector LANGUAGE sql IMMUTABLE AS 'SELECT v + v';
SET search_path = public, elsewhere;
CREATE FUNCTION of_row(v iqvector) RETURNS iqvector LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN twice(v); END';
DROP TABLE t;
CREATE TABLE t (id serial, v iqvector(4));
INSERT INTO t (v) SELECT vec() FROM generate_series(1, 100);
SQL
SKIP:
{
	# servers from 17 on evaluate as we do from the start
	my ($code) = $node->psql('postgres', "SET search_path = public, elsewhere; CREATE INDEX t_v ON t USING iqdb_flat ((of_row(v)::iqvector(4)))");
	skip 'this server refuses such an index', 1 if $code != 0;
	for my $worker ('on', 'off')
	{
		setting($node, 'iqdb.background_worker', $worker);
		close_index(1);
		my $offset = log_size($node);
		my ($code, $out, $err) = $node->psql('postgres', <<'SQL', on_error_stop => 0);
SET client_min_messages = error; SET enable_seqscan = off; SET search_path = public, elsewhere;
INSERT INTO t (v) SELECT vec() FROM generate_series(1, 5);
SELECT count(*) FROM (SELECT 1 FROM t ORDER BY of_row(v)::iqvector(4) <-> '[1,1,1,1]' LIMIT 5) s;
SELECT count(*) FROM (SELECT 1 FROM t ORDER BY of_row(v)::iqvector(4) <-> '[1,1,1,1]' LIMIT 5) s;
DELETE FROM t WHERE id % 5 = 2;
VACUUM t;
SELECT count(*) FROM (SELECT 1 FROM t ORDER BY of_row(v)::iqvector(4) <-> '[1,1,1,1]' LIMIT 5) s;
SQL
		is($err, '', "an expression that fails, worker $worker: statements go on");
		is($out, "5\n5\n5", "an expression that fails, worker $worker: searches answer");
		wait_until('the log', sub { log_since($node, $offset) =~ /index "t_v" is left out: function twice/ });
		sql_fails($node, "SELECT iqdb_prewarm('t_v');", '42883', 'HINT: +Functions that an index uses should name the schema',
			"an expression that fails, worker $worker: iqdb_prewarm says why, and what to do");
	}
	$node->safe_psql('postgres', "ALTER FUNCTION of_row SET search_path = public, elsewhere; SELECT iqdb_prewarm('t_v')");
	is(one($node, "SET enable_seqscan = off; EXPLAIN SELECT 1 FROM t ORDER BY of_row(v)::iqvector(4) <-> '[1,1,1,1]'") =~ /using t_v/ ? 1 : 0,
		1, 'mended, the index is used');
	sound($node, 't_v', 'and sound');
}
setting($node, 'iqdb.background_worker', undef);

# ---- a full index whose rows go ----
my $vector = '(SELECT array_agg(random() + 0 * i + 0 * j)::real[]::iqvector FROM generate_series(1, 128) j)';
for my $method (@methods)
{
	for my $restart ('no', 'no, with a snapshot of many rows', 'when it is full', 'before VACUUM')
	{
		setting($node, 'iqdb.arena_limit', '8MB');
		$node->safe_psql('postgres', "DROP TABLE t; CREATE TABLE t (id serial, v iqvector(128)); INSERT INTO t (v) SELECT $vector "
			  . "FROM generate_series(1, 500) i; CREATE INDEX t_v ON t USING $method (v)");
		# more than fit beside what came since
		my $many = $method eq 'iqdb_hnsw' ? 4500 : 9000;
		$node->safe_psql('postgres', "INSERT INTO t (v) SELECT $vector FROM generate_series(1, $many) i; SELECT iqdb_flush('t_v')")
		  if $restart =~ /snapshot/;
		my (undef, undef, $err) = $node->psql('postgres', "INSERT INTO t (v) SELECT $vector FROM generate_series(1, "
			  . "15500 - (SELECT count(*) FROM t)) i");
		like($err, qr/has fallen behind/, "$method: full, restart $restart");
		$node->restart if $restart =~ /^when/;
		$node->safe_psql('postgres', 'DELETE FROM t WHERE id % 5 > 0');
		$node->restart if $restart =~ /VACUUM/;
		$node->safe_psql('postgres', 'VACUUM t');
		is(one($node, "SELECT state ~ 'ready|building', rows, journal_lag FROM iqdb_index_stats('t_v')"), 't|3100|0',
			"$method: full, restart $restart: VACUUM brings it back when rows have gone");
		sound($node, 't_v', "$method: full, restart $restart: iqdb_check");
	}
	setting($node, 'iqdb.arena_limit', undef);
}

$node->stop;
done_testing();
