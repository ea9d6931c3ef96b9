# 030_pgvector.pl - columns of pgvector's own types, and of bit, under the access methods: as they are, beside pgvector's indexes.
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

# Operator class, operator and column.
my @classes = (
	(map { my $metric = $_; ([ "vector_${metric}_ops", $operator{$metric}, 'v' ], [ "halfvec_${metric}_ops", $operator{$metric}, 'h' ]) }
		sort keys %operator),
	[ 'bit_hamming_ops', '<~>', 'b' ], [ 'bit_jaccard_ops', '<%>', 'b' ]);

# A query from outside, and zeros.
my %asked = (v => "'[.1,.2,.3,-.4,.5,.6,-.7,.8,.9,-.1,.2,.3]'", h => "'[.1,.2,.3,-.4,.5,.6,-.7,.8,.9,-.1,.2,.3]'",
	b => "B'" . '10110' x 12 . "'");
my %zeros = (v => "'[0,0,0,0,0,0,0,0,0,0,0,0]'", h => "'[0,0,0,0,0,0,0,0,0,0,0,0]'", b => "B'" . '0' x 60 . "'");

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
CREATE FUNCTION random_bits(length int, seed bigint) RETURNS bit VOLATILE LANGUAGE sql AS
	$$SELECT string_agg(CASE WHEN random() < .5 THEN '1' ELSE '0' END, '')::bit(60) FROM generate_series(1, length) WHERE seed IS NOT NULL$$;
SQL

# ---- before pgvector is there ----

my $bit_indexes = "CREATE INDEX early_b ON early USING iqdb_hnsw (b bit_hamming_ops); CREATE INDEX early_j ON early USING iqdb_flat (b bit_jaccard_ops)";

sql_fails($node, 'SELECT iqdb_create_vector_casts()', '42704', 'CREATE EXTENSION vector', 'casts: pgvector must be there first');
$node->safe_psql('postgres', 'CREATE TYPE vector AS (x real)');
sql_fails($node, 'SELECT iqdb_create_vector_casts()', '42704', 'CREATE EXTENSION vector', 'another type of its name will not do');
is(one($node, 'SELECT count(*) FROM iqdb_create_pgvector_support()'), 2 + 2 * @methods, 'operators and classes for bit do without pgvector');
is(one($node, 'SELECT count(*) FROM iqdb_create_pgvector_support()'), 0, 'once');
$node->safe_psql('postgres', "CREATE TABLE early (id int, b bit(60)); INSERT INTO early SELECT i, random_bits(60, i) FROM generate_series(1, 300) i; $bit_indexes");
is(one($node, "SELECT wrong(\$q\$SELECT id, b <~> $asked{b} AS d FROM early ORDER BY b <~> $asked{b}\$q\$, false)"), '', 'bit without pgvector');
sql_fails($node, 'DROP EXTENSION iqdb', '2BP01', 'operator <~>', 'dropping iqdb names the operators');
$node->safe_psql('postgres', 'DROP TYPE vector; CREATE SCHEMA elsewhere');
sql_fails($node, 'CREATE EXTENSION vector', '42723', 'operator .* already exists', 'pgvector does not go into the schema where they are');
$node->safe_psql('postgres', 'CREATE EXTENSION vector SCHEMA elsewhere');

# ---- operator classes ----

is(one($node, 'SELECT count(*) FROM iqdb_create_pgvector_support()'), @classes * @methods, 'classes for each method, in the schema of the types');
is(one($node, 'SELECT count(*) FROM iqdb_create_pgvector_support()'), 0, 'nothing is left to do for a second call');
is(one($node, "SELECT count(*) FROM pg_opclass c JOIN pg_am a ON a.oid = c.opcmethod WHERE a.amname LIKE 'iqdb%' "
		. "AND c.opcnamespace = 'elsewhere'::regnamespace AND amvalidate(c.oid)"), @classes * @methods, 'all of them are valid');
is(one($node, "SELECT wrong(\$q\$SELECT id, b <%> $asked{b} AS d FROM early ORDER BY b <%> $asked{b}\$q\$, true)"), '',
	'indexes by the operators made before still answer');
$node->safe_psql('postgres', 'DROP TABLE early; DROP OPERATOR public.<~> (bit, bit), public.<%> (bit, bit) CASCADE');
is(one($node, "SELECT count(*) FROM pg_opclass WHERE opcnamespace = 'public'::regnamespace AND opcname LIKE 'bit%'"), 0, 'whose classes go with them');

$node->safe_psql('postgres', <<'SQL');
ALTER DATABASE postgres SET search_path = public, elsewhere;
SET search_path = public, elsewhere;
CREATE TABLE item (id serial, v vector(12), h halfvec(12), b bit(60), kind int);
INSERT INTO item (v, kind, b) SELECT random_floats(12, i)::vector, i % 3, random_bits(60, i) FROM generate_series(1, 1500) i;
INSERT INTO item (v, b) SELECT array_fill(0::real, ARRAY[12])::vector, 0::bit(60) FROM generate_series(1, 7);
INSERT INTO item (v, b) SELECT array_fill((i % 3)::real, ARRAY[12])::vector, (i % 3)::bit(60) FROM generate_series(1, 60) i;
INSERT INTO item (v) VALUES (NULL);
UPDATE item SET h = v::text::halfvec;
SQL

