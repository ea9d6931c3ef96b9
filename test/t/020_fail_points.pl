# The server dies, or a statement fails, at each fail point of the glue (src/pg/pg_fail.h), for each access method; what
# comes back must answer as the table does. Then the same with sessions that are held up at such a place while others
# go on.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IqdbTest;
use FailTest;

my $node = new_node('main', conf => "restart_after_crash = on\niqdb.background_worker = off\niqdb.journal_keep = 8\niqdb.fsync = always\n");
$node->start;
install($node);

prepare_answers($node);
my @methods = $ENV{IQDB_METHODS} ? split(/ /, $ENV{IQDB_METHODS}) : methods($node);

# Rows come, change and go; also rows without a vector, in the places of others.
sub churn
{
	my ($table) = @_;
	$node->safe_psql('postgres', <<"SQL");
INSERT INTO $table (v) SELECT vec() FROM generate_series(1, 30);
UPDATE $table SET v = vec() WHERE id % 7 = 0;
UPDATE $table SET note = note || 'x' WHERE id % 5 = 0;
DELETE FROM $table WHERE id % 11 = 0;
VACUUM $table;
INSERT INTO $table (v) SELECT CASE WHEN n % 3 > 0 THEN vec() END FROM generate_series(1, 30) n;
SQL
}

# What leads to a point: SQL to run before it is armed, whether the server restarts then, and the statement that meets it.
my $flush = sub { "SELECT iqdb_flush('$_[0]_v')" };
my $look = sub { "SET enable_seqscan = off; SELECT count(*) FROM (SELECT 1 FROM $_[0] ORDER BY v <-> '[1,1,1,1]') q" };
my $fill = sub { "INSERT INTO $_[0] (v) SELECT vec() FROM generate_series(1, 300)" };
my @cases = (
	# at first with pages that make the journal longer, below with pages used again
	[ 'journal-page-taken',  $fill ],
	[ 'journal-page-linked', $fill ],
	[ 'journal-append',      sub { "INSERT INTO $_[0] (v) SELECT vec() FROM generate_series(1, 5)" }, skip => 2 ],
	[ 'journal-appended',    sub { "INSERT INTO $_[0] (v) SELECT vec() FROM generate_series(1, 5)" }, skip => 2 ],
	[ 'entry-put',           sub { "INSERT INTO $_[0] (v) SELECT vec() FROM generate_series(1, 5)" }, skip => 2 ],
	[ 'entry-staged',        sub { "INSERT INTO $_[0] (v) SELECT vec() FROM generate_series(1, 5)" }, skip => 2 ],
	[ 'link',                sub { "INSERT INTO $_[0] (v) SELECT vec() FROM generate_series(1, 5)" }, skip => 2 ],
	[ 'journal-page-taken',  $fill ],
	[ 'journal-page-linked', $fill ],
	[ 'journal-append',      sub { "DELETE FROM $_[0] WHERE id % 5 = 1; VACUUM $_[0]" } ],
	[ 'journal-appended',    sub { "DELETE FROM $_[0] WHERE id % 5 = 2; VACUUM $_[0]" } ],
	[ 'delete-begin',        sub { "DELETE FROM $_[0] WHERE id % 5 = 3; VACUUM $_[0]" } ],
	[ 'delete-journaled',    sub { "DELETE FROM $_[0] WHERE id % 5 = 4; VACUUM $_[0]" } ],
	[ 'delete-end',          sub { "DELETE FROM $_[0] WHERE id % 5 = 1; VACUUM $_[0]" } ],
	[ 'log-switch',          $flush ],
	[ 'log-opened',          sub { "INSERT INTO $_[0] (v) SELECT vec() FROM generate_series(1, 5)" } ],
	[ 'log-switched',        $flush ],
	[ 'snapshot-begun',      $flush ],
	[ 'snapshot-write',      $flush ],
	[ 'snapshot-write',      $flush, skip => 2 ],
	[ 'snapshot-written',    $flush ],
	[ 'snapshot-renamed',    $flush ],
	[ 'snapshot-pruned',     $flush, before => $flush ],
	[ 'snapshot-pruned',     $flush, before => $flush, skip => 1 ],
	[ 'snapshot-read',       $look,  restart => 1, skip => 1 ],
	[ 'refill-row',          $look,  restart => 1, skip => 20 ],
	[ 'loaded',              $look,  restart => 1 ],
	[ 'replay-frame',        $look,  restart => 1, skip => 3 ],
	[ 'rebuild-row',         $look,  restart => 1, lose => 1, skip => 20 ],
	[ 'rebuilt',             $look,  restart => 1, lose => 1 ],
	[ 'follow-fetched',      $look,  left => 1 ],
	[ 'journal-create',      sub { "REINDEX INDEX $_[0]_v" } ],
	[ 'build-row',           sub { "REINDEX INDEX $_[0]_v" }, skip => 20 ],
	[ 'build-finished',      sub { "REINDEX INDEX $_[0]_v" } ],
	[ 'build-ready',         sub { "REINDEX INDEX $_[0]_v" } ],
	[ 'build-saved',         sub { "REINDEX INDEX $_[0]_v" } ],
	[ 'build-row',           sub { "REINDEX INDEX CONCURRENTLY $_[0]_v" }, skip => 20 ],
	[ 'build-saved',         sub { "REINDEX INDEX CONCURRENTLY $_[0]_v" }, before => sub { "DROP INDEX IF EXISTS $_[0]_v_ccnew" } ],
	[ 'drop-begin',          sub { "REINDEX INDEX CONCURRENTLY $_[0]_v" }, before => sub { "DROP INDEX IF EXISTS $_[0]_v_ccnew" } ],
	[ 'drop-begin',          sub { "REINDEX INDEX $_[0]_v" }, before => sub { "DROP INDEX IF EXISTS $_[0]_v_ccnew, $_[0]_v_ccold" } ],
	[ 'drop-arena-gone',     sub { "BEGIN; DELETE FROM $_[0] WHERE id % 9 = 0; REINDEX INDEX $_[0]_v; ROLLBACK" } ],
	[ 'drop-end',            sub { "BEGIN; SAVEPOINT a; TRUNCATE $_[0]; ROLLBACK TO a; COMMIT" } ],
	[ 'drop-begin',          sub { "DROP INDEX $_[0]_w" }, before => sub { "CREATE INDEX IF NOT EXISTS $_[0]_w ON $_[0] "
		  . "USING iqdb_flat (v iqvector_l1_ops)" } ],
	[ 'drop-arena-gone',     sub { "TRUNCATE $_[0]" } ],
);

