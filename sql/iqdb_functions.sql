-- functions on indexes: numbers, sizes, checks, snapshots; rights; what is none of ours
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS iqdb;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on

CREATE FUNCTION pg_temp.error_of(statement text) RETURNS text LANGUAGE plpgsql AS
$$
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	RETURN concat_ws(' | ', SQLSTATE, SQLERRM);
END
$$;

CREATE FUNCTION pg_temp.hint_of(statement text) RETURNS text LANGUAGE plpgsql AS
$$
DECLARE
	hint text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN hint;
END
$$;

CREATE TABLE items (id int PRIMARY KEY, v iqvector(4));
INSERT INTO items SELECT i, ARRAY[i, i % 7, i % 3, 1]::real[]::iqvector FROM generate_series(1, 100) i;
INSERT INTO items VALUES (101, NULL);
CREATE INDEX items_v ON items USING iqdb_flat (v iqvector_l1_ops) WITH (compression = zstd);

-- iqdb_index_stats
SELECT engine, metric, dimensions, state, rows, deleted, unlinked, journal_entries, journal_lag, levels FROM iqdb_index_stats('items_v');
SELECT memory > 100 * 16, disk > 100 * 16 / 4, log_bytes >= 0, snapshot_bytes > 0, snapshot_time > now() - interval '1 hour',
	generation ~ '^[0-9a-f]{32}$', memory_file LIKE '%' || generation FROM iqdb_index_stats('items_v');
INSERT INTO items SELECT i, ARRAY[i, i % 7, i % 3, 1]::real[]::iqvector FROM generate_series(201, 210) i;
DELETE FROM items WHERE id <= 20;
SELECT rows, journal_lag FROM iqdb_index_stats('items_v');
VACUUM items;
SELECT rows, journal_lag FROM iqdb_index_stats('items_v');
SELECT iqdb_index_stats(NULL) IS NULL;

-- iqdb_prewarm, iqdb_flush, iqdb_index_size
SELECT iqdb_prewarm('items_v');
SELECT iqdb_flush('items_v') = (SELECT snapshot_bytes FROM iqdb_index_stats('items_v'));
SELECT iqdb_index_size('items_v') >= pg_relation_size('items_v') + snapshot_bytes FROM iqdb_index_stats('items_v');

-- iqdb_check, iqdb_optimize
SELECT * FROM iqdb_check('items_v');
SELECT rows, linked, repaired FROM iqdb_optimize('items_v');
SELECT * FROM iqdb_check('items_v');
SELECT id FROM items WHERE id > 50 ORDER BY v <+> '[60,1,1,1]' LIMIT 3;

-- temporary and unlogged indexes have no own files
CREATE TEMP TABLE passing (v iqvector(2));
INSERT INTO passing VALUES ('[1,2]'), ('[3,4]');
CREATE INDEX passing_v ON passing USING iqdb_flat (v);
SELECT rows, disk, iqdb_flush('passing_v'), iqdb_prewarm('passing_v') FROM iqdb_index_stats('passing_v');
SELECT * FROM iqdb_check('passing_v');
CREATE UNLOGGED TABLE fast (v iqvector(2));
CREATE INDEX fast_v ON fast USING iqdb_flat (v);
INSERT INTO fast VALUES ('[1,2]'), ('[3,4]');
SELECT rows, disk, iqdb_flush('fast_v'), iqdb_prewarm('fast_v') FROM iqdb_index_stats('fast_v');
SELECT * FROM iqdb_check('fast_v');
DROP TABLE fast, passing;

-- rows that come and go leave neither a long journal nor long logs: what a small index has on disk is bounded by its rows
CREATE TABLE churned AS SELECT ARRAY[i, i % 7, i % 3]::real[]::iqvector(3) AS v FROM generate_series(1, 10000) i;
CREATE TABLE kept AS SELECT * FROM churned;
CREATE INDEX churned_v ON churned USING iqdb_flat (v);
SELECT s FROM generate_series(1, 12) i, unnest(ARRAY['DELETE FROM churned', 'VACUUM churned', 'INSERT INTO churned SELECT * FROM kept']) WITH ORDINALITY u (s, n)
ORDER BY i, n \gexec
SELECT journal_entries > 240000, journal_kept < 80000, iqdb_index_size('churned_v') < 3000000 AS bounded FROM iqdb_index_stats('churned_v');
SELECT count(*) FROM iqdb_check('churned_v');
DROP TABLE churned, kept;

