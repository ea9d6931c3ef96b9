-- The own scan node, Vector Scan: LIMIT, bounds of the distance, bitmaps of other indexes; and the same answers without it.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS iqdb;
\pset format unaligned
\pset tuples_only on
SET max_parallel_workers_per_gather = 0;
SET jit = off;

-- Each row has a distance of its own: answers are the same whatever finds them.
CREATE TABLE scan_row (id int PRIMARY KEY, c int, tags int[], page int, note text, v iqvector(3));
INSERT INTO scan_row SELECT i, i % 50, ARRAY[i % 7, 10 + i % 11], i / 100, repeat('x', 20),
	ARRAY[i * 7919 % 1009, i * 104729 % 2003, i * 15485 % 4001]::iqvector FROM generate_series(1, 5000) i;
CREATE INDEX scan_c ON scan_row (c);
CREATE INDEX scan_tags ON scan_row USING gin (tags);
CREATE INDEX scan_page ON scan_row USING brin (page) WITH (pages_per_range = 1);
CREATE INDEX scan_v ON scan_row USING iqdb_hnsw (v);
VACUUM ANALYZE scan_row;

-- The plan without what is of no interest here: costs, whether a few rows are better sorted, and what 18 says of that.
CREATE FUNCTION plan(query text) RETURNS SETOF text LANGUAGE plpgsql SET enable_sort = off AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		IF line !~ '^ *Disabled: ' THEN
			RETURN NEXT line;
		END IF;
	END LOOP;
END $$;

