-- iqhalfvec: distances, arithmetic, comparison, functions, aggregates, and their errors
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

-- distances: function and operator
SELECT a, b, l2_distance(a, b) AS l2, inner_product(a, b) AS inner, cosine_distance(a, b) AS cosine,
	l1_distance(a, b) AS l1, hamming_distance(a, b) AS hamming
FROM (VALUES
	('[0,0]'::iqhalfvec, '[3,4]'::iqhalfvec), ('[1,2]', '[3,4]'), ('[1,0]', '[0,2]'), ('[1,1]', '[-1,-1]'),
	('[0,0]', '[0,0]'), ('[1,2,3,4,5,6,7,8,9]', '[0,3,2,5,4,7,6,9,8]'), ('[65504]', '[-65504]'), ('[6e-8]', '[-6e-8]')
) AS pairs (a, b);
SELECT '[0,0]'::iqhalfvec <-> '[3,4]', '[1,2]'::iqhalfvec <#> '[3,4]', '[1,0]'::iqhalfvec <=> '[0,2]',
	'[0,0]'::iqhalfvec <+> '[3,4]', '[1,2,3]'::iqhalfvec <~> '[1,0,4]';
-- negative zero is another bit pattern, but the same number
SELECT '[0,1]'::iqhalfvec <~> '[-0,1]' AS hamming, '[0,1]'::iqhalfvec <-> '[-0,1]' AS l2,
	'[0,1]'::iqhalfvec = '[-0,1]' AS equal;
SELECT huge <-> minus AS l2, huge <+> minus AS l1, huge <#> huge AS inner, huge <=> minus AS cosine,
	huge <~> minus AS hamming, iqhalfvec_norm(huge) = sqrt(16000.0 * 65504 * 65504) AS norm
FROM (SELECT array_fill(65504, ARRAY[16000])::iqhalfvec AS huge, array_fill(-65504, ARRAY[16000])::iqhalfvec AS minus) AS v;

-- all the same as of the same numbers as iqvector, which are computed in one piece; of every length
CREATE TEMP TABLE odd AS
SELECT n, a, b, a::iqvector AS x, b::iqvector AS y
FROM (SELECT n, (SELECT array_agg(sin(n * 31 + i))::iqhalfvec FROM generate_series(1, n) AS i) AS a,
		(SELECT array_agg(cos(n * 17 + i * 3))::iqhalfvec FROM generate_series(1, n) AS i) AS b
	FROM (SELECT generate_series(1, 100) UNION VALUES (511), (512), (513), (1023), (1024), (1025), (16000)) AS t (n)) AS v;
