# 010_crash.pl - the server is killed at random moments under load, started again, and must answer as the table does.
#
# Each round: some sessions insert, update, delete and vacuum; the server dies in one of several ways; it is started;
# then index order is compared with sequential order, a scan of the whole index with the whole table, and iqdb_check
# looks for anything that does not fit. IQDB_ROUNDS sets the number of rounds, IQDB_SEED repeats a run.
use strict;
use warnings;
use IqdbTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $seed = seed_from_env();
my $rounds = $ENV{IQDB_ROUNDS} // 90;
my $node = new_node('crash', conf => <<'CONF');
restart_after_crash = on
wal_writer_delay = 10ms
max_wal_size = 64MB
min_wal_size = 32MB
iqdb.snapshot_wal_size = 128kB
iqdb.fsync_interval = 50ms
log_checkpoints = off
CONF
$node->start;
install($node);
my @methods = methods($node);

for my $method (@methods)
{
	my $weights = is_exact($method) ? 8 : 12;
	my $place = place_of_vectors($method);
	$node->safe_psql('postgres', <<"SQL");
CREATE TABLE t_$method (id int, n int DEFAULT 0, v iqvector($weights));
INSERT INTO t_$method SELECT i, 0, iqdb_random($weights) FROM generate_series(1, 500) i;
CREATE INDEX t_${method}_v ON t_$method USING $method (v) $place;
CREATE UNLOGGED TABLE u_$method (id int, v iqvector(3));
CREATE INDEX u_${method}_v ON u_$method USING $method (v) $place;
SQL
}

# One session's transactions. \$1 is the table, \$2 the dimension.
sub scripts
{
	my ($table, $dimension) = @_;
	my $new = "(SELECT ARRAY(SELECT random() + 0 * :i FROM generate_series(1, $dimension))::real[]::iqvector)";
	my $head = "\\set i random(1, 3000)\n\\set r random(1, 10)\n";
	return {
		"$head INSERT INTO $table SELECT :i + k, 0, iqdb_random($dimension) FROM generate_series(1, :r) k;\n" => 6,
		"$head BEGIN; INSERT INTO $table SELECT :i, 0, iqdb_random($dimension) FROM generate_series(1, 20);\n"
		  . "UPDATE $table SET n = n + 1 WHERE id BETWEEN :i AND :i + 5;\nROLLBACK;\n" => 1,
		"$head DELETE FROM $table WHERE id BETWEEN :i AND :i + :r * 15;\n" => 3,
		"$head UPDATE $table SET v = $new WHERE id BETWEEN :i AND :i + :r;\n" => 3,
		"$head UPDATE $table SET n = n + 1 WHERE id BETWEEN :i AND :i + :r;\n" => 2,
		"$head UPDATE $table SET v = NULL WHERE id = :i;\n" => 1,
		"VACUUM $table;\n" => 1,
		"CHECKPOINT;\n" => 1,
		"$head SELECT id FROM $table ORDER BY v <-> $new LIMIT 5;\n" => 3,
		"SET synchronous_commit = off;\n$head INSERT INTO $table SELECT :i, 0, iqdb_random($dimension);\n" => 2,
	};
}

my %ways = (
	# everything at once, as when the machine is switched off
	server => sub { kill_server($node); $node->start },
	# the same, and again before anybody has opened the index
	twice => sub { kill_server($node); $node->start; $node->safe_psql('postgres', 'INSERT INTO spare VALUES (1)');
		kill_server($node); $node->start },
	# one backend: the postmaster ends all others and starts anew
	backend => sub { kill_backend() },
	immediate => sub { $node->stop('immediate'); $node->start },
	# in the middle of an ordinary stop
	fast => sub { $node->stop('fast'); $node->start });

sub kill_backend
{
	my $pid = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' "
		  . "AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1");
	return if $pid eq '';
	kill 'KILL', $pid;
	wait_gone($pid);
	# until the postmaster has noticed, and is up again
	wait_answer($node, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)") or die 'the server did not come back';
}

$node->safe_psql('postgres', 'CREATE TABLE spare (i int)');
my @order = qw(server server twice backend server immediate server backend server fast);
my %opened;
for my $round (1 .. $rounds)
{
	my $method = $methods[ $round % @methods ];
	my $way = $order[ $round % @order ];
	my $dimension = is_exact($method) ? 8 : 12;
	my $load = start_load($node, 30, 3, scripts("t_$method", $dimension));
	my $milliseconds = 150 + int(rand 500);

	usleep($milliseconds * 1000);
	$node->safe_psql('postgres', "INSERT INTO u_$method SELECT i, iqdb_random(3) FROM generate_series(1, 10) i");
	my $offset = log_size($node);
	$ways{$way}->();
	my ($result, $said) = finish_load($load);
	my $what = "round $round, $method, $way after $milliseconds ms";

	agree($node, "$what: as a sequential scan", table => "t_$method", id => 'iqdb_row(ctid)', method => $method, queries => 6);
	sound($node, "t_${method}_v", "$what: iqdb_check");
	$node->safe_psql('postgres', "VACUUM t_$method") if $round % 3 == 0;
	# rows whose places were free now
	$node->safe_psql('postgres', "INSERT INTO t_$method SELECT i, 0, CASE WHEN i % 4 > 0 THEN iqdb_random($dimension) END "
		  . 'FROM generate_series(1, 40) i');
	agree($node, "$what: and after more rows", table => "t_$method", id => 'iqdb_row(ctid)', method => $method, queries => 3);
	if ($way ne 'fast')
	{
		is(one($node, "SET enable_seqscan = off; SELECT count(*) FROM (SELECT 1 FROM u_$method ORDER BY v <-> '[1,1,1]') s"),
			0, "$what: the unlogged table is empty, and so is its index");
	}
	if ($said =~ /(ERROR: +(?!canceling|terminating|the database system).*)/ && $1 !~ /deadlock|serialize/)
	{
		fail("$what: a session met $1");
	}
	my $log = log_since($node, $offset);
	unlike($log, qr/PANIC|TRAP|signal (?!9)\d+|iqdb: index .* is opened anew/, "$what: nothing strange in the log");
	$opened{ $1 ? 'from files' : 'from the table' }++
	  while $log =~ /index "t_\S+" opened in [\d.]+ ms: (?:(\d+) rows loaded from snapshot)/g;
	last unless all_tests_passing_so_far();
	$node->safe_psql('postgres', "DELETE FROM t_$method WHERE ctid IN (SELECT ctid FROM t_$method ORDER BY random() LIMIT 2000)")
	  if one($node, "SELECT count(*) FROM t_$method") > 4000;
}
note "opened $_: $opened{$_}" for sort keys %opened;
cmp_ok($opened{'from files'} // 0, '>', ($opened{'from the table'} // 0), 'snapshots and logs were of use')
  if all_tests_passing_so_far();

sub all_tests_passing_so_far
{
	return Test::More->builder->is_passing;
}

$node->stop;
is_deeply([ arena_files($node) ], [], 'nothing is left in shared memory');
done_testing();