-- Rows by the node where it can be, by the index without it, and by the table: how many, and whether by the node, if all agree.
CREATE FUNCTION agreed(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	found text[];
	other text[];
	line text;
	node boolean := false;
BEGIN
	SET LOCAL enable_seqscan = off;
	SET LOCAL enable_sort = off;
	SET LOCAL iqdb.hnsw_ef_search = 100000;
	FOR line IN EXECUTE 'EXPLAIN ' || query LOOP
		node := node OR line ~ 'Vector Scan';
	END LOOP;
	EXECUTE 'SELECT array_agg(s::text) FROM (' || query || ') s' INTO found;
	SET LOCAL iqdb.enable_vector_scan = off;
	EXECUTE 'SELECT array_agg(s::text) FROM (' || query || ') s' INTO other;
	IF found IS DISTINCT FROM other THEN
		RETURN format('without the node: %s, with it: %s', other, found);
	END IF;
	SET LOCAL enable_indexscan = off;
	SET LOCAL enable_bitmapscan = off;
	SET LOCAL enable_seqscan = on;
	EXECUTE 'SELECT array_agg(s::text) FROM (' || query || ') s' INTO other;
	SET LOCAL iqdb.enable_vector_scan = on;
	SET LOCAL enable_indexscan = on;
	SET LOCAL enable_bitmapscan = on;
	SET LOCAL enable_sort = on;
	RESET iqdb.hnsw_ef_search;
	IF found IS DISTINCT FROM other THEN
		RETURN format('by the table: %s, by the index: %s', other, found);
	END IF;
	RETURN format('%s rows%s', coalesce(cardinality(found), 0), CASE WHEN NOT node THEN ', not by the node' END);
END $$;

-- What it is for.
SELECT plan($$SELECT id FROM scan_row ORDER BY v <-> '[500,1000,2000]' LIMIT 100$$);
SELECT plan($$SELECT id FROM scan_row WHERE v <-> '[500,1000,2000]' < 300 ORDER BY v <-> '[500,1000,2000]' LIMIT 10$$);
SELECT plan($$SELECT id FROM scan_row WHERE c IN (3, 4) AND tags @> '{5}' ORDER BY v <-> '[500,1000,2000]' LIMIT 10$$);
SET iqdb.enable_vector_scan = off;
SELECT plan($$SELECT id FROM scan_row ORDER BY v <-> '[500,1000,2000]' LIMIT 100$$);
RESET iqdb.enable_vector_scan;
-- nothing is known beyond what an index scan knows
SELECT plan($$SELECT id FROM scan_row ORDER BY v <-> '[500,1000,2000]' LIMIT 10$$);
-- a bound alone
SET enable_seqscan = off;
SELECT plan($$SELECT count(*) FROM scan_row WHERE v <-> '[500,1000,2000]' < 300$$);
SELECT plan($$SELECT count(*) FROM scan_row WHERE 300 >= '[500,1000,2000]' <-> v$$);

-- Bounds: on either side, several, of real, equal; NULL, NaN, infinite, negative; of the query itself.
SELECT agreed($$SELECT id FROM scan_row WHERE v <-> '[500,1000,2000]' < 300 ORDER BY v <-> '[500,1000,2000]' LIMIT 40$$);
SELECT agreed($$SELECT id FROM scan_row WHERE v <-> '[500,1000,2000]' < 300 ORDER BY v <-> '[500,1000,2000]' LIMIT 5$$);
SELECT agreed($$SELECT id FROM scan_row WHERE 300 > '[500,1000,2000]' <-> v ORDER BY v <-> '[500,1000,2000]' LIMIT 40$$);
SELECT agreed($$SELECT id FROM scan_row WHERE v <-> '[500,1000,2000]' < 300 ORDER BY v <-> '[500,1000,2000]', id$$);
SELECT agreed($$SELECT id FROM scan_row WHERE v <-> '[500,1000,2000]' BETWEEN 100 AND 300 ORDER BY v <-> '[500,1000,2000]'$$);
SELECT agreed($$SELECT count(*), sum(id) FROM scan_row WHERE v <-> '[500,1000,2000]' < 300$$);
SELECT agreed($$SELECT count(*), sum(id) FROM scan_row WHERE v <-> '[500,1000,2000]' < 300::real AND v <-> '[500,1000,2000]' <= 200$$);
SELECT agreed($$SELECT id FROM scan_row WHERE v <-> '[856,573,3482]' = 0$$);
SELECT agreed($$SELECT id FROM scan_row WHERE v <-> '[856,573,3482]' <= 0$$);
SELECT agreed($$SELECT id FROM scan_row WHERE v <-> '[856,573,3482]' < 0$$);
SELECT agreed($$SELECT id FROM scan_row WHERE v <-> '[856,573,3482]' <= -1$$);
SELECT agreed($$SELECT id FROM scan_row WHERE v <-> '[500,1000,2000]' < NULL::float8$$);
SELECT agreed($$SELECT count(*) FROM scan_row WHERE v <-> '[500,1000,2000]' < (SELECT NULL::float8)$$);
SELECT agreed($$SELECT count(*) FROM scan_row WHERE v <-> '[500,1000,2000]' < (SELECT 'NaN'::float8)$$);
SELECT agreed($$SELECT count(*) FROM scan_row WHERE v <-> '[500,1000,2000]' <= (SELECT 'Infinity'::float8)$$);
SELECT agreed($$SELECT count(*) FROM scan_row WHERE v <-> (SELECT NULL::iqvector) < 7$$);
SELECT agreed($$SELECT id FROM scan_row WHERE v <-> '[500,1000,2000]' > 4000 ORDER BY v <-> '[500,1000,2000]'$$);
-- a bound of another query's distance, or by another operator, bounds nothing here
SELECT agreed($$SELECT id FROM scan_row WHERE v <-> '[5,10,20]' < 300 AND v <+> '[500,1000,2000]' < 900
	ORDER BY v <-> '[500,1000,2000]' LIMIT 40$$);
SELECT agreed($$SELECT id FROM scan_row WHERE v <-> '[600,1000,2000]' < 300 ORDER BY v <-> '[500,1000,2000]', id$$);

-- Bitmaps: of one index, of an array, AND, OR, GIN, BRIN; with quals that no bitmap knows; with a bound; none at all.
SELECT agreed($$SELECT id FROM scan_row WHERE c = 7 ORDER BY v <-> '[500,1000,2000]' LIMIT 10$$);
SELECT agreed($$SELECT id FROM scan_row WHERE c IN (7, 9, 30) ORDER BY v <-> '[500,1000,2000]' LIMIT 10$$);
SELECT agreed($$SELECT id FROM scan_row WHERE c = 7 AND id % 3 = 1 ORDER BY v <-> '[500,1000,2000]' LIMIT 50$$);
SELECT agreed($$SELECT id FROM scan_row WHERE c = 7 ORDER BY v <-> '[500,1000,2000]' LIMIT 1000$$);
SELECT agreed($$SELECT id FROM scan_row WHERE c = 7 ORDER BY v <-> '[500,1000,2000]' LIMIT 10 OFFSET 95$$);
SELECT agreed($$SELECT id FROM scan_row WHERE tags @> '{3,15}' ORDER BY v <-> '[500,1000,2000]' LIMIT 10$$);
SELECT agreed($$SELECT id FROM scan_row WHERE tags @> '{3}' AND c < 5 ORDER BY v <-> '[500,1000,2000]' LIMIT 10$$);
SELECT agreed($$SELECT id FROM scan_row WHERE tags @> '{3,15}' OR c = 7 OR id < 10 ORDER BY v <-> '[500,1000,2000]' LIMIT 100$$);
SELECT agreed($$SELECT id FROM scan_row WHERE page = 17 ORDER BY v <-> '[500,1000,2000]' LIMIT 200$$);
SELECT agreed($$SELECT id FROM scan_row WHERE c < 25 AND v <-> '[500,1000,2000]' < 500 ORDER BY v <-> '[500,1000,2000]' LIMIT 100$$);
SELECT agreed($$SELECT id, c FROM scan_row WHERE c < 10 AND v <-> '[500,1000,2000]' < 500 ORDER BY v <-> '[500,1000,2000]'$$);
SELECT agreed($$SELECT id FROM scan_row WHERE c = 777 ORDER BY v <-> '[500,1000,2000]' LIMIT 10$$);
SELECT agreed($$SELECT id FROM scan_row WHERE c = (SELECT NULL::int) ORDER BY v <-> '[500,1000,2000]' LIMIT 10$$);
-- several keys, all columns, system columns, a whole row
SELECT agreed($$SELECT id FROM scan_row WHERE c = 7 ORDER BY v <-> '[500,1000,2000]', id DESC LIMIT 10$$);
SELECT agreed($$SELECT * FROM scan_row WHERE c = 7 ORDER BY v <-> '[500,1000,2000]' LIMIT 3$$);
SELECT agreed($$SELECT ctid, xmin, tableoid::regclass, scan_row FROM scan_row WHERE c = 7 ORDER BY v <-> '[500,1000,2000]' LIMIT 3$$);
SELECT agreed($$SELECT round((v <-> '[500,1000,2000]')::numeric, 9), c + 1, (SELECT max(id) FROM scan_row s WHERE s.c = r.c)
	FROM scan_row r WHERE c < 3 ORDER BY v <-> '[500,1000,2000]' LIMIT 3$$);
SELECT agreed($$SELECT id FROM scan_row r WHERE c = 3 AND EXISTS (SELECT FROM scan_row s WHERE s.id = r.id + 50)
	ORDER BY v <-> '[500,1000,2000]' LIMIT 3$$);
-- a bitmap that names pages as a whole
SET work_mem = '64kB';
CREATE TABLE scan_wide AS SELECT id, c, v, repeat(md5(id::text), 50) AS wide FROM scan_row;
CREATE INDEX ON scan_wide (c);
CREATE INDEX ON scan_wide USING iqdb_flat (v);
VACUUM ANALYZE scan_wide;
SELECT agreed($$SELECT id FROM scan_wide WHERE c < 20 ORDER BY v <-> '[500,1000,2000]' LIMIT 100$$);
RESET work_mem;

-- Conditions on columns of the index itself, a bitmap of another one, and a bound, all at once.
CREATE TABLE scan_columns AS SELECT id, c, tags, v FROM scan_row;
CREATE INDEX ON scan_columns USING iqdb_flat (v, c);
CREATE INDEX ON scan_columns USING gin (tags);
VACUUM ANALYZE scan_columns;
SELECT plan($$SELECT id FROM scan_columns WHERE c < 10 AND tags @> '{3}' AND v <-> '[500,1000,2000]' < 900
	ORDER BY v <-> '[500,1000,2000]' LIMIT 20$$);
SELECT agreed($$SELECT id FROM scan_columns WHERE c < 10 AND tags @> '{3}' AND v <-> '[500,1000,2000]' < 900
	ORDER BY v <-> '[500,1000,2000]' LIMIT 20$$);
SELECT agreed($$SELECT id FROM scan_columns WHERE c < 10 AND tags @> '{3}' AND v <-> '[500,1000,2000]' < 400
	ORDER BY v <-> '[500,1000,2000]' LIMIT 90$$);
SELECT agreed($$SELECT count(*), sum(id) FROM scan_columns WHERE (c < 10 OR c IS NULL) AND v <-> '[500,1000,2000]' < 400$$);
DROP TABLE scan_columns;

-- Joins and LATERAL: the bitmap is read once where it does not change, and the query and the bound may come from outside.
CREATE TABLE scan_side AS SELECT i AS id, i * 3 AS c, ARRAY[i * 100, i * 200, i * 400]::iqvector AS q, i * 150.0::float8 AS r FROM generate_series(1, 8) i;
SELECT plan($$SELECT s.id, n.id FROM scan_side s, LATERAL (SELECT id FROM scan_row WHERE c = s.c ORDER BY v <-> s.q LIMIT 3) n$$);
SELECT agreed($$SELECT s.id, n.id FROM scan_side s, LATERAL (SELECT id FROM scan_row WHERE c = s.c ORDER BY v <-> s.q LIMIT 3) n$$);
SELECT agreed($$SELECT s.id, n.id FROM scan_side s, LATERAL (SELECT id FROM scan_row WHERE c = 5 ORDER BY v <-> s.q LIMIT 3) n$$);
SELECT agreed($$SELECT s.id, n.id FROM scan_side s, LATERAL (SELECT id FROM scan_row WHERE v <-> s.q < s.r
	ORDER BY v <-> s.q LIMIT 4) n$$);
SELECT agreed($$SELECT s.id, (SELECT count(*) FROM scan_row WHERE v <-> s.q < s.r) FROM scan_side s$$);

-- Joins by a bounded distance: a search for each row of the other table, inner, outer, semi and anti.
SELECT plan($$SELECT s.id, n.id FROM scan_side s JOIN scan_row n ON n.v <-> s.q < s.r$$);
SELECT agreed($$SELECT s.id, n.id FROM scan_side s JOIN scan_row n ON n.v <-> s.q < s.r ORDER BY 1, 2$$);
SELECT agreed($$SELECT s.id, n.id FROM scan_side s LEFT JOIN scan_row n ON s.r - 140 >= s.q <-> n.v ORDER BY 1, 2$$);
SELECT agreed($$SELECT s.id FROM scan_side s WHERE EXISTS (SELECT FROM scan_row n WHERE n.v <-> s.q < s.r / 10 AND n.v <-> s.q < 70) ORDER BY 1$$);
SELECT agreed($$SELECT s.id FROM scan_side s WHERE NOT EXISTS (SELECT FROM scan_row n WHERE n.v <-> s.q < s.r / 10) ORDER BY 1$$);
SELECT agreed($$SELECT a.id, b.id, c.id FROM scan_side a, scan_row b, scan_side c WHERE b.v <-> a.q < c.r / 5 AND a.id + c.id = 9 ORDER BY 1, 2, 3$$);

-- How many rows are within a bound is asked of the index, if it is open.
RESET enable_seqscan;
CREATE TABLE scan_long AS SELECT i AS id, (SELECT array_agg(i::bigint * d * 7919 % 10007) FROM generate_series(1, 128) d)::int[]::iqvector(128) AS v
	FROM generate_series(1, 5000) i;
CREATE INDEX ON scan_long USING iqdb_flat (v);
VACUUM ANALYZE scan_long;
SELECT bool_or(line ~ 'Vector Scan') FROM (SELECT plan(format('SELECT count(*) FROM scan_long WHERE v <-> %L < 100', v)) AS line
	FROM scan_long WHERE id = 1) s;
SELECT bool_or(line ~ 'Vector Scan') FROM (SELECT plan(format('SELECT count(*) FROM scan_long WHERE v <-> %L < 100000', v)) AS line
	FROM scan_long WHERE id = 1) s;
DROP TABLE scan_long;
SET enable_seqscan = off;

-- In parallel plans each process has a scan of its own.
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET enable_seqscan = on;
CREATE TABLE scan_many AS SELECT i AS id, ARRAY[i * 10 % 1009, i * 20 % 2003, i * 40 % 4001]::iqvector AS q FROM generate_series(1, 300) i;
ANALYZE scan_many;
SELECT plan($$SELECT count(*), sum(n.id) FROM scan_many s JOIN scan_row n ON n.v <-> s.q < 50$$);
SELECT count(*), sum(n.id) FROM scan_many s JOIN scan_row n ON n.v <-> s.q < 50;
-- what all of them did is told together: a search for each row, whoever had it
CREATE FUNCTION searches(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) ' || query LOOP
		IF line ~ 'Custom Scan|Searches' THEN
			RETURN NEXT regexp_replace(trim(line), '^-> +| on .*', '', 'g');
		END IF;
	END LOOP;
END $$;
SELECT searches($$SELECT count(*), sum(n.id) FROM scan_many s JOIN scan_row n ON n.v <-> s.q < 50$$);
SET parallel_leader_participation = off;
ALTER TABLE scan_many SET (parallel_workers = 2);
SELECT searches($$SELECT count(*), sum(n.id) FROM scan_many s JOIN scan_row n ON n.v <-> s.q < 50$$);
RESET parallel_leader_participation;
DROP FUNCTION searches(text);
SET iqdb.enable_vector_scan = off;
SELECT count(*), sum(n.id) FROM scan_many s JOIN scan_row n ON n.v <-> s.q < 50;
RESET iqdb.enable_vector_scan;
DROP TABLE scan_many;
SET enable_seqscan = off;
SET max_parallel_workers_per_gather = 0;

-- Where many rows match, the bitmap waits until many have failed: those that match may all be far from the query.
CREATE TABLE scan_side_by_side AS SELECT i AS id, i AS c, i % 3 AS d, ARRAY[i, i * 7 % 1009 / 100.0, i * 3 % 2003 / 200.0]::real[]::iqvector(3) AS v
	FROM generate_series(1, 5000) i;
CREATE INDEX ON scan_side_by_side (c);
CREATE INDEX ON scan_side_by_side USING iqdb_hnsw (v);
VACUUM ANALYZE scan_side_by_side;
SELECT plan($$SELECT id FROM scan_side_by_side WHERE c > 3000 ORDER BY v <-> '[1,1,1]' LIMIT 10$$);
CREATE FUNCTION read_bitmap(query text) RETURNS text LANGUAGE plpgsql SET enable_sort = off AS $$
DECLARE
	line text;
	found text := 'no bitmap';
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) ' || query LOOP
		IF line ~ 'Bitmap Index Scan' THEN
			found := replace(substring(line FROM '(never executed|actual.*)'), '.00 ', ' ');
		END IF;
	END LOOP;
	RETURN found;
