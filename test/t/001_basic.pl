# 001_basic.pl - what an index answers: order, ties, NULLs, filters, rescans, cursors, transactions, errors.
use strict;
use warnings;
use lib '.';
use IqdbTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('basic');
$node->start;
install($node);
my @methods = methods($node);
note "methods: @methods";

my %operators = (
	'<->' => 'iqvector_l2_ops',
	'<#>' => 'iqvector_ip_ops',
	'<=>' => 'iqvector_cosine_ops',
	'<+>' => 'iqvector_l1_ops',
	'<~>' => 'iqvector_hamming_ops');

for my $method (@methods)
{
	# ---- order, for every operator: before and behind the index's creation, with ties, duplicates and NULLs ----
	my $t = "t_$method";
	$node->safe_psql('postgres', <<"SQL");
SELECT setseed(0.25);
CREATE TABLE $t (id serial PRIMARY KEY, tenant int, v iqvector(5));
INSERT INTO $t (tenant, v) SELECT i % 50, CASE WHEN i % 20 > 0 THEN iqdb_random(5, 4) END FROM generate_series(1, 600) i;
INSERT INTO $t (tenant, v) SELECT i % 50, iqdb_random(5) FROM generate_series(1, 600) i;
SQL
	for my $op (sort keys %operators)
	{
		# by Hamming distance most rows are equally far away: there is little that a graph or a list could go by
		my @recall = $op eq '<~>' ? (recall => 0.6) : ();
		$node->safe_psql('postgres', "CREATE INDEX ${t}_v ON $t USING $method (v $operators{$op})");
		agree($node, "$method $op on rows that were there", table => $t, op => $op, method => $method, @recall);
		$node->safe_psql('postgres', <<"SQL");
INSERT INTO $t (tenant, v) SELECT i % 50, iqdb_random(5, 4) FROM generate_series(1, 100) i;
INSERT INTO $t (tenant, v) SELECT 0, '[0,0,0,0,0]' FROM generate_series(1, 30) i;
INSERT INTO $t (tenant, v) SELECT 0, NULL FROM generate_series(1, 30) i;
SQL
		agree($node, "$method $op on new rows", table => $t, op => $op, method => $method, @recall);
		$node->safe_psql('postgres', "DELETE FROM $t WHERE id % 7 = 3; VACUUM $t");
		agree($node, "$method $op after delete and vacuum", table => $t, op => $op, method => $method, @recall);
		sound($node, "${t}_v", "$method $op: iqdb_check finds nothing");
		$node->safe_psql('postgres', "DROP INDEX ${t}_v");
	}
	$node->safe_psql('postgres', "CREATE INDEX ${t}_v ON $t USING $method (v)");

	# ---- limits and filters ----
	my $by_index = 'SET enable_seqscan = off; SET enable_sort = off;';
	my $count = one($node, "SELECT count(*) FROM $t WHERE v IS NOT NULL");
	is(one($node, "$by_index SELECT count(*) FROM (SELECT 1 FROM $t ORDER BY v <-> '[1,1,1,1,1]' LIMIT 100000) s"),
		$count, "$method: a limit beyond the rows gives every row that has a vector");
	for my $filter ('tenant = 7', 'id % 97 = 5', 'tenant IN (1, 2) AND id > 300')
	{
		agree($node, "$method: WHERE $filter", table => $t, filter => $filter, method => $method, queries => 4,
			recall => 0.8);
	}
	is(one($node, "$by_index SELECT count(*) FROM (SELECT 1 FROM $t WHERE id = 1201 ORDER BY v <-> '[9,9,9,9,9]' LIMIT 1) s"),
		one($node, "SELECT count(*) FROM $t WHERE id = 1201 AND v IS NOT NULL"), "$method: a filter that one row passes");
	is(one($node, "$by_index SELECT count(*) FROM (SELECT 1 FROM $t WHERE tenant < 0 ORDER BY v <-> '[9,9,9,9,9]' LIMIT 5) s"),
		0, "$method: a filter that no row passes");
	is(one($node, "$by_index SET iqdb.max_scan_tuples = 3; "
			. "SELECT count(*) FROM (SELECT 1 FROM $t ORDER BY v <-> '[1,1,1,1,1]' LIMIT 10) s"),
		3, "$method: iqdb.max_scan_tuples ends a scan");
	is(one($node, "$by_index SELECT count(*) FROM (SELECT 1 FROM $t ORDER BY v <-> (SELECT NULL::iqvector) LIMIT 10) s"),
		10, "$method: order by the distance to NULL");

	# ---- rescans ----
	my $lateral = "SELECT string_agg(d::text, ',' ORDER BY q, d) FROM generate_series(0, 9) q, LATERAL "
	  . "(SELECT v <-> format('[%s,1,0,1,2]', q)::iqvector AS d FROM $t ORDER BY 1 LIMIT 4) s";
	my $plan = one($node, "$by_index EXPLAIN (COSTS OFF) $lateral");
	like($plan, qr/Nested Loop.*Index Scan using ${t}_v/s, "$method: the index is rescanned in a nested loop");
	if (is_exact($method))
	{
		is(one($node, "$by_index $lateral"), one($node, "SET enable_indexscan = off; $lateral"),
			"$method: every rescan answers its own query");
	}
	is(one($node, "$by_index SELECT count(*) FROM generate_series(0, 9) q, LATERAL (SELECT 1 FROM $t "
			. "ORDER BY v <-> format('[%s,1,0,1,2]', q)::iqvector LIMIT 4) s"), 40, "$method: every rescan is complete");

	# ---- prepared statements, generic plans too ----
	my $prepared = join('', "$by_index PREPARE q (iqvector, int) AS SELECT count(*) FROM "
		  . "(SELECT v FROM $t WHERE tenant <> \$2 ORDER BY v <-> \$1 LIMIT 6) s;\n",
		map({ "EXECUTE q ('[$_,1,1,1,1]', 3);\n" } 1 .. 8),
		"SET plan_cache_mode = force_generic_plan;\n", "EXECUTE q ('[2,2,2,2,2]', 4);\n",
		"EXPLAIN (COSTS OFF) EXECUTE q ('[2,2,2,2,2]', 4);\n");
	my $out = $node->safe_psql('postgres', $prepared);
	like($out, qr/^(6\n){9}.*Index Scan using ${t}_v/s, "$method: a prepared statement, eight times and generic");

	# ---- a cursor outlives vacuum, deletion, and reuse of its rows ----
	my $reader = $node->background_psql('postgres');
	$reader->query_safe("SET enable_seqscan = off; SET enable_sort = off; BEGIN ISOLATION LEVEL REPEATABLE READ; "
		  . "DECLARE c CURSOR FOR SELECT id, v <-> '[0,0,0,0,0]' FROM $t ORDER BY v <-> '[0,0,0,0,0]'");
	my $before = one($node, "SELECT count(*), sum(id) FROM $t WHERE v IS NOT NULL");
	my $first = $reader->query_safe('FETCH 5 FROM c');
	is(scalar(split /\n/, $first), 5, "$method: a cursor gives its first rows");
	$node->safe_psql('postgres', <<"SQL");
CREATE TABLE spare_$method AS SELECT * FROM $t;
DELETE FROM $t WHERE id % 3 = 0;
SQL
	$node->safe_psql('postgres', "VACUUM $t");
	$node->safe_psql('postgres', "INSERT INTO $t (tenant, v) SELECT 1, iqdb_random(5) FROM generate_series(1, 300) i");
	my @rest = map { [ split /\|/ ] } split /\n/, "$first\n" . $reader->query_safe('FETCH ALL FROM c');
	my $sum = 0;
	$sum += $_->[0] for @rest;
	is(scalar(@rest) . "|$sum", $before, "$method: and all the others of its snapshot, after delete, vacuum and insert");
	is(scalar(grep { $rest[$_][1] < $rest[ $_ - 1 ][1] } 1 .. $#rest), 0, "$method: in order") if is_exact($method);
	$reader->query_safe('COMMIT');
	$reader->quit;
	$node->safe_psql('postgres', "VACUUM $t");
	agree($node, "$method: as a sequential scan afterwards", table => $t, method => $method);

	# a cursor WITH HOLD, and one that is left open when its transaction is rolled back
	is($node->safe_psql('postgres', "$by_index BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1 FROM $t "
			  . "ORDER BY v <-> '[0,0,0,0,0]'; COMMIT; MOVE 3 FROM c; FETCH 1 FROM c; CLOSE c; "
			  . "BEGIN; DECLARE d CURSOR FOR SELECT 1 FROM $t ORDER BY v <-> '[0,0,0,0,0]'; FETCH 1 FROM d; ROLLBACK"),
		"1\n1", "$method: a cursor WITH HOLD, and one that a rollback closes");

	# ---- updates ----
	$node->safe_psql('postgres', "UPDATE $t SET v = '[77,0,0,0,0]' WHERE id = (SELECT min(id) FROM $t); "
		  . "UPDATE $t SET tenant = 99 WHERE id % 5 = 1; UPDATE $t SET v = NULL WHERE id % 41 = 2");
	is(one($node, "$by_index SELECT v FROM $t ORDER BY v <-> '[78,0,0,0,0]' LIMIT 1"), '[77,0,0,0,0]',
		"$method: an updated row is found by its new vector");
	agree($node, "$method: after updates", table => $t, method => $method);
	$node->safe_psql('postgres', "VACUUM $t");
	agree($node, "$method: after updates and vacuum", table => $t, method => $method);
	sound($node, "${t}_v");

	# ---- what was rolled back is never seen ----
	$node->psql('postgres', <<"SQL");
BEGIN; INSERT INTO $t (tenant, v) VALUES (1, '[500,500,500,500,500]'); ROLLBACK;
BEGIN; SAVEPOINT a; INSERT INTO $t (tenant, v) VALUES (1, '[500,500,500,500,501]'); ROLLBACK TO a;
INSERT INTO $t (tenant, v) VALUES (1, '[500,500,500,500,502]'); COMMIT;
INSERT INTO $t (id, tenant, v) SELECT id, 1, '[500,500,500,500,503]' FROM $t LIMIT 1;
INSERT INTO $t (id, tenant, v) SELECT id, 1, '[500,500,500,500,504]' FROM $t LIMIT 1 ON CONFLICT DO NOTHING;
SQL
	is(one($node, "$by_index SELECT v FROM $t ORDER BY v <-> '[500,500,500,500,500]' LIMIT 1"), '[500,500,500,500,502]',
		"$method: rolled back rows are not found, committed ones are");
	agree($node, "$method: after rollbacks", table => $t, method => $method);

	# ---- two sessions ----
	my ($one, $two) = map { $node->background_psql('postgres') } 1 .. 2;
	$_->query_safe($by_index) for $one, $two;
	my $far = "SELECT v FROM $t ORDER BY v <-> '[900,900,900,900,900]' LIMIT 1";
	$one->query_safe("BEGIN; INSERT INTO $t (tenant, v) VALUES (1, '[900,900,900,900,900]')");
	is($one->query_safe($far), '[900,900,900,900,900]', "$method: a session sees its own row before it commits");
	isnt($two->query_safe($far), '[900,900,900,900,900]', "$method: another does not");
	$one->query_safe('COMMIT');
	is($two->query_safe($far), '[900,900,900,900,900]', "$method: after the commit it does at once");
	$two->query_safe("DELETE FROM $t WHERE v = '[900,900,900,900,900]'");
	isnt($one->query_safe($far), '[900,900,900,900,900]', "$method: and a row deleted there is gone here");
	$_->quit for $one, $two;

	# ---- statistics ----
	my $scans = one($node, "SELECT pg_stat_force_next_flush(); SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = '${t}_v'");
	$scans =~ s/^\n//;
	$node->safe_psql('postgres', "$by_index SELECT count(*) FROM (SELECT 1 FROM $t ORDER BY v <-> '[1,1,1,1,1]' LIMIT 1) s");
	is(one($node, "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = '${t}_v'"), $scans + 1,
		"$method: idx_scan counts");
	is(one($node, "SELECT rows = $count + 0 * rows OR rows > 0 FROM iqdb_index_stats('${t}_v')"), 't', "$method: stats");

	# ---- errors ----
	sql_fails($node, "$by_index SELECT 1 FROM $t ORDER BY v <-> '[1,2,3]' LIMIT 1;", '22000',
		'different iqvector dimensions 5 and 3', "$method: a query of other dimensions");
	sql_fails($node, "INSERT INTO $t (v) VALUES ('[1,2,3]');", '22000', 'expected 5 dimensions, not 3',
		"$method: a row of other dimensions");
	sql_fails($node, "CREATE TABLE d_$method (v iqvector); CREATE INDEX ON d_$method USING $method (v);", '22023',
		'column does not have dimensions', "$method: a column without dimensions");
	sql_fails($node, "CREATE INDEX ON $t USING $method (v) WITH (compression = brotli);", '22023',
		'invalid value for enum option "compression"', "$method: a wrong compression");
	sql_fails($node, "CREATE INDEX ON $t USING $method (v) WITH (compression_level = 99);", '22023',
		'value 99 out of bounds for option "compression_level"', "$method: a wrong level");
	sql_fails($node, "CREATE INDEX ON $t USING $method (v) WITH (no_such = 1);", '22023',
		'unrecognized parameter "no_such"', "$method: an unknown option");
	sql_fails($node, "CREATE INDEX ON $t USING $method (id);", '0A000', 'type integer cannot be indexed',
		"$method: a column of another type");
	sql_fails($node, "CREATE UNIQUE INDEX ON $t USING $method (v);", '0A000', 'does not support unique indexes',
		"$method: a unique index");
	sql_fails($node, "ALTER TABLE $t ADD EXCLUDE USING $method (v WITH =);", '42809',
		'not a member of operator family', "$method: an exclusion constraint");
	sql_fails($node, "CLUSTER $t USING ${t}_v;", '0A000', 'does not support clustering', "$method: CLUSTER by it");
	agree($node, "$method: after all the errors", table => $t, method => $method);

	# ---- other kinds of tables ----
	for my $kind ('TEMP', 'UNLOGGED')
	{
		my $name = lc("k_${kind}_$method");
		my $result = $node->safe_psql('postgres', <<"SQL");
CREATE $kind TABLE $name (id serial, v iqvector(3));
INSERT INTO $name (v) SELECT iqdb_random(3) FROM generate_series(1, 200) i;
CREATE INDEX ${name}_v ON $name USING $method (v);
INSERT INTO $name (v) SELECT iqdb_random(3) FROM generate_series(1, 200) i;
DELETE FROM $name WHERE id % 3 = 1;
VACUUM $name;
INSERT INTO $name (v) SELECT iqdb_random(3) FROM generate_series(1, 50) i;
SELECT iqdb_compare('$name', 'id', 'v', '<->', 5, 10, '', @{[is_exact($method) ? 'true' : 'false']}, 0.95, true);
SELECT iqdb_check('${name}_v');
BEGIN; TRUNCATE $name; INSERT INTO $name (v) VALUES ('[1,2,3]');
SELECT iqdb_compare('$name', 'id', 'v', '<->', 5, 10, '', @{[is_exact($method) ? 'true' : 'false']}, 0.95, true); ROLLBACK;
SELECT iqdb_compare('$name', 'id', 'v', '<->', 5, 10, '', @{[is_exact($method) ? 'true' : 'false']}, 0.95, true);
SQL
		is($result, '', "$method on a " . lc($kind) . ' table');
	}
	is($node->safe_psql('postgres', <<"SQL"), "100\n0\n1", "$method: a temporary table that each commit empties");
SET enable_seqscan = off;
CREATE TEMP TABLE oc (v iqvector(2)) ON COMMIT DELETE ROWS;
CREATE INDEX ON oc USING $method (v);
BEGIN; INSERT INTO oc SELECT format('[%s,1]', i)::iqvector FROM generate_series(1, 100) i;
SELECT count(*) FROM (SELECT 1 FROM oc ORDER BY v <-> '[1,1]' LIMIT 1000) s; COMMIT;
SELECT count(*) FROM (SELECT 1 FROM oc ORDER BY v <-> '[1,1]' LIMIT 1000) s;
BEGIN; INSERT INTO oc VALUES ('[5,5]'); SELECT count(*) FROM (SELECT 1 FROM oc ORDER BY v <-> '[1,1]' LIMIT 1000) s; COMMIT;
SQL

	# ---- partial indexes, indexes on expressions, partitions ----
	$node->safe_psql('postgres', <<"SQL");
CREATE TABLE p_$method (id serial, kind int, v iqvector);
INSERT INTO p_$method (kind, v) SELECT i % 3, CASE WHEN i % 3 = 2 THEN '[1,2]' ELSE iqdb_random(3) END FROM generate_series(1, 300) i;
CREATE INDEX p_${method}_v ON p_$method USING $method ((v::iqvector(3))) WHERE kind = 1;
INSERT INTO p_$method (kind, v) SELECT i % 3, CASE WHEN i % 3 = 2 THEN '[1,2]' ELSE iqdb_random(3) END FROM generate_series(1, 300) i;
UPDATE p_$method SET kind = 1 - kind WHERE id % 4 = 0 AND kind < 2;
SQL
	$node->safe_psql('postgres', "VACUUM p_$method");
	agree($node, "$method: a partial index on an expression", table => "p_$method", column => 'v::iqvector(3)',
		filter => 'kind = 1', method => $method);
	is(one($node, "SET enable_seqscan = off; SELECT count(*), sum(id) FROM (SELECT id FROM p_$method WHERE kind = 1 "
			. "ORDER BY (v::iqvector(3)) <-> '[1,2,3]') s"),
		one($node, "SELECT count(*), sum(id) FROM p_$method WHERE kind = 1"), "$method: a partial index has just its rows");
	sound($node, "p_${method}_v");
	$node->safe_psql('postgres', <<"SQL");
CREATE TABLE parts_$method (id int, v iqvector(3)) PARTITION BY HASH (id);
CREATE INDEX parts_${method}_v ON parts_$method USING $method (v);
CREATE TABLE parts_${method}_0 PARTITION OF parts_$method FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parts_${method}_1 PARTITION OF parts_$method FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO parts_$method SELECT i, iqdb_random(3) FROM generate_series(1, 300) i;
SQL
	agree($node, "$method: a partitioned table, merged in order", table => "parts_$method", method => $method);

	# ---- COPY of many rows, and the longest vectors ----
	$node->safe_psql('postgres', "CREATE TABLE c_$method (id serial, v iqvector(3)); "
		  . "CREATE INDEX c_${method}_v ON c_$method USING $method (v); COPY c_$method (v) FROM STDIN;\n"
		  . join('', map { sprintf("[%d,%d,%d]\n", $_ % 71, $_ % 13, $_) } 1 .. 3000) . "\\.\n");
	agree($node, "$method: after COPY of 3000 rows", table => "c_$method", method => $method);
	$node->safe_psql('postgres', <<"SQL");
CREATE TABLE l_$method (id serial, v iqvector(16000));
INSERT INTO l_$method (v) SELECT iqdb_random(16000, 100) FROM generate_series(1, 8) i;
CREATE INDEX l_${method}_v ON l_$method USING $method (v);
INSERT INTO l_$method (v) SELECT iqdb_random(16000, 100) FROM generate_series(1, 8) i;
SQL
	agree($node, "$method: 16000 dimensions", table => "l_$method", method => $method, queries => 3);
	sound($node, "l_${method}_v");
	$node->safe_psql('postgres', "DROP TABLE l_$method");

	# ---- a build with workers: they read the table, link rows, and help with what comes at the end ----
	my (undef, undef, $notices) = $node->psql('postgres', <<"SQL");
CREATE TABLE w_$method (id serial PRIMARY KEY, v iqvector(8));
INSERT INTO w_$method (v) SELECT iqdb_random(8) FROM generate_series(1, 6000) i;
SET max_parallel_maintenance_workers = 2; SET min_parallel_table_scan_size = 0; SET client_min_messages = debug1;
CREATE INDEX w_${method}_v ON w_$method USING $method (v);
SQL
	like($notices, qr/using [12] parallel workers/, "$method: built with workers");
	is(one($node, "SELECT rows, unlinked FROM iqdb_index_stats('w_${method}_v')"), '6000|0', "$method: all rows are linked");
	agree($node, "$method: built with workers", table => "w_$method", method => $method, recall => 0.8);
	sound($node, "w_${method}_v", "$method: built with workers: iqdb_check finds nothing");
	$node->safe_psql('postgres', "DROP TABLE w_$method");
}

# ---- search by codes: from rows and offsets of any size, and after a restart; on flat as exact as without ----
$node->safe_psql('postgres', <<"SQL");
SELECT setseed(0.5);
CREATE TABLE coded_rows (id serial, tenant int, v iqvector(48));
INSERT INTO coded_rows (tenant, v) SELECT i % 40, iqdb_random(48) FROM generate_series(1, 3000) i;
INSERT INTO coded_rows (tenant, v) SELECT i % 40, iqdb_random(48, 3) FROM generate_series(1, 500) i;
SQL
for (['iqdb_flat', 'sq8'], ['iqdb_hnsw', 'bq'])
{
	my ($method, $codes) = @$_;
	my $what = "$method with $codes";
	# signs of 48 random components leave much to chance, and few queries are asked
	my @args = (table => 'coded', method => $method, recall => 0.7);
	$node->safe_psql('postgres', 'CREATE TABLE coded (LIKE coded_rows INCLUDING DEFAULTS); INSERT INTO coded SELECT * FROM coded_rows');
	for my $op ('<->', '<#>', '<=>')
	{
		$node->safe_psql('postgres', "CREATE INDEX coded_v ON coded USING $method (v $operators{$op}) "
			  . "WITH (quantization = $codes)");
		agree($node, "$what $op on rows that were there", @args, op => $op);
		$node->safe_psql('postgres', "INSERT INTO coded (tenant, v) SELECT 7, v FROM coded WHERE id % 11 = 4; "
			  . "DELETE FROM coded WHERE id % 7 = 3; VACUUM coded; "
			  . "INSERT INTO coded (tenant, v) SELECT i % 40, iqdb_random(48) FROM generate_series(1, 300) i;");
		agree($node, "$what $op after changes", @args, op => $op);
		agree($node, "$what $op and a filter", @args, op => $op, filter => 'tenant = 7');
		sound($node, 'coded_v', "$what $op: iqdb_check finds nothing");
		$node->safe_psql('postgres', "SELECT iqdb_optimize('coded_v'); SELECT iqdb_flush('coded_v')") if $op eq '<->';
		$node->restart if $op eq '<->';
		agree($node, "$what $op once more", @args, op => $op, queries => 4);
		sound($node, 'coded_v', "$what $op: iqdb_check finds nothing once more");
		$node->safe_psql('postgres', 'DROP INDEX coded_v');
	}
	$node->safe_psql('postgres', 'DROP TABLE coded');
}

$node->stop;
done_testing();
