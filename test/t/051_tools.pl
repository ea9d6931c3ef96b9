# 051_tools.pl - what the server's own tools make of indexes: amcheck, pageinspect, pg_stat_statements, auto_explain.
#
# docs/operations.md says what each of them does. They come with the server (in Debian's package of it), so they are always here.
use strict;
use warnings;
use IqdbTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('tools', conf => "shared_preload_libraries = 'pg_stat_statements, auto_explain'\n"
	  . "pg_stat_statements.track = all\n");
my @methods;

$node->start;
install($node);
@methods = methods($node);
$node->safe_psql('postgres', "CREATE EXTENSION $_") for qw(amcheck pageinspect pgstattuple pg_stat_statements);
$node->safe_psql('postgres', 'CREATE TABLE item (id int PRIMARY KEY, tenant int, v iqvector(4)); '
	  . 'CREATE INDEX item_tenant ON item (tenant); '
	  . join('', map { "CREATE INDEX item_$_ ON item USING $_ (v, tenant); " } @methods)
	  . 'INSERT INTO item SELECT i, i % 20, iqdb_random(4) FROM generate_series(1, 2000) i; DELETE FROM item WHERE id % 3 = 0; '
	  . 'VACUUM ANALYZE item');

# ---- amcheck: everything is looked at, and what is not a B-tree is passed over ----

$node->command_like([ 'pg_amcheck', '--heapallindexed', '--parent-check', 'postgres' ], qr/^$/,
	'pg_amcheck finds nothing in a database with our indexes');
for my $method (@methods)
{
	sql_fails($node, "SELECT bt_index_check('item_$method')", '0A000', qr/Relation "item_$method"/,
		"$method: bt_index_check refuses");
	sql_fails($node, "SELECT * FROM pgstattuple('item_$method')", '0A000', qr/index "item_$method"/, "$method: pgstattuple refuses");
}

# ---- pageinspect: pages of the journal are standard ones, so they are checked, backed up and replayed as all others ----

for my $method (@methods)
{
	my $index = "item_$method";

	cmp_ok(one($node, "SELECT pg_relation_size('$index')"), '>', 8192, "$method: there are pages of the journal");
	is(one($node, "SELECT count(*) FROM generate_series(0, pg_relation_size('$index') / 8192 - 1) i, "
			. "page_header(get_raw_page('$index', i::int)) h WHERE NOT (h.lower >= 24 AND h.lower <= h.upper "
			. 'AND h.upper <= h.special AND h.special <= h.pagesize AND h.pagesize = 8192 AND h.version = 4)'),
		0, "$method: pageinspect reads all of them");
}

# ---- pg_stat_statements: one entry for a query, whatever its vector; functions that run a query have an entry for that ----

$node->safe_psql('postgres', 'SELECT pg_stat_statements_reset()');
for my $vector ('[1,2,3,4]', '[4,3,2,1]')
{
	$node->safe_psql('postgres', "SELECT id FROM item WHERE tenant = 3 ORDER BY v <-> '$vector' LIMIT 10");
	$node->safe_psql('postgres', "SELECT tid FROM iqdb_search('item_$methods[0]', '$vector', 10, 'tenant = 3')");
}
is(one($node, q{SELECT string_agg(calls || ' ' || rows || ' ' || toplevel, ', ' ORDER BY query)
	FROM pg_stat_statements WHERE query ~ '^SELECT id FROM item' OR query ~ '^SELECT tid FROM iqdb_search'
	OR query ~ 'ctid.*FROM ONLY public.item'}), '2 20 false, 2 20 true, 2 20 true',
	'pg_stat_statements counts searches, and what iqdb_search runs, by their shape');

# ---- auto_explain: plans with the node of our own, in every format; its settings are named ----

for my $format (qw(text json yaml xml))
{
	my $since = log_size($node);

	$node->safe_psql('postgres', "SET auto_explain.log_min_duration = 0; SET auto_explain.log_analyze = on; "
		  . "SET auto_explain.log_settings = on; SET auto_explain.log_format = $format; SET enable_seqscan = off; "
		  . "SET iqdb.max_scan_tuples = 12345; "
		  . "SELECT id FROM item WHERE v <-> '[0,0,0,0]' < 100 ORDER BY v <-> '[0,0,0,0]' LIMIT 3");
	my $log = log_since($node, $since);
	like($log, qr/Vector Scan.*Rows.Scored.*iqdb\.max_scan_tuples\W+12345/s, "auto_explain in $format");
}
$node->stop;
done_testing();
