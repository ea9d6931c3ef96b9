# 026_interrupts.pl - long work makes way: a time limit ends every long statement within 100 ms, DROP DATABASE elsewhere is
# not held up, and who needs an index that somebody else is recovering waits no longer than lock_timeout, or does without.
#
# Other work on the machine may delay a statement by more than that, so each case has some attempts.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use IqdbTest;
use FailTest;

my $node = new_node('busy', conf => "jit = off\nmaintenance_work_mem = 128MB\nmax_parallel_maintenance_workers = 0\n"
	  . "iqdb.background_worker = off\nmax_wal_size = 1GB\n");
$node->start;
install($node);
prepare_answers($node);
my @methods = $ENV{IQDB_METHODS} ? split(/ /, $ENV{IQDB_METHODS}) : methods($node);
my $rows = 8000;
# a random vector for row i
my $new = '(SELECT array_agg(random() + 0 * i + 0 * j)::real[]::iqvector FROM generate_series(1, 64) j)';

use constant LATE_MAX => 0.1;
use constant ATTEMPTS => 4;

# Runs a statement with a time limit (0: none); returns how long it took, and what it said.
sub timed
{
	my ($statement, $limit) = @_;
	my (undef, $out, $err) = $node->psql('postgres', "SET enable_seqscan = off; SET enable_sort = off;\n"
		  . "SELECT extract(epoch FROM clock_timestamp());\nSET statement_timeout = $limit;\n$statement;\n"
		  . "RESET statement_timeout;\nSELECT extract(epoch FROM clock_timestamp())", on_error_stop => 0);
	my @lines = split /\n/, $out;
	return ($lines[-1] - $lines[0], $err);
}

# One test: at some moments of its course, the statement ends soon after its time limit.
sub makes_way
{
	my ($what, $statement, $before) = @_;
	my $late_most = 0;
	my $cancelled = 0;

	$before->() if $before;
	my ($whole, $error) = timed($statement, 0);
	is($error, '', "$what: runs");
	for my $part (0.15, 0.4, 0.75)
	{
		my $limit = int($whole * 1000 * $part) || 1;
		my $late;
		for my $attempt (1 .. ATTEMPTS)
		{
			$before->() if $before;
			my ($took, $said) = timed($statement, $limit);
			fail("$what: $said") if $said =~ /ERROR/ && $said !~ /canceling statement due to statement timeout/;
			$cancelled++ if $said =~ /canceling statement/;
			my $this = $took - $limit / 1000;
			$late = $this if !defined $late || $this < $late;
			last if $late <= LATE_MAX;
		}
		$late_most = $late if $late > $late_most;
	}
	cmp_ok($late_most, '<=', LATE_MAX, sprintf('%s: takes %.0f ms, and ends within 100 ms of its limit', $what, $whole * 1000));
	note sprintf('%s: %d times cancelled, at most %.0f ms late', $what, $cancelled, $late_most * 1000);
}

