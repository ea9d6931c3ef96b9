-- iqdb: recall and ground truth: numbers that are known beforehand, for each kind of vectors
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS iqdb;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on

-- SQLSTATE, message, detail and hint of what a statement raises
CREATE FUNCTION pg_temp.error_of(statement text) RETURNS text LANGUAGE plpgsql AS
$$
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

-- Two lists, of rows from x = 0 to 62.5 (more of them behind 40) and from x = 100 on, of which a search looks into one: that of
-- the nearer middle, which is the first one up to x = 84. From x = 81.2 on, the second one has nearer rows. They are so long
-- because a search that meets few rows in a list goes on to the next.
CREATE TABLE lists (id int, v iqvector(2));
INSERT INTO lists SELECT i, ARRAY[i % 2000 / 32.0 + i / 2000 * 100, 0]::real[]::iqvector FROM generate_series(0, 3999) i;
INSERT INTO lists SELECT 4000 + i, ARRAY[40 + i / 64.0, 1]::real[]::iqvector FROM generate_series(0, 999) i;
CREATE INDEX lists_v ON lists USING iqdb_ivf (v) WITH (lists = 2, probes = 1, quantization = none);
CREATE TEMPORARY TABLE asked AS
SELECT * FROM (VALUES (1, '[1,0]'::iqvector), (2, '[150,0]'), (3, '[83,0]'), (4, '[81.2421875,0]')) q (n, q);
SELECT n, mean_recall, p1_recall, min_recall, below_half, at_zero
FROM asked, iqdb_recall('lists_v', 2, queries => ARRAY[q]) ORDER BY n;
SELECT query_count, mean_recall, p1_recall, min_recall, below_half, at_zero
FROM iqdb_recall('lists_v', 2, queries => ARRAY(SELECT q FROM asked));
-- the worst percent hides one of a hundred, the worst does not
SELECT query_count, mean_recall, p1_recall, min_recall, below_half, at_zero
FROM iqdb_recall('lists_v', 2, queries => array_fill('[1,0]'::iqvector, ARRAY[99]) || '[83,0]'::iqvector);
SELECT query_count, p1_recall, min_recall, below_half, at_zero
FROM iqdb_recall('lists_v', 2, queries => array_fill('[1,0]'::iqvector, ARRAY[100]) || '[81.2421875,0]'::iqvector);
BEGIN;
SET LOCAL iqdb.ivf_probes = 2;
SELECT mean_recall, min_recall FROM iqdb_recall('lists_v', 2, queries => ARRAY(SELECT q FROM asked));
ROLLBACK;
SELECT query_count, num_nulls(mean_recall, p1_recall, min_recall, below_half, at_zero, qps, p50_ms, p95_ms, p99_ms, exact_qps,
	exact_p50_ms, exact_p95_ms, exact_p99_ms) FROM iqdb_recall('lists_v', queries => '{}'::iqvector[]);
-- any row of numbers is jsonb for who wants it so
SELECT to_jsonb(r) @> '{"query_count": 4, "mean_recall": 0.625, "at_zero": 0.25}' FROM iqdb_recall('lists_v', 2, queries => ARRAY(SELECT q FROM asked)) r;

-- ground truth is what the table says: a tie goes by TID, and k may be more than there is
SELECT query, rank, id, distance FROM iqdb_ground_truth('lists_v', ARRAY(SELECT q FROM asked ORDER BY n), 2) g JOIN lists ON ctid = tid
ORDER BY query, rank;
SELECT rank, id, distance FROM iqdb_ground_truth('lists_v', ARRAY['[2.515625,0]']::iqvector[], 3) g JOIN lists ON ctid = tid ORDER BY rank;
SELECT query, count(*), max(rank), count(DISTINCT tid) FROM iqdb_ground_truth('lists_v', ARRAY(SELECT q FROM asked), 10000) GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM iqdb_ground_truth('lists_v', ARRAY(SELECT q FROM asked));
SELECT count(*) FROM iqdb_ground_truth('lists_v', '{}'::iqvector[]);
SELECT count(*) FROM iqdb_ground_truth('lists_v', NULL::iqvector[]);
-- the recall of an index, by hand
SET enable_seqscan = off;
SELECT avg(found) FROM (
	SELECT n, count(*) FILTER (WHERE g.tid = ANY (hit.tids)) / 2.0 AS found
	FROM asked, LATERAL (SELECT array_agg(tid) AS tids FROM (SELECT ctid AS tid FROM lists ORDER BY v <-> q LIMIT 2) s) hit,
		LATERAL iqdb_ground_truth('lists_v', ARRAY[q], 2) g GROUP BY n) s;
