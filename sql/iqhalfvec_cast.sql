-- iqhalfvec: casts from and to iqvector, arrays, jsonb, json, and bytes
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

-- iqvector to iqhalfvec, rounded, and back, exact
SELECT '[1,0.1,65519.996,-6e-8,2e-8]'::iqvector::iqhalfvec, '[1,0.1,-65504]'::iqhalfvec::iqvector,
	'[1,2]'::iqvector::iqhalfvec(2), '[1,2]'::iqhalfvec::iqvector(2);
SELECT count(*) AS changed
FROM (SELECT array_agg(exp((i - 300) / 20.0)::real)::iqvector AS v FROM generate_series(1, 500) AS i) AS t
WHERE v::iqhalfvec::iqvector::iqhalfvec <> v::iqhalfvec OR v::iqhalfvec::iqvector::text <> v::iqhalfvec::text
	OR v::text::iqhalfvec <> v::iqhalfvec;
SELECT iqhalfvec_dims(array_fill(1, ARRAY[16000])::iqvector::iqhalfvec),
	iqvector_dims(array_fill(1, ARRAY[16000])::iqhalfvec::iqvector);

-- the two meet in one operator, which is that of iqhalfvec, in either order
SELECT half <-> whole AS l2, pg_typeof(half + whole), pg_typeof(whole + half), half = whole AS equal
FROM (SELECT '[1,0.1]'::iqhalfvec AS half, '[1,0.1]'::iqvector AS whole) AS v;
-- where neither type is named, iqvector is meant
SELECT l2_distance('[1,0.1]', '[1,0.2]') = l2_distance('[1,0.1]'::iqvector, '[1,0.2]'), pg_typeof(l2_normalize('[3,4]')),
	pg_typeof(subvector('[1,2,3]', 1, 2));

-- arrays to iqhalfvec
SELECT ARRAY[1,2,3]::iqhalfvec, ARRAY[1.5,2.0,-3.25]::iqhalfvec, ARRAY[1,2,3]::real[]::iqhalfvec(3),
	ARRAY[1,2,3]::float8[]::iqhalfvec, '{0.1}'::float8[]::iqhalfvec, '{0.1}'::numeric[]::iqhalfvec, '{2049}'::int[]::iqhalfvec;
SELECT iqhalfvec_dims(array_agg(n)::iqhalfvec) FROM generate_series(1, 16000) AS n;
SELECT count(*) AS differing
FROM (SELECT array_agg(n / 7.0) AS numerics, array_agg((n / 7.0)::real) AS floats, array_agg((n / 7.0)::float8) AS doubles
	FROM generate_series(1, 1100) AS n) AS a
WHERE numerics::iqhalfvec <> floats::iqhalfvec OR doubles::iqhalfvec <> floats::iqhalfvec
	OR floats::iqhalfvec <> floats::iqvector::iqhalfvec;

-- iqhalfvec to real[]
SELECT '[1,-2,0.1]'::iqhalfvec::real[], array_dims('[1,2,3]'::iqhalfvec::real[]);

-- jsonb and json, and back
SELECT '[1, -2.5, 3e2, 0.1, 6e-8, 1e-46]'::jsonb::iqhalfvec, '[1,2]'::jsonb::iqhalfvec(2), '[1,-2.5,0.1,65504,-0]'::iqhalfvec::jsonb;
SELECT '[1, -2.5, 0.1, -0]'::json::iqhalfvec, '[1,-2.5,6e-8,-0]'::iqhalfvec::json, '[-0]'::iqhalfvec::json::iqhalfvec;
SELECT to_jsonb(v), to_json(v), row_to_json(t) FROM (SELECT 1 AS id, '[1,-2.5,0.1]'::iqhalfvec AS v) AS t;
SELECT count(*) AS changed
FROM (SELECT array_agg(exp((i - 300) / 20.0)::real)::iqhalfvec AS v FROM generate_series(1, 500) AS i) AS t
WHERE v::jsonb::iqhalfvec <> v OR v::json::iqhalfvec <> v;

-- little-endian numbers, as numpy has them
SELECT bytea_to_iqhalfvec('\x003c00c0662e'), iqhalfvec_to_bytea('[1,-2,0.1,-0,6e-8]'),
	bytea_to_iqhalfvec(iqhalfvec_to_bytea('[1,-2,0.1,-0,6e-8]')),
	iqhalfvec_dims(bytea_to_iqhalfvec(decode(repeat('003c', 16000), 'hex')));

