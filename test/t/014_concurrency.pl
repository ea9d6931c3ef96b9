# 014_concurrency.pl - many sessions at once: mixes of changes and queries, many connections, sessions that are ended.
#
# While sessions change rows, one transaction compares index and table again and again under one snapshot; afterwards
# both must agree and iqdb_check find nothing. Sessions that are terminated or killed take nothing with them.
use strict;
use warnings;
use IqdbTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $seed = seed_from_env();
my $node = new_node('busy', conf => <<'CONF');
max_connections = 120
deadlock_timeout = 200ms
log_lock_waits = on
log_min_duration_statement = 5s
restart_after_crash = on
iqdb.fsync_interval = 100ms
iqdb.snapshot_wal_size = 512kB
CONF
$node->start;
install($node);
my @methods = methods($node);

sub mix
{
	my ($table) = @_;
	my $head = "\\set i random(1, 4000)\n\\set k random(1, 8)\n";
	return (
		"$head INSERT INTO $table SELECT :i + j, iqdb_random(6) FROM generate_series(1, :k) j;\n" => 5,
		"$head DELETE FROM $table WHERE id BETWEEN :i AND :i + :k;\n" => 3,
		"$head UPDATE $table SET v = iqdb_random(6) WHERE id = :i;\n" => 4,
		"$head UPDATE $table SET v = NULL WHERE id = :i;\n" => 1,
		"$head BEGIN; INSERT INTO $table SELECT :i, iqdb_random(6); SAVEPOINT a; INSERT INTO $table SELECT :i, iqdb_random(6);"
		  . " ROLLBACK TO a; SELECT id FROM $table ORDER BY v <-> '[1,1,1,1,1,1]' LIMIT 3; COMMIT;\n" => 2,
		"$head SELECT id FROM $table WHERE id % 7 = 3 ORDER BY v <-> iqdb_random(6) LIMIT 5;\n" => 4,
		"VACUUM $table;\n" => 1);
}