RESET enable_seqscan;

-- it sees what the statement sees: its own transaction's changes, and no row that is gone, nor an older version of one
BEGIN;
DELETE FROM lists WHERE id = 2000;
UPDATE lists SET v = '[83,0.5]' WHERE id = 2001;
UPDATE lists SET id = 9002 WHERE id = 4999;
INSERT INTO lists VALUES (9003, NULL), (9004, '[81,0]');
SELECT query, rank, id, distance
FROM iqdb_ground_truth('lists_v', ARRAY['[83,0]', '[55.609375,1]']::iqvector[], 2) g JOIN lists ON ctid = tid ORDER BY query, rank;
SELECT count(*) FROM iqdb_ground_truth('lists_v', ARRAY['[0,0]']::iqvector[], 10000);
ROLLBACK;
SELECT query, rank, id, distance
FROM iqdb_ground_truth('lists_v', ARRAY['[83,0]', '[55.609375,1]']::iqvector[], 2) g JOIN lists ON ctid = tid ORDER BY query, rank;

-- rows as queries do not count themselves: (82,0) has its nearest, (85.5,7), in the other list
CREATE TABLE between AS SELECT * FROM lists;
INSERT INTO between VALUES (5000, '[82,0]'), (5002, '[85.5,7]'), (5003, '[86.5,7]');
CREATE INDEX between_v ON between USING iqdb_ivf (v) WITH (lists = 2, probes = 1, quantization = none);
SELECT query_count, min_recall, round(5003 * at_zero) AS lost FROM iqdb_recall('between_v', 1, 5003);
SELECT query_count, mean_recall, qps > 0, exact_qps > 0, p50_ms <= p95_ms AND p95_ms <= p99_ms
FROM iqdb_recall('between_v', 1, queries => ARRAY(SELECT v FROM between));
-- held out they are crossed with their nearest row, and are rows no more: (82,0) finds its new nearest, (78,6); between the two,
-- at (82,6), the nearest row is in the other list
INSERT INTO between VALUES (5001, '[78,6]');
SELECT query_count, mean_recall FROM iqdb_recall('between_v', 1, 5004);
SELECT query_count, round(5004 * mean_recall) AS found, min_recall, round(5004 * at_zero) AS lost FROM iqdb_recall('between_v', 1, 5004, held_out => true);
SELECT query_count FROM iqdb_recall('between_v', 1, 7, held_out => true);
-- copies of one row have nothing between them
CREATE TABLE copies AS SELECT '[1,2]'::iqvector(2) AS v FROM generate_series(1, 50);
CREATE INDEX copies_v ON copies USING iqdb_hnsw (v);
SELECT query_count, mean_recall FROM iqdb_recall('copies_v', 5, 50, held_out => true);
TRUNCATE copies;
SELECT query_count, mean_recall FROM iqdb_recall('copies_v', 5, held_out => true);
INSERT INTO copies VALUES ('[1,2]');
SELECT query_count, mean_recall FROM iqdb_recall('copies_v', 5, held_out => true);