END $$;
-- they are near: never
SELECT read_bitmap($$SELECT id FROM scan_side_by_side WHERE c > 3000 ORDER BY v <-> '[4000,1,1]' LIMIT 10$$);
-- far; some near and most far
SELECT read_bitmap($$SELECT id FROM scan_side_by_side WHERE c > 3000 ORDER BY v <-> '[1,1,1]' LIMIT 10$$);
SELECT read_bitmap($$SELECT id FROM scan_side_by_side WHERE (c > 3000 OR c = 3) ORDER BY v <-> '[1,1,1]' LIMIT 10$$);
SELECT agreed($$SELECT id FROM scan_side_by_side WHERE c > 3000 ORDER BY v <-> '[4000,1,1]' LIMIT 10$$);
SELECT agreed($$SELECT id FROM scan_side_by_side WHERE c > 3000 ORDER BY v <-> '[1,1,1]' LIMIT 10$$);
SELECT agreed($$SELECT id FROM scan_side_by_side WHERE (c > 3000 OR c = 3) AND d <> 1 ORDER BY v <-> '[1,1,1]' LIMIT 10$$);
SELECT agreed($$SELECT id FROM scan_side_by_side WHERE (c > 3000 OR c < 8) ORDER BY v <-> '[1,1,1]' LIMIT 10 OFFSET 3$$);
-- a search anew: each begins without the bitmap until one has read it, and forgets what the one before has returned
SELECT agreed($$SELECT s.id, n.id FROM scan_side s, LATERAL (SELECT id FROM scan_side_by_side WHERE (c > 3000 OR c = 3) ORDER BY v <-> s.q LIMIT 5) n$$);
SET plan_cache_mode = force_generic_plan;
PREPARE scan_patient(int, iqvector) AS SELECT id FROM scan_side_by_side WHERE (c > $1 OR c = 3) ORDER BY v <-> $2 LIMIT 5;
EXECUTE scan_patient(3000, '[1,1,1]');
EXECUTE scan_patient(5000, '[1,1,1]');
DEALLOCATE scan_patient;
RESET plan_cache_mode;
DROP FUNCTION read_bitmap(text);
-- what changes before the bitmap is read is seen as it was
CREATE TABLE scan_moved AS SELECT id, c, v FROM scan_side_by_side;
CREATE INDEX ON scan_moved (c);
CREATE INDEX ON scan_moved USING iqdb_flat (v);
VACUUM ANALYZE scan_moved;
BEGIN;
SELECT bool_or(line ~ 'at need') FROM plan($$SELECT id, c FROM scan_moved WHERE (c > 1000 OR c = 3) ORDER BY v <-> '[1,1,1]' LIMIT 4$$) line;
DECLARE scan_cursor CURSOR FOR SELECT id, c FROM scan_moved WHERE (c > 1000 OR c = 3) ORDER BY v <-> '[1,1,1]' LIMIT 4;
FETCH 1 FROM scan_cursor;
UPDATE scan_moved SET c = 0 WHERE id BETWEEN 1001 AND 1002;
UPDATE scan_moved SET v = '[2,2,2]' WHERE id = 1003;
DELETE FROM scan_moved WHERE id = 3;
FETCH ALL FROM scan_cursor;
COMMIT;
SELECT id, c FROM scan_moved WHERE (c > 1000 OR c = 3) ORDER BY v <-> '[1,1,1]' LIMIT 4;
DROP TABLE scan_moved;
DROP TABLE scan_side_by_side;

