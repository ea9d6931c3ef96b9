# 030_pgvector.pl - columns of pgvector's own type under the access methods: as they are, beside pgvector's indexes.
#
# Runs with the pgvector of the server under test, or with what stands in for it (stand_in/README.md). What an index answers
# is compared with what pgvector's operators say of every row; zero vectors have no cosine distance there, and come last.
use strict;
use warnings;
use IqdbTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('pgvector');
$node->start;
install($node);
my $is_real = one($node, "SELECT default_version <> '0.0.1' FROM pg_available_extensions WHERE name = 'vector'") eq 't';
note $is_real ? 'pgvector is installed' : 'a stand-in takes the place of pgvector';

my %operator = (l2 => '<->', ip => '<#>', cosine => '<=>', l1 => '<+>');
my @methods = methods($node);

# The rows of a query as "id distance", through an index of ours (by_index) or by sequential scan and sort.
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION ordered(query text, by_index boolean, OUT ids bigint[], OUT distances float8[]) LANGUAGE plpgsql AS $$
DECLARE
	line text;
	plan text := '';
BEGIN
	PERFORM set_config('enable_seqscan', CASE WHEN by_index THEN 'off' ELSE 'on' END, true);
	PERFORM set_config('enable_indexscan', CASE WHEN by_index THEN 'on' ELSE 'off' END, true);
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		plan := plan || line;
	END LOOP;
	IF plan LIKE '%Index Scan using%' <> by_index THEN
		RAISE EXCEPTION 'not the plan wanted: %', plan;
	END IF;
	EXECUTE 'SELECT array_agg(id), array_agg(d) FROM (' || query || ') q' INTO ids, distances;
END $$;

