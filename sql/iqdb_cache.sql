-- The result cache of an index: what is a hit, what empties it, and that answers are those of searches whatever is remembered.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS iqdb;
\pset format unaligned
\pset tuples_only on
SET max_parallel_workers_per_gather = 0;
SET enable_seqscan = off;
SET jit = off;

CREATE TABLE cached (id int, c int, v iqvector(3)) WITH (autovacuum_enabled = off);
INSERT INTO cached SELECT i, i % 5, ARRAY[i * 7919 % 1009, i * 104729 % 2003, i * 15485 % 4001]::real[]::iqvector
FROM generate_series(1, 500) i;
CREATE INDEX cached_v ON cached USING iqdb_flat (v, c) WITH (cache_capacity = 3);

CREATE FUNCTION near(query iqvector, k int) RETURNS int[] LANGUAGE sql AS
	$$ SELECT array_agg(id) FROM (SELECT id FROM cached ORDER BY v <-> query LIMIT k) s $$;
CREATE FUNCTION near_of(query iqvector, k int, wanted int) RETURNS int[] LANGUAGE sql AS
	$$ SELECT array_agg(id) FROM (SELECT id FROM cached WHERE c = wanted ORDER BY v <-> query LIMIT k) s $$;
CREATE VIEW counts AS SELECT hits, misses, evictions, entries, capacity, round(hit_rate::numeric, 2) FROM iqdb_cache_stats('cached_v');

-- off by default, and of other methods as well; what is refused
CREATE TABLE plain (v iqvector(3));
CREATE INDEX plain_v ON plain USING iqdb_ivf (v);
SELECT v FROM plain ORDER BY v <-> '[1,2,3]' LIMIT 1;
SELECT * FROM iqdb_cache_stats('plain_v');
ALTER INDEX plain_v SET (cache_policy = random);
ALTER INDEX plain_v SET (cache_capacity = -1);
ALTER INDEX plain_v SET (cache_capacity = 7, cache_policy = arc, cache_ttl = 1000);
SELECT * FROM iqdb_cache_stats('plain_v');
SELECT * FROM iqdb_cache_stats('cached');

-- the same question again
TABLE counts;
SELECT near('[1,2,3]', 3);
SELECT near('[1,2,3]', 3);
TABLE counts;
-- another vector, by a bit; another LIMIT, and more than that one took
SELECT near('[1,2,3.0000002]', 3);
SELECT near('[1,2,3]', 5) AS five, near('[1,2,3]', 3) = (near('[1,2,3]', 5))[1:3] AS agree;
-- other conditions on the index's columns
SELECT near_of('[1,2,3]', 3, 1), near_of('[1,2,3]', 3, 2), near_of('[1,2,3]', 3, 1);
SELECT entries FROM counts;

-- more than there is room for: the least recently used goes
ALTER INDEX cached_v SET (cache_capacity = 2);
TABLE counts;
SELECT count(near(v, 3)) FROM unnest(ARRAY['[1,1,1]', '[2,2,2]', '[1,1,1]', '[3,3,3]', '[1,1,1]', '[2,2,2]']::iqvector[]) v;
TABLE counts;
ALTER INDEX cached_v SET (cache_policy = fifo);
SELECT count(near(v, 3)) FROM unnest(ARRAY['[1,1,1]', '[2,2,2]', '[1,1,1]', '[3,3,3]', '[1,1,1]', '[2,2,2]']::iqvector[]) v;
TABLE counts;

-- a change empties it: the new row is there
ALTER INDEX cached_v SET (cache_capacity = 100, cache_policy = lru);
SELECT near('[1,2,3]', 2);
INSERT INTO cached VALUES (1000, 0, '[1,2,3]');
SELECT near('[1,2,3]', 2), near('[1,2,3]', 2);
TABLE counts;
-- a deleted row is still in the index, and no row of this snapshot: the search goes on behind what is remembered
DELETE FROM cached WHERE id = 1000;
SELECT near('[1,2,3]', 2), near('[1,2,3]', 2);
TABLE counts;
-- its place is given free, and another row's
VACUUM (INDEX_CLEANUP ON) cached;
SELECT near('[1,2,3]', 2);
INSERT INTO cached VALUES (1001, 0, '[900,900,900]');
SELECT near('[1,2,3]', 2), near('[900,900,900]', 1);
BEGIN;
UPDATE cached SET v = '[1,2,3]' WHERE id = 1001;
SELECT near('[1,2,3]', 2), near('[1,2,3]', 2);
ROLLBACK;
SELECT near('[1,2,3]', 2), near('[1,2,3]', 2);
-- and so does maintenance
SELECT rows FROM iqdb_optimize('cached_v');
SELECT entries FROM counts;
SELECT near('[1,2,3]', 2);
SELECT entries FROM counts;

