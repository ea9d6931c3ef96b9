-- indexes among everything else that SQL has: domains, partial and expression indexes, cursors, joins, DDL, subtransactions
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS iqdb;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on
SET enable_seqscan = off;

-- which index a query is answered by
CREATE FUNCTION pg_temp.index_of(statement text) RETURNS text LANGUAGE plpgsql AS
$$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || statement LOOP
		IF line ~ 'Index Scan using' THEN
			RETURN substring(line, 'Index Scan using (\w+)');
		END IF;
	END LOOP;
	RETURN 'none';
END
$$;

-- domains have the dimensions of what they are made of
CREATE DOMAIN three AS iqvector(3);
CREATE DOMAIN positive AS three CHECK (iqvector_norm(VALUE) > 0);
CREATE DOMAIN anyone AS iqvector;
CREATE TABLE domains (id serial, a positive, b anyone);
INSERT INTO domains (a, b) SELECT ARRAY[i, i % 7, 1]::iqvector, ARRAY[i, 1]::iqvector FROM generate_series(1, 50) i;
CREATE INDEX domains_a ON domains USING iqdb_hnsw (a);
CREATE INDEX domains_b ON domains USING iqdb_flat (b);
CREATE INDEX domains_b ON domains USING iqdb_flat ((b::iqvector(2)));
INSERT INTO domains (a, b) VALUES ('[8,8,8]', '[0,0]');
INSERT INTO domains (a, b) VALUES ('[8,8]', '[0,0]');
INSERT INTO domains (a, b) VALUES ('[8,8,8]', '[0,0,0]');
SELECT pg_temp.index_of($$SELECT id FROM domains ORDER BY a <-> '[8,8,8]'$$);
SELECT id FROM domains ORDER BY a <-> '[8,8,8]' LIMIT 2;
SELECT pg_temp.index_of($$SELECT id FROM domains ORDER BY b::iqvector(2) <-> '[0,0]'$$);
SELECT id FROM domains ORDER BY b::iqvector(2) <-> '[0,0]' LIMIT 2;
SELECT count(*) FROM iqdb_check('domains_a');

-- partial, generated, expression
CREATE TABLE usage (id serial PRIMARY KEY, v iqvector(3), n int, g iqvector(3) GENERATED ALWAYS AS (v) STORED);
INSERT INTO usage (v, n) SELECT ARRAY[i, i % 7, i % 11]::iqvector, i % 5 FROM generate_series(1, 100) i;
CREATE INDEX usage_v ON usage USING iqdb_hnsw (v);
CREATE INDEX usage_g ON usage USING iqdb_ivf (g);
CREATE INDEX usage_p ON usage USING iqdb_flat (v iqvector_l1_ops) WHERE n = 1;
CREATE INDEX usage_e ON usage USING iqdb_flat ((l2_normalize(v)::iqvector(3)));
UPDATE usage SET n = 1 WHERE id = 2;
UPDATE usage SET n = 3 WHERE id = 1;
SELECT pg_temp.index_of($$SELECT id FROM usage WHERE n = 1 ORDER BY v <+> '[1,2,3]'$$);
SELECT id FROM usage WHERE n = 1 ORDER BY v <+> '[1,2,3]' LIMIT 3;
SELECT pg_temp.index_of($$SELECT id FROM usage ORDER BY v <+> '[1,2,3]'$$);
SELECT pg_temp.index_of($$SELECT count(*) FROM usage WHERE n = 1$$);
SELECT pg_temp.index_of($$SELECT id FROM usage ORDER BY l2_normalize(v)::iqvector(3) <-> '[1,0,0]'$$);
SELECT id FROM usage ORDER BY l2_normalize(v)::iqvector(3) <-> '[1,0,0]' LIMIT 3;
INSERT INTO usage (id, v) VALUES (1, '[7,7,7]') ON CONFLICT (id) DO UPDATE SET v = excluded.v;
INSERT INTO usage (id, v) VALUES (1, '[0,0,0]') ON CONFLICT DO NOTHING;
SELECT id FROM usage ORDER BY g <-> '[7,7,7]' LIMIT 2;

-- order for more than ORDER BY ... LIMIT
SELECT DISTINCT ON (v <-> '[1,2,3]') id FROM usage ORDER BY v <-> '[1,2,3]' LIMIT 3;
SELECT a.id, b.id FROM usage a, LATERAL (SELECT id FROM usage ORDER BY v <-> (a.v + '[0.2,0,0]') LIMIT 2) b WHERE a.id BETWEEN 2 AND 4;
SELECT min(v <-> '[7,7,7]') FROM usage;
SELECT count(*) FROM (SELECT id FROM usage ORDER BY v <-> NULL) s;

