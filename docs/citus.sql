-- The steps of docs/scale-out.md with Citus: run it with psql on a coordinator that has workers and, like them, iqdb. It works in a
-- schema of its own, which is dropped at the end.
\set ON_ERROR_STOP on

DO $$
BEGIN
	IF NOT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'citus') THEN
		RAISE 'Citus is not installed on this server' USING ERRCODE = 'feature_not_supported',
			HINT = 'Install it on all nodes, add it to shared_preload_libraries, and name the workers with citus_add_node().';
	END IF;
END
$$;

CREATE EXTENSION IF NOT EXISTS citus;
CREATE EXTENSION IF NOT EXISTS iqdb;
CREATE SCHEMA iqdb_citus;
SET search_path = iqdb_citus, public;

CREATE TABLE item (id bigint, tenant int, embedding iqvector(8));
SELECT create_distributed_table('item', 'tenant');
CREATE INDEX ON item USING iqdb_flat (embedding);
CREATE TABLE whole (id bigint, tenant int, embedding iqvector(8));
INSERT INTO whole
SELECT i, i % 50, (SELECT array_agg(random()) FROM generate_series(1, 8) WHERE i > 0)::real[]::iqvector
FROM generate_series(1, 20000) i;
INSERT INTO item SELECT * FROM whole;
ANALYZE item;

\echo Each shard is to search its index:
EXPLAIN (COSTS OFF) SELECT id FROM item ORDER BY embedding <-> '[0,0,0,0,0,0,0,0]' LIMIT 10;
\echo Rows of all indexes, to be 20000:
SELECT sum(result::bigint) FROM run_command_on_shards('item', $$SELECT sum(rows) FROM iqdb_indexes('%s')$$);
\echo Answers that differ from those of the table that is not distributed, to be 0:
SELECT count(*) FROM (SELECT id FROM item ORDER BY embedding <-> '[0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5]' LIMIT 100) a
FULL JOIN (SELECT id FROM whole ORDER BY embedding <-> '[0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5]' LIMIT 100) b USING (id)
WHERE a.id IS NULL OR b.id IS NULL;

DROP SCHEMA iqdb_citus CASCADE;