-- lists: sizes, probes for a share of the rows, drift and what VACUUM does about it
CREATE TABLE grown (id int, v iqvector(8));
INSERT INTO grown SELECT i, ARRAY[i % 10, i % 10, i % 4, 0, sin(i), cos(i), 0, 0]::real[]::iqvector FROM generate_series(1, 2000) i;
CREATE INDEX grown_v ON grown USING iqdb_ivf (v) WITH (lists = 20);
SELECT lists, list_min > 0, list_max < 1000, list_mean * lists, trained, trained_rows, newcomers, drift FROM iqdb_index_stats('grown_v');
SELECT iqdb_suggest_probes('grown_v', 0), iqdb_suggest_probes('grown_v', 0.5) BETWEEN 2 AND 10, iqdb_suggest_probes('grown_v', 1);
SELECT pg_temp.error_of('SELECT iqdb_suggest_probes(''grown_v'', 1.5)');
SELECT pg_temp.error_of('SELECT iqdb_suggest_probes(''items_v'', 0.5)');
INSERT INTO grown SELECT i, ARRAY[100 + i % 10, 50, i % 7, 9, 0, 0, 30 * sin(i), 5]::real[]::iqvector FROM generate_series(2001, 3000) i;
SELECT lists, trained_rows, newcomers, drift > 2 FROM iqdb_index_stats('grown_v');
VACUUM grown;
SELECT lists, trained_rows, newcomers, drift, list_mean * lists FROM iqdb_index_stats('grown_v');
SELECT rows, linked FROM iqdb_optimize('grown_v');
SELECT * FROM iqdb_check('grown_v');
DROP TABLE grown;

-- what is none of ours
SELECT pg_temp.error_of(format('SELECT %s(%L)', f, relation))
FROM unnest(ARRAY['iqdb_flush', 'iqdb_prewarm', 'iqdb_optimize', 'iqdb_index_stats', 'iqdb_index_size', 'iqdb_check']) f,
	unnest(ARRAY['items', 'items_pkey', 'pg_class', 'no_such']) relation;
SELECT pg_temp.error_of('SELECT iqdb_check(4000000000)');
SELECT pg_temp.hint_of('SELECT iqdb_prewarm(''items'')'), pg_temp.hint_of('SELECT iqdb_prewarm(''items_pkey'')');

-- partitions: the index above them stands for all, the table for none; iqdb_indexes lists what is below
CREATE TABLE parts (id int, v iqvector(2)) PARTITION BY LIST (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2) PARTITION BY LIST (id);
CREATE TABLE parts_2_2 PARTITION OF parts_2 FOR VALUES IN (2);
INSERT INTO parts VALUES (1, '[1,1]'), (2, '[2,2]'), (2, '[3,3]');
CREATE INDEX parts_v ON parts USING iqdb_flat (v);
CREATE INDEX parts_1_w ON parts_1 USING iqdb_hnsw (v iqvector_ip_ops) WITH (m = 8);
SELECT DISTINCT pg_temp.error_of(format('SELECT %s(%L%s)', f, 'parts', arguments)), pg_temp.hint_of(format('SELECT %s(%L%s)', f, 'parts', arguments))
FROM (VALUES ('iqdb_flush', ''), ('iqdb_prewarm', ''), ('iqdb_optimize', ''), ('iqdb_index_stats', ''), ('iqdb_index_size', ''),
	('iqdb_cache_stats', ''), ('iqdb_check', ''), ('iqdb_recall', ', 10'), ('iqdb_suggest_probes', ', 0.5')) f (f, arguments);