-- a function of a cast may be called with the value alone
SELECT array_to_iqhalfvec(ARRAY[1, 2]), array_to_iqhalfvec(ARRAY[1.5]), iqhalfvec_to_float4('[1,2]'),
	jsonb_to_iqhalfvec('[1,2]'), json_to_iqhalfvec('[1,2]'), iqhalfvec('[1,2]'::iqhalfvec), iqvector_to_iqhalfvec('[1,2]'),
	iqhalfvec_to_iqvector('[1,2]');
SELECT castfunc::regprocedure AS needs_more
FROM pg_cast JOIN pg_proc p ON p.oid = castfunc
WHERE 'iqhalfvec'::regtype IN (castsource, casttarget) AND pronargs - pronargdefaults > 1;

-- which casts happen by themselves
SELECT castsource::regtype, casttarget::regtype, castcontext, castmethod
FROM pg_cast WHERE 'iqhalfvec'::regtype IN (castsource, casttarget)
ORDER BY castsource::regtype::text COLLATE "C", casttarget::regtype::text COLLATE "C";
CREATE TEMP TABLE doors (v iqhalfvec(3));
INSERT INTO doors SELECT ARRAY[1,2,3];
INSERT INTO doors SELECT ARRAY[1,2,3]::real[];
INSERT INTO doors SELECT ARRAY[1,2,3]::float8[];
INSERT INTO doors SELECT ARRAY[1,2,3]::numeric[];
INSERT INTO doors SELECT '[1,2,3]'::jsonb;
INSERT INTO doors SELECT '[1,2,3]'::json;
INSERT INTO doors SELECT '[1,2,3]'::iqvector;
SELECT v, count(*) FROM doors GROUP BY v;

-- errors
SELECT expression, pg_temp.error_of('SELECT ' || expression) AS error
FROM unnest(ARRAY[
	$$'{1,2,3}'::real[]::iqhalfvec(2)$$, $$'[1,2,3]'::iqvector::iqhalfvec(2)$$, $$'[1,2,3]'::iqhalfvec::iqvector(2)$$,
	$$'{NULL}'::real[]::iqhalfvec$$, $$'{NaN}'::real[]::iqhalfvec$$, $$'{-Infinity}'::float8[]::iqhalfvec$$,
	$$'{}'::real[]::iqhalfvec$$, $$'{{1},{2}}'::int[]::iqhalfvec$$,
	$$'{65520}'::int[]::iqhalfvec$$, $$'{1,-65520.5,1e5}'::real[]::iqhalfvec$$, $$'{1e10}'::float8[]::iqhalfvec$$,
	$$'{4e38}'::float8[]::iqhalfvec$$, $$'{65520}'::numeric[]::iqhalfvec$$, $$'{4e38}'::numeric[]::iqhalfvec$$,
	$$'{65520,4e38}'::numeric[]::iqhalfvec$$,
	$$'[1,70000]'::iqvector::iqhalfvec$$, $$'[1]'::iqhalfvec + '[-1e30]'::iqvector$$,
	$$array_agg(n)::iqhalfvec FROM generate_series(1, 16001) AS n$$,
	$$'[]'::jsonb::iqhalfvec$$, $$'{"a": 1}'::jsonb::iqhalfvec$$, $$'[1, null]'::jsonb::iqhalfvec$$,
	$$'[1, "2"]'::jsonb::iqhalfvec$$, $$'[1, 65520]'::jsonb::iqhalfvec$$, $$'[1, 65520]'::json::iqhalfvec$$,
	$$'[1,2,3]'::jsonb::iqhalfvec(2)$$, $$'[1,2,3]'::json::iqhalfvec(2)$$,
	$$bytea_to_iqhalfvec('')$$, $$bytea_to_iqhalfvec('\x003c00')$$, $$bytea_to_iqhalfvec('\x003c007e')$$,
	$$bytea_to_iqhalfvec('\x003c007c')$$, $$bytea_to_iqhalfvec(decode(repeat('003c', 16001), 'hex'))$$
]) AS expression;
