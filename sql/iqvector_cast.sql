-- iqvector: casts from and to arrays, jsonb, and pgvector's type
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

-- arrays to iqvector
SELECT ARRAY[1,2,3]::iqvector, ARRAY[1.5,2.0,-3.25]::iqvector, ARRAY[1,2,3]::real[]::iqvector,
	ARRAY[1,2,3]::float8[]::iqvector, ARRAY[1,2,3]::numeric[]::iqvector;
SELECT '{1,2,3}'::real[]::iqvector(3), '{1,2,3}'::float8[]::iqvector(3), '{1,2,3}'::int[]::iqvector(3),
	'{1,2,3}'::numeric[]::iqvector(3);
SELECT '{1e-46,-1e-46}'::float8[]::iqvector, '{16777217}'::int[]::iqvector, '{0.1}'::float8[]::iqvector,
	'{0.1}'::numeric[]::iqvector;
SELECT '[5:6]={7,8}'::int[]::iqvector, (array_remove(ARRAY[1,NULL,2], NULL))::iqvector, (ARRAY[1,2,3,4])[2:3]::iqvector;
SELECT iqvector_dims(array_agg(n)::iqvector) FROM generate_series(1, 16000) AS n;

-- iqvector to real[]
SELECT '[1,-2,0.1]'::iqvector::real[], pg_typeof('[1]'::iqvector::real[]), array_dims('[1,2,3]'::iqvector::real[]);
CREATE FUNCTION pg_temp.total(real[]) RETURNS real LANGUAGE sql AS 'SELECT sum(x) FROM unnest($1) AS x';
SELECT pg_temp.total('[1,2,3.5]'::iqvector);
SELECT ('[1,2,3]'::iqvector::real[])[2];

-- jsonb and back
SELECT '[1, -2.5, 3e2, 0.1]'::jsonb::iqvector, '[1,2]'::jsonb::iqvector(2), jsonb_build_array(1, 2)::iqvector;
SELECT '[1,-2.5,0.1,1e-3,16777216,3.4028235e38]'::iqvector::jsonb, '[-0]'::iqvector::jsonb;
SELECT '[16777217, 1e-46, -1e-46, 0.100000001490116119384765625]'::jsonb::iqvector;
SELECT jsonb_typeof('[1]'::iqvector::jsonb), ('{"embedding": [1, 2, 3]}'::jsonb -> 'embedding')::iqvector;
SELECT count(*) AS changed
FROM (SELECT array_agg(exp((i - 300) / 4.0)::real)::iqvector AS v FROM generate_series(1, 600) AS i) AS t
WHERE v::jsonb::iqvector <> v;
SELECT iqvector_dims((SELECT jsonb_agg(n) FROM generate_series(1, 16000) AS n)::iqvector);

-- json is text: the sign of a zero is kept; and composite values show arrays, not strings
SELECT '[1, -2.5, 3e2, 0.1, -0]'::json::iqvector, '[1,2]'::json::iqvector(2), json_build_array(1, 2)::iqvector,
	'[1,-2.5,1e-45,3.4028235e38,-0]'::iqvector::json, '[-0]'::iqvector::json::iqvector;
SELECT to_jsonb(v), to_json(v), row_to_json(t), json_agg(v) OVER (), jsonb_build_object('v', v), jsonb_typeof(to_jsonb(v))
FROM (SELECT 1 AS id, '[1,-2.5,0.1]'::iqvector AS v) AS t;
SELECT count(*) AS changed
FROM (SELECT array_agg(exp((i - 300) / 4.0)::real)::iqvector AS v FROM generate_series(1, 600) AS i) AS t
WHERE v::json::iqvector <> v OR to_jsonb(v)::iqvector <> v;
SELECT v FROM json_to_record('{"v": [1,2]}') AS r (v iqvector(2));

-- little-endian numbers, as numpy and Float32Array have them
SELECT bytea_to_iqvector('\x0000803f000000c0cdcccc3d'), iqvector_to_bytea('[1,-2,0.1,-0,1e-45]'),
	bytea_to_iqvector(iqvector_to_bytea('[1,-2,0.1,-0,1e-45]')),
	iqvector_dims(bytea_to_iqvector(decode(repeat('0000803f', 16000), 'hex')));

-- a function of a cast may be called with the value alone
SELECT array_to_iqvector(ARRAY[1, 2]), array_to_iqvector(ARRAY[1, 2]::real[]), array_to_iqvector(ARRAY[1, 2]::float8[]),
	array_to_iqvector(ARRAY[1.5]), iqvector_to_float4('[1,2]'), jsonb_to_iqvector('[1,2]'), json_to_iqvector('[1,2]'),
	iqvector('[1,2]'::iqvector);
SELECT castfunc::regprocedure AS needs_more
FROM pg_cast JOIN pg_proc p ON p.oid = castfunc
WHERE 'iqvector'::regtype IN (castsource, casttarget) AND pronargs - pronargdefaults > 1;