-- Kept plans: parameters in the LIMIT, the filter, the query, and the bound.
SET plan_cache_mode = force_generic_plan;
PREPARE scan_kept(int, iqvector, float8, int) AS SELECT id FROM scan_row WHERE c >= 0 AND c < $1 AND v <-> $2 < $3 ORDER BY v <-> $2 LIMIT $4;
EXPLAIN (COSTS OFF) EXECUTE scan_kept(10, '[500,1000,2000]', 300, 3);
EXECUTE scan_kept(10, '[500,1000,2000]', 300, 3);
EXECUTE scan_kept(50, '[500,1000,2000]', 300, 4);
EXECUTE scan_kept(50, '[500,1000,2000]', 90, NULL);
EXECUTE scan_kept(50, '[500,1000,2000]', 'NaN', 2);
EXECUTE scan_kept(50, '[500,1000,2000]', NULL, 2);
EXECUTE scan_kept(50, NULL, 300, 2);
EXECUTE scan_kept(50, '[500,1000]', 300, 2);
EXECUTE scan_kept(50, '[500,1000,2000]', 300, -1);
DEALLOCATE scan_kept;
RESET plan_cache_mode;

-- Cursors in both directions, and the row that a cursor stands on.
BEGIN;
DECLARE scan_cursor SCROLL CURSOR FOR SELECT id FROM scan_row WHERE c = 7 ORDER BY v <-> '[500,1000,2000]', id;
FETCH 3 FROM scan_cursor;
FETCH BACKWARD 2 FROM scan_cursor;
FETCH ABSOLUTE 100 FROM scan_cursor;
FETCH 1 FROM scan_cursor;
FETCH FIRST FROM scan_cursor;
COMMIT;
BEGIN;
DECLARE scan_cursor CURSOR FOR SELECT id, note FROM scan_row WHERE c = 7 ORDER BY v <-> '[500,1000,2000]' LIMIT 40 FOR UPDATE;
FETCH 1 FROM scan_cursor;
UPDATE scan_row SET note = 'found' WHERE CURRENT OF scan_cursor RETURNING id, note;
ROLLBACK;