-- What is wrong with the answers of an index to a query: NULL if nothing. All rows are asked for.
CREATE FUNCTION wrong(query text, is_exact boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	mine record;
	theirs record;
	found int;
BEGIN
	SELECT * INTO mine FROM ordered(query, true);
	SELECT * INTO theirs FROM ordered(query, false);
	IF (SELECT array_agg(i ORDER BY i) FROM unnest(mine.ids) i) IS DISTINCT FROM
	   (SELECT array_agg(i ORDER BY i) FROM unnest(theirs.ids) i) THEN
		RETURN format('%s rows, not the %s of the table', cardinality(mine.ids), cardinality(theirs.ids));
	END IF;
	IF is_exact THEN
		RETURN (SELECT format('at %s: %s, not %s', n, a, b) FROM unnest(mine.distances, theirs.distances) WITH ORDINALITY u (a, b, n)
			WHERE NOT (a = b OR abs(a - b) <= 1e-5 * greatest(abs(a), 1e-3)) LIMIT 1);
	END IF;
	found := (SELECT count(*) FROM unnest(mine.distances[1:20]) d WHERE d <= theirs.distances[20]);
	IF found < 17 THEN
		RETURN format('%s of the nearest 20', found);
	END IF;
	IF (SELECT bool_or(a = 'NaN' AND b <> 'NaN') FROM unnest(mine.distances, mine.distances[2:]) u (a, b)) THEN
		RETURN 'a row with a distance behind one without';
	END IF;
	RETURN NULL;
END $$;

CREATE FUNCTION random_floats(dimension int, seed bigint) RETURNS real[] VOLATILE LANGUAGE sql AS
	'SELECT array_agg((random() - 0.5)::real) FROM generate_series(1, dimension) WHERE seed IS NOT NULL';
SQL

# ---- before pgvector is there ----

sql_fails($node, 'SELECT iqdb_create_pgvector_support()', '42704', 'CREATE EXTENSION vector', 'pgvector must be there first');
$node->safe_psql('postgres', 'CREATE TYPE vector AS (x real)');
sql_fails($node, 'SELECT iqdb_create_pgvector_support()', '42704', 'CREATE EXTENSION vector', 'another type of its name will not do');
$node->safe_psql('postgres', 'DROP TYPE vector; CREATE SCHEMA elsewhere; CREATE EXTENSION vector SCHEMA elsewhere');

# ---- operator classes ----

is(one($node, 'SELECT count(*) FROM iqdb_create_pgvector_support()'), 4 * @methods, 'four classes for each method, in the schema of the type');
is(one($node, 'SELECT count(*) FROM iqdb_create_pgvector_support()'), 0, 'nothing is left to do for a second call');
is(one($node, "SELECT count(*) FROM pg_opclass c JOIN pg_am a ON a.oid = c.opcmethod WHERE a.amname LIKE 'iqdb%' "
		. "AND c.opcnamespace = 'elsewhere'::regnamespace AND amvalidate(c.oid)"), 4 * @methods, 'all of them are valid');

$node->safe_psql('postgres', <<'SQL');
ALTER DATABASE postgres SET search_path = public, elsewhere;
SET search_path = public, elsewhere;
CREATE TABLE item (id serial, v vector(12), kind int);
INSERT INTO item (v, kind) SELECT random_floats(12, i)::vector, i % 3 FROM generate_series(1, 1500) i;
INSERT INTO item (v) SELECT array_fill(0::real, ARRAY[12])::vector FROM generate_series(1, 7);
INSERT INTO item (v) SELECT array_fill((i % 3)::real, ARRAY[12])::vector FROM generate_series(1, 60) i;
INSERT INTO item (v) VALUES (NULL);
SQL

sub answers
{
	my ($when) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	for my $method (@methods)
	{
		my @wrong;

		for my $metric (sort keys %operator)
		{
			$node->safe_psql('postgres', "CREATE INDEX trial ON item USING $method (v vector_${metric}_ops)");
			for my $query ('(SELECT v FROM item WHERE id = 17)', "'[.1,.2,.3,-.4,.5,.6,-.7,.8,.9,-.1,.2,.3]'",
				"'[0,0,0,0,0,0,0,0,0,0,0,0]'")
			{
				# of a zero vector every row is equally far by cosine and inner product: any order will do
				next if $query =~ /\[0,/ && $metric =~ /cosine|ip/;
				my $exact = is_exact($method) ? 'true' : 'false';
				my $sql = "SELECT id, v $operator{$metric} $query AS d FROM item WHERE v IS NOT NULL ORDER BY v $operator{$metric} $query";
				my $problem = one($node, "SELECT wrong(\$q\$$sql\$q\$, $exact)");
				push @wrong, "$metric, $query: $problem" if $problem ne '';
			}
			my $findings = one($node, "SELECT iqdb_check('trial')");
			push @wrong, "$metric: $findings" if $findings ne '';
			$node->safe_psql('postgres', 'DROP INDEX trial');
		}
		is("@wrong", '', "$method: $when: rows and order are those of pgvector's operators");
	}
}

answers('as built');

# ---- values of both types together ----

is(one($node, "SELECT a <-> b, b <-> a, a <#> b, a <+> b, b <~> b, a = b, a + b, b || a, l2_distance(a, b), iqvector_dims(b) "
		. "FROM (SELECT '[1,2]'::iqvector, '[1,3]'::vector) v (a, b)"), '1|1|-7|1|0|f|[2,5]|[1,3,1,2]|1|2',
	'operators and functions of iqvector take both');
is(one($node, 'SELECT count(*) FROM item WHERE v = v::iqvector'), 1567, 'columns too');
is(one($node, "SELECT pg_typeof(v), v <-> '[1,1]', v <-> '[1,1]'::vector, '[1,1]' <-> v, vector_norm(v), l2_distance(v, '[1,1]') "
		. "FROM (SELECT '[1,0]'::vector) t (v)"), 'vector|1|1|1|1|1', 'what concerns vector alone is not ambiguous');
is(one($node, "EXPLAIN (VERBOSE, COSTS OFF) SELECT v <-> '[1,2,3,4,5,6,7,8,9,1,2,3]' FROM item") =~ /::iqvector/ ? 'ours' : 'theirs',
	'theirs', 'and computed by its own operators');
sql_fails($node, 'CREATE INDEX ON item USING iqdb_hnsw (v)', '42804', 'vector_l2_ops',
	'no class for the operators of the other type by default');
$node->safe_psql('postgres', 'CREATE INDEX trial ON item USING iqdb_flat ((v::iqvector(12)) iqvector_cosine_ops)');
is(one($node, q{SELECT wrong($q$SELECT id, v::iqvector(12) <=> '[1,2,3,4,5,6,7,8,9,1,2,3]' AS d FROM item WHERE v IS NOT NULL
	AND vector_norm(v) > 0 ORDER BY v::iqvector(12) <=> '[1,2,3,4,5,6,7,8,9,1,2,3]'$q$, true)}), '', 'by an expression it is possible');
$node->safe_psql('postgres', 'DROP INDEX trial');

# ---- the life of an index ----

for my $method (@methods)
{
	my $query = "SELECT id, v <=> '[1,2,3,4,5,6,7,8,9,10,11,12]' AS d FROM kept WHERE v IS NOT NULL "
	  . "ORDER BY v <=> '[1,2,3,4,5,6,7,8,9,10,11,12]'";
	my $exact = is_exact($method) ? 'true' : 'false';

	$node->safe_psql('postgres', "CREATE TABLE kept AS SELECT * FROM item; CREATE INDEX kept_v ON kept USING $method (v vector_cosine_ops); "
		  . "UPDATE kept SET v = array_fill(0::real, ARRAY[12])::vector WHERE id % 40 = 0; DELETE FROM kept WHERE id % 7 = 0");
	$node->safe_psql('postgres', 'VACUUM kept');
	$node->safe_psql('postgres', "INSERT INTO kept (id, v) SELECT 10000 + i, random_floats(12, i)::vector FROM generate_series(1, 200) i");
	is(one($node, "SELECT wrong(\$q\$$query\$q\$, $exact)"), '', "$method: changed");
	$node->stop('immediate');
	$node->start;
	is(one($node, "SELECT wrong(\$q\$$query\$q\$, $exact)"), '', "$method: after a crash");
	sound($node, 'kept_v', "$method: iqdb_check finds nothing");
	sql_fails($node, "SET enable_seqscan = off; SELECT id FROM kept ORDER BY v <=> '[1,2]' LIMIT 1", '22000',
		'different vector dimensions 12 and 2', "$method: a query of another dimension");
	$node->safe_psql('postgres', 'DROP TABLE kept');
}

# ---- beside each other, dumped and restored ----

if ($is_real)
{
	$node->safe_psql('postgres', 'CREATE INDEX item_theirs ON item USING hnsw (v vector_l2_ops)');
	$node->safe_psql('postgres', 'CREATE INDEX item_ours ON item USING iqdb_hnsw (v vector_l2_ops)');
	is(one($node, "SELECT count(*) FROM pg_index WHERE indrelid = 'item'::regclass AND indisvalid"), 2, 'indexes of both on one column');
	$node->safe_psql('postgres', 'DROP INDEX item_theirs');
}
else
{
	$node->safe_psql('postgres', 'CREATE INDEX item_ours ON item USING iqdb_hnsw (v vector_l2_ops)');
}
my $dump = $node->basedir . '/dump.sql';
command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('copy'), '-f', $dump ], 'and its restore');
is($node->safe_psql('copy', 'SET search_path = public, elsewhere; SET enable_seqscan = off; SELECT count(*) FROM '
		  . "(SELECT id FROM item ORDER BY v <-> (SELECT v FROM item WHERE id = 17) LIMIT 1700) s"), 1567, 'with an index that answers');