-- these reach all partitions below
SELECT iqdb_prewarm('parts_v'), iqdb_prewarm('parts_2_v_idx'), iqdb_flush('parts_v') > iqdb_flush('parts_1_v_idx'), iqdb_optimize('parts_v');
SELECT iqdb_index_size('parts_v') = sum(size) FROM iqdb_indexes('parts_v');
SELECT * FROM iqdb_check('parts_v');
SELECT engine, metric, dimensions, quantization, filter_columns, state, rows, deleted, known, unlinked, memory_file, vectors_on_disk, journal_lag,
	generation, levels, lists FROM iqdb_index_stats('parts_v');
SELECT s.memory = sum(x.memory), s.disk = sum(y.disk), s.journal_entries = sum(y.journal_entries), s.snapshot_time = min(y.snapshot_time)
FROM iqdb_index_stats('parts_v') s, iqdb_indexes('parts_v') x, iqdb_index_stats(x.index) y GROUP BY s.*, s.memory, s.disk, s.journal_entries, s.snapshot_time;
SELECT iqdb_index_stats('parts_2_v_idx') = iqdb_index_stats('parts_2_2_v_idx');
SELECT pg_temp.error_of($$SELECT iqdb_suggest_probes('parts_v', 0.5)$$);
CREATE INDEX parts_l ON parts USING iqdb_ivf (v) WITH (lists = 1);
SELECT iqdb_suggest_probes('parts_l', 0.5), lists, trained FROM iqdb_index_stats('parts_l');
DROP INDEX parts_l;
SELECT index, indexed_table, method, operator_class, options, valid, state, rows, memory > 0, size > 0 FROM iqdb_indexes('parts');
SELECT index FROM iqdb_indexes('parts_v');
SELECT index FROM iqdb_indexes('parts_2');
SELECT index FROM iqdb_indexes('parts_1_w');
SELECT index, iqdb_prewarm(index) FROM iqdb_indexes('parts');
SELECT count(*) FROM iqdb_indexes('items_pkey');
SELECT array_agg(index) @> '{items_v,parts_1_w}' FROM iqdb_indexes();
CREATE ROLE regress_iqdb_stranger;
SET ROLE regress_iqdb_stranger;
SELECT index, method, state, rows, memory, size FROM iqdb_indexes('parts');
RESET ROLE;
DROP ROLE regress_iqdb_stranger;
DROP TABLE parts;
-- none yet
CREATE TABLE parts (id int, v iqvector(2)) PARTITION BY LIST (id);
CREATE INDEX parts_v ON parts USING iqdb_ivf (v);
SELECT s IS NULL, iqdb_index_size('parts_v'), iqdb_suggest_probes('parts_v', 1) FROM iqdb_index_stats('parts_v') s;
SELECT hits, misses, entries, capacity, hit_rate FROM iqdb_cache_stats('parts_v');
SELECT query_count, mean_recall FROM iqdb_recall('parts_v', 5);
SELECT * FROM iqdb_ground_truth('parts_v', ARRAY['[1,2]']::iqvector[]);
DROP TABLE parts;

-- rights: SELECT on the table to look, its ownership to change
CREATE ROLE regress_iqdb_reader;
CREATE ROLE regress_iqdb_stranger;
GRANT SELECT ON items TO regress_iqdb_reader;
SET ROLE regress_iqdb_reader;
SELECT rows FROM iqdb_index_stats('items_v');
SELECT iqdb_prewarm('items_v');
SELECT * FROM iqdb_check('items_v');
SELECT pg_temp.error_of(format('SELECT %s(%L)', f, 'items_v')) FROM unnest(ARRAY['iqdb_flush', 'iqdb_optimize']) f;
SET ROLE regress_iqdb_stranger;
SELECT pg_temp.error_of(format('SELECT %s(%L)', f, 'items_v'))
FROM unnest(ARRAY['iqdb_flush', 'iqdb_prewarm', 'iqdb_optimize', 'iqdb_index_stats', 'iqdb_index_size', 'iqdb_check']) f;
SELECT pg_temp.error_of('SET iqdb.on_corruption = error');
RESET ROLE;
GRANT pg_monitor TO regress_iqdb_stranger;
SET ROLE regress_iqdb_stranger;
SELECT rows, iqdb_index_size('items_v') > 0 FROM iqdb_index_stats('items_v');
SELECT pg_temp.error_of(format('SELECT %s(%L)', f, 'items_v')) FROM unnest(ARRAY['iqdb_flush', 'iqdb_prewarm', 'iqdb_check']) f;
RESET ROLE;
DROP ROLE regress_iqdb_stranger;
REVOKE SELECT ON items FROM regress_iqdb_reader;
DROP ROLE regress_iqdb_reader;