-- Changes of the rows that are found.
BEGIN;
WITH d AS (DELETE FROM scan_row WHERE v <-> '[500,1000,2000]' < 200 RETURNING id) SELECT count(*) FROM d;
SELECT agreed($$SELECT id FROM scan_row WHERE v <-> '[500,1000,2000]' < 300 ORDER BY v <-> '[500,1000,2000]' LIMIT 40$$);
UPDATE scan_row SET c = 7 WHERE v <-> '[500,1000,2000]' < 300;
SELECT agreed($$SELECT id FROM scan_row WHERE c = 7 ORDER BY v <-> '[500,1000,2000]' LIMIT 10$$);
SELECT agreed($$SELECT id FROM scan_row WHERE c = 7 AND v <-> '[500,1000,2000]' < 300 ORDER BY v <-> '[500,1000,2000]' LIMIT 40$$);
ROLLBACK;

-- Partitions and children, views, UNION ALL.
CREATE TABLE scan_parts (id int, c int, v iqvector(3)) PARTITION BY RANGE (id);
CREATE TABLE scan_part_1 PARTITION OF scan_parts FOR VALUES FROM (0) TO (2500);
CREATE TABLE scan_part_2 (v iqvector(3), c int, id int);
ALTER TABLE scan_parts ATTACH PARTITION scan_part_2 FOR VALUES FROM (2500) TO (5001);
INSERT INTO scan_parts SELECT id, c, v FROM scan_row;
CREATE INDEX ON scan_parts (c);
CREATE INDEX ON scan_parts USING iqdb_flat (v);
VACUUM ANALYZE scan_parts;
CREATE VIEW scan_view AS SELECT id, c, v FROM scan_parts UNION ALL SELECT id, c, v FROM scan_row;
SELECT plan($$SELECT id FROM scan_parts WHERE c = 7 ORDER BY v <-> '[500,1000,2000]' LIMIT 10$$);
SELECT agreed($$SELECT id FROM scan_parts WHERE c = 7 ORDER BY v <-> '[500,1000,2000]' LIMIT 10$$);
SELECT agreed($$SELECT id FROM scan_parts WHERE c = 7 AND id > 3000 ORDER BY v <-> '[500,1000,2000]' LIMIT 100$$);
SELECT agreed($$SELECT tableoid::regclass, id FROM scan_parts WHERE v <-> '[500,1000,2000]' < 300 ORDER BY v <-> '[500,1000,2000]'$$);
SELECT agreed($$SELECT id FROM scan_view WHERE c = 7 ORDER BY v <-> '[500,1000,2000]' LIMIT 10$$);