-- halves and bits; an expression, and a part of a table; zero vectors
SELECT count(*) > 0 FROM iqdb_create_pgvector_support();
CREATE TABLE kinds AS SELECT i AS id, ARRAY[i, i % 7, 1]::real[]::iqvector::iqhalfvec(3) AS h, i::bit(12) AS b FROM generate_series(0, 299) i;
CREATE INDEX kinds_h ON kinds USING iqdb_hnsw (h iqhalfvec_l1_ops);
CREATE INDEX kinds_b ON kinds USING iqdb_flat (b bit_jaccard_ops);
CREATE INDEX kinds_e ON kinds USING iqdb_flat ((h::iqvector::iqvector(3))) WHERE id % 2 = 0;
SELECT i, query_count, min_recall FROM unnest('{kinds_h,kinds_b,kinds_e}'::regclass[]) i, iqdb_recall(i, 1, 300, held_out => true);
SELECT rank, id, distance FROM iqdb_ground_truth('kinds_h', ARRAY['[9,2,1]']::iqhalfvec[], 3) JOIN kinds ON ctid = tid ORDER BY rank;
SELECT rank, id, distance FROM iqdb_ground_truth('kinds_b', ARRAY[B'000000000111'], 3) JOIN kinds ON ctid = tid ORDER BY rank;
SELECT rank, id, distance FROM iqdb_ground_truth('kinds_e', ARRAY['[9,2,1]']::iqvector[], 2) JOIN kinds ON ctid = tid ORDER BY rank;
SELECT count(*), bool_and(g.distance = (h::iqvector <-> '[9,2,1]')), bool_and(id = expected)
FROM iqdb_ground_truth('kinds_e', ARRAY['[99,2,1]', '[9,2,1]']::iqvector[], 40) g
	JOIN kinds ON ctid = tid JOIN (SELECT id AS expected, row_number() OVER (ORDER BY h::iqvector <-> '[9,2,1]', ctid) AS rank FROM kinds WHERE id % 2 = 0) e USING (rank)
WHERE query = 2;
CREATE TABLE zeros (v iqvector(2));
INSERT INTO zeros VALUES ('[0,0]'), ('[1,0]'), ('[-1,0]'), ('[0,1]');
CREATE INDEX zeros_v ON zeros USING iqdb_flat (v iqvector_cosine_ops);
SELECT query, rank, v, distance FROM iqdb_ground_truth('zeros_v', ARRAY['[2,0]', '[0,0]']::iqvector[], 4) JOIN zeros ON ctid = tid ORDER BY query, rank;
SELECT query_count, mean_recall FROM iqdb_recall('zeros_v', 4, queries => ARRAY['[2,0]', '[0,0]']::iqvector[]);

-- what is refused
SELECT pg_temp.error_of($$SELECT iqdb_recall('lists_v', 2, queries => ARRAY['[1,2]']::iqvector[], held_out => true)$$);
SELECT pg_temp.error_of($$SELECT iqdb_recall('lists_v', 0)$$);
SELECT pg_temp.error_of(format($$SELECT iqdb_ground_truth('lists_v', %s)$$, a)) FROM unnest(ARRAY['ARRAY[''[1,2]'']::iqvector[], 0',
	'ARRAY[''[1,2]'']::iqvector[], 100001', 'ARRAY[''[1,2,3]'']::iqvector[]', 'ARRAY[NULL]::iqvector[]', 'ARRAY[1]', 'ARRAY[B''10'']']) a;
SELECT pg_temp.error_of($$SELECT iqdb_ground_truth('lists', ARRAY['[1,2]']::iqvector[])$$);
BEGIN;
SET LOCAL maintenance_work_mem = '1MB';
SELECT count(*) FROM iqdb_ground_truth('lists_v', array_fill('[1,0]'::iqvector, ARRAY[65]), 1000);
SELECT pg_temp.error_of($$SELECT iqdb_ground_truth('lists_v', array_fill('[1,0]'::iqvector, ARRAY[66]), 1000)$$);
ROLLBACK;

-- SELECT on the table is asked for; a role that does not see all of its rows is not told where they are
CREATE ROLE regress_iqdb_reader;
GRANT SELECT ON lists TO regress_iqdb_reader;
SET ROLE regress_iqdb_reader;
SELECT count(*) FROM iqdb_ground_truth('lists_v', ARRAY['[1,2]']::iqvector[]);
SELECT pg_temp.error_of($$SELECT iqdb_ground_truth('between_v', ARRAY['[1,2]']::iqvector[])$$);
RESET ROLE;
ALTER TABLE lists ENABLE ROW LEVEL SECURITY;
SELECT count(*) FROM iqdb_ground_truth('lists_v', ARRAY['[1,2]']::iqvector[]);
SET ROLE regress_iqdb_reader;
SELECT pg_temp.error_of($$SELECT iqdb_ground_truth('lists_v', ARRAY['[1,2]']::iqvector[])$$);
RESET ROLE;