-- what an index's expression does, it does with the rights of the table's owner, whoever looks
CREATE ROLE regress_iqdb_owner;
GRANT CREATE ON SCHEMA public TO regress_iqdb_owner;
SET ROLE regress_iqdb_owner;
CREATE FUNCTION owned_by(v iqvector) RETURNS iqvector LANGUAGE plpgsql IMMUTABLE AS
$$
BEGIN
	IF current_user <> 'regress_iqdb_owner' THEN
		RAISE EXCEPTION 'run by %', current_user;
	END IF;
	RETURN v;
END
$$;
CREATE TABLE owned (v iqvector);
INSERT INTO owned VALUES ('[1,2]'), ('[3,4]');
CREATE INDEX owned_v ON owned USING iqdb_flat ((owned_by(v)::iqvector(2)));
INSERT INTO owned VALUES ('[5,6]');
RESET ROLE;
SELECT * FROM iqdb_check('owned_v');
SELECT iqdb_prewarm('owned_v');
DROP TABLE owned;
DROP FUNCTION owned_by;
REVOKE CREATE ON SCHEMA public FROM regress_iqdb_owner;
DROP ROLE regress_iqdb_owner;

-- where vectors lie: not in memory, for every method; a temporary index has none on disk
CREATE TABLE far (id int, v iqvector(64));
INSERT INTO far SELECT i, (SELECT array_agg(sin(i * d)::real) FROM generate_series(1, 64) d)::iqvector FROM generate_series(1, 3000) i;
CREATE INDEX far_flat ON far USING iqdb_flat (v) WITH (vectors = disk);
CREATE INDEX far_hnsw ON far USING iqdb_hnsw (v) WITH (vectors = disk, m = 8, ef_construction = 40);
CREATE INDEX far_signs ON far USING iqdb_hnsw (v) WITH (quantization = bq, m = 8, ef_construction = 40);
CREATE INDEX far_ivf ON far USING iqdb_ivf (v) WITH (vectors = disk, lists = 20);
CREATE INDEX far_bq ON far USING iqdb_ivf (v) WITH (quantization = bq, lists = 20);
CREATE INDEX far_pq ON far USING iqdb_ivf (v) WITH (quantization = pq, lists = 20, vectors = memory);
SELECT i, vectors_on_disk >= rows * 256 AS on_disk, vectors_on_disk = 0 AS none, iqdb_index_size(i::regclass) > disk + vectors_on_disk AS size
FROM unnest(ARRAY['far_flat', 'far_hnsw', 'far_signs', 'far_ivf', 'far_bq', 'far_pq']) i, iqdb_index_stats(i::regclass);
SELECT (SELECT memory FROM iqdb_index_stats('far_pq')) - (SELECT memory FROM iqdb_index_stats('far_bq')) > 3000 * 256 AS saved;
SELECT i, iqdb_check(i::regclass) FROM unnest(ARRAY['far_flat', 'far_hnsw', 'far_signs', 'far_ivf', 'far_bq', 'far_pq']) i;
ALTER INDEX far_bq SET (vectors = memory);
SELECT vectors_on_disk > 0 FROM iqdb_index_stats('far_bq');
REINDEX INDEX far_bq;
SELECT vectors_on_disk FROM iqdb_index_stats('far_bq');
SELECT pg_temp.error_of('CREATE INDEX ON far USING iqdb_flat (v) WITH (vectors = elsewhere)');
-- a graph of signs: walks read those, distances are exact
SET enable_seqscan = off;
SELECT count(*), bool_and(d >= before) AS ordered, min(d) FROM (SELECT d, lag(d, 1, 0) OVER () AS before FROM
	(SELECT v <-> (SELECT v FROM far WHERE id = 77) AS d FROM far ORDER BY 1 LIMIT 50) s) t;