# Arms a point, runs the statement; whether it was met.
sub meet
{
	my ($table, $case, $action) = @_;
	my ($point, $statement, %more) = @$case;
	my $offset = log_size($node);
	my ($code, $out, $err) = $node->psql('postgres',
		"SET iqdb.fail_point = '$point:$action:" . ($more{skip} // 0) . "'; " . $statement->($table) . ';');

	return (log_since($node, $offset) =~ /fail point "\Q$point\E"/ ? 1 : 0, $err);
}

sub prepare
{
	my ($table, $case) = @_;
	my (undef, undef, %more) = @$case;

	churn($table) if $node->safe_psql('postgres', "SELECT count(*) < 2000 FROM $table") eq 't';
	$node->safe_psql('postgres', $flush->($table)) unless $more{lose};
	$node->safe_psql('postgres', "INSERT INTO $table (v) SELECT vec() FROM generate_series(1, 10)");
	$node->safe_psql('postgres', $more{before}->($table)) if $more{before};
	if ($more{left})
	{
		# an entry in the journal that was not applied
		$node->psql('postgres', "SET iqdb.fail_point = 'journal-appended:error'; INSERT INTO $table (v) SELECT vec()");
	}
	if ($more{restart})
	{
		$node->stop('fast');
		unlink glob($node->data_dir . '/iqdb/*/*') if $more{lose};
		$node->start;
	}
}

# The server goes down at a point and comes back.
sub crash_at
{
	my ($table, $case, $action, $label) = @_;
	my $offset = log_size($node);
	my ($met, $err) = meet($table, $case, $action);

	ok($met, "$label is met");
	if ($action eq 'down')
	{
		kill_server($node);
		$node->start;
	}
	elsif ($met)
	{
		wait_for_restart($node, $offset);
	}
}

for my $method (@methods)
{
	my $table = $method =~ s/iqdb_/t_/r;
	$node->safe_psql('postgres', "CREATE TABLE $table (id bigserial, note text DEFAULT '', v iqvector(4)) WITH (fillfactor = 70);"
		  . "INSERT INTO $table (v) SELECT vec() FROM generate_series(1, 200);"
		  . "CREATE INDEX ${table}_v ON $table USING $method (v)");
	my $turn = 0;
	for my $case (@cases)
	{
		my ($point, undef, %more) = @$case;
		my $action = $turn++ % 3 == 2 ? 'down' : 'crash';
		my $label = "$method, $action at $point" . ($more{skip} ? " after $more{skip}" : '');

		prepare($table, $case);
		crash_at($table, $case, $action, $label);
		# and again, where the first look is what meets the point
		crash_at($table, $case, 'crash', "$label and once more") if $more{restart} && !$more{lose} && $turn % 2;
		same($node, $table, "$label: as the table");
		churn($table);
		same($node, $table, "$label: and after more");

		# an error there, and the server goes on
		prepare($table, $case);
		my ($met, $err) = meet($table, $case, 'error');
		ok($met, "$method, error at $point is met");
		same($node, $table, "$method, error at $point: as the table");
		last unless Test::More->builder->is_passing;
	}
}

# ---- the end of an unlogged table's life ----------------------------------------------------------------------------

for my $method (@methods)
{
	my $table = $method =~ s/iqdb_/u_/r;
	$node->safe_psql('postgres', "CREATE UNLOGGED TABLE $table (id bigserial, note text DEFAULT '', v iqvector(4)); "
		  . "INSERT INTO $table (v) SELECT vec() FROM generate_series(1, 50); CREATE INDEX ${table}_v ON $table USING $method (v)");
	for my $point (qw(init-adopt init-adopted))
	{
		churn($table);
		kill_server($node);
		$node->start;
		crash_at($table, [ $point, $look ], 'crash', "$method, unlogged, crash at $point");
		same($node, $table, "$method, unlogged, crash at $point: as the table");
		is($node->safe_psql('postgres', "SELECT count(*) FROM $table"), 0, "$method, unlogged: empty");
	}
}

# ---- held up while others go on -------------------------------------------------------------------------------------

for my $method (@methods)
{
	my $table = $method =~ s/iqdb_/t_/r;

	# A snapshot is copied, in parts of some thousand rows, while rows come and go; the server dies, and the snapshot is used.
	$node->safe_psql('postgres', "INSERT INTO $table (v) SELECT vec() FROM generate_series(1, 9000)");
	for my $skip (0 .. 3)
	{
		churn($table);
		my $session = background($node, "snapshot-write:sleep:$skip", $flush->($table));
		wait_for_point($node, 'snapshot-write');
		churn($table);
		churn($table);
		let_go($node, 'snapshot-write');
		finish($session);
		kill_server($node);
		$node->start;
		same($node, $table, "$method: snapshot copied beside writers, part $skip");
	}

	# The rows of a snapshot are fetched from the table while rows come and go, and places in it change hands.
	for my $skip (0, 30)
	{
		churn($table);
		$node->safe_psql('postgres', $flush->($table));
		$node->safe_psql('postgres', "DELETE FROM $table WHERE id % 4 = 1");
		$node->safe_psql('postgres', "VACUUM $table");
		kill_server($node);
		$node->start;
		my $offset = log_size($node);
		my $session = background($node, "refill-row:sleep:$skip", "SELECT iqdb_prewarm('${table}_v')");
		wait_for_point($node, 'refill-row');
		$node->safe_psql('postgres', <<"SQL");
INSERT INTO $table (v) SELECT vec() FROM generate_series(1, 30);
UPDATE $table SET v = vec() WHERE id % 7 = 0;
DELETE FROM $table WHERE id % 11 = 0;
BEGIN; INSERT INTO $table (v) SELECT vec() FROM generate_series(1, 10); UPDATE $table SET v = vec() WHERE id % 6 = 0; ROLLBACK;
SQL
		let_go($node, 'refill-row');
		finish($session);
		like(log_since($node, $offset), qr/"${table}_v" opened in .* [1-9]\d* rows loaded from snapshot.* 0 rows rebuilt/,
			"$method: rows of a snapshot fetched beside writers, row $skip: it was of use");
		same($node, $table, "$method: rows of a snapshot fetched beside writers, row $skip");
	}

	# The table is read anew while rows come and go.
	for my $skip (0, 30)
	{
		$node->stop('fast');
		unlink glob($node->data_dir . '/iqdb/*/*');
		$node->start;
		my $session = background($node, "rebuild-row:sleep:$skip", "SELECT iqdb_prewarm('${table}_v')");
		wait_for_point($node, 'rebuild-row');
		$node->safe_psql('postgres', <<"SQL");
INSERT INTO $table (v) SELECT vec() FROM generate_series(1, 30);
UPDATE $table SET v = vec() WHERE id % 7 = 0;
UPDATE $table SET note = note || 'x' WHERE id % 5 = 0;
DELETE FROM $table WHERE id % 11 = 0;
BEGIN; INSERT INTO $table (v) SELECT vec() FROM generate_series(1, 10); UPDATE $table SET v = vec() WHERE id % 6 = 0; ROLLBACK;
SQL
		let_go($node, 'rebuild-row');
		finish($session);
		same($node, $table, "$method: read from the table beside writers, row $skip");
		churn($table);
		same($node, $table, "$method: and after more");
	}

	# An index is built concurrently while rows come and go.
	for my $skip (0, 30)
	{
		my $session = background($node, "build-row:sleep:$skip", "REINDEX INDEX CONCURRENTLY ${table}_v");
		wait_for_point($node, 'build-row');
		$node->safe_psql('postgres', <<"SQL");
INSERT INTO $table (v) SELECT vec() FROM generate_series(1, 30);
UPDATE $table SET v = vec() WHERE id % 7 = 0;
UPDATE $table SET note = note || 'x' WHERE id % 5 = 0;
DELETE FROM $table WHERE id % 11 = 0;
SQL
		let_go($node, 'build-row');
		is(finish($session), '', "$method: built concurrently, row $skip");
		same($node, $table, "$method: built concurrently beside writers, row $skip");
		churn($table);
		kill_server($node);
		$node->start;
		same($node, $table, "$method: and after a crash");
	}

	# VACUUM is held up with its removals not journaled yet.
	$node->safe_psql('postgres', "DELETE FROM $table WHERE id % 3 = 0");
	my $session = background($node, "delete-begin:sleep", "VACUUM $table");
	wait_for_point($node, 'delete-begin');
	$node->safe_psql('postgres', "INSERT INTO $table (v) SELECT CASE WHEN n % 3 > 0 THEN vec() END FROM generate_series(1, 200) n");
	same($node, $table, "$method: beside a VACUUM that is held up");
	let_go($node, 'delete-begin');
	is(finish($session), '', "$method: VACUUM ends");
	$node->safe_psql('postgres', "INSERT INTO $table (v) SELECT CASE WHEN n % 3 > 0 THEN vec() END FROM generate_series(1, 200) n");
	same($node, $table, "$method: places used again");

	# VACUUM finds no memory, reads the table, and is held up when it has freed places; a session goes on with memory whose
	# file somebody has removed.
	for my $kind ('LOGGED', 'UNLOGGED')
	{
		$node->safe_psql('postgres', "ALTER TABLE $table SET UNLOGGED") if $kind eq 'UNLOGGED';
		my $whole = "SELECT count(*), sum(id) FROM (SELECT id FROM $table ORDER BY v <-> '[1,1,1,1]') s";
		my $keeps = hold($node, "SET enable_seqscan = off; $whole;");
		unlink glob(arena_folder_of($node) . '/*');
		$node->safe_psql('postgres', "DELETE FROM $table WHERE id % 4 = " . ($kind eq 'LOGGED' ? 1 : 2));
		$session = background($node, 'vacuum-cleanup:sleep', "VACUUM (INDEX_CLEANUP on) $table");
		wait_for_point($node, 'vacuum-cleanup');
		$node->safe_psql('postgres', "INSERT INTO $table (v) SELECT NULL FROM generate_series(1, 4000)");
		my $said = release($keeps, "$whole;");
		is((split /\n/, $said)[-1], one($node, "SELECT count(*), sum(id) FROM $table WHERE v IS NOT NULL"),
			"$method: memory without a file learns what VACUUM has freed, \L$kind");
		let_go($node, 'vacuum-cleanup');
		is(finish($session), '', "$method: VACUUM ends, \L$kind");
		same($node, $table, "$method: as the table, \L$kind");
		$node->safe_psql('postgres', "DELETE FROM $table WHERE v IS NULL");
	}
	$node->safe_psql('postgres', "ALTER TABLE $table SET LOGGED");
	kill_server($node);
	$node->start;
	same($node, $table, "$method: and after a crash");
}

# A process is stopped in the middle of a change: others that change the index wait, but who looks does not.
$node->safe_psql('postgres', "CREATE TABLE held (id int, v iqvector(4)); INSERT INTO held VALUES (1, '[1,2,3,4]');"
	  . "CREATE INDEX held_v ON held USING iqdb_hnsw (v iqvector_l2_ops)");
my $stopped = background($node, 'journal-appended:sleep', "INSERT INTO held VALUES (2, '[2,2,2,2]')");
wait_for_point($node, 'journal-appended');
is(one($node, "SELECT state, rows, journal_entries IS NULL, iqdb_index_size('held_v') > 0 FROM iqdb_index_stats('held_v')"), 'busy|1|t|t',
	'beside a process that is stopped with the journal in its hands');
let_go($node, 'journal-appended');
is(finish($stopped), '', 'and it goes on');
is(one($node, "SELECT state, rows, journal_lag FROM iqdb_index_stats('held_v')"), 'ready|2|0', 'as after any change');

# An arena is outgrown, and several sessions notice: one saves what it holds, and the others do not touch that.
$node->safe_psql('postgres', "CREATE TABLE outgrown (id serial, v iqvector(4)); CREATE INDEX outgrown_v ON outgrown USING iqdb_flat (v)");
my $before = log_size($node);
my $saves = background($node, 'snapshot-begun:sleep', 'INSERT INTO outgrown (v) SELECT vec() FROM generate_series(1, 5000)');
wait_for_point($node, 'snapshot-begun');
my @others = map { background($node, undef, "SET enable_seqscan = off; SELECT count(*) FROM (SELECT FROM outgrown ORDER BY v <-> '[1,1,1,1]') s") } 1, 2;
wait_until('searches beside it', sub { one($node, "SELECT count(*) FROM pg_locks WHERE NOT granted") == 2 });
let_go($node, 'snapshot-begun');
is(finish($_), "0\n", 'searches beside it see nothing yet') for @others;
is(finish($saves), '', 'the session that found an arena outgrown goes on');
same($node, 'outgrown', 'an outgrown arena');
my $log = log_since($node, $before);
is(scalar(() = $log =~ /"outgrown_v" is opened anew/g), 1, 'it is given up once');
like($log, qr/"outgrown_v" opened in .* [1-9]\d+ rows loaded from snapshot.* 0 rows rebuilt/, 'and made anew from what it held');

# VACUUM of many tables looks through the folders of own files once, not after each index.
$node->safe_psql('postgres', "CREATE TABLE parts (id int, v iqvector(4)) PARTITION BY HASH (id);"
	  . join('', map { "CREATE TABLE parts_$_ PARTITION OF parts FOR VALUES WITH (MODULUS 10, REMAINDER $_);" } 0 .. 9)
	  . "CREATE INDEX ON parts USING iqdb_flat (v iqvector_l2_ops)");
like(finish(background($node, 'vacuum-sweep:error', 'VACUUM parts')), qr/fail point "vacuum-sweep"/, 'VACUUM sweeps');
is(finish(background($node, 'vacuum-sweep:error:1', 'VACUUM parts')), '', 'and sweeps once, however many partitions there are');

$node->stop;
done_testing();
