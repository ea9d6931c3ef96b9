# 036_plan_shapes.pl - random queries of many shapes, answered by the own node (Vector Scan), by the index alone, and by the table:
# several distances, bounds of them, filters with and without an index, ties, NULLs, OFFSET, DISTINCT, GROUP BY, windows,
# columns behind the vector, LATERAL, cursors, kept plans, joins, partitions, UNION, parallel plans.
#
# IQDB_SHAPES=10000 asks more queries of each index (IQDB_SEED=n the same ones again). Where an index looks at everything its
# answers must be those of the table. Where it looks at little, those of LIMIT may be other rows, but as many, each once, in
# order and with right distances; and what is computed from the order must be right all the same.
use strict;
use warnings;

use IPC::Run;
use IqdbTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $queries = $ENV{IQDB_SHAPES} // 40;
my $node = new_node('shapes', conf => "max_parallel_workers_per_gather = 2\nwork_mem = 256kB\njit = off\n");
$node->start;
install($node);
seed_from_env();

# way: node, index or table. answer(query, way): its rows as text, in order. walk(query, way, steps): a cursor is moved by so
# many rows, and each row where it stops is noted. problem(rows): what is wrong with rows (d, id, rank), of an approximate
# answer.
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION go(way text) RETURNS void LANGUAGE sql AS $$
	SELECT set_config('enable_indexscan', (way <> 'table')::text, true), set_config('enable_seqscan', (way = 'table')::text, true),
		set_config('enable_bitmapscan', (way <> 'index')::text, true),
		set_config('iqdb.enable_vector_scan', (way = 'node')::text, true) $$;