RESET enable_seqscan;
SELECT mean_recall > 0.95 AS good FROM iqdb_recall('far_signs', 10);
SELECT pg_temp.error_of(format('CREATE INDEX ON far USING iqdb_hnsw (v iqvector_%s_ops) WITH (quantization = %s)', m, q))
FROM (VALUES ('l2', 'pq'), ('l1', 'bq'), ('hamming', 'bq'), ('ip', 'bq'), ('cosine', 'bq')) x (m, q);
CREATE TEMPORARY TABLE near AS SELECT * FROM far LIMIT 10;
CREATE INDEX near_v ON near USING iqdb_flat (v) WITH (vectors = disk);
SELECT rows, vectors_on_disk FROM iqdb_index_stats('near_v');
DROP TABLE far, near;
SELECT o, e.vectors_on_disk, m.memory - e.memory AS saved FROM unnest(ARRAY['quantization=pq', 'quantization=sq8, vectors=disk']) o,
	iqdb_estimate('iqdb_ivf', 1000, 100, o) e, iqdb_estimate('iqdb_ivf', 1000, 100, replace(o, ', vectors=disk', '') || ', vectors=memory') m;

-- what an estimate says is what an index needs, once it is built: four pages of journal, and a snapshot with a head of its own
CREATE TABLE many (v iqvector(64));
INSERT INTO many SELECT (SELECT array_agg(sin(i * d)::real) FROM generate_series(1, 64) d)::iqvector FROM generate_series(1, 16000) i;
CREATE INDEX many_flat ON many USING iqdb_flat (v) WITH (quantization = sq8);
CREATE INDEX many_hnsw ON many USING iqdb_hnsw (v) WITH (m = 8, ef_construction = 20);
CREATE INDEX many_signs ON many USING iqdb_hnsw (v) WITH (quantization = bq, m = 8, ef_construction = 20);
CREATE INDEX many_sq8 ON many USING iqdb_ivf (v) WITH (quantization = sq8, training_sample = 4000);
CREATE INDEX many_bq ON many USING iqdb_ivf (v) WITH (quantization = bq, training_sample = 4000);
ALTER TABLE many ADD a integer DEFAULT 1, ADD b float8 DEFAULT 2, ADD c boolean DEFAULT true, ADD d integer[] DEFAULT '{3}';
CREATE INDEX many_columns ON many USING iqdb_flat (v, a, b, c, d);
SELECT filter_columns, abs(1 - e.memory / s.memory::float8) < 0.1 AS memory, abs(1 - (e.disk - 32768) / (snapshot_bytes - 1000)::float8) < 0.1 AS disk
FROM iqdb_index_stats('many_columns') s, iqdb_estimate('iqdb_flat', rows, 64, '', 'iqvector', '{integer,float8,boolean,integer[]}') e;
SELECT c, (e.memory - n.memory) / 1000000.0 <= 9 AS memory, (e.disk - n.disk) / 1000000.0 <= 10 AS disk
FROM unnest('{bigint,text,boolean,uuid[]}'::regtype[]) WITH ORDINALITY x (c, i),
	iqdb_estimate('iqdb_hnsw', 1000000, 64, '', 'iqvector', ARRAY[c]) e, iqdb_estimate('iqdb_hnsw', 1000000, 64) n ORDER BY i;
