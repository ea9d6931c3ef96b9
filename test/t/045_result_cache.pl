# 045_result_cache.pl - the result cache beside writers and VACUUM, when a process of the server is killed at it, where memory is
# short, and on a standby. What is in it is never seen by anything but time: every answer is that of a sort of the table.
use strict;
use warnings;

use IqdbTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('cache', init => [ allows_streaming => 1 ], conf => "restart_after_crash = on\n");
$node->start;
install($node);

sub stats { return one($_[0], "SELECT $_[1] FROM iqdb_cache_stats('t_v')") }

# The nearest rows of a few vectors, which others ask for as well, by the index and by the table, in one snapshot: how far they are.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE t (id serial PRIMARY KEY, c int, v iqvector(6)) WITH (autovacuum_enabled = off);
INSERT INTO t (c, v) SELECT i % 4, iqdb_random(6) FROM generate_series(1, 2000) i;
CREATE INDEX t_v ON t USING iqdb_flat (v, c) WITH (cache_capacity = 6, cache_policy = arc);
CREATE TABLE asked AS SELECT n, iqdb_random(6) AS q FROM generate_series(1, 8) n;

CREATE FUNCTION near(q iqvector, k int, wanted int) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
	found text;
BEGIN
	EXECUTE format('SELECT string_agg(d::text, '' '' ORDER BY d) FROM (SELECT v <-> %1$L AS d FROM t %2$s ORDER BY v <-> %1$L LIMIT %3$s) s',
		q, CASE WHEN wanted IS NOT NULL THEN format('WHERE c = %s', wanted) END, k) INTO found;
	RETURN found;
END $$;

CREATE PROCEDURE compare(asked_n int, k int, wanted int) LANGUAGE plpgsql AS $$
DECLARE
	query iqvector := q FROM asked WHERE n = asked_n;
	by_index text;
	by_table text;
BEGIN
	SET LOCAL enable_seqscan = off;
	by_index := near(query, k, wanted);
	SET LOCAL enable_indexscan = off;
	SET LOCAL iqdb.enable_vector_scan = off;
	SET LOCAL enable_seqscan = on;
	by_table := near(query, k, wanted);
	IF by_index IS DISTINCT FROM by_table THEN
		RAISE EXCEPTION 'query %, % rows where c = %: % by the index, % by the table', asked_n, k, wanted, by_index, by_table;
	END IF;
END $$;
SQL

my %load = (
	"\\set n random(1, 8)\n\\set k random(1, 12)\nBEGIN ISOLATION LEVEL REPEATABLE READ;\nCALL compare(:n, :k, NULL);\nCALL compare(:n, :k, NULL);\nCOMMIT;\n" => 8,
	"\\set n random(1, 8)\n\\set w random(0, 3)\nBEGIN ISOLATION LEVEL REPEATABLE READ;\nCALL compare(:n, 5, :w);\nCALL compare(:n, 5, :w);\nCOMMIT;\n" => 8,
	"INSERT INTO t (c, v) SELECT random() * 3, q FROM asked WHERE n = 1 + floor(random() * 8);\n" => 2,
	"\\set n random(1, 8)\nDELETE FROM t WHERE id = (SELECT id FROM t ORDER BY v <-> (SELECT q FROM asked WHERE n = :n) LIMIT 1);\n" => 2,
	"UPDATE t SET c = (c + 1) % 4 WHERE id = (SELECT max(id) FROM t);\n" => 2,
	"VACUUM (INDEX_CLEANUP ON) t;\n" => 1);

# ---- beside writers ----

my ($ok, $out) = finish_load(start_load($node, '-t30', 4, \%load));
ok($ok, 'answers beside writers and VACUUM are those of the table') or diag $out;
cmp_ok(stats($node, 'hits'), '>', 0, 'some came from the cache');
agree($node, 'what is left agrees with the table', table => 't');
sound($node, 't_v');

# ---- a process is killed ----

my $hits = stats($node, 'hits');
my $running = start_load($node, 120, 4, \%load);
ok(wait_answer($node, "SELECT hits > $hits + 20 FROM iqdb_cache_stats('t_v')"), 'the cache is in use');
my $killed = one($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() LIMIT 1");
kill 'KILL', $killed;
finish_load($running);
ok(wait_answer($node, "SELECT hits = 0 AND misses = 0 AND capacity = 6 FROM iqdb_cache_stats('t_v')"), 'the server is back, with an empty cache');
($ok, $out) = finish_load(start_load($node, '-t20', 2, \%load));
ok($ok, 'it is filled as before') or diag $out;
cmp_ok(stats($node, 'hits'), '>', 0, 'and used');
$node->stop('immediate');
$node->start;
is(stats($node, 'hits || \' \' || entries'), '0 0', 'a crash empties it');
$node->safe_psql('postgres', 'CALL compare(1, 5, NULL)') for 1 .. 2;
is(stats($node, 'hits || \' \' || misses'), '1 1', 'and it begins anew');

# ---- other options while it is in use ----

$running = start_load($node, '-t40', 3, \%load);
for my $capacity (1, 0, 40, 3)
{
	$node->safe_psql('postgres', "ALTER INDEX t_v SET (cache_capacity = $capacity, cache_policy = lfu, cache_ttl = 1)");
}
($ok, $out) = finish_load($running);
ok($ok, 'changed options change no answer') or diag $out;

# ---- no memory for it ----

$node->safe_psql('postgres', "ALTER INDEX t_v SET (cache_capacity = 1000000, cache_policy = lru, cache_ttl = 0)");
setting($node, 'iqdb.arena_limit', '6MB');
$node->restart;
$node->safe_psql('postgres', 'CALL compare(1, 5, NULL)') for 1 .. 2;
is(stats($node, 'hits + entries + capacity'), '0', 'an index that has no room for its cache works without');
is(one($node, "SELECT state FROM iqdb_index_stats('t_v')"), 'ready', 'and is in use');
setting($node, 'iqdb.arena_limit', undef);
$node->safe_psql('postgres', "ALTER INDEX t_v SET (cache_capacity = 100)");
$node->restart;

# ---- a standby ----

$node->backup('b');
my $standby = new_node('cache_standby', from_backup => [ $node, 'b', has_streaming => 1 ]);
$standby->start;
# no other row is where the new one will be
my $near = "SET enable_seqscan = off; SELECT id FROM t ORDER BY v <-> '[7,7,7,7,7,7]' LIMIT 4";
my $first = one($standby, $near);
is(one($standby, $near), $first, 'the same again on a standby');
is(stats($standby, 'hits || \' \' || misses'), '1 1', 'from its own cache');
$node->safe_psql('postgres', "INSERT INTO t (c, v) VALUES (0, '[7,7,7,7,7,7]')");
wait_replay($node, $standby);
my $after = one($standby, $near);
isnt($after, $first, 'what is replayed empties it');
is($after, one($node, $near), 'and the answer is that of the primary');

done_testing();