SELECT count(*) AS vectors, count(*) FILTER (WHERE abs((a <-> b) - (x <-> y)) > 1e-12) AS l2,
	count(*) FILTER (WHERE abs((a <#> b) - (x <#> y)) > 1e-11) AS inner,
	count(*) FILTER (WHERE abs((a <=> b) - (x <=> y)) > 1e-14) AS cosine,
	count(*) FILTER (WHERE abs((a <+> b) - (x <+> y)) > 1e-10) AS l1,
	count(*) FILTER (WHERE a <~> b <> x <~> y) AS hamming,
	count(*) FILTER (WHERE abs(iqhalfvec_norm(a) - iqvector_norm(x)) > 1e-12) AS norm,
	count(*) FILTER (WHERE l2_normalize(a) <> l2_normalize(x)::iqhalfvec) AS normalized,
	count(*) FILTER (WHERE binary_quantize(a) <> binary_quantize(x)) AS bits,
	count(*) FILTER (WHERE a + b <> (x + y)::iqhalfvec) AS sum, count(*) FILTER (WHERE a - b <> (x - y)::iqhalfvec) AS difference,
	count(*) FILTER (WHERE a * b <> (x * y)::iqhalfvec) AS product,
	count(*) FILTER (WHERE n <= 8000 AND a || b <> (x || y)::iqhalfvec) AS concatenation,
	count(*) FILTER (WHERE n > 3 AND subvector(a, n / 2, n) <> subvector(x, n / 2, n)::iqhalfvec) AS part
FROM odd;
SELECT count(*) AS asymmetric FROM odd
WHERE a <-> b <> b <-> a OR a <#> b <> b <#> a OR a <=> b <> b <=> a OR a <+> b <> b <+> a OR a <~> b <> b <~> a;

-- no distance depends on the level of instructions
CREATE FUNCTION pg_temp.differing_at(level text) RETURNS bigint LANGUAGE plpgsql AS
$$
BEGIN
	PERFORM set_config('iqdb.simd', level, false);
	RETURN (SELECT count(*) FROM odd JOIN scalar_distances USING (n)
		WHERE a <-> b <> l2 OR a <#> b <> dot OR a <=> b <> cosine OR a <+> b <> l1 OR a <~> b <> hamming
			OR iqhalfvec_norm(a) <> norm);
EXCEPTION WHEN invalid_parameter_value THEN
	RETURN 0; -- not runnable on this machine
END
$$;
SET iqdb.simd = 'scalar';
CREATE TEMP TABLE scalar_distances AS
SELECT n, a <-> b AS l2, a <#> b AS dot, a <=> b AS cosine, a <+> b AS l1, a <~> b AS hamming, iqhalfvec_norm(a) AS norm FROM odd;
SELECT level, pg_temp.differing_at(level) AS differing FROM unnest(ARRAY['avx2', 'avx512', 'neon', 'auto']) AS level;
SET iqdb.simd = 'auto';

-- arithmetic
SELECT '[1,2,3]'::iqhalfvec + '[4,5,6]', '[1,2,3]'::iqhalfvec - '[4,5,6]', '[1,2,3]'::iqhalfvec * '[4,5,6]',
	'[1,2,3]'::iqhalfvec || '[4,5]';
SELECT '[2048]'::iqhalfvec + '[1]', '[2048]'::iqhalfvec + '[3]', '[65504]'::iqhalfvec + '[15]', '[0,6e-8]'::iqhalfvec * '[6e-8,0]',
	'[2.4e-4]'::iqhalfvec * '[2.4e-4]';

-- comparison: component by component, then by length, as arrays compare
SELECT a, b, a < b AS lt, a <= b AS le, a = b AS eq, a <> b AS ne, a >= b AS ge, a > b AS gt, iqhalfvec_cmp(a, b) AS cmp
FROM (VALUES ('[1,2,3]'::iqhalfvec, '[1,2,3]'::iqhalfvec), ('[1,2,3]', '[1,2]'), ('[1,2]', '[1,2,3]'),
	('[0,0,0]', '[1,2,3]'), ('[2,3]', '[1,2,3]'), ('[-0]', '[0]'), ('[-1]', '[1]'), ('[-2]', '[-1]')) AS pairs (a, b);
CREATE TEMP TABLE many AS
SELECT ARRAY(SELECT ((n * 7919 + i * 104729) % 3 - 1)::real FROM generate_series(1, 1 + n % 20) AS i) AS a
	FROM generate_series(1, 120) AS n;
SELECT count(*) AS differing FROM many AS x, many AS y
WHERE iqhalfvec_cmp(x.a::iqhalfvec, y.a::iqhalfvec) <> btarraycmp(x.a, y.a)
	OR (x.a::iqhalfvec < y.a::iqhalfvec) <> (x.a < y.a) OR (x.a::iqhalfvec <= y.a::iqhalfvec) <> (x.a <= y.a)
	OR (x.a::iqhalfvec = y.a::iqhalfvec) <> (x.a = y.a) OR (x.a::iqhalfvec <> y.a::iqhalfvec) <> (x.a <> y.a)
	OR (x.a::iqhalfvec >= y.a::iqhalfvec) <> (x.a >= y.a) OR (x.a::iqhalfvec > y.a::iqhalfvec) <> (x.a > y.a);
-- two that differ in one component alone, wherever it is
SELECT count(*) AS wrong
FROM generate_series(1, 70) AS dim, generate_series(1, dim) AS position,
	LATERAL (SELECT (SELECT array_agg(i)::iqhalfvec FROM generate_series(1, dim) AS i) AS a,
		(SELECT array_agg(i + CASE WHEN i = position THEN 2 ELSE 0 END)::iqhalfvec
			FROM generate_series(1, dim) AS i) AS b) AS v
WHERE NOT a < b OR a = b OR a <-> b <> 2 OR a <+> b <> 2 OR a <~> b <> 1 OR (a <#> b) - (a <#> a) <> -2 * position;

-- a btree: its order, duplicates, a unique key
CREATE TABLE iqhalfvec_keys (v iqhalfvec UNIQUE);
INSERT INTO iqhalfvec_keys VALUES ('[1,2]'), ('[1,2,0]'), ('[1]'), ('[-3]'), (NULL), (NULL);
SELECT pg_temp.error_of($$INSERT INTO iqhalfvec_keys VALUES ('[1,2]')$$);
SELECT pg_temp.error_of($$INSERT INTO iqhalfvec_keys VALUES ('[0]'), ('[-0]')$$);
INSERT INTO iqhalfvec_keys VALUES ('[1]') ON CONFLICT DO NOTHING;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT v FROM iqhalfvec_keys WHERE v >= '[1]' ORDER BY v;
SELECT v FROM iqhalfvec_keys WHERE v >= '[1]' ORDER BY v;
RESET enable_seqscan;
RESET enable_bitmapscan;
DROP TABLE iqhalfvec_keys;
SELECT amvalidate(oid) FROM pg_opclass WHERE opcname = 'iqhalfvec_ops'
	AND opcmethod = (SELECT oid FROM pg_am WHERE amname = 'btree');

-- properties and parts
SELECT iqhalfvec_dims('[1,2,3]'), vector_dims('[1,2,3]'::iqhalfvec), iqhalfvec_norm('[3,4]'),
	vector_norm('[3,4]'::iqhalfvec), l2_norm('[3,4]'::iqhalfvec);
SELECT l2_normalize('[3,4]'::iqhalfvec), l2_normalize('[65504]'::iqhalfvec), l2_normalize('[6e-8,0]'::iqhalfvec),
	l2_normalize('[0,-0]'::iqhalfvec), binary_quantize('[1,0,-1,6e-8,-0]'::iqhalfvec),
	length(binary_quantize(array_fill(1, ARRAY[16000])::iqhalfvec));
SELECT start, count, subvector('[1,2,3,4,5]'::iqhalfvec, start, count)
FROM (VALUES (1, 3), (3, 2), (-1, 3), (3, 9), (5, 1), (3, 2147483647), (-2147483644, 2147483647)) AS cut (start, count);

-- aggregates: sums are in double and rounded once
SELECT sum(v), avg(v), count(v) FROM unnest(ARRAY['[1,2,3]', NULL, '[3,5,7]']::iqhalfvec[]) AS v;
SELECT sum(v), avg(v) FROM unnest('{}'::iqhalfvec[]) AS v;
SELECT sum(v), avg(v) FROM (SELECT '[1,60000]'::iqhalfvec AS v FROM generate_series(1, 2049) UNION ALL
	SELECT '[0,-60000]' FROM generate_series(1, 2049)) AS t;
SELECT iqhalfvec_dims(sum(v)), sum(v) = (sum(v::iqvector))::iqhalfvec AS same_sum, avg(v) = (avg(v::iqvector))::iqhalfvec AS same_avg
FROM (SELECT array_agg(sin(n * i))::iqhalfvec AS v FROM generate_series(1, 50) AS n, generate_series(1, 1100) AS i GROUP BY n) AS t;
SELECT iqhalfvec_accum('{0}', '[1,2]'), iqhalfvec_accum('{1,1,2}', '[3,4]'), iqhalfvec_combine('{1,1,2}', '{2,3,4}'),
	iqhalfvec_sum('{2,3,4}'), iqhalfvec_avg('{2,3,4}'), iqhalfvec_sum('{0}') IS NULL;

-- operators know their mirror image, so that the planner may turn them round
SELECT oprname, oprcom = o.oid AS commutes_with_itself, proname
FROM pg_operator o JOIN pg_proc p ON p.oid = oprcode
WHERE oprleft = 'iqhalfvec'::regtype AND oprname ~ '^(<[-#=+~]>|[-+*]|\|\|)$'
ORDER BY oprname COLLATE "C";

-- functions that no one marked otherwise are safe to run anywhere
SELECT proname
FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	JOIN pg_extension e ON d.refobjid = e.oid AND e.extname = 'iqdb'
WHERE 'iqhalfvec'::regtype = ANY (proargtypes || prorettype) AND prokind = 'f'
	AND prolang = (SELECT oid FROM pg_language WHERE lanname = 'c')
	AND NOT (provolatile = 'i' AND proisstrict AND proparallel = 's');

-- whatever iqvector has, iqhalfvec has: functions, operators, casts and aggregates of the same shape
CREATE FUNCTION pg_temp.things_of(name text) RETURNS SETOF text LANGUAGE sql AS
$$
	SELECT replace(format('%s %s(%s) %s %s%s %s', prokind, proname, proargtypes::regtype[], prorettype::regtype, provolatile,
		proparallel, procost), name, 'TYPE')
	FROM pg_proc WHERE name::regtype = ANY (proargtypes || prorettype) AND proname !~ 'iqhalfvec.*iqvector|iqvector.*iqhalfvec|^iqdb_'
	UNION ALL
	SELECT replace(format('operator %s %s %s %s %s', oprname, oprleft::regtype, oprright::regtype, oprrest, oprjoin), name, 'TYPE')
	FROM pg_operator WHERE oprleft = name::regtype
	UNION ALL
	SELECT replace(format('aggregate %s %s %s %s %s', aggfnoid::regprocedure, aggtransfn, aggcombinefn, aggfinalfn, agginitval), name,
		'TYPE')
	FROM pg_aggregate JOIN pg_proc p ON p.oid = aggfnoid WHERE name::regtype = ANY (proargtypes)
	UNION ALL
	SELECT replace(format('type %s %s %s %s %s %s %s %s %s', typlen, typalign, typstorage, typcategory, typinput, typoutput, typreceive,
		typsend, typmodin), name, 'TYPE')
	FROM pg_type WHERE oid = name::regtype
	UNION ALL
	SELECT replace(format('btree %s %s %s', opcname, o.amopstrategy, o.amopopr::regoperator), name, 'TYPE')
	FROM pg_opclass JOIN pg_amop o ON amopfamily = opcfamily JOIN pg_am a ON a.oid = opcmethod AND amname = 'btree'
	WHERE opcintype = name::regtype AND opcdefault
	UNION ALL
	SELECT replace(format('cast %s %s %s', castsource::regtype, casttarget::regtype,
		CASE WHEN casttarget <> 'real[]'::regtype THEN castcontext END), name, 'TYPE')
	FROM pg_cast WHERE name::regtype IN (castsource, casttarget)
		AND NOT ('iqvector'::regtype IN (castsource, casttarget) AND 'iqhalfvec'::regtype IN (castsource, casttarget))
$$;
SELECT count(*) > 60 AS many FROM pg_temp.things_of('iqvector');
(SELECT 'iqvector alone', * FROM pg_temp.things_of('iqvector') EXCEPT ALL SELECT 'iqvector alone', * FROM pg_temp.things_of('iqhalfvec'))
UNION ALL
(SELECT 'iqhalfvec alone', * FROM pg_temp.things_of('iqhalfvec') EXCEPT ALL SELECT 'iqhalfvec alone', * FROM pg_temp.things_of('iqvector'));

-- errors
SELECT expression, pg_temp.error_of('SELECT ' || expression) AS error
FROM unnest(ARRAY[
	$$l2_distance('[1,2]'::iqhalfvec, '[3]')$$, $$'[1,2]'::iqhalfvec <#> '[3]'$$, $$'[1,2]'::iqhalfvec <=> '[3]'::iqvector$$,
	$$hamming_distance('[1,2]'::iqhalfvec, '[3]')$$,
	$$'[65504]'::iqhalfvec + '[16]'$$, $$'[1,2]'::iqhalfvec + '[3]'$$, $$'[-65504]'::iqhalfvec - '[65504]'$$,
	$$'[256]'::iqhalfvec * '[256]'$$, $$'[1e-4]'::iqhalfvec * '[1e-4]'$$, $$'[1,2]'::iqhalfvec * '[3]'$$,
	$$array_fill(0, ARRAY[16000])::iqhalfvec || '[1]'$$,
	$$subvector('[1,2,3,4,5]'::iqhalfvec, 1, 0)$$, $$subvector('[1,2,3,4,5]'::iqhalfvec, 6, 1)$$,
	$$sum(v) FROM unnest(ARRAY['[40000]', '[40000]']::iqhalfvec[]) AS v$$,
	$$sum(v) FROM unnest(ARRAY['[1,2]', '[3]']::iqhalfvec[]) AS v$$,
	$$iqhalfvec_avg('{1,70000}')$$, $$iqhalfvec_sum('{1,70000}')$$, $$iqhalfvec_avg('{1,NaN}')$$, $$iqhalfvec_sum('{1,Infinity}')$$,
	$$iqhalfvec_accum('{}', '[1]')$$, $$iqhalfvec_avg('{1}')$$, $$iqhalfvec_combine('{1,2}', '{1,2,3}')$$
]) AS expression;