-- Joins of partitions by pairs: the search depends on the row of a partition.
CREATE TABLE scan_asks (id int, r float8, q iqvector(3)) PARTITION BY RANGE (id);
CREATE TABLE scan_ask_1 PARTITION OF scan_asks FOR VALUES FROM (0) TO (2500);
CREATE TABLE scan_ask_2 (q iqvector(3), r float8, gone int, id int);
ALTER TABLE scan_ask_2 DROP COLUMN gone;
ALTER TABLE scan_asks ATTACH PARTITION scan_ask_2 FOR VALUES FROM (2500) TO (5001);
INSERT INTO scan_asks SELECT id, id % 100 * 10, v FROM scan_row WHERE id % 500 < 5;
ANALYZE scan_asks;
SET enable_partitionwise_join = on;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SELECT plan($$SELECT a.id, p.c FROM scan_asks a JOIN scan_parts p ON p.id = a.id AND p.v <-> a.q < a.r WHERE p.c < 40$$);
SELECT agreed($$SELECT a.id, p.c FROM scan_asks a JOIN scan_parts p ON p.id = a.id AND p.v <-> a.q < a.r ORDER BY 1$$);
SELECT agreed($$SELECT a.id, p.c FROM scan_asks a JOIN scan_parts p ON p.id = a.id AND p.v <-> (a.q + '[1,1,1]') <= a.r ORDER BY 1$$);
SELECT agreed($$SELECT a.id, p.c FROM scan_asks a LEFT JOIN scan_parts p ON p.id = a.id AND p.v <-> a.q < a.r - 9 ORDER BY 1$$);
RESET enable_partitionwise_join;
RESET enable_hashjoin;
RESET enable_mergejoin;
DROP TABLE scan_asks;