-- which casts happen by themselves
SELECT castsource::regtype, casttarget::regtype, castcontext, castmethod
FROM pg_cast WHERE 'iqvector'::regtype IN (castsource, casttarget)
ORDER BY castsource::regtype::text COLLATE "C", casttarget::regtype::text COLLATE "C";
CREATE TEMP TABLE doors (v iqvector(3));
INSERT INTO doors SELECT ARRAY[1,2,3];
INSERT INTO doors SELECT ARRAY[1,2,3]::real[];
INSERT INTO doors SELECT ARRAY[1,2,3]::float8[];
INSERT INTO doors SELECT ARRAY[1,2,3]::numeric[];
INSERT INTO doors SELECT '[1,2,3]'::jsonb;
SELECT v, count(*) FROM doors GROUP BY v;
SELECT pg_temp.error_of('INSERT INTO doors SELECT ARRAY[1,2]');
SELECT pg_temp.error_of($$INSERT INTO doors SELECT '[1,2]'::jsonb$$);
-- the casts make nothing else ambiguous
SELECT ARRAY[1,2,3] = ARRAY[1,2,3], ARRAY[1.5] || ARRAY[2.5], '[1,2]'::jsonb || '[3]';

-- errors
SELECT expression, pg_temp.error_of('SELECT ' || expression) AS error
FROM unnest(ARRAY[
	$$'{1,2,3}'::real[]::iqvector(2)$$, $$'{1,2,3}'::float8[]::iqvector(2)$$, $$'{1,2,3}'::int[]::iqvector(2)$$,
	$$'{1,2,3}'::numeric[]::iqvector(2)$$,
	$$'{NULL}'::real[]::iqvector$$, $$'{1,NULL}'::numeric[]::iqvector$$, $$'{NaN}'::real[]::iqvector$$,
	$$'{NaN}'::float8[]::iqvector$$,
	$$'{NaN}'::numeric[]::iqvector$$, $$'{Infinity}'::real[]::iqvector$$, $$'{-Infinity}'::float8[]::iqvector$$,
	$$'{Infinity}'::numeric[]::iqvector$$,
	$$'{}'::real[]::iqvector$$, $$'{}'::int[]::iqvector$$, $$'{{1}}'::real[]::iqvector$$,
	$$'{{1},{2}}'::int[]::iqvector$$,
	$$'{4e38,-4e38}'::float8[]::iqvector$$, $$'{4e38}'::numeric[]::iqvector$$, $$'{1}'::text[]::iqvector$$,
	$$'{1}'::bigint[]::iqvector$$,
	$$array_agg(n)::iqvector FROM generate_series(1, 16001) AS n$$,
	$$array_to_iqvector(array_agg(n), 16001, false) FROM generate_series(1, 16001) AS n$$,
	$$'[]'::jsonb::iqvector$$, $$'{"a": 1}'::jsonb::iqvector$$, $$'1'::jsonb::iqvector$$, $$'"[1]"'::jsonb::iqvector$$,
	$$'null'::jsonb::iqvector$$,
	$$'true'::jsonb::iqvector$$, $$'[1, null]'::jsonb::iqvector$$, $$'[1, "2"]'::jsonb::iqvector$$,
	$$'[1, [2]]'::jsonb::iqvector$$,
	$$'[{"a": 1}]'::jsonb::iqvector$$, $$'[true]'::jsonb::iqvector$$, $$'[1, 4e38]'::jsonb::iqvector$$,
	$$'[-1e400]'::jsonb::iqvector$$,
	$$'[]'::json::iqvector$$, $$'{"a": 1}'::json::iqvector$$, $$'[1, null]'::json::iqvector$$,
	$$'[1, "2"]'::json::iqvector$$, $$'[[1]]'::json::iqvector$$, $$'"[1]"'::json::iqvector$$,
	$$'[1, 4e38]'::json::iqvector$$, $$'[1,2,3]'::json::iqvector(2)$$,
	$$(SELECT json_agg(n) FROM generate_series(1, 16001) AS n)::iqvector$$,
	$$bytea_to_iqvector('')$$, $$bytea_to_iqvector('\x0000803f00')$$, $$bytea_to_iqvector('\x0000c07f')$$,
	$$bytea_to_iqvector('\x0000803f0000807f')$$,
	$$bytea_to_iqvector(decode(repeat('0000803f', 16001), 'hex'))$$,
	$$'[1,2,3]'::jsonb::iqvector(2)$$, $$(SELECT jsonb_agg(n) FROM generate_series(1, 16001) AS n)::iqvector$$
]) AS expression;

-- casts from and to pgvector's type need pgvector
SELECT pg_temp.error_of('SELECT iqdb_create_vector_casts()');
CREATE TYPE pg_temp.vector AS (x real); -- some other type of that name will not do
SELECT pg_temp.error_of('SELECT iqdb_create_vector_casts()');
