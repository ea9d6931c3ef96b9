-- iqvector: distances, arithmetic, comparison, functions, and their errors
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS iqdb;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on

-- SQLSTATE, message and detail of what a statement raises
CREATE FUNCTION pg_temp.error_of(statement text) RETURNS text LANGUAGE plpgsql AS
$$
DECLARE
	detail text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' | ', SQLSTATE, SQLERRM, nullif(detail, ''));
END
$$;

-- distances: function and operator; all sums here are exact in single precision
SELECT a, b, l2_distance(a, b) AS l2, inner_product(a, b) AS inner, cosine_distance(a, b) AS cosine,
	l1_distance(a, b) AS l1, hamming_distance(a, b) AS hamming
FROM (VALUES
	('[0,0]'::iqvector, '[3,4]'::iqvector), ('[0,0]', '[0,1]'), ('[1,2]', '[3,4]'), ('[1,0]', '[0,2]'),
	('[1,1]', '[1,1]'), ('[1,1]', '[-1,-1]'), ('[0,0]', '[0,0]'), ('[5]', '[-7]'), ('[3,4]', '[4,3]'),
	('[1,1,1,1,1,1,1,1,1]', '[1,1,1,1,1,1,1,4,5]'), ('[1,2,3,4,5,6,7,8,9]', '[0,3,2,5,4,7,6,9,8]'),
	('[1,2,3,4,5,6,7,8,9]', '[1,2,3,4,5,6,7,8,9]'), ('[1,2,3,4,5,6,7,8,9]', '[-1,-2,-3,-4,-5,-6,-7,-8,-9]')
) AS pairs (a, b);

SELECT '[0,0]'::iqvector <-> '[3,4]', '[1,2]'::iqvector <#> '[3,4]', '[1,0]'::iqvector <=> '[0,2]',
	'[0,0]'::iqvector <+> '[3,4]', '[1,2,3]'::iqvector <~> '[1,0,4]';

-- negative zero is another bit pattern, but the same number
SELECT '[0,1]'::iqvector <~> '[-0,1]' AS hamming, '[0,1]'::iqvector <-> '[-0,1]' AS l2,
	'[0,1]'::iqvector = '[-0,1]' AS equal;

-- cosine: direction only, whatever the length; a zero vector, and no other, is at distance 1 from everything
SELECT cosine_distance('[1,2]'::iqvector, '[2,4]'), cosine_distance('[3,4]'::iqvector, '[-6,-8]'),
	cosine_distance('[1,2]'::iqvector, '[0,0]'), cosine_distance('[0,0]'::iqvector, '[0,0]'),
	cosine_distance('[1e-30,0]'::iqvector, '[1e-30,0]'), cosine_distance('[0,-0]'::iqvector, '[1e-45,0]');
SELECT '[1e-20,1e-20,1e-20]'::iqvector <=> '[1e-20,1e-20,1e-20]',
	'[1e-20,1e-20,1e-20]'::iqvector <=> '[-1e-20,-1e-20,-1e-20]',
	'[1e-30,0,0]'::iqvector <=> '[1,0,0]', '[1e-45,0]'::iqvector <=> '[3e38,0]', '[1,1e-4,0]'::iqvector <=> '[1,0,0]',
	'[1,2,3]'::iqvector <=> '[3,1,2]';

-- no finite vectors are too large, or too small, for a distance
SELECT l2_distance('[3e38]'::iqvector, '[-3e38]'), inner_product('[3e38]'::iqvector, '[3e38]'),
	'[3e38]'::iqvector <#> '[3e38]', l1_distance('[3e38]'::iqvector, '[-3e38]'),
	cosine_distance('[3e38]'::iqvector, '[3e38]');
SELECT huge <-> minus AS l2, huge <+> minus AS l1, huge <#> huge AS inner, huge <=> minus AS cosine, iqvector_norm(huge)
FROM (SELECT array_fill(3e38::real, ARRAY[16000])::iqvector AS huge,
	array_fill((-3e38)::real, ARRAY[16000])::iqvector AS minus) AS v;