-- Row security: what a policy hides is seen by no function of the query, wherever the quals go.
CREATE ROLE scan_user;
CREATE TABLE scan_secret AS SELECT id, c, v, CASE WHEN id % 2 = 0 THEN 'scan_user' ELSE 'nobody' END AS owner FROM scan_row;
CREATE INDEX ON scan_secret (c);
CREATE INDEX ON scan_secret (owner);
CREATE INDEX ON scan_secret USING iqdb_flat (v);
VACUUM ANALYZE scan_secret;
ALTER TABLE scan_secret ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON scan_secret USING (owner = current_user);
CREATE FUNCTION seen(int) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$
BEGIN
	IF $1 % 2 = 1 THEN
		RAISE 'leaked';
	END IF;
	RETURN true;
END $$;
GRANT SELECT ON scan_secret TO scan_user;
SET ROLE scan_user;
SELECT plan($$SELECT id FROM scan_secret WHERE c = 8 AND seen(id) AND v <-> '[500,1000,2000]' < 500 ORDER BY v <-> '[500,1000,2000]' LIMIT 3$$);
SELECT id FROM scan_secret WHERE c = 8 AND seen(id) AND v <-> '[500,1000,2000]' < 900 ORDER BY v <-> '[500,1000,2000]' LIMIT 3;
SELECT count(*) FROM scan_secret WHERE seen(id) AND v <-> '[500,1000,2000]' < 300;
RESET ROLE;
CREATE VIEW scan_barrier WITH (security_barrier) AS SELECT * FROM scan_secret WHERE id % 2 = 0;
SELECT count(*) FROM scan_barrier WHERE seen(id) AND v <-> '[500,1000,2000]' < 300;
DROP TABLE scan_secret CASCADE;
DROP ROLE scan_user;

