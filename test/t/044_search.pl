# 044_search.pl - iqdb_search_batch where the index is not what the table is: no room for it, not open, not valid, on a standby,
# beside writers and VACUUM.
use strict;
use warnings;

use IqdbTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('search', init => [ allows_streaming => 1 ]);
$node->start;
install($node);
my @methods = methods($node);

my $vector = "(iqdb_random(8) || array_fill(0, ARRAY[120])::iqvector)";
my $add = "INSERT INTO t (kind, v) SELECT i % 5, $vector FROM generate_series(1, %d) i";
$node->safe_psql('postgres', "CREATE TABLE asked AS SELECT n, $vector AS q FROM generate_series(1, 30) n");

# Rows in which the batch and a sort of the table differ; how many the batch found before that.
sub compared
{
	my ($where, $condition) = @_;
	my $argument = defined $condition ? ", '$condition'" : '';
	my $clause = defined $condition ? "WHERE $condition" : '';
	return $where->safe_psql('postgres', <<"SQL") =~ s/\n/ /gr;
SET enable_indexscan = off; SET iqdb.enable_vector_scan = off;
WITH batch AS MATERIALIZED (SELECT query, tid, distance FROM iqdb_search_batch('t_v', (SELECT array_agg(q ORDER BY n) FROM asked), 7$argument)),
sorted AS MATERIALIZED (SELECT n, s.* FROM asked, LATERAL (SELECT ctid, v <-> q AS d FROM t $clause ORDER BY d LIMIT 7) s)
SELECT count(*), count(*) FILTER (WHERE n IS NULL OR query IS NULL) FROM batch FULL JOIN sorted ON n = query AND ctid = tid AND d = distance;
SQL
}

# ---- no room ----

for my $method (@methods)
{
	setting($node, 'iqdb.arena_limit', is_exact($method) ? '6MB' : '8MB');
	$node->safe_psql('postgres', "DROP TABLE IF EXISTS t; CREATE TABLE t (id serial, kind int, v iqvector(128)); "
		  . sprintf($add, 500) . "; CREATE INDEX t_v ON t USING $method (v)");
	$node->psql('postgres', sprintf($add, 14000));
	is(one($node, "SELECT state FROM iqdb_index_stats('t_v')"), 'full', "$method: the index is full");
	is(compared($node), '210|0', "$method: a batch without room reads the table");
	is(compared($node, 'kind = 3'), '210|0', "$method: so does one with a condition");
	setting($node, 'iqdb.arena_limit', undef);
	next unless is_exact($method);
	$node->safe_psql('postgres', "SELECT iqdb_prewarm('t_v')");
	is(compared($node), '210|0', "$method: with room it is right as well");
	is(compared($node, 'kind = 3'), '210|0', "$method: and with a condition");
}

# ---- not valid ----

$node->safe_psql('postgres', "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 't_v'::regclass");
my (undef, undef, $err) = $node->psql('postgres', "SELECT * FROM iqdb_search('t_v', array_fill(0, ARRAY[128])::iqvector)");
like($err, qr/ERROR:  index "t_v" is not valid\nHINT:  Its creation has not ended, or failed: REINDEX or DROP it/, 'an index that is not valid');

# ---- not open, and on a standby ----

$node->safe_psql('postgres', "DROP TABLE t; CREATE TABLE t (id serial, kind int, v iqvector(128)); " . sprintf($add, 2000)
	  . "; CREATE INDEX t_v ON t USING iqdb_flat (v)");
$node->restart;
is(compared($node), '210|0', 'a batch opens the index');
$node->backup('search');
my $standby = new_node('search_standby', from_backup => [ $node, 'search', has_streaming => 1 ]);
$standby->start;
$node->safe_psql('postgres', sprintf($add, 300) . "; DELETE FROM t WHERE id % 7 = 0; UPDATE t SET kind = 9 WHERE id % 11 = 0");
wait_replay($node, $standby);
is(compared($standby), '210|0', 'a batch on a standby');
is(compared($standby, 'kind = 9'), '210|0', 'and with a condition');
$standby->stop;

# ---- beside writers ----

# What a transaction sees does not change: each row is there, at the distance that is told, and none is told twice.
my $check = <<'SQL';
DO $$
DECLARE
	condition text;
	wrong text;
BEGIN
	FOREACH condition IN ARRAY ARRAY[NULL, 'kind < 3', 'kind = 4'] LOOP
		SELECT format('%s: %s found, %s there, %s as far, %s different', condition, count(*), count(t.id), count(*) FILTER (WHERE v <-> q = distance),
			count(DISTINCT (query, tid)))
		INTO wrong
		FROM iqdb_search_batch('t_v', (SELECT array_agg(q ORDER BY n) FROM asked), 7, condition) LEFT JOIN t ON ctid = tid JOIN asked ON n = query
		HAVING count(*) <> 210 OR count(t.id) <> 210 OR count(*) FILTER (WHERE v <-> q = distance) <> 210 OR count(DISTINCT (query, tid)) <> 210;
		IF FOUND THEN
			RAISE EXCEPTION '%', wrong;
		END IF;
	END LOOP;
END
$$;
SQL
my %writes = (
	"\\set n random(1, 2000)\nUPDATE t SET kind = (kind + 1) % 5 WHERE id = :n;\n" => 3,
	"\\set n random(1, 2000)\nUPDATE t SET v = $vector WHERE id = :n;\n" => 3,
	"\\set n random(1, 2000)\nDELETE FROM t WHERE id = :n;\n$add;\n" =~ s/%d/1/r => 2,
	"VACUUM t;\n" => 1,
	$check => 3);

for my $method (@methods)
{
	$node->safe_psql('postgres', "DROP TABLE t; CREATE TABLE t (id serial PRIMARY KEY, kind int, v iqvector(128)); " . sprintf($add, 2000)
		  . "; CREATE INDEX t_v ON t USING $method (v)");
	my ($ok, $out) = finish_load(start_load($node, '-t60', 4, \%writes));
	ok($ok, "$method: batches beside writers and VACUUM") or diag $out;
	is(compared($node), '210|0', "$method: and afterwards") if is_exact($method);
}
$node->stop;
done_testing();
