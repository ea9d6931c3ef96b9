-- iqvector: the btree operator class
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

-- whether the plan of a statement has a line that ends so
CREATE FUNCTION pg_temp.plan_has(statement text, ending text) RETURNS boolean LANGUAGE plpgsql AS
$$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || statement LOOP
		IF right(line, length(ending)) = ending THEN
			RETURN true;
		END IF;
	END LOOP;
	RETURN false;
END
$$;

CREATE TABLE iqvector_keys (v iqvector(3));
INSERT INTO iqvector_keys VALUES ('[0,0,0]'), ('[1,2,3]'), ('[1,1,1]'), (NULL), ('[-1,0,0]');
CREATE INDEX iqvector_keys_v ON iqvector_keys (v);
SELECT opcname, opcdefault FROM pg_opclass WHERE opcintype = 'iqvector'::regtype
	AND opcmethod = (SELECT oid FROM pg_am WHERE amname = 'btree');

SET enable_seqscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT v FROM iqvector_keys WHERE v = '[1,2,3]';
SELECT v FROM iqvector_keys WHERE v = '[1,2,3]';
SELECT v FROM iqvector_keys WHERE v = '[-0,0,-0]';
EXPLAIN (COSTS OFF) SELECT v FROM iqvector_keys ORDER BY v;
SELECT coalesce(v::text, 'null') FROM iqvector_keys ORDER BY v;
SELECT coalesce(v::text, 'null') FROM iqvector_keys ORDER BY v DESC NULLS LAST;
SELECT v FROM iqvector_keys WHERE v > '[0,0,0]' ORDER BY v;
SELECT v FROM iqvector_keys WHERE v >= '[0,0,0]' AND v <= '[1,1,1]' ORDER BY v;
SELECT v FROM iqvector_keys WHERE v < '[0,0,0]' ORDER BY v;
SELECT v FROM iqvector_keys WHERE v = ANY (ARRAY['[1,1,1]', '[5,5,5]', '[0,0,0]']::iqvector[]) ORDER BY v;
RESET enable_seqscan;
RESET enable_bitmapscan;

-- DISTINCT, GROUP BY, joins
INSERT INTO iqvector_keys VALUES ('[1,2,3]'), ('[-0,0,0]');
SELECT count(DISTINCT v) FROM iqvector_keys;
SELECT v, count(*) FROM iqvector_keys WHERE v > '[0,0,0]' GROUP BY v ORDER BY v;
SET enable_nestloop = off;
SELECT pg_temp.plan_has('SELECT FROM iqvector_keys AS a JOIN iqvector_keys AS b USING (v)', 'Merge Cond: (a.v = b.v)');
SELECT count(*) FROM iqvector_keys AS a JOIN iqvector_keys AS b USING (v);
RESET enable_nestloop;

-- unique
CREATE TABLE iqvector_unique (v iqvector UNIQUE);
INSERT INTO iqvector_unique VALUES ('[1,2]'), ('[1,2,0]'), ('[1]'), (NULL), (NULL);
SELECT pg_temp.error_of($$INSERT INTO iqvector_unique VALUES ('[1,2]')$$);
SELECT pg_temp.error_of($$INSERT INTO iqvector_unique VALUES ('[0]'), ('[-0]')$$);
INSERT INTO iqvector_unique VALUES ('[1]') ON CONFLICT DO NOTHING;
SELECT coalesce(v::text, 'null') FROM iqvector_unique ORDER BY v;
-- a key must fit a btree page
SELECT pg_temp.error_of($$INSERT INTO iqvector_unique SELECT array_fill(1, ARRAY[1000])$$)
	LIKE '54000 | index row size%' AS too_wide;
DROP TABLE iqvector_unique;

-- the order is that of arrays of real
CREATE TEMP TABLE many AS
SELECT ARRAY(SELECT ((n * 7919 + i * 104729) % 3 - 1)::real FROM generate_series(1, 1 + n % 4) AS i) AS a
	FROM generate_series(1, 120) AS n;
SELECT count(*) AS differing FROM many AS x, many AS y
WHERE iqvector_cmp(x.a::iqvector, y.a::iqvector) <> btarraycmp(x.a, y.a)
	OR (x.a::iqvector < y.a::iqvector) <> (x.a < y.a) OR (x.a::iqvector <= y.a::iqvector) <> (x.a <= y.a)
	OR (x.a::iqvector = y.a::iqvector) <> (x.a = y.a) OR (x.a::iqvector <> y.a::iqvector) <> (x.a <> y.a)
	OR (x.a::iqvector >= y.a::iqvector) <> (x.a >= y.a) OR (x.a::iqvector > y.a::iqvector) <> (x.a > y.a);

-- a larger index, built and grown, values with short headers and without
CREATE TABLE iqvector_grown (v iqvector);
INSERT INTO iqvector_grown SELECT ARRAY(SELECT (n * 7919 + i) % 1000 FROM generate_series(1, 1 + n % 60) AS i)::iqvector
	FROM generate_series(1, 1000) AS n;
CREATE INDEX ON iqvector_grown (v);
INSERT INTO iqvector_grown SELECT ARRAY(SELECT (n * 7919 + i) % 1000 FROM generate_series(1, 1 + n % 60) AS i)::iqvector
	FROM generate_series(1001, 2000) AS n;
SET enable_seqscan = off;
SET enable_sort = off;
SELECT pg_temp.plan_has('SELECT v, lag(v) OVER (ORDER BY v) FROM iqvector_grown',
	'Index Only Scan using iqvector_grown_v_idx on iqvector_grown') AS by_index;
SELECT count(*) AS rows, count(*) FILTER (WHERE before > v) AS out_of_order
FROM (SELECT v, lag(v) OVER (ORDER BY v) AS before FROM iqvector_grown) AS t;
SELECT count(*) AS found FROM iqvector_grown AS o WHERE EXISTS (SELECT FROM iqvector_grown AS i WHERE i.v = o.v);
RESET enable_seqscan;
RESET enable_sort;
DROP TABLE iqvector_grown, iqvector_keys;

-- the operator class is sound in the server's own eyes
SELECT amvalidate(oid) FROM pg_opclass WHERE opcname = 'iqvector_ops'
	AND opcmethod = (SELECT oid FROM pg_am WHERE amname = 'btree');