CREATE FUNCTION answer(query text, way text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
	r record;
	found text[] := '{}';
BEGIN
	PERFORM go(way);
	FOR r IN EXECUTE query LOOP
		found := found || r::text;
	END LOOP;
	RETURN found;
END $$;
CREATE FUNCTION walk(query text, way text, steps int[]) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
	c refcursor := 'walker';
	r record;
	step int;
	found text[] := '{}';
BEGIN
	PERFORM go(way);
	EXECUTE 'DECLARE walker SCROLL CURSOR FOR ' || query;
	FOREACH step IN ARRAY steps LOOP
		FETCH RELATIVE (step) FROM c INTO r;
		found := found || coalesce(r::text, 'none');
	END LOOP;
	CLOSE c;
	RETURN found;
END $$;
CREATE FUNCTION kept(query text, way text, limits int[]) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
	r record;
	n int;
	found text[] := '{}';
BEGIN
	PERFORM go(way);
	EXECUTE 'PREPARE kept (int) AS ' || query;
	FOREACH n IN ARRAY limits LOOP
		FOR r IN EXECUTE format('EXECUTE kept (%s)', n) LOOP
			found := found || r::text;
		END LOOP;
	END LOOP;
	DEALLOCATE kept;
	RETURN found;
END $$;
CREATE FUNCTION problem(query text, way text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	r record;
	last float8;
	rows int := 0;
	place int := 0;
	ids bigint[] := '{}';
BEGIN
	PERFORM go(way);
	FOR r IN EXECUTE query LOOP
		rows := rows + 1;
		IF r.id = ANY (ids) THEN
			RETURN format('row %s twice', r.id);
		ELSIF r.d < last THEN
			RETURN format('row %s is out of order', r.id);
		END IF;
		IF last IS NULL OR r.d > last THEN
			place := rows;
		END IF;
		IF r.rank IS NOT NULL AND r.rank <> place THEN
			RETURN format('row %s has rank %s, not %s', r.id, r.rank, place);
		END IF;
		ids := ids || r.id::bigint;
		last := r.d;
	END LOOP;
	PERFORM go('table');
	EXECUTE 'SELECT count(*) FROM (' || query || ') s' INTO place;
	RETURN CASE WHEN rows <> place THEN format('%s rows, not %s', rows, place) END;
END $$;
SQL

# ---- random parts of queries -------------------------------------------------------------------------------------------

sub pick { return $_[ rand @_ ] }
sub often { return rand() < $_[0] }

# In all shapes: T the table, OP its index's operator.
my ($dimension, $steps, $op, $table);

sub vector { return "'[" . join(',', map { int(rand($steps)) } 1 .. $dimension) . "]'::iqvector" }
sub distance { return 'v ' . $op . ' ' . ($_[0] // vector()) }

sub filter
{
	return 'v IS NOT NULL' . pick('', '', ' AND c < 3', ' AND c = 2', ' AND c = 99', ' AND id % 7 > 1', ' AND w > 0.4');
}

# Nothing, or a bound of a distance: one that rows have, which are within or not, or any number.
sub bound
{
	my ($distance) = @_;
	my $number = pick("(SELECT percentile_disc(" . pick(0, 0.01, 0.1, 0.5, 1) . ") WITHIN GROUP (ORDER BY $distance) FROM $table WHERE v IS NOT NULL)",
		int(rand(2 * $steps)), rand(), "'NaN'::float8", -1, '0.7::real');
	return '' if often(0.6);
	return often(0.2) ? " AND $number >= $distance" : " AND $distance " . pick('<', '<', '<=', '=') . " $number";
}

# "ORDER BY ...", which leaves nothing to chance, and the columns that show it.
sub ordered
{
	my @keys = (distance($_[0]));
	push @keys, pick(distance() . pick('', ' DESC'), 'c', 'w DESC', distance() . ', c') if often(0.5);
	my $shown = join ', ', map { s/ DESC//r } @keys;
	return (often(0.5) ? "$shown, id" : $shown, join(', ', @keys, often(0.7) ? 'id' : ())) if @keys > 1 && often(0.2);
	return ("$shown, id", join ', ', @keys, 'id') if often(0.6);
	return ($shown, join ', ', @keys);
}

sub limit
{
	my $limit = 'LIMIT ' . pick(1, 2, 5, 10, 40, 1000);
	return pick('', $limit, $limit, $limit . ' OFFSET ' . pick(1, 7, 300));
}

# Columns of which each row has its place for sure: those that are sorted by, and the id only if that is one of them.
sub listed
{
	my ($given, $wanted) = @_;
	my ($shown, $order) = ordered($given);
	my ($first) = $order =~ /^(v \S+ (?:'[^']*'::iqvector|format\(.*?\)::iqvector))/;
	$shown =~ s/, id$// unless $order =~ /, id$/;
	return "SELECT $shown FROM $table WHERE " . filter() . bound($first) . " ORDER BY $order " . ($wanted // limit());
}

sub some { return listed(undef, 'LIMIT ' . pick(1, 3, 20, 100)) }

sub nearest_ids
{
	my ($filter, $count) = (filter(), pick(1, 5, 30));
	return 'SELECT id FROM ' . $table . " WHERE $filter ORDER BY " . distance() . ", id LIMIT $count";
}

my @from_order = (
	sub { my $d = distance(); "SELECT DISTINCT $d AS d FROM $table WHERE " . filter() . ' ORDER BY d ' . limit() },
	sub { my $d = distance(); "SELECT DISTINCT ON ($d) $d AS d, id FROM $table WHERE " . filter() . " ORDER BY $d, id " . limit() },
	sub { my $d = distance(); "SELECT $d AS d, count(*), min(id) FROM $table WHERE " . filter() . ' GROUP BY 1 ORDER BY 1 ' . limit() },
	sub { my $d = distance(); "SELECT min($d), max($d) FROM $table WHERE " . filter() },
	sub { my $d = distance(); "SELECT min($d) FROM $table" . pick('', ' WHERE c = 1') },
	sub {
		my $d = distance();
		"SELECT $d AS d, id, rank() OVER w, dense_rank() OVER w, count(*) OVER w, lag(id) OVER (ORDER BY $d, id) FROM $table WHERE " . filter()
		  . " WINDOW w AS (ORDER BY $d) ORDER BY d, id " . limit()
	},
	sub {
		my $d = distance();
		"SELECT $d AS d, sum(c) OVER (ORDER BY $d), count(*) OVER () FROM $table WHERE " . filter() . ' ORDER BY d, 2 ' . limit()
	},
	sub { my $d = distance(); "SELECT $d AS d, x FROM $table LEFT JOIN generate_series(0, 9) x ON x = ($d) WHERE " . filter() . " ORDER BY $d, id, x " },
	sub { my $d = distance(); "SELECT $d AS d, x FROM $table JOIN generate_series(0, 9) x ON x = ($d) WHERE " . filter() . " ORDER BY $d, id, x " },
	sub { my $d = distance(); "SELECT d FROM (SELECT $d AS d FROM $table WHERE " . filter() . ' ORDER BY d OFFSET 0) s GROUP BY d ORDER BY d ' . limit() },
	sub { my $d = distance(); "SELECT $d AS d, id FROM $table WHERE " . filter() . bound($d) . ' ORDER BY d, id' },
	sub { my $d = distance(); "SELECT count(*), sum(id), max($d) FROM $table WHERE " . filter() . bound($d) . bound($d) },
	sub { my $d = distance(); "SELECT c, count(*) FROM $table WHERE " . filter() . bound($d) . bound(distance()) . ' GROUP BY c ORDER BY c' },
);

my @exact_only = (
	sub { listed() },
	sub { listed() },
	sub { "SELECT q, s.* FROM generate_series(0, 4) q, LATERAL (" . listed("format('[" . join(',', ('%1$s') x $dimension) . "]', q)::iqvector") . ') s ORDER BY 1' . pick('', ', 2') =~ s/, 2$/, s::text/r },
	sub {
		my $d = distance("format('[" . join(',', ('%1$s') x $dimension) . "]', q)::iqvector");
		my $on = 'ON ' . filter() . " AND $d " . pick('<', '<=') . ' ' . pick('q', 'q * 0.3', '1', int(rand(2 * $steps)));
		"SELECT q, $table.id FROM generate_series(0, 4) q " . pick('', 'LEFT ') . "JOIN $table $on ORDER BY 1, 2"
	},
	sub { "SELECT count(*), count(DISTINCT s::text) FROM (" . some() . ') s' },
	sub { "SELECT s::text FROM (" . some() . ") s UNION SELECT s::text FROM (" . some() . ') s ORDER BY 1' },
	sub { "SELECT id FROM ((" . nearest_ids() . ') ' . pick('EXCEPT', 'INTERSECT', 'UNION ALL') . ' (' . nearest_ids() . ')) s ORDER BY id' },
	sub { "SELECT id, c FROM $table WHERE id " . pick('', 'NOT ') . 'IN (' . nearest_ids() . ') ORDER BY id' },
	sub { my $d = distance(); "SELECT $d, $table.id, side.id FROM $table JOIN side ON side.c = $table.c WHERE " . (filter() =~ s/\b(c|id) /$table.$1 /gr) . " ORDER BY $d, $table.id, side.id LIMIT " . pick(3, 50) },
	sub { my $q = listed(undef, ''); my $n = pick(1, 5, 30); "WITH s AS MATERIALIZED ($q) SELECT count(*) FROM s" },
	sub { "SELECT side.id, (SELECT id FROM $table WHERE $table.c = side.c AND v IS NOT NULL ORDER BY " . distance() . ', id LIMIT 1) FROM side ORDER BY 1' },
	sub { nearest_ids() . ($table eq 'united' ? '' : ' FOR UPDATE') },
	sub { my $d = distance(); "SELECT $d AS d, row_number() OVER (ORDER BY $d, id) FROM $table WHERE v IS NOT NULL ORDER BY $d, id " . limit() },
);

# Rows (d, id, rank) of which an approximate index may give others.
sub loose
{
	my $d = distance();
	my $filter = pick('', ' WHERE ' . filter(), ' WHERE ' . filter());
	my $count = pick(2, 5, 10, 40, 100, 400);
	return "SELECT $d AS d, id, NULL::bigint AS rank FROM $table" . ($filter || ' WHERE v IS NOT NULL') . bound($d) . " ORDER BY $d"
	  . pick('', ', id', ', ' . distance()) . " LIMIT $count" . pick('', ' OFFSET 3')
	  if often(0.6);
	return "SELECT d, id, rank() OVER (ORDER BY d) AS rank FROM (SELECT $d AS d, id FROM $table WHERE " . filter() . " ORDER BY d LIMIT $count) s ORDER BY d"
	  if often(0.5);
	return "SELECT $d AS d, id, rank() OVER (ORDER BY $d) AS rank FROM full_$table ORDER BY $d LIMIT $count";
}

sub quoted { return '$q$' . $_[0] . '$q$' }

# One statement that returns a line if index and table differ.
sub comparison
{
	my ($exact) = @_;
	my $parallel = often(0.2) ? 'SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0; SET LOCAL min_parallel_table_scan_size = 0;' : '';
	my $join = pick('', '', 'SET LOCAL enable_hashjoin = off;', 'SET LOCAL enable_hashjoin = off; SET LOCAL enable_nestloop = off;', 'SET LOCAL enable_hashagg = off;', 'SET LOCAL enable_incremental_sort = off;',
		'SET LOCAL enable_sort = off;', 'SET LOCAL enable_sort = off;');
	my ($call, $query);

	if (!$exact && often(0.5))
	{
		$query = loose();
		my $way = pick('node', 'node', 'index');
		return "BEGIN; $parallel $join SELECT p, '$way', " . quoted($query) . ' FROM problem(' . quoted($query) . ", '$way') p WHERE p IS NOT NULL; COMMIT;\n";
	}
	$query = $exact && often(0.6) ? pick(@exact_only)->() : pick(@from_order)->();
	$call = 'answer(' . quoted($query) . ', WAY)';
	if ($exact && often(0.2))
	{
		$query = listed();
		my @moves = map { pick(1, 1, 2, 5, -1, -2, 30) } 1 .. 12;
		$call = 'walk(' . quoted($query) . ", WAY, '{" . join(',', @moves) . "}')";
	}
	elsif ($exact && often(0.15))
	{
		$query = listed(undef, 'LIMIT $1');
		$call = 'kept(' . quoted($query) . ", WAY, '{3,0,20,1,7,2,11,500}')";
		$join .= pick('', 'SET LOCAL plan_cache_mode = force_generic_plan;');
	}
	my ($a, $b, $c) = map { $call =~ s/WAY/'$_'/r } 'node', 'index', 'table';
	return "BEGIN; $parallel $join SELECT left(a::text, 300), left(b::text, 300), left(c::text, 300), \$call\$$join $call\$call\$"
	  . " FROM (SELECT $a AS a, $b AS b, $c AS c OFFSET 0) s WHERE a IS DISTINCT FROM c OR b IS DISTINCT FROM c; COMMIT;\n";
}

# ---- tables --------------------------------------------------------------------------------------------------------------

my %class = ('<->' => 'l2', '<+>' => 'l1', '<#>' => 'ip', '<=>' => 'cosine');

# A table, one of partitions, and a view of two tables; full_... has no NULLs.
sub tables
{
	my ($method) = @_;
	my $rows = 50 + int rand 500;
	my $value = "ARRAY(SELECT floor(random() * $steps) + 0 * i FROM generate_series(1, $dimension))::real[]::iqvector";
	my $row = "SELECT i AS id, i % 5 AS c, (hashint4(i) & 255) / 256.0 AS w, CASE WHEN i % 9 > 0 THEN $value END::iqvector($dimension) AS v FROM generate_series(1, $rows) i";
	my $index = "USING $method (v iqvector_$class{$op}_ops" . pick('', ', c', ', id, c', ', (w > 0.4), (id % 7)') . ')';
	my $sql = "DROP VIEW IF EXISTS united, full_united; DROP TABLE IF EXISTS one, two, parts, full_one, full_parts, side;\n"
	  . "CREATE TABLE one AS $row; CREATE TABLE two AS SELECT id + 1000 AS id, c, w, v FROM one;\n"
	  . "CREATE TABLE parts (id int, c int, w numeric, v iqvector($dimension)) PARTITION BY HASH (id);\n"
	  . join('', map { "CREATE TABLE parts_$_ PARTITION OF parts FOR VALUES WITH (MODULUS 3, REMAINDER $_);\n" } 0 .. 2)
	  . "INSERT INTO parts SELECT * FROM one; CREATE VIEW united AS SELECT * FROM one UNION ALL SELECT * FROM two;\n"
	  . "CREATE TABLE full_one AS SELECT * FROM one WHERE v IS NOT NULL;\n"
	  . "CREATE TABLE full_parts (LIKE parts) PARTITION BY HASH (id);\n"
	  . join('', map { "CREATE TABLE full_parts_$_ PARTITION OF full_parts FOR VALUES WITH (MODULUS 3, REMAINDER $_);\n" } 0 .. 2)
	  . "INSERT INTO full_parts SELECT * FROM full_one; CREATE VIEW full_united AS SELECT * FROM full_one;\n"
	  . join('', map { "CREATE INDEX ON $_ $index" . ($_ eq 'two' && often(0.5) ? ' WHERE v IS NOT NULL' : '') . ";\n" } qw(one two parts full_one full_parts))
	  . join('', map { "CREATE INDEX ON $_ (c); CREATE INDEX ON $_ (id); CREATE INDEX ON $_ USING brin (w) WITH (pages_per_range = 1);\n" } qw(one two parts full_one full_parts))
	  . "CREATE TABLE side AS SELECT i AS id, i % 6 AS c FROM generate_series(1, 12) i; CREATE INDEX ON side (c);\n"
	  . "ANALYZE one, two, parts, full_one, full_parts, side;\n";
	$node->safe_psql('postgres', $sql);
}

for my $method (methods($node))
{
	for my $exact (is_exact($method) ? 1 : (1, 0))
	{
		$dimension = pick(1, 2, 3, 8, 20);
		$steps = pick(2, 3, 5, 50);
		$op = pick(keys %class);
		tables($method);
		my $settings = $exact ? 'SET iqdb.hnsw_ef_search = 100000; SET iqdb.ivf_probes = 1000000;' : 'SET iqdb.hnsw_ef_search = 4; SET iqdb.ivf_probes = 1;';
		my $sql = "LOAD 'iqdb'; $settings SET client_min_messages = error;\n";
		for (1 .. $queries)
		{
			$table = pick('one', 'one', 'parts', 'united');
			$sql .= comparison($exact);
		}
		my $file = PostgreSQL::Test::Utils::tempdir() . '/queries.sql';
		append_to_file($file, $sql);
		IPC::Run::run([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-f', $file ], '>', \my $out, '2>', \my $err);
		is("$out$err", '', "$method" . ($exact ? '' : ', looking at little') . ", $dimension dimensions of $steps values, $op: index and table agree");
	}
}

done_testing();