-- cursors: backwards, across the end of their transaction, for changes
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT id FROM usage ORDER BY v <-> '[5,5,5]';
FETCH 3 FROM c;
FETCH BACKWARD 2 FROM c;
FETCH ABSOLUTE 50 FROM c;
FETCH FIRST FROM c;
COMMIT;
BEGIN;
DECLARE c CURSOR WITH HOLD FOR SELECT id FROM usage ORDER BY v <-> '[5,5,5]' LIMIT 3;
COMMIT;
DELETE FROM usage WHERE id = 4;
FETCH ALL FROM c;
CLOSE c;
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM usage ORDER BY v <-> '[5,5,5]' FOR UPDATE;
FETCH 1 FROM c;
UPDATE usage SET v = '[500,500,500]' WHERE CURRENT OF c;
FETCH 1 FROM c;
ROLLBACK;

-- partitions and children
CREATE TABLE parts (id int, v iqvector(3)) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
CREATE INDEX parts_v ON parts USING iqdb_hnsw (v);
CREATE TABLE parts_2 PARTITION OF parts DEFAULT;
INSERT INTO parts SELECT i, ARRAY[i, 1, 2]::iqvector FROM generate_series(1, 200) i;
SELECT pg_temp.index_of($$SELECT id FROM parts ORDER BY v <-> '[100.2,1,2]'$$);
SELECT id FROM parts ORDER BY v <-> '[100.2,1,2]' LIMIT 3;
UPDATE parts SET id = 300 WHERE id = 99;
SELECT id FROM parts ORDER BY v <-> '[99.2,1,2]' LIMIT 3;

-- what is undone, and what takes the table's place
BEGIN;
SAVEPOINT a;
INSERT INTO usage (v) VALUES ('[900,900,900]');
SAVEPOINT b;
DROP INDEX usage_v;
ROLLBACK TO b;
SELECT v FROM usage ORDER BY v <-> '[900,900,900]' LIMIT 1;
ROLLBACK TO a;
SELECT v FROM usage ORDER BY v <-> '[900,900,900]' LIMIT 1;
TRUNCATE usage;
INSERT INTO usage (v) VALUES ('[1,1,1]');
SELECT v FROM usage ORDER BY v <-> '[900,900,900]';
ROLLBACK;
CLUSTER usage USING usage_pkey;
VACUUM FULL usage;
REINDEX TABLE usage;
SELECT v FROM usage ORDER BY v <-> '[900,900,900]' LIMIT 1;
DROP INDEX usage_e;
ALTER TABLE usage DROP g, ALTER v TYPE iqvector(4) USING (v || '[1]')::iqvector(4);
SELECT v FROM usage ORDER BY v <-> '[900,900,900,900]' LIMIT 1;
CREATE UNLOGGED TABLE logless (v iqvector(2));
CREATE INDEX logless_v ON logless USING iqdb_ivf (v);
INSERT INTO logless SELECT ARRAY[i, i]::iqvector FROM generate_series(1, 50) i;
ALTER TABLE logless SET LOGGED;
SELECT v FROM logless ORDER BY v <-> '[3,3]' LIMIT 1;
ALTER TABLE logless SET UNLOGGED;
SELECT v FROM logless ORDER BY v <-> '[3,3]' LIMIT 1;
SELECT i.indexrelid::regclass, count(f) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
	LEFT JOIN LATERAL iqdb_check(i.indexrelid) f ON true
WHERE a.amname LIKE 'iqdb%' AND c.relkind = 'i' AND i.indrelid::regclass::text ~ '^(usage|domains|parts|logless)' GROUP BY 1 ORDER BY 1::text;

DROP TABLE domains, usage, parts, logless;
DROP DOMAIN positive, three, anyone;

-- options that a search takes are those of the index as ALTER INDEX left them
CREATE TABLE altered (v iqvector(24));
SELECT setseed(0.5);
INSERT INTO altered SELECT (SELECT array_agg(random() + 0 * i + 0 * j)::real[]::iqvector FROM generate_series(1, 24) j)
	FROM generate_series(1, 3000) i;
CREATE INDEX altered_h ON altered USING iqdb_hnsw (v) WITH (m = 2, ef_construction = 4, ef_search = 1);
CREATE INDEX altered_i ON altered USING iqdb_ivf (v) WITH (lists = 40, probes = 1);
SELECT mean_recall < 0.5 FROM iqdb_recall('altered_h', 10);
SELECT mean_recall < 0.9 FROM iqdb_recall('altered_i', 10);
ALTER INDEX altered_h SET (ef_search = 3000);
ALTER INDEX altered_i SET (probes = 40);
SELECT mean_recall > 0.9 FROM iqdb_recall('altered_h', 10);
SELECT mean_recall FROM iqdb_recall('altered_i', 10);
ALTER INDEX altered_h SET (ef_search = 1);
ALTER INDEX altered_i SET (probes = 1);
SELECT mean_recall < 0.5 FROM iqdb_recall('altered_h', 10);
SELECT mean_recall < 0.9 FROM iqdb_recall('altered_i', 10);
-- what the method itself cannot do is said at once
ALTER INDEX altered_h SET (m = 100);
ALTER INDEX altered_h SET (ef_construction = 300, m = 100);
INSERT INTO altered SELECT v FROM altered LIMIT 1;
SELECT count(*) FROM (SELECT 1 FROM altered ORDER BY v <-> (SELECT v FROM altered LIMIT 1) LIMIT 3) s;
DROP TABLE altered;