sub answers
{
	my ($when) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	for my $method (@methods)
	{
		my @wrong;

		for my $class (@classes)
		{
			my ($name, $operator, $column) = @$class;

			$node->safe_psql('postgres', "CREATE INDEX trial ON item USING $method ($column $name)");
			for my $query ("(SELECT $column FROM item WHERE id = 17)", $asked{$column}, $zeros{$column})
			{
				# of a zero vector every row is equally far by cosine and inner product: any order will do
				next if $query eq $zeros{$column} && $name =~ /cosine|ip/;
				my $exact = is_exact($method) ? 'true' : 'false';
				my $sql = "SELECT id, $column $operator $query AS d FROM item WHERE $column IS NOT NULL ORDER BY $column $operator $query";
				my $problem = one($node, "SELECT wrong(\$q\$$sql\$q\$, $exact)");
				push @wrong, "$name, $query: $problem" if $problem ne '';
			}
			my $findings = one($node, "SELECT iqdb_check('trial')");
			push @wrong, "$name: $findings" if $findings ne '';
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
is(one($node, 'SELECT count(*) FROM item WHERE v = v::iqvector AND h = h::iqhalfvec'), 1567, 'columns too');
is(one($node, "SELECT a <-> b, b <-> a, b = a, pg_typeof(b <+> a) FROM (SELECT '[1,2]'::iqhalfvec, '[1,3]'::halfvec) v (a, b)"),
	'1|1|f|double precision', 'and of half vectors');
is(one($node, "SELECT pg_typeof(v), v <-> '[1,1]', v <-> '[1,1]'::vector, '[1,1]' <-> v, vector_norm(v), l2_distance(v, '[1,1]') "
		. "FROM (SELECT '[1,0]'::vector) t (v)"), 'vector|1|1|1|1|1', 'what concerns vector alone is not ambiguous');
is(one($node, "EXPLAIN (VERBOSE, COSTS OFF) SELECT v <-> '[1,2,3,4,5,6,7,8,9,1,2,3]' FROM item") =~ /::iqvector/ ? 'ours' : 'theirs',
	'theirs', 'and computed by its own operators');
sql_fails($node, 'CREATE INDEX ON item USING iqdb_hnsw (v)', '42804', 'vector_l2_ops',
	'no class for the operators of the other type by default');
sql_fails($node, 'CREATE INDEX ON item USING iqdb_flat (h)', '42704', 'has no default operator class', 'of half vectors neither');
$node->safe_psql('postgres', 'CREATE INDEX trial ON item USING iqdb_flat ((v::iqvector(12)) iqvector_cosine_ops)');
is(one($node, q{SELECT wrong($q$SELECT id, v::iqvector(12) <=> '[1,2,3,4,5,6,7,8,9,1,2,3]' AS d FROM item WHERE v IS NOT NULL
	AND vector_norm(v) > 0 ORDER BY v::iqvector(12) <=> '[1,2,3,4,5,6,7,8,9,1,2,3]'$q$, true)}), '', 'by an expression it is possible');
$node->safe_psql('postgres', 'DROP INDEX trial');

# ---- what it costs to read vectors that lie outside of their rows is known of both types ----

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE far (kind int, v vector(600));
ALTER TABLE far ALTER v SET STORAGE EXTERNAL;
INSERT INTO far SELECT i % 20, ARRAY(SELECT sin(i * j)::real FROM generate_series(1, 600) j)::vector FROM generate_series(1, 2000) i;
CREATE TABLE other AS SELECT kind, v::iqvector(600) AS v FROM far;
CREATE INDEX ON far (kind);
CREATE INDEX ON other (kind);
CREATE INDEX far_v ON far USING iqdb_flat (v vector_l2_ops);
CREATE INDEX other_v ON other USING iqdb_flat (v);
ANALYZE far, other;
SQL
for my $where ('', 'WHERE kind = 7', 'WHERE kind < 7')
{
	my %plan = map { $_ => one($node, "EXPLAIN SELECT kind FROM $_ $where ORDER BY v <-> (SELECT v FROM $_ LIMIT 1) LIMIT 3") } qw(far other);

	like($plan{far}, qr/Scan (using far_v )?on far .*(far_v|Index Name: far_v)/s, "an index is used for far vectors $where");
	my ($cost, $cost_of_ours) = map { $plan{$_} =~ /\.\.([\d.]+) rows/ } qw(far other);

	# the two tables may differ by some empty pages
	cmp_ok(abs($cost / $cost_of_ours - 1), '<', 0.05, "and costs what it costs for iqvector $where");
	s/\bother/far/g, s/  \(cost=.*?\)//g for values %plan;
	is($plan{far}, $plan{other}, "by the same plan $where");
}
$node->safe_psql('postgres', 'DROP TABLE far, other');

# ---- the life of an index ----

for my $method (@methods)
{
	my $exact = is_exact($method) ? 'true' : 'false';
	my %column = (v => [ 'vector_cosine_ops', '<=>' ], h => [ 'halfvec_cosine_ops', '<=>' ], b => [ 'bit_jaccard_ops', '<%>' ]);
	my $right = sub {
		my ($when) = @_;
		local $Test::Builder::Level = $Test::Builder::Level + 1;

		for my $name (sort keys %column)
		{
			my $distance = "$name $column{$name}[1] $asked{$name}";
			is(one($node, "SELECT wrong(\$q\$SELECT id, $distance AS d FROM kept WHERE $name IS NOT NULL ORDER BY $distance\$q\$, $exact)"),
				'', "$method: $when: $column{$name}[0]");
		}
	};

	$node->safe_psql('postgres', 'CREATE TABLE kept AS SELECT * FROM item; '
		  . join('; ', map { "CREATE INDEX kept_$_ ON kept USING $method ($_ $column{$_}[0])" } sort keys %column));
	$node->safe_psql('postgres', "UPDATE kept SET v = array_fill(0::real, ARRAY[12])::vector, h = $zeros{h}, b = $zeros{b} "
		  . 'WHERE id % 40 = 0; DELETE FROM kept WHERE id % 7 = 0');
	$node->safe_psql('postgres', 'VACUUM kept');
	$node->safe_psql('postgres', 'INSERT INTO kept (id, v, h, b) SELECT 10000 + i, f::vector, f::vector::text::halfvec, random_bits(60, i) '
		  . 'FROM (SELECT i, random_floats(12, i) AS f FROM generate_series(1, 200) i OFFSET 0) s');
	$right->('changed');
	$node->stop('immediate');
	$node->start;
	$right->('after a crash');
	sound($node, "kept_$_", "$method: iqdb_check finds nothing in kept_$_") for sort keys %column;
	sql_fails($node, "SET enable_seqscan = off; SELECT id FROM kept ORDER BY v <=> '[1,2]' LIMIT 1", '22000',
		'different vector dimensions 12 and 2', "$method: a query of another dimension");
	sql_fails($node, "SET enable_seqscan = off; SELECT id FROM kept ORDER BY h <=> '[1,2]' LIMIT 1", '22000',
		'different halfvec dimensions 12 and 2', "$method: of half vectors");
	sql_fails($node, "SET enable_seqscan = off; SELECT id FROM kept ORDER BY b <%> B'11' LIMIT 1", '22000',
		'different bit lengths 60 and 2', "$method: of bits");
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
$node->safe_psql('postgres', 'CREATE INDEX item_half ON item USING iqdb_ivf (h halfvec_ip_ops); CREATE INDEX item_bits ON item USING iqdb_flat (b bit_hamming_ops)');
my $dump = $node->basedir . '/dump.sql';
command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('copy'), '-f', $dump ], 'and its restore');
is($node->safe_psql('copy', 'SET search_path = public, elsewhere; SET enable_seqscan = off; SELECT count(*) FROM '
		  . "(SELECT id FROM item ORDER BY v <-> (SELECT v FROM item WHERE id = 17) LIMIT 1700) s"), 1567, 'with an index that answers');
is($node->safe_psql('copy', 'SET search_path = public, elsewhere; SET enable_seqscan = off; SELECT count(*) FROM '
		  . "(SELECT id FROM item ORDER BY b <~> $asked{b} LIMIT 1700) s"), 1567, 'of bits too');
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
is(one($node, "SELECT count(*) FROM pg_opclass WHERE opcname ~ '^(vector|halfvec|bit)_' AND opcmethod IN (SELECT oid FROM pg_am WHERE amname LIKE 'iqdb%')"), 0,
	'the classes go with pgvector');
is(one($node, 'SELECT count(*) FROM item WHERE b IS NOT NULL'), 1567, 'but not the columns of bits');

is(one($node, 'CREATE EXTENSION vector SCHEMA elsewhere; SELECT count(*) FROM iqdb_create_pgvector_support()'), @classes * @methods,
	'and can be made again with it');

# ---- an older pgvector, without half vectors and operators of bits, that is brought up ----

$node->safe_psql('postgres', 'DROP EXTENSION vector CASCADE; CREATE EXTENSION vector SCHEMA elsewhere');
$node->safe_psql('postgres', join('; ', map { "ALTER EXTENSION vector DROP OPERATOR elsewhere.$_ (bit, bit)" } '<~>', '<%>'));
is(one($node, 'SELECT count(*) FROM iqdb_create_pgvector_support()'), 8 * @methods, 'what is not there yet is left out');
$node->safe_psql('postgres', join('; ', map { "ALTER EXTENSION vector ADD OPERATOR elsewhere.$_ (bit, bit)" } '<~>', '<%>'));
is(one($node, 'SELECT count(*) FROM iqdb_create_pgvector_support()'), 2 * @methods, 'and made when it is');

$node->stop;
done_testing();
