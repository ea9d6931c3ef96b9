-- iqdb_filter - columns beside the vector: which types, operators and constants an index takes, and that it answers as the
-- table does.
CREATE SCHEMA filter;
SET search_path = filter, public;
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;
SET timezone = 'UTC';
SET max_parallel_workers_per_gather = 0;

CREATE FUNCTION error_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' | ', SQLSTATE, replace(SQLERRM, 'public.', ''), nullif(detail, ''), nullif(hint, ''));
END
$$;

CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN small AS smallint CHECK (VALUE > -1000);
CREATE TABLE rows (
	id integer PRIMARY KEY, v iqvector(4),
	b boolean, i2 smallint, i4 integer, i8 bigint, f4 real, f8 double precision, d date, ts timestamp, tz timestamptz,
	u uuid, t text, vc varchar(10), bp char(5), m mood, s small, li integer[], lt text[]);
-- every 13th vector is NULL, and so is every 11th value, each column beginning elsewhere
INSERT INTO rows
SELECT i,
	CASE WHEN i % 13 > 0 THEN ARRAY[i % 17, i % 23, i % 29, i % 31]::iqvector END,
	CASE WHEN i % 11 <> 1 THEN i % 2 = 0 END,
	CASE WHEN i % 11 <> 2 THEN i % 100 - 50 END,
	CASE WHEN i % 11 <> 3 THEN i % 97 - 40 END,
	CASE WHEN i % 11 <> 4 THEN (i % 5 - 2) * 3000000000 END,
	CASE WHEN i % 11 <> 5 THEN CASE i % 10 WHEN 0 THEN 'NaN' WHEN 1 THEN '-0' WHEN 2 THEN '-Infinity' WHEN 3 THEN 'Infinity'
		ELSE (i % 37 - 18) * 0.1::real END END,
	CASE WHEN i % 11 <> 6 THEN CASE i % 10 WHEN 0 THEN 'NaN' WHEN 1 THEN '-0' WHEN 2 THEN '-Infinity' WHEN 3 THEN 'Infinity'
		ELSE (i % 37 - 18) * 0.1::float8 END END,
	CASE WHEN i % 11 <> 7 THEN CASE i % 20 WHEN 0 THEN 'infinity' WHEN 1 THEN '-infinity' ELSE date '2000-01-01' + (i % 60 - 30) END END,
	CASE WHEN i % 11 <> 8 THEN CASE i % 20 WHEN 0 THEN 'infinity' WHEN 1 THEN '-infinity'
		ELSE timestamp '2000-01-01' + (i % 60 - 30) * interval '8 hours' END END,
	CASE WHEN i % 11 <> 9 THEN timestamptz '2000-01-01 00:00+00' + (i % 60 - 30) * interval '8 hours' END,
	CASE WHEN i % 11 <> 10 THEN md5((i % 40)::text)::uuid END,
	CASE WHEN i % 11 <> 1 THEN 'text ' || i % 30 END,
	CASE WHEN i % 11 <> 2 THEN 'word ' || i % 30 END,
	CASE WHEN i % 11 <> 3 THEN 'c' || i % 30 END,
	CASE WHEN i % 11 <> 4 THEN (enum_range(NULL::mood))[i % 3 + 1] END,
	CASE WHEN i % 11 <> 5 THEN (i % 7)::smallint END,
	CASE WHEN i % 11 <> 6 THEN CASE i % 8 WHEN 0 THEN '{}' WHEN 1 THEN ARRAY[NULL, i % 5] ELSE ARRAY[i % 5, i % 9, i % 9] END END,
	CASE WHEN i % 11 <> 7 THEN ARRAY['a' || i % 5, 'b' || i % 9] END
FROM generate_series(1, 1500) i;
ANALYZE rows;

-- What the table answers, and whether an index of each method answers the same and takes the condition. The index is made with
-- half of the rows, the others are inserted.
CREATE FUNCTION answer(condition text) RETURNS integer[] LANGUAGE plpgsql AS $$
DECLARE
	answer integer[];