-- partitions: the answers of all of them, merged; each has rows near to every query
CREATE TABLE parted (id int, part int, v iqvector(3)) PARTITION BY LIST (part);
CREATE TABLE parted_0 PARTITION OF parted FOR VALUES IN (0);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES IN (2) PARTITION BY RANGE (id);
CREATE TABLE parted_2_low PARTITION OF parted_2 FOR VALUES FROM (0) TO (300);
CREATE TABLE parted_2_high PARTITION OF parted_2 FOR VALUES FROM (300) TO (10000);
INSERT INTO parted SELECT i, i % 3, ARRAY[i * 7919 % 1009, i * 104729 % 2003, i * 15485 % 4001]::real[]::iqvector FROM generate_series(1, 600) i;
CREATE INDEX parted_f ON parted USING iqdb_flat (v);
CREATE INDEX parted_h ON parted USING iqdb_hnsw (v) WITH (m = 2, ef_construction = 4, ef_search = 1);
CREATE TEMP TABLE wanted AS SELECT n, ARRAY[n * 211 % 1000, n * 499 % 2000, n * 997 % 4000]::real[]::iqvector AS q FROM generate_series(1, 20) n;
-- the truth is that of a sort of the table
SELECT count(*), count(DISTINCT relation), count(*) FILTER (WHERE s.id IS DISTINCT FROM t.id OR s.d <> distance)
FROM (SELECT g.*, p.id FROM iqdb_ground_truth('parted_f', ARRAY(SELECT q FROM wanted ORDER BY n), 7) g JOIN parted p ON p.ctid = tid AND p.tableoid = relation) t
FULL JOIN (SELECT n, row_number() OVER (PARTITION BY n ORDER BY d) AS rank, id, d FROM wanted,
	LATERAL (SELECT id, v <-> q AS d FROM parted ORDER BY d LIMIT 7) s) s ON s.n = t.query AND s.rank = t.rank;
SELECT query, rank, distance, relation FROM iqdb_ground_truth('parted_2_v_idx', ARRAY(SELECT q FROM wanted ORDER BY n LIMIT 1), 3);
SELECT query, rank, distance, relation FROM iqdb_ground_truth('parted_0_v_idx', ARRAY(SELECT q FROM wanted ORDER BY n LIMIT 1), 2);
-- exact: everything; with queries that are given, rows, or between rows
SELECT query_count, mean_recall, min_recall FROM iqdb_recall('parted_f', 10, queries => ARRAY(SELECT q FROM wanted));
SELECT query_count, mean_recall, min_recall FROM iqdb_recall('parted_f', 10, sample => 100);
SELECT query_count, mean_recall, min_recall FROM iqdb_recall('parted_f', 10, sample => 100, held_out => true);
SELECT query_count, mean_recall FROM iqdb_recall('parted_f', 700, sample => 2);
-- a narrow beam misses rows, one as wide as the index none
SELECT query_count, mean_recall < 1 AS misses, min_recall < mean_recall AS worst FROM iqdb_recall('parted_h', 10, queries => ARRAY(SELECT q FROM wanted));
SET iqdb.hnsw_ef_search = 100000;
SELECT query_count, mean_recall, min_recall FROM iqdb_recall('parted_h', 10, queries => ARRAY(SELECT q FROM wanted));
RESET iqdb.hnsw_ef_search;

SET client_min_messages = warning;
DROP TABLE parted, lists, between, copies, kinds, zeros, asked CASCADE;
DROP OPERATOR <~> (bit, bit), <%> (bit, bit) CASCADE;
DROP ROLE regress_iqdb_reader;