SELECT pg_temp.error_of($$SELECT iqdb_estimate('iqdb_flat', 10, 3, '', 'iqvector', '{integer,point}')$$);
SELECT pg_temp.error_of($$SELECT iqdb_estimate('iqdb_flat', 10, 3, '', 'iqvector', array_fill('integer'::regtype, ARRAY[32]))$$);
SELECT i, quantization, abs(1 - e.memory / s.memory::float8) < 0.2 AS memory, abs(1 - (e.disk - 32768) / (snapshot_bytes - 1000)::float8) < 0.1 AS disk
FROM (VALUES ('many_flat', 'quantization=sq8'), ('many_hnsw', 'm=8, ef_construction=20'),
	('many_signs', 'quantization=bq, m=8, ef_construction=20'), ('many_sq8', 'quantization=sq8'), ('many_bq', 'quantization=bq')) x (i, o),
	iqdb_index_stats(i::regclass) s, iqdb_estimate('iqdb_' || engine, rows, 64, o) e;
-- snapshots have no vectors that the table can be asked for without an expression
CREATE INDEX many_part ON many USING iqdb_flat (v) WHERE a = 1;
SELECT i, snapshot_bytes > 16000 * 64 * 4 AS vectors FROM unnest(ARRAY['many_flat', 'many_columns', 'many_part']) i, iqdb_index_stats(i::regclass);
DROP TABLE many;

-- options of an estimate as they are written in WITH
SELECT DISTINCT memory > 0 FROM (SELECT count(DISTINCT memory) = 1 AS same, min(memory) AS memory FROM unnest(ARRAY['m=16,ef_construction=200',
	'm = 16, ef_construction = 200', E' m\t=16 ,\n ef_construction= ''200''', 'm=16 ef_construction=200']) o,
	iqdb_estimate('iqdb_hnsw', 1000, 10, o)) e WHERE same;
SELECT pg_temp.error_of('SELECT iqdb_estimate(''iqdb_hnsw'', 1000, 10, ''m = 16 17'')');

-- signs of few dimensions: who makes the index hears that they do not do
CREATE TABLE few_signs (v iqvector(16));
CREATE INDEX few_signs_ivf ON few_signs USING iqdb_ivf (v) WITH (quantization = bq);
CREATE INDEX few_signs_hnsw ON few_signs USING iqdb_hnsw (v) WITH (quantization = bq);
REINDEX INDEX few_signs_ivf;
TRUNCATE few_signs;
DROP TABLE few_signs;

-- a newer library meets functions as an older version of the extension declared them: other columns, or fewer arguments
CREATE FUNCTION pg_temp.old_stats(index regclass, OUT engine text, OUT generation text) LANGUAGE C
	AS '$libdir/iqdb', 'iqdb_sql_index_stats';
CREATE FUNCTION pg_temp.old_recall(index regclass, k integer, OUT query_count integer, OUT mean_recall float8) LANGUAGE C
	AS '$libdir/iqdb', 'iqdb_sql_recall';
CREATE FUNCTION pg_temp.old_estimate(method text, OUT memory bigint, OUT disk bigint, OUT vectors_on_disk bigint,
	OUT build_seconds float8) LANGUAGE C AS '$libdir/iqdb', 'iqdb_sql_estimate';
CREATE FUNCTION pg_temp.old_optimize(index regclass, OUT rows bigint, OUT linked bigint) LANGUAGE C
	AS '$libdir/iqdb', 'iqdb_sql_optimize';
SELECT regexp_replace(pg_temp.error_of(call), 'pg_temp_[0-9]+', 'pg_temp'), pg_temp.hint_of(call)
FROM (VALUES ('SELECT pg_temp.old_stats(''items_v'')'), ('SELECT pg_temp.old_recall(''items_v'', 1)'),
	('SELECT pg_temp.old_estimate(''iqdb_hnsw'')'), ('SELECT pg_temp.old_optimize(''items_v'')')) c (call);

-- iqdb_sweep
SELECT iqdb_sweep() >= 0;
DROP TABLE items;

-- volatile is what changes something: a router sends all others to standbys
SELECT proname
FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	JOIN pg_extension e ON d.refobjid = e.oid AND e.extname = 'iqdb'
WHERE provolatile = 'v' AND prorettype <> 'index_am_handler'::regtype ORDER BY proname COLLATE "C";
