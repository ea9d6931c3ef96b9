# 028_plans.pl - what has been planned, and then changes: room for the index comes and goes, it is closed and opened again,
# by several processes of one query; the keeper comes and goes. And tables that are refused.
use strict;
use warnings;

use Cwd ();
use IqdbTest;
use FailTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = new_node('plans', conf => <<'CONF');
iqdb.fsync_interval = 50ms
max_parallel_workers_per_gather = 2
parallel_setup_cost = 0
parallel_tuple_cost = 0
min_parallel_table_scan_size = 0
CONF
$node->start;
install($node);
my @methods = methods($node);

my $vector = "(iqdb_random(8) || array_fill(0, ARRAY[120])::iqvector)";
my $nearest = "SELECT id FROM t ORDER BY v <-> array_fill(1, ARRAY[128])::iqvector LIMIT 5";
my $exact = "SET enable_indexscan = off; $nearest";
my $add = "INSERT INTO t (v) SELECT $vector FROM generate_series(1, %d)";

sub fresh_table
{
	my ($method, $rows) = @_;
	$node->safe_psql('postgres', "DROP TABLE IF EXISTS t; CREATE TABLE t (id serial, v iqvector(128)); "
		  . sprintf($add, $rows) . "; CREATE INDEX t_v ON t USING $method (v); ANALYZE t");
}

# Statements for psql in which a line { ... } stands for statements of another session.
sub in_one_session
{
	my ($sql) = @_;
	my $psql = sprintf('\\! psql -X -q -h %s -p %d postgres >/dev/null 2>&1', $node->host, $node->port);
	$sql =~ s/^\{(.*)\}$/join(' ', $psql, map { "-c \"$_\"" } split m{; }, $1)/mge;
	my (undef, $out, $err) = $node->psql('postgres', $sql);
	return "$out$err";
}

# ---- room --------------------------------------------------------------------------------------------------------------

for my $method (@methods)
{
	setting($node, 'iqdb.arena_limit', is_exact($method) ? '6MB' : '8MB');
	fresh_table($method, 500);
	my $more = sprintf($add, 14000);
	my $out = in_one_session(<<"SQL");
SET enable_seqscan = off; SET max_parallel_workers_per_gather = 0;
CREATE FUNCTION pg_temp.plan() RETURNS text LANGUAGE plpgsql AS
	'DECLARE line text; BEGIN FOR line IN EXECUTE ''EXPLAIN (COSTS OFF) EXECUTE p'' LOOP
	IF line ~ ''Scan'' THEN RETURN substring(line, ''(\\w+) Scan''); END IF; END LOOP; END';
PREPARE p AS $nearest;
SELECT pg_temp.plan();
{$more}
SELECT pg_temp.plan();
{LOAD 'iqdb'; ALTER SYSTEM RESET iqdb.arena_limit; SELECT pg_reload_conf(); SELECT pg_sleep(0.2); SELECT iqdb_prewarm('t_v')}
SELECT pg_temp.plan();
SQL
	is($out =~ s/\s+/ /gr, 'Index Seq Index', "$method: a prepared plan follows the room there is")
	  or diag $out;

	setting($node, 'iqdb.arena_limit', is_exact($method) ? '6MB' : '8MB');
	fresh_table($method, 500);
	$out = in_one_session(<<"SQL");
SET client_min_messages = error;
BEGIN; SET LOCAL enable_seqscan = off;
DECLARE c SCROLL CURSOR FOR $nearest;
DECLARE n CURSOR FOR SELECT id FROM t ORDER BY v <-> NULL;
$more;
FETCH ALL FROM c;
FETCH BACKWARD 1 FROM c;
MOVE ALL IN n;
COMMIT;
SQL
	my @found = split /\n/, $out;
	my @right = split /\n/, one($node, "SET enable_indexscan = off; SELECT id FROM t WHERE id <= 500 ORDER BY v <-> array_fill(1, ARRAY[128])::iqvector LIMIT 5");
	is("@found", "@right $right[4]", "$method: a cursor whose index has no room any more reads the table");
	setting($node, 'iqdb.arena_limit', undef);
}

# ---- closed and opened ---------------------------------------------------------------------------------------------------