for my $method (@methods)
{
	my $t = $method =~ s/iqdb_/t_/r;
	my $distance = "v <-> (SELECT v FROM $t WHERE id = 1)";

	$node->safe_psql('postgres', "CREATE TABLE $t (id bigserial, note text DEFAULT '', v iqvector(64)); "
		  . "INSERT INTO $t (v) SELECT $new FROM generate_series(1, $rows) i; ANALYZE $t");

	# ---- time limits ----
	makes_way("$method: CREATE INDEX", "CREATE INDEX ${t}_v ON $t USING $method (v)",
		sub { $node->safe_psql('postgres', "DROP INDEX IF EXISTS ${t}_v") });
	# an interrupt that comes again and again does not make it begin anew for ever
	$node->safe_psql('postgres', "DROP INDEX IF EXISTS ${t}_v");
	my (undef, undef, $said) = $node->psql('postgres', "SET statement_timeout = '60s'; "
		  . "SET client_connection_check_interval = '20ms'; CREATE INDEX ${t}_v ON $t USING $method (v)");
	is($said, '', "$method: CREATE INDEX ends however often the server looks whether its client is there");
	$node->safe_psql('postgres', "CREATE INDEX IF NOT EXISTS ${t}_v ON $t USING $method (v)");
	makes_way("$method: a search for every row", "SELECT count(*) FROM (SELECT 1 FROM $t ORDER BY $distance) s");
	makes_way("$method: many searches", 'SELECT count(*) FROM generate_series(1, 400) i, '
		  . "LATERAL (SELECT 1 FROM $t ORDER BY v <-> array_fill(i / 400.0, ARRAY[64])::real[]::iqvector LIMIT 20) s");
	makes_way("$method: INSERT", "INSERT INTO $t (v) SELECT $new FROM generate_series(1, 1500) i");
	makes_way("$method: iqdb_flush", "SELECT iqdb_flush('${t}_v')");
	makes_way("$method: iqdb_check", "SELECT iqdb_check('${t}_v')");
	makes_way("$method: iqdb_recall", "SELECT iqdb_recall('${t}_v', 10)");
	makes_way("$method: iqdb_ground_truth", "SELECT count(*) FROM iqdb_ground_truth('${t}_v', ARRAY(SELECT v FROM $t LIMIT 200))");
	makes_way("$method: VACUUM", "VACUUM $t", sub { $node->safe_psql('postgres', "DELETE FROM $t WHERE id > 1 AND random() < 0.03") });
	makes_way("$method: iqdb_optimize", "SELECT iqdb_optimize('${t}_v')");
	# the memory is taken away, and comes back from files, or from the table
	makes_way("$method: loading", "SELECT iqdb_prewarm('${t}_v')", sub {
			$node->safe_psql('postgres', "SELECT iqdb_flush('${t}_v'); INSERT INTO $t (v) SELECT $new FROM generate_series(1, 300) i");
			unlink glob(arena_folder_of($node) . '/*') });
	makes_way("$method: reading the table anew", "SELECT iqdb_prewarm('${t}_v')", sub { forget_files($node) });
	same($node, $t, "$method: as the table after all that");

	# ---- DROP DATABASE while that goes on ----
	for my $case ([ 'CREATE INDEX', "CREATE INDEX ${t}_w ON $t USING $method (v); DROP INDEX ${t}_w" ],
		[ 'searches', 'SET enable_seqscan = off; SELECT count(*) FROM generate_series(1, 20000) i, LATERAL (SELECT 1 FROM '
			  . "$t ORDER BY v <-> array_fill(i / 400.0, ARRAY[64])::real[]::iqvector LIMIT 20) s" ],
		[ 'reading the table anew', "SELECT iqdb_prewarm('${t}_v')" ])
	{
		my ($what, $statement) = @$case;
		my $best;
		for my $attempt (1 .. ATTEMPTS)
		{
			$node->safe_psql('postgres', 'CREATE DATABASE elsewhere');
			forget_files($node) if $statement =~ /prewarm/;
			my $session = background($node, '', $statement);
			usleep(100_000);
			my $begun = time;
			$node->safe_psql('postgres', 'DROP DATABASE elsewhere');
			my $took = time - $begun;
			$best = $took if !defined $best || $took < $best;
			$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
				  . "AND backend_type = 'client backend'");
			finish($session);
			last if $best < 1;
		}
		cmp_ok($best, '<', 1, "$method: DROP DATABASE beside $what");
		$node->safe_psql('postgres', "DROP INDEX IF EXISTS ${t}_w");
	}

	# ---- somebody else recovers the index ----
	my $kept = hold($node, "SET enable_seqscan = off; SET enable_sort = off; SET plan_cache_mode = force_generic_plan; PREPARE q AS "
		  . "SELECT count(*) FROM (SELECT 1 FROM $t ORDER BY v <-> array_fill(0.5, ARRAY[64])::real[]::iqvector LIMIT 5) s; EXECUTE q;");
	forget_files($node);
	my $session = background($node, 'rebuild-row:sleep:20', "SELECT iqdb_prewarm('${t}_v')");
	wait_for_point($node, 'rebuild-row');
	is(one($node, "SELECT state FROM iqdb_index_stats('${t}_v')"), 'recovering', "$method: the state says so");
	my $late;
	for my $attempt (1 .. ATTEMPTS)
	{
		my $begun = time;
		my (undef, undef, $err) = $node->psql('postgres', "SET lock_timeout = 50; SELECT iqdb_prewarm('${t}_v')");
		my $took = time - $begun;
		$late = $took if !defined $late || $took < $late;
		like($err, qr/canceling statement due to lock timeout/, "$method: lock_timeout ends a wait for it, $attempt");
		last if $late < 0.3;
	}
	cmp_ok($late, '<', 0.3, "$method: in time, connection included");
	my $nearest = "SET enable_seqscan = off; EXPLAIN (COSTS OFF) SELECT id FROM $t ORDER BY $distance LIMIT 3";
	unlike(one($node, $nearest), qr/Index Scan using ${t}_v/, "$method: the planner leaves it out");
	is(one($node, "SELECT count(*) FROM (SELECT id FROM $t ORDER BY $distance LIMIT 3) s"), 3, "$method: a query answers meanwhile");
	$node->safe_psql('postgres', "INSERT INTO $t (v) SELECT $new FROM generate_series(1, 5) i");
	$kept->{in} .= "SET lock_timeout = 50; EXECUTE q; SET lock_timeout = 0; SELECT 'alive';\n";
	$kept->{run}->pump until $kept->{out} =~ /^alive$/m;
	unlike($kept->{out}, qr/^0$/m, "$method: a kept plan never answers by an index that is not there");
	let_go($node, 'rebuild-row');
	is(finish($session) > 0, 1, "$method: the recovery ends");
	is(release($kept, 'EXECUTE q;') =~ /alive\n5$/, 1, "$method: the kept plan answers again");
	like(one($node, $nearest), qr/Index Scan using ${t}_v/, "$method: and the planner takes it");
	same($node, $t, "$method: as the table at the end");
	$node->safe_psql('postgres', "DROP TABLE $t");
}

$node->stop;
done_testing();