SELECT tiny <-> minus AS l2, tiny <+> minus AS l1, tiny <#> tiny AS inner, tiny <=> minus AS cosine, iqvector_norm(tiny)
FROM (SELECT array_fill(1e-45::real, ARRAY[100])::iqvector AS tiny,
	array_fill((-1e-45)::real, ARRAY[100])::iqvector AS minus) AS v;

-- an inner product has no negative zero where its negative has one
SELECT inner_product('[0,0]'::iqvector, '[1,2]'), '[1,2]'::iqvector <#> '[0,0]';

-- every length runs through other parts of the kernels: distances from 0 to (1, 1, 1, ...) have closed forms
SELECT count(*) FILTER (WHERE zero <-> ones = sqrt(dim::float8)) AS l2,
	count(*) FILTER (WHERE ones <#> ones = -dim) AS inner,
	count(*) FILTER (WHERE ones <=> ones = 0) AS cosine, count(*) FILTER (WHERE zero <+> ones = dim) AS l1,
	count(*) FILTER (WHERE zero <~> ones = dim) AS hamming
FROM generate_series(1, 200) AS dim,
	LATERAL (SELECT array_fill(0, ARRAY[dim])::iqvector AS zero, array_fill(1, ARRAY[dim])::iqvector AS ones) AS v;
SELECT zero <-> ones AS l2, ones <#> ones AS inner, zero <+> ones AS l1, zero <~> ones AS hamming
FROM (SELECT array_fill(0, ARRAY[16000])::iqvector AS zero, array_fill(1, ARRAY[16000])::iqvector AS ones) AS v;

-- every position counts, and counts once
SELECT count(*) AS wrong
FROM generate_series(1, 70) AS dim, generate_series(1, dim) AS position,
	LATERAL (SELECT (SELECT array_agg(i)::iqvector FROM generate_series(1, dim) AS i) AS a,
		(SELECT array_agg(i + CASE WHEN i = position THEN 2 ELSE 0 END)::iqvector
			FROM generate_series(1, dim) AS i) AS b) AS v
WHERE a <-> b <> 2 OR a <+> b <> 2 OR a <~> b <> 1 OR (a <#> b) - (a <#> a) <> -2 * position;

-- symmetric to the last bit, in every metric
CREATE TEMP TABLE odd AS
SELECT (SELECT array_agg(sin(n * 31 + i))::iqvector FROM generate_series(1, n) AS i) AS a,
	(SELECT array_agg(cos(n * 17 + i * 3))::iqvector FROM generate_series(1, n) AS i) AS b
FROM generate_series(1, 100) AS n;
SELECT count(*) AS asymmetric FROM odd
WHERE a <-> b <> b <-> a OR a <#> b <> b <#> a OR a <=> b <> b <=> a OR a <+> b <> b <+> a OR a <~> b <> b <~> a;
SELECT count(*) AS far_off FROM odd,
	LATERAL (SELECT sqrt(sum((x - y) ^ 2)) AS l2, sum(x * y) AS inner, sum(abs(x - y)) AS l1,
		1 - sum(x * y) / sqrt(sum(x * x) * sum(y * y)) AS cosine
		FROM unnest(a::real[]::float8[], b::real[]::float8[]) AS u (x, y)) AS reference
WHERE abs((a <-> b) - l2) > 1e-13 OR abs((a <#> b) + reference.inner) > 1e-13 OR abs((a <+> b) - l1) > 1e-13
	OR abs((a <=> b) - cosine) > 1e-14;

-- the level of instructions is a setting; no distance depends on it
SET iqdb.simd = 'scalar';
SELECT iqdb_simd();
SELECT '[1,2,3,4,5,6,7,8,9]'::iqvector <-> '[1,2,3,4,5,6,7,8,13]', '[1,2]'::iqvector <#> '[3,4]';
SET iqdb.simd = 'auto';
SELECT iqdb_simd() <> '' AS named;
SELECT pg_temp.error_of($$SET iqdb.simd = 'mmx'$$)
	LIKE '22023 | invalid value for parameter "iqdb.simd": "mmx" | This machine can run: auto, scalar%' AS refused;
SHOW iqdb.simd;
CREATE FUNCTION pg_temp.wrong_at(level text) RETURNS bigint LANGUAGE plpgsql AS
$$
BEGIN
	PERFORM set_config('iqdb.simd', level, false);
	RETURN (SELECT count(*)
		FROM generate_series(1, 130) AS dim,
			LATERAL (SELECT array_agg(i % 5 - 2)::iqvector AS a, array_agg(i % 3)::iqvector AS b,
				sum((i % 5 - 2 - i % 3) ^ 2) AS l2,
				sum((i % 5 - 2) * (i % 3)) AS inner, sum(abs(i % 5 - 2 - i % 3)) AS l1,
				sum((i % 5 - 2 <> i % 3)::int) AS hamming FROM generate_series(1, dim) AS i) AS v
		WHERE a <-> b <> sqrt(v.l2::float8) OR inner_product(a, b) <> v.inner OR a <+> b <> v.l1
			OR a <~> b <> v.hamming);
EXCEPTION WHEN invalid_parameter_value THEN
	RETURN 0; -- not runnable on this machine
END
$$;
CREATE FUNCTION pg_temp.differing_at(level text) RETURNS bigint LANGUAGE plpgsql AS
$$
BEGIN
	PERFORM set_config('iqdb.simd', level, false);
	RETURN (SELECT count(*) FROM odd JOIN scalar_distances USING (a, b)
		WHERE a <-> b <> l2 OR a <#> b <> dot OR a <=> b <> cosine OR a <+> b <> l1 OR a <~> b <> hamming);
EXCEPTION WHEN invalid_parameter_value THEN
	RETURN 0; -- not runnable on this machine
END
$$;
SET iqdb.simd = 'scalar';
CREATE TEMP TABLE scalar_distances AS
SELECT a, b, a <-> b AS l2, a <#> b AS dot, a <=> b AS cosine, a <+> b AS l1, a <~> b AS hamming FROM odd;
SELECT level, pg_temp.differing_at(level) AS differing FROM unnest(ARRAY['avx2', 'avx512', 'neon', 'auto']) AS level;
SELECT level, pg_temp.wrong_at(level) AS wrong FROM unnest(ARRAY['scalar', 'avx2', 'avx512', 'neon', 'auto']) AS level;
SET iqdb.simd = 'auto';
SELECT iqdb_version() ~ '^\d+\.\d+\.\d+$' AS has_version;

-- arithmetic
SELECT '[1,2,3]'::iqvector + '[4,5,6]', '[1,2,3]'::iqvector - '[4,5,6]', '[1,2,3]'::iqvector * '[4,5,6]',
	'[1,2,3]'::iqvector || '[4,5]';
SELECT '[0,1e-30]'::iqvector * '[1e-30,0]';
SELECT iqvector_dims(array_fill(1, ARRAY[15999])::iqvector || '[1]');

-- comparison: component by component, then by length, as arrays compare
SELECT a, b, a < b AS lt, a <= b AS le, a = b AS eq, a <> b AS ne, a >= b AS ge, a > b AS gt, iqvector_cmp(a, b) AS cmp
FROM (VALUES ('[1,2,3]'::iqvector, '[1,2,3]'::iqvector), ('[1,2,3]', '[1,2]'), ('[1,2]', '[1,2,3]'),
	('[1,2,3]', '[0,0,0]'), ('[0,0,0]', '[1,2,3]'), ('[1,2]', '[2,3,4]'), ('[2,3]', '[1,2,3]'),
	('[-0]', '[0]')) AS pairs (a, b);

-- properties and parts
SELECT iqvector_dims('[1,2,3]'), vector_dims('[1,2,3]'::iqvector), iqvector_norm('[3,4]'),
	vector_norm('[3,4]'::iqvector), l2_norm('[3,4]'::iqvector);
SELECT iqvector_norm('[0,1]'), iqvector_norm('[0,0]'), iqvector_norm('[-2]'), iqvector_norm('[3e37,4e37]')::real,
	iqvector_norm('[3e-45,0]') > 0;
SELECT l2_normalize('[3,4]'), l2_normalize('[3,0]'), l2_normalize('[0,0.1]'), l2_normalize('[0,-0]'),
	l2_normalize('[3e38]'), l2_normalize('[1e-45]');
SELECT binary_quantize('[1,0,-1]'::iqvector),
	binary_quantize('[0,0.1,-0.2,-0.3,0.4,0.5,0.6,-0.7,0.8,-0.9,1]'::iqvector),
	binary_quantize('[-0]'::iqvector), length(binary_quantize(array_fill(1, ARRAY[16000])::iqvector));
SELECT start, count, subvector('[1,2,3,4,5]'::iqvector, start, count)
FROM (VALUES (1, 3), (3, 2), (-1, 3), (3, 9), (5, 1), (0, 2), (3, 2147483647), (-2147483644, 2147483647))
	AS cut (start, count);

-- operators know their mirror image, so that the planner may turn them round
SELECT oprname, oprcom = o.oid AS commutes_with_itself, proname
FROM pg_operator o JOIN pg_proc p ON p.oid = oprcode
WHERE oprleft = 'iqvector'::regtype AND oprname ~ '^(<[-#=+~]>|[-+*]|\|\|)$'
ORDER BY oprname COLLATE "C";

-- functions that no one marked otherwise are safe to run anywhere
SELECT proname
FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	JOIN pg_extension e ON d.refobjid = e.oid AND e.extname = 'iqdb'
WHERE 'iqvector'::regtype = ANY (proargtypes || prorettype) AND prokind = 'f'
	AND prolang = (SELECT oid FROM pg_language WHERE lanname = 'c')
	AND NOT (provolatile = 'i' AND proisstrict AND proparallel = 's');

-- errors
SELECT expression, pg_temp.error_of('SELECT ' || expression) AS error
FROM unnest(ARRAY[
	$$l2_distance('[1,2]'::iqvector, '[3]')$$, $$inner_product('[1,2]'::iqvector, '[3]')$$,
	$$cosine_distance('[1,2]'::iqvector, '[3]')$$,
	$$l1_distance('[1,2]'::iqvector, '[3]')$$, $$hamming_distance('[1,2]'::iqvector, '[3]')$$,
	$$'[1,2]'::iqvector <#> '[3]'$$,
	$$'[3e38]'::iqvector + '[3e38]'$$, $$'[1,2]'::iqvector + '[3]'$$, $$'[-3e38]'::iqvector - '[3e38]'$$,
	$$'[1,2]'::iqvector - '[3]'$$,
	$$'[1e37]'::iqvector * '[1e37]'$$, $$'[1e-37]'::iqvector * '[1e-37]'$$, $$'[1,2]'::iqvector * '[3]'$$,
	$$array_fill(0, ARRAY[16000])::iqvector || '[1]'$$,
	$$subvector('[1,2,3,4,5]'::iqvector, 1, 0)$$, $$subvector('[1,2,3,4,5]'::iqvector, 3, -1)$$,
	$$subvector('[1,2,3,4,5]'::iqvector, -1, 2)$$,
	$$subvector('[1,2,3,4,5]'::iqvector, 6, 1)$$, $$subvector('[1,2,3,4,5]'::iqvector, 2147483647, 10)$$
]) AS expression;

-- NULL in, NULL out
SELECT l2_distance(NULL, '[1]'::iqvector) IS NULL, NULL::iqvector + '[1]' IS NULL, iqvector_dims(NULL) IS NULL,
	subvector('[1]'::iqvector, 1, NULL) IS NULL;