-- Other engines and distances.
CREATE TABLE scan_other AS SELECT id, c, v::iqhalfvec(3) AS h, (id % 1024)::bit(10) AS b, v FROM scan_row WHERE id <= 2000;
CREATE INDEX ON scan_other (c);
CREATE INDEX ON scan_other USING iqdb_ivf (v iqvector_cosine_ops);
CREATE INDEX ON scan_other USING iqdb_flat (v iqvector_ip_ops);
CREATE INDEX ON scan_other USING iqdb_hnsw (h iqhalfvec_l1_ops);
VACUUM ANALYZE scan_other;
SELECT agreed($$SELECT id FROM scan_other WHERE c = 7 AND v <=> '[500,1000,2000]' < 0.05 ORDER BY v <=> '[500,1000,2000]' LIMIT 100$$);
SELECT agreed($$SELECT count(*), max(v <=> '[500,1000,2000]') FROM scan_other WHERE v <=> '[500,1000,2000]' < 0.0005$$);
SELECT agreed($$SELECT id FROM scan_other WHERE v <#> '[500,1000,2000]' < -8000000 AND c < 25 ORDER BY v <#> '[500,1000,2000]' LIMIT 100$$);
SELECT agreed($$SELECT count(*) FROM scan_other WHERE h <+> '[500,1000,2000]' <= 700$$);

-- EXPLAIN tells the same in every format. How many rows were scored is the engine's business, and decimals of rows and the
-- count of descents are what newer servers add.
SET enable_sort = off;
CREATE FUNCTION explained(how text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (ANALYZE, BUFFERS OFF, COSTS OFF, TIMING OFF, SUMMARY OFF, FORMAT ' || how || ') SELECT id FROM scan_other
		WHERE c = 7 AND id % 2 = 1 AND v <#> ''[1,1,1]'' < 0 ORDER BY v <#> ''[1,1,1]'' LIMIT 15' LOOP
		-- what 18 has more: a line of the text format, a line within the others, the last of an object perhaps
		CONTINUE WHEN line ~ '^ *Index Searches';
		line := regexp_replace(line, '\n[^\n]*(Index.Searches|Disabled)[^\n]*', '', 'g');
		line := regexp_replace(line, ',(\n *\})', '\1', 'g');
		line := regexp_replace(line, '(Rows.(Scored|Re-ranked|Filtered)"?[:>] *)\d+', '\1N', 'g');
		RETURN NEXT regexp_replace(line, '(rows=|Actual.Rows"?[:>] *)(\d+)\.00', '\1\2', 'g');
	END LOOP;
END $$;
SELECT explained('text');
SELECT explained('json');
SELECT explained('yaml');
SELECT explained('xml');

DROP VIEW scan_view;
DROP TABLE scan_row, scan_wide, scan_side, scan_parts, scan_other;
DROP FUNCTION plan(text), agreed(text), explained(text), seen(int);