# by themselves, as where no worker is to be had
setting($node, 'iqdb.background_worker', 'off');
for my $method (@methods)
{
	fresh_table($method, 3000);
	$node->safe_psql('postgres', <<"SQL");
CREATE OR REPLACE FUNCTION nearest(q iqvector) RETURNS int LANGUAGE plpgsql STABLE PARALLEL SAFE SET enable_seqscan = off AS
	'BEGIN RETURN (SELECT id FROM t ORDER BY v <-> q LIMIT 1); END';
DROP TABLE IF EXISTS asked; CREATE TABLE asked AS SELECT iqdb_random(128) AS v FROM generate_series(1, 400); ANALYZE asked;
SQL
	$node->stop;
	unlink map { $node->data_dir . "/$_" } own_files($node);
	$node->start;
	my $offset = log_size($node);
	my $parallel = 'SET parallel_leader_participation = off; %s SELECT count(nearest(v)) FROM asked';
	like(one($node, sprintf($parallel, 'EXPLAIN')), qr/Workers Planned: 2/, "$method: a query for two workers");
	my $session = background($node, '', "LOAD 'iqdb'; SET iqdb.fail_point = 'rebuilt:sleep'; " . sprintf($parallel, ''));
	wait_for_point($node, 'rebuilt');
	usleep(500_000);
	let_go($node, 'rebuilt');
	is(finish($session), "400\n", "$method: they find the index closed");
	is(scalar(() = log_since($node, $offset) =~ /index "t_v" opened in/g), 1, "$method: and open it once");
	# nobody but the workers loads the library here
	my (undef, $out, $err) = $node->psql('postgres', sprintf($parallel, ''));
	is("$out$err", '400', "$method: they know the settings");
	sound($node, 't_v', "$method: iqdb_check");
}

# Planning a query opens the indexes that a path leads through, not all of the table.
for my $method (@methods)
{
	$node->safe_psql('postgres', "DROP TABLE IF EXISTS halves; CREATE TABLE halves AS SELECT i AS id, i % 2 AS half, "
		  . "iqdb_random(4)::iqvector(4) AS v FROM generate_series(1, 300) i; "
		  . join('', map { "CREATE INDEX half_$_ ON halves USING $method (v) WHERE half = $_; " } 0, 1) . 'ANALYZE halves');
	$node->restart;
	my $offset = log_size($node);
	$node->safe_psql('postgres', "SET enable_seqscan = off; SELECT id FROM halves WHERE half = 1 ORDER BY v <-> '[1,2,3,4]' LIMIT 3; "
		  . 'SELECT count(*) FROM halves');
	is(join(' ', log_since($node, $offset) =~ /index "(half_\d)" opened/g), 'half_1', "$method: the one partial index that fits is opened");
}
setting($node, 'iqdb.background_worker', undef);

# ---- refused -----------------------------------------------------------------------------------------------------------

$node->safe_psql('postgres', "CREATE FUNCTION other_heap(internal) RETURNS table_am_handler LANGUAGE C AS 'iqdb', "
	  . "'iqdb_other_heap_handler'; CREATE ACCESS METHOD other_heap TYPE TABLE HANDLER other_heap; "
	  . "CREATE TABLE other (v iqvector(2)) USING other_heap; INSERT INTO other VALUES ('[1,2]')");
for my $method (@methods)
{
	sql_fails($node, "CREATE INDEX ON other USING $method (v)", '0A000', 'another access method than heap',
		"$method: a table of another access method");
}
$node->safe_psql('postgres', 'DROP TABLE other');

# ---- the keeper ----------------------------------------------------------------------------------------------------------

# It is connected to no database, so pg_stat_activity does not show it.
sub keeper
{
	my $data = Cwd::realpath($node->data_dir);
	for my $folder (glob '/proc/[0-9]*')
	{
		next unless (readlink("$folder/cwd") // '') eq $data && open my $file, '<', "$folder/cmdline";
		return $folder =~ s{/proc/}{}r if (<$file> // '') =~ /iqdb keeper/;
	}
	return 0;
}

{
	$node->safe_psql('postgres', sprintf($add, 1));
	wait_until('the keeper', sub { keeper() });
	my $first = keeper();
	my @arenas = arena_files($node);

	isnt("@arenas", '', 'there are arenas');
	kill 'TERM', $first;
	wait_until('its end', sub { keeper() != $first });
	is(join(' ', arena_files($node)), "@arenas", 'a keeper that is told to end leaves the arenas to others');
	$node->safe_psql('postgres', sprintf($add, 1));
	wait_until('another one after the next change', sub { keeper() });
	setting($node, 'iqdb.background_worker', 'off');
	wait_until('its end when it is not wanted', sub { !keeper() });
	$node->safe_psql('postgres', sprintf($add, 1));
	is(keeper(), 0, 'it stays away');
	is(join(' ', arena_files($node)), "@arenas", 'the arenas stay');
	setting($node, 'iqdb.background_worker', undef);
	$node->safe_psql('postgres', sprintf($add, 1));
	wait_until('one when it is wanted again', sub { keeper() });
	$node->stop('fast');
	is(join(' ', arena_files($node)), '', 'nothing is left of them when the server has stopped');
}

done_testing();