-- all rows, to the end, and none
SELECT cardinality(near('[5,5,5]', 100000)), cardinality(near('[5,5,5]', 100000));
SELECT cardinality(near_of('[5,5,5]', 100000, 3)), near_of('[5,5,5]', 4, 77) IS NULL, near_of('[5,5,5]', 4, 77) IS NULL;
SELECT near(NULL, 2) IS NOT NULL;

-- more than a thousand rows are not kept
INSERT INTO cached SELECT i, 9, ARRAY[i, i, i]::real[]::iqvector FROM generate_series(2000, 3500) i;
SELECT cardinality(near('[5,5,5]', 1500)), cardinality(near('[5,5,5]', 1500));
SELECT entries FROM counts;

-- cursors that stand between two rows, beside each other
BEGIN;
DECLARE a CURSOR FOR SELECT id FROM cached ORDER BY v <-> '[7,7,7]';
DECLARE b CURSOR FOR SELECT id FROM cached ORDER BY v <-> '[7,7,7]';
FETCH 2 FROM a;
CLOSE a;
FETCH 3 FROM b;
INSERT INTO cached VALUES (5000, 0, '[7,7,7]');
FETCH 2 FROM b;
DECLARE c CURSOR FOR SELECT id FROM cached ORDER BY v <-> '[7,7,7]';
FETCH 3 FROM c;
COMMIT;

-- what EXPLAIN says of the own node
CREATE FUNCTION strategy(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) ' || query LOOP
		IF line ~ 'Strategy|Scored' THEN
			RETURN NEXT trim(line);
		END IF;
	END LOOP;
END $$;
SELECT strategy('SELECT id FROM cached WHERE v <-> ''[1,2,3]'' < 50 ORDER BY v <-> ''[1,2,3]'' LIMIT 2');
SELECT strategy('SELECT id FROM cached WHERE v <-> ''[1,2,3]'' < 50 ORDER BY v <-> ''[1,2,3]'' LIMIT 2');

-- the sum of partitions
CREATE TABLE parted (k int, v iqvector(2)) PARTITION BY LIST (k);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES IN (2);
INSERT INTO parted SELECT 1 + i % 2, ARRAY[i, i]::real[]::iqvector FROM generate_series(1, 100) i;
CREATE INDEX parted_v ON parted USING iqdb_flat (v) WITH (cache_capacity = 10);
SELECT v FROM parted ORDER BY v <-> '[50,51]' LIMIT 2;
SELECT v FROM parted ORDER BY v <-> '[50,51]' LIMIT 2;
SELECT hits, misses, entries, capacity, hit_rate FROM iqdb_cache_stats('parted_v');

-- a temporary table's is its session's
CREATE TEMP TABLE mine AS SELECT * FROM cached;
CREATE INDEX mine_v ON mine USING iqdb_hnsw (v) WITH (cache_capacity = 5, cache_ttl = 3600000);
SELECT count(*) FROM (SELECT id FROM mine ORDER BY v <-> '[1,2,3]' LIMIT 4) s;
SELECT count(*) FROM (SELECT id FROM mine ORDER BY v <-> '[1,2,3]' LIMIT 4) s;
SELECT hits, misses, entries FROM iqdb_cache_stats('mine_v');

-- who may look
CREATE ROLE cache_stranger;
SET ROLE cache_stranger;
SELECT * FROM iqdb_cache_stats('cached_v');
RESET ROLE;
DROP ROLE cache_stranger;

DROP FUNCTION strategy, near, near_of;
DROP VIEW counts;
DROP TABLE cached, plain, parted, mine;