for my $method (@methods)
{
	my $t = "t_$method";
	$node->safe_psql('postgres', <<"SQL");
CREATE TABLE $t (id int, v iqvector(6));
INSERT INTO $t SELECT i, iqdb_random(6) FROM generate_series(1, 2000) i;
CREATE INDEX ${t}_v ON $t USING $method (v);
SQL

	# ---- changes, queries, vacuum, and comparisons in the middle of them ----
	my $load = start_load($node, 4, 4, { mix($t), "SELECT iqdb_flush('${t}_v');\n" => 1 });
	my $end = time + 3;
	my $turns = 0;
	my $said_of_all = '';
	# three queries, asked some hundred times: now and then their recall is far from the mean, which is held to 0.9 below
	while (time < $end && $said_of_all eq '')
	{
		my ($code, $out, $err) = $node->psql('postgres', 'BEGIN ISOLATION LEVEL REPEATABLE READ; '
			  . "SELECT iqdb_compare('$t', 'iqdb_row(ctid)', 'v', '<->', 3, 10, '', "
			  . (is_exact($method) ? 'true' : 'false') . ', 0.7, true); COMMIT');
		$said_of_all = "$code|$out|$err" if $code != 0 || $out ne '' || $err ne '';
		$turns++;
	}
	is($said_of_all, '', "$method: index and table agree at every moment") or diag_last($method);
	cmp_ok($turns, '>', 0, "$method: $turns comparisons beside changes");
	my ($ok, $said) = finish_load($load);
	ok($ok, "$method: no session met an error") or diag $said;
	agree($node, "$method: as a sequential scan afterwards", table => $t, id => 'iqdb_row(ctid)', method => $method);
	sound($node, "${t}_v", "$method: iqdb_check after the mix");

	# ---- DDL beside all that ----
	$load = start_load($node, 3, 4, { mix($t) });
	for my $sql ("REINDEX INDEX ${t}_v", "REINDEX INDEX CONCURRENTLY ${t}_v", "VACUUM FULL $t", "SELECT iqdb_optimize('${t}_v')",
		"CREATE INDEX CONCURRENTLY ${t}_w ON $t USING $method (v)", "DROP INDEX CONCURRENTLY ${t}_w", "ANALYZE $t",
		"BEGIN; TRUNCATE $t; ROLLBACK", "REINDEX TABLE $t")
	{
		my ($code, undef, $err) = $node->psql('postgres', $sql);
		is("$code|$err", '0|', "$method: $sql beside changes");
	}
	($ok, $said) = finish_load($load);
	ok($ok, "$method: no session met an error") or diag $said;
	agree($node, "$method: as a sequential scan after DDL", table => $t, id => 'iqdb_row(ctid)', method => $method);
	sound($node, "${t}_v", "$method: iqdb_check after DDL");

	# ---- sessions that are ended ----
	$load = start_load($node, 3, 6, { mix($t) });
	my $ended = 0;
	$end = time + 2;
	while (time < $end)
	{
		my $how = rand() < 0.5 ? 'pg_terminate_backend' : 'pg_cancel_backend';
		$ended += one($node, "SELECT count(*) FROM (SELECT $how(pid) FROM pg_stat_activity "
			  . "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND state <> 'idle' ORDER BY random() LIMIT 1) s");
		usleep(50_000 + int rand 100_000);
		# those that were ended are not replaced
		last if one($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'") < 3;
	}
	finish_load($load);
	cmp_ok($ended, '>', 0, "$method: $ended sessions were ended or cancelled");
	agree($node, "$method: as a sequential scan after that", table => $t, id => 'iqdb_row(ctid)', method => $method);
	sound($node, "${t}_v", "$method: iqdb_check after that");

	# a cancel is obeyed at once wherever it comes
	my $slow = $node->background_psql('postgres', on_error_stop => 0);
	for my $statement (
		"INSERT INTO $t SELECT i, iqdb_random(6) FROM generate_series(1, 10000000) i",
		"SELECT count(*) FROM generate_series(1, 10000000) i, LATERAL (SELECT 1 FROM $t ORDER BY v <-> format('[%s,1,1,1,1,1]', i)::iqvector LIMIT 20) s",
		"CREATE TABLE big_$method AS SELECT i AS id, iqdb_random(6) AS v FROM generate_series(1, 10000000) i")
	{
		my ($code, undef, $err) = $node->psql('postgres', "SET enable_seqscan = off; SET statement_timeout = 300; $statement");
		like($err, qr/canceling statement due to statement timeout/, "$method: a timeout ends " . substr($statement, 0, 30));
	}
	$slow->quit;
	$node->safe_psql('postgres', "VACUUM $t");
	agree($node, "$method: as a sequential scan after cancelled statements", table => $t, id => 'iqdb_row(ctid)', method => $method);
	sound($node, "${t}_v", "$method: iqdb_check after cancelled statements");

	# a killed session takes the server down for a moment, and nothing else
	for my $turn (is_exact($method) ? (1, 2) : 1)
	{
		$load = start_load($node, 10, 4, { mix($t) });
		usleep(300_000);
		my $pid = one($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() LIMIT 1");
		kill 'KILL', $pid;
		wait_gone($pid);
		finish_load($load);
		wait_answer($node, 'SELECT true') or die 'the server did not come back';
		agree($node, "$method: as a sequential scan after a killed session, $turn", table => $t, id => 'iqdb_row(ctid)',
			method => $method);
		sound($node, "${t}_v", "$method: iqdb_check after a killed session, $turn");
	}

	# ---- a hundred sessions that open it at once, right after a start ----
	$node->restart;
	my $offset = log_size($node);
	$load = start_load($node, '-t4', 100, {
		"SET enable_seqscan = off;\nSELECT id FROM $t ORDER BY v <-> '[1,1,1,1,1,1]' LIMIT 3;\n" => 20,
		"INSERT INTO $t SELECT 1, iqdb_random(6);\n" => 1 });
	($ok, $said) = finish_load($load);
	ok($ok, "$method: a hundred sessions query") or diag $said;
	my $opened = () = log_since($node, $offset) =~ /index "${t}_v" opened/g;
	is($opened, 1, "$method: and one of them opened the index");
	agree($node, "$method: after a hundred sessions", table => $t, id => 'iqdb_row(ctid)', method => $method);
}

# ---- the same index through short sessions: each one maps it, none keeps anything ----
my $log = log_since($node, 0);
unlike($log, qr/PANIC|TRAP|terminated by signal (?!9)|ERROR:  (?!canceling)/, 'nothing strange in the log');

sub diag_last
{
	my ($method) = @_;
	my (undef, $out, $err) = $node->psql('postgres', "SELECT iqdb_check('t_${method}_v')");
	diag "$out $err";
}

$node->stop;
is_deeply([ arena_files($node) ], [], 'nothing is left in shared memory');
done_testing();