BEGIN
	EXECUTE format($q$SELECT coalesce(array_agg(id ORDER BY id), '{}') FROM (SELECT id FROM rows WHERE %s
		ORDER BY v <-> '[5,6,7,8]' LIMIT 5000) x WHERE id %% 13 > 0$q$, condition) INTO answer;
	RETURN answer;
END
$$;

CREATE FUNCTION takes(condition text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE format($q$EXPLAIN (COSTS OFF) SELECT id FROM rows WHERE %s ORDER BY v <-> '[5,6,7,8]' LIMIT 5$q$, condition)
	LOOP
		IF line ~ 'Index Cond' THEN
			RETURN true;
		END IF;
	END LOOP;
	RETURN false;
END
$$;

CREATE TABLE conditions (number integer GENERATED ALWAYS AS IDENTITY, condition text, rows integer[]);
INSERT INTO conditions (condition) VALUES
	('b'), ('NOT b'), ('b = true'), ('b <> true'), ('b IS TRUE'), ('b IS FALSE'), ('b IS NOT TRUE'), ('b IS NULL'), ('b > false'),
	('i2 = 5'), ('i2 < -10'), ('i2 <= -10'), ('i2 > 30'), ('i2 >= 30'), ('i2 <> 7'), ('i2 = 5::bigint'), ('i2 < 100000'),
	('i2 > 100000'), ('i2 >= -100000'), ('i2 <> 100000'), ('i2 = 100000'), ('i2 <= -32768'), ('i2 >= 32767'), ('i2 < -100000'),
	('i4 IN (1, 2, 3, NULL)'), ('i4 NOT IN (1, 2, 3)'), ('i4 = ANY (NULL)'), ('i4 = ANY (''{}'')'), ('i4 = ANY (''{NULL}'')'),
	('i4 < ANY (''{-35,-30}'')'), ('i4 <> ANY (''{1,2}'')'), ('i4 >= ALL (''{1,50}'')'), ('i4 = 3::smallint'), ('i4 BETWEEN 3 AND 9'),
	('i4 IN (5000000000, 7)'), ('i4 IS NULL'), ('i4 IS NOT NULL'), ('i4 = NULL'), ('i4 > 5 AND i4 < 3'), ('i4 = 1.0'),
	('i8 = 6000000000'), ('i8 < 0'), ('i8 >= 3000000000 AND i2 > 0'), ('i8 = 0::smallint'), ('NOT (i8 = 0 OR i4 = 5)'),
	('f4 = 0'), ('f4 < 0.1'), ('f4 <= 0.1::float8'), ('f4 = 0.1::float8'), ('f4 = 0.1::real'), ('f4 >= 0.3::float8'),
	('f4 > 0.3::real::float8'), ('f4 = ''NaN'''), ('f4 < ''NaN'''), ('f4 > ''NaN'''), ('f4 >= ''NaN''::float8'), ('f4 > 1e300'), ('f4 < -1e300'),
	('f4 = ''-Infinity'''), ('f4 IN (0.1, ''NaN'')'), ('f4 <> 0'), ('f4 <> 0.1::float8'), ('f4 > 1e-300'), ('f4 < -1e-300'),
	('f8 = 0'), ('f8 = ''-0'''), ('f8 < 0.1'), ('f8 = 0.1::real'), ('f8 >= ''NaN'''), ('f8 <> ''NaN'''), ('f8 > ''Infinity'''), ('f8 <= ''-Infinity'''),
	('d < ''2000-01-05'''), ('d = ''infinity'''), ('d > ''2000-01-05'' AND d < ''infinity'''), ('d <= timestamp ''2000-01-05 12:00'''),
	('d >= timestamp ''1999-12-25 12:00'''), ('d = timestamp ''2000-01-05 00:00'''), ('d < timestamp ''-infinity'''), ('d <= timestamp ''infinity'''),
	('d < timestamptz ''2000-01-05 00:00+00'''),
	('ts = ''2000-01-02 08:00'''), ('ts < date ''2000-01-02'''), ('ts > date ''5000000-01-01'''), ('ts <> date ''5000000-01-01'''),
	('ts >= date ''-infinity'''), ('ts = date ''infinity'''),
	('tz > ''2000-01-02 08:00+00'''), ('tz BETWEEN ''2000-01-01'' AND ''2000-01-02'''),
	('u = md5(''5'')::uuid'), ('u IN (md5(''5'')::uuid, md5(''50'')::uuid)'), ('u < md5(''5'')::uuid'), ('u <> md5(''5'')::uuid'),
	('t = ''text 3'''), ('t <> ''text 3'''), ('t IN (''text 3'', NULL, ''text 4'')'), ('t LIKE ''text 3%'''), ('t = ''text 3'' COLLATE "C"'), ('t IS NULL'),
	('vc = ''word 7'''), ('vc IN (''word 7'', ''word 8'')'), ('bp = ''c7'''), ('bp = ''c7   '''), ('bp IN (''c1'', ''c2'')'),
	('m = ''ok'''), ('m <> ''ok'''), ('m < ''ok'''), ('m <= ''ok'''), ('m > ''ok'''), ('m >= ''ok'''), ('m IN (''sad'', ''happy'')'), ('m < ''sad'''),
	('s = 3'), ('s > 4'), ('s IN (1, 2)'),
	('li && ARRAY[3]'), ('li && ARRAY[3, NULL, 8]'), ('li && ''{}'''), ('li && ''{NULL}'''), ('li @> ARRAY[3]'), ('li @> ARRAY[3, 8]'), ('li @> ARRAY[3, NULL]'),
	('li @> ''{}'''), ('li = ARRAY[3, 8, 8]'), ('li = ''{}'''), ('3 = ANY (li)'), ('NULL = ANY (li)'), ('li <@ ARRAY[1, 2]'), ('li IS NULL'), ('li <> ''{}'''),
	('lt && ARRAY[''a1'', ''b2'']'), ('lt @> ARRAY[''a1'', ''b2'']'), ('''a1'' = ANY (lt)'), ('NOT (''a1'' = ANY (lt))'),
	('v IS NOT NULL AND i4 = 3'), ('b AND i2 > 0 AND t = ''text 4'' AND 4 = ANY (li)'), ('b OR i2 > 40'), ('i4 = (SELECT 3)'),
	('i4 = ANY (ARRAY(SELECT i FROM generate_series(1, 3) i))');
UPDATE conditions SET rows = answer(condition);

CREATE FUNCTION try(method text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	CREATE TEMP TABLE later AS SELECT * FROM rows WHERE id % 2 = 0;
	DELETE FROM rows WHERE id % 2 = 0;
	EXECUTE format('CREATE INDEX rows_index ON rows USING %s (v, b, i2, i4, i8, f4, f8, d, ts, tz, u, t, vc, bp, m, s, li, lt)', method);
	INSERT INTO rows SELECT * FROM later;
	SET LOCAL enable_seqscan = off;
	SET LOCAL enable_bitmapscan = off;
	RETURN QUERY SELECT concat_ws(' | ', condition, CASE WHEN takes(condition) THEN 'index' ELSE 'filter' END,
		CASE WHEN c.rows = answer(condition) THEN cardinality(c.rows)::text ELSE 'WRONG: ' || c.rows::text || answer(condition)::text END)
	FROM conditions c ORDER BY number;
	RETURN QUERY SELECT 'iqdb_check: ' || iqdb_check('rows_index');
	DROP INDEX rows_index;
	DROP TABLE later;
END
$$;
SELECT try('iqdb_flat');
-- the others do the same
CREATE TEMP TABLE first AS SELECT * FROM try('iqdb_flat') AS line;
SELECT line FROM try('iqdb_hnsw') AS line EXCEPT SELECT line FROM first;
SELECT line FROM try('iqdb_ivf') AS line EXCEPT SELECT line FROM first;

-- Rows without a vector are in no index.
CREATE INDEX rows_all ON rows USING iqdb_flat (v, i4);
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT takes('v IS NULL AND i4 = 3');
SELECT count(*) FROM (SELECT id FROM rows WHERE v IS NULL AND i4 = 3 ORDER BY v <-> '[5,6,7,8]' LIMIT 3) x;
RESET enable_seqscan;
RESET enable_bitmapscan;
DROP INDEX rows_all;

-- What an index is made of: the vector, then what can be a column.
ALTER TABLE rows ADD p point, ADD n numeric, ADD w iqvector(4), ADD pa point[];
SELECT error_of('CREATE INDEX ON rows USING iqdb_flat (i4)');
SELECT error_of('CREATE INDEX ON rows USING iqdb_hnsw (i4, v)');
SELECT error_of('CREATE INDEX ON rows USING iqdb_ivf (v, p)');
SELECT error_of('CREATE INDEX ON rows USING iqdb_flat (v, i4, n)');
SELECT error_of('CREATE INDEX ON rows USING iqdb_flat (v, w)');
SELECT error_of('CREATE INDEX ON rows USING iqdb_flat (v, pa)');
SELECT error_of('CREATE INDEX ON rows USING iqdb_flat (v, i4 int8_ops)');
SELECT error_of('CREATE INDEX ON rows USING iqdb_flat (v, i4 DESC)');
SELECT error_of('CREATE INDEX ON rows USING iqdb_flat (v) INCLUDE (i4)');
SELECT error_of('CREATE UNIQUE INDEX ON rows USING iqdb_flat (v, i4)');

-- Operator classes of one's own.
CREATE OPERATOR CLASS mine FOR TYPE point USING iqdb_flat AS OPERATOR 3 ~=;
CREATE OPERATOR CLASS wrong FOR TYPE point USING iqdb_flat AS OPERATOR 9 ~=;
SET client_min_messages = info;
SELECT opcname, amvalidate(oid) FROM pg_opclass WHERE opcname IN ('mine', 'wrong') ORDER BY 1;
SET client_min_messages = warning;
SELECT error_of('CREATE INDEX ON rows USING iqdb_flat (v, p mine)');

-- An expression, a predicate, constants that only the execution knows, and a column that changes alone.
CREATE INDEX rows_partial ON rows USING iqdb_hnsw (v, (i2 + i4), lower(t)) WHERE b;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT takes('b AND i2 + i4 > 5'), takes('b AND lower(t) = ''text 4'''), takes('i2 + i4 > 5');
PREPARE sums (integer, text) AS SELECT count(*) FROM (
	SELECT id FROM rows WHERE b AND i2 + i4 > $1 AND lower(t) = $2 ORDER BY v <-> '[5,6,7,8]' LIMIT 1000) x;
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE sums (5, 'text 4');
EXECUTE sums (5, 'text 4');
EXECUTE sums (NULL, 'text 4');
UPDATE rows SET t = 'TEXT 5' WHERE t = 'text 4' AND id % 60 < 30;
EXECUTE sums (5, 'text 4');
EXECUTE sums (5, 'text 5');
SET enable_indexscan = off;
EXECUTE sums (5, 'text 5');
RESET enable_indexscan;
SELECT iqdb_check('rows_partial');
DROP INDEX rows_partial;

-- A temporary table.
CREATE TEMP TABLE brief AS SELECT id, v, t, li FROM rows;
CREATE INDEX ON brief USING iqdb_hnsw (v, t, li);
SELECT count(*) FROM (SELECT FROM brief WHERE t = 'text 7' AND li && '{2}' ORDER BY v <-> '[5,6,7,8]' LIMIT 1000) x;
SET enable_indexscan = off;
SELECT count(*) FROM (SELECT FROM brief WHERE t = 'text 7' AND li && '{2}' ORDER BY v <-> '[5,6,7,8]' LIMIT 1000) x;
DROP SCHEMA filter CASCADE;