is($node->safe_psql('copy', 'SELECT count(*) FROM iqdb_create_pgvector_support()'), 0, 'and with all classes');

# ---- what is refused, and what goes with what ----

$node->safe_psql('postgres', 'CREATE DOMAIN other AS real[]; CREATE FUNCTION other_distance(real[], real[]) RETURNS float8 '
	  . "IMMUTABLE LANGUAGE sql AS 'SELECT 1::float8'; CREATE OPERATOR <-> (LEFTARG = real[], RIGHTARG = real[], FUNCTION = other_distance); "
	  . 'CREATE OPERATOR CLASS other_ops FOR TYPE real[] USING iqdb_hnsw AS OPERATOR 1 <-> (real[], real[]) FOR ORDER BY float_ops, '
	  . 'FUNCTION 1 iqdb_metric_l2(); CREATE TABLE foreigner (v real[])');
sql_fails($node, 'CREATE INDEX ON foreigner USING iqdb_hnsw ((v::real[]) other_ops)', '0A000', 'cannot be indexed.*HINT',
	'an operator class for a type of another layout');
sql_fails($node, 'DROP EXTENSION vector', '2BP01', 'operator class', 'dropping pgvector names what depends on it');
sql_fails($node, 'DROP EXTENSION iqdb', '2BP01', 'operator class', 'and so does dropping iqdb');
$node->safe_psql('postgres', 'DROP EXTENSION iqdb CASCADE');
is(one($node, "SELECT count(*) FROM item WHERE v IS NOT NULL"), 1567, 'the column stays');
$node->safe_psql('postgres', 'CREATE EXTENSION iqdb; SELECT iqdb_create_pgvector_support(); DROP EXTENSION vector CASCADE');
is(one($node, "SELECT count(*) FROM pg_opclass WHERE opcname LIKE 'vector%ops'"), 0, 'the classes go with pgvector');

is(one($node, 'CREATE EXTENSION vector SCHEMA elsewhere; SELECT count(*) FROM iqdb_create_pgvector_support()'), 4 * @methods,
	'and can be made again with it');

$node->stop;
done_testing();
