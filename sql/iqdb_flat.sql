-- iqdb_flat: operator classes, plans, answers, options, errors
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS iqdb;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on
SET enable_seqscan = off;

-- SQLSTATE and message of what a statement raises
CREATE FUNCTION pg_temp.error_of(statement text) RETURNS text LANGUAGE plpgsql AS
$$
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	RETURN concat_ws(' | ', SQLSTATE, replace(SQLERRM, 'public.', ''));
END
$$;

-- the plan of a statement, without what the server's versions say differently
CREATE FUNCTION pg_temp.plan_of(statement text) RETURNS SETOF text LANGUAGE plpgsql AS
$$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || statement LOOP
		IF line !~ '^ *Disabled: ' THEN
			line := replace(replace(line, ' (returns $0)', ''), 'InitPlan expr_1', 'InitPlan 1');
			RETURN NEXT regexp_replace(line, '\$0|\(InitPlan 1\)\.col1', 'parameter');
		END IF;
	END LOOP;
END
$$;

-- what there is
SELECT amname, amhandler, amtype FROM pg_am WHERE amname = 'iqdb_flat';
SELECT opcname, opcintype::regtype, opcdefault, amvalidate(o.oid)
FROM pg_opclass o JOIN pg_am a ON a.oid = opcmethod WHERE amname = 'iqdb_flat' ORDER BY 1;
SELECT amop.amopopr::regoperator, amop.amoppurpose, f.opfname
FROM pg_amop amop JOIN pg_am a ON a.oid = amopmethod JOIN pg_opfamily f ON f.oid = amopsortfamily
WHERE amname = 'iqdb_flat' ORDER BY 1::text;
SELECT p, pg_indexam_has_property(a.oid, p) FROM pg_am a, unnest(ARRAY['can_order', 'can_unique', 'can_include']) p WHERE amname = 'iqdb_flat';

-- one index for each operator; ties are told by insertion order
CREATE TABLE flat (id int, v iqvector(3));
INSERT INTO flat VALUES (1, '[0,0,0]'), (2, '[1,2,3]'), (3, '[1,1,1]'), (4, NULL), (5, '[-1,2,-3]'), (6, '[1,2,3]'), (7, '[4,0,-2]');

CREATE INDEX flat_v ON flat USING iqdb_flat (v);
INSERT INTO flat VALUES (8, '[2,2,2]'), (9, '[1,2,3]'), (10, NULL);
SELECT pg_temp.plan_of($$SELECT id FROM flat ORDER BY v <-> '[1,2,3]' LIMIT 3$$);
SELECT id, v <-> '[1,2,3]' FROM flat ORDER BY v <-> '[1,2,3]';
DROP INDEX flat_v;

CREATE INDEX flat_v ON flat USING iqdb_flat (v iqvector_ip_ops);
SELECT pg_temp.plan_of($$SELECT id FROM flat ORDER BY v <#> '[1,2,3]' LIMIT 3$$);
SELECT id, v <#> '[1,2,3]' FROM flat ORDER BY v <#> '[1,2,3]';
DROP INDEX flat_v;

CREATE INDEX flat_v ON flat USING iqdb_flat (v iqvector_cosine_ops);
SELECT pg_temp.plan_of($$SELECT id FROM flat ORDER BY v <=> '[1,2,3]' LIMIT 3$$);
SELECT id, round((v <=> '[1,2,3]')::numeric, 6) FROM flat ORDER BY v <=> '[1,2,3]';
DROP INDEX flat_v;

CREATE INDEX flat_v ON flat USING iqdb_flat (v iqvector_l1_ops);
SELECT pg_temp.plan_of($$SELECT id FROM flat ORDER BY v <+> '[1,2,3]' LIMIT 3$$);
SELECT id, v <+> '[1,2,3]' FROM flat ORDER BY v <+> '[1,2,3]';
DROP INDEX flat_v;

CREATE INDEX flat_v ON flat USING iqdb_flat (v iqvector_hamming_ops);
SELECT pg_temp.plan_of($$SELECT id FROM flat ORDER BY v <~> '[1,2,3]' LIMIT 3$$);
SELECT id, v <~> '[1,2,3]' FROM flat ORDER BY v <~> '[1,2,3]';
DROP INDEX flat_v;

-- which queries it is for: only ascending order by its own operator, against a constant of the query
CREATE INDEX flat_v ON flat USING iqdb_flat (v);
SELECT pg_temp.plan_of($$SELECT id FROM flat ORDER BY v <-> '[1,2,3]' DESC LIMIT 3$$);
SELECT pg_temp.plan_of($$SELECT id FROM flat ORDER BY v <#> '[1,2,3]' LIMIT 3$$);
SELECT pg_temp.plan_of($$SELECT id FROM flat ORDER BY '[1,2,3]' <-> v LIMIT 3$$);
SELECT pg_temp.plan_of($$SELECT id FROM flat WHERE id > 2 ORDER BY v <-> '[1,2,3]'$$);
SELECT pg_temp.plan_of($$SELECT count(*) FROM flat$$);
SELECT pg_temp.plan_of($$SELECT id FROM flat WHERE v = '[1,2,3]'$$);
SELECT pg_temp.plan_of($$SELECT id FROM flat ORDER BY v <-> (SELECT v FROM flat WHERE id = 3) LIMIT 2$$);

SELECT id FROM flat WHERE id > 2 ORDER BY v <-> '[1,2,3]' LIMIT 4;
SELECT id FROM flat WHERE id > 100 ORDER BY v <-> '[1,2,3]' LIMIT 4;
SELECT id FROM flat ORDER BY v <-> (SELECT v FROM flat WHERE id = 3) LIMIT 2;
SELECT count(*) FROM (SELECT 1 FROM flat ORDER BY v <-> (SELECT NULL::iqvector)) s;
SELECT id FROM flat ORDER BY v <-> '[1,2,3]' OFFSET 5 LIMIT 2;

-- changes
UPDATE flat SET v = '[9,9,9]' WHERE id = 3;
DELETE FROM flat WHERE id = 6;
UPDATE flat SET v = NULL WHERE id = 2;
UPDATE flat SET v = '[5,5,5]' WHERE id = 4;
SELECT id, v FROM flat ORDER BY v <-> '[8,8,8]';
VACUUM flat;
SELECT id, v FROM flat ORDER BY v <-> '[8,8,8]';
SELECT * FROM iqdb_check('flat_v');
TRUNCATE flat;
SELECT id FROM flat ORDER BY v <-> '[8,8,8]';
INSERT INTO flat VALUES (11, '[1,1,1]');
SELECT id FROM flat ORDER BY v <-> '[8,8,8]';
DROP TABLE flat;

-- an empty table; rows without vector only
CREATE TABLE flat (id int, v iqvector(2));
CREATE INDEX flat_v ON flat USING iqdb_flat (v);
SELECT id FROM flat ORDER BY v <-> '[8,8]';
INSERT INTO flat VALUES (1, NULL);
SELECT id FROM flat ORDER BY v <-> '[8,8]';
DROP TABLE flat;

-- options
CREATE TABLE flat (id int, v iqvector(3), w iqvector, x float8);
SELECT pg_temp.error_of($$CREATE INDEX ON flat USING iqdb_flat (v) WITH (compression = none)$$);
SELECT pg_temp.error_of($$CREATE INDEX ON flat USING iqdb_flat (v) WITH (compression = lz4)$$);
SELECT pg_temp.error_of($$CREATE INDEX ON flat USING iqdb_flat (v) WITH (compression = zstd, compression_level = 19)$$);
SELECT pg_temp.error_of($$CREATE INDEX ON flat USING iqdb_flat (v) WITH (compression = brotli)$$);
SELECT pg_temp.error_of($$CREATE INDEX ON flat USING iqdb_flat (v) WITH (compression_level = 0)$$);
SELECT pg_temp.error_of($$CREATE INDEX ON flat USING iqdb_flat (v) WITH (compression_level = 23)$$);
SELECT pg_temp.error_of($$CREATE INDEX ON flat USING iqdb_flat (v) WITH (m = 16)$$);
SELECT pg_temp.error_of($$CREATE INDEX ON flat USING iqdb_flat (v) WITH (fillfactor = 90)$$);
SELECT pg_temp.error_of($$CREATE INDEX ON flat USING iqdb_flat (v) WITH (quantization = none)$$);
SELECT pg_temp.error_of($$CREATE INDEX ON flat USING iqdb_flat (v) WITH (quantization = sq8)$$);
SELECT pg_temp.error_of($$CREATE INDEX ON flat USING iqdb_flat (v iqvector_l1_ops) WITH (quantization = sq8)$$);
SELECT pg_temp.error_of($$CREATE INDEX ON flat USING iqdb_flat (v iqvector_hamming_ops) WITH (quantization = sq8)$$);
SELECT pg_temp.error_of($$CREATE INDEX ON flat USING iqdb_flat (v) WITH (quantization = pq)$$);
SELECT pg_temp.error_of($$CREATE INDEX ON flat USING iqdb_flat (v) WITH (quantization = bq)$$);

-- rows that differ in their last digits: an index ranks in single precision, and hands out in the operator's order
CREATE TABLE near (id int, v iqvector(32));
INSERT INTO near
SELECT n, (SELECT array_agg((sin(n / 8 * 31 + i) * (1 + (n % 8 * i % 5) * 1.2e-7))::real ORDER BY i)::iqvector
	FROM generate_series(1, 32) AS i)
FROM generate_series(0, 1999) AS n;
CREATE FUNCTION pg_temp.disorder(operator text) RETURNS bigint LANGUAGE plpgsql AS
$$
DECLARE
	row record;
	before float8 := '-infinity';
	wrong bigint := 0;
BEGIN
	FOR row IN EXECUTE format('SELECT v %1$s (SELECT v FROM near WHERE id = 8) AS d FROM near
		ORDER BY v %1$s (SELECT v FROM near WHERE id = 8)', operator)
	LOOP
		wrong := wrong + (row.d < before)::int;
		before := row.d;
	END LOOP;
	RETURN wrong;
END
$$;
SET enable_seqscan = off;
CREATE INDEX near_index ON near USING iqdb_flat (v iqvector_l2_ops);
SELECT pg_temp.disorder('<->');
DROP INDEX near_index;
CREATE INDEX near_index ON near USING iqdb_flat (v iqvector_cosine_ops);
SELECT pg_temp.disorder('<=>');
DROP INDEX near_index;
CREATE INDEX near_index ON near USING iqdb_flat (v iqvector_ip_ops) WITH (quantization = sq8);
SELECT pg_temp.disorder('<#>');
DROP INDEX near_index;
CREATE INDEX near_index ON near USING iqdb_flat (v iqvector_l1_ops);
SELECT pg_temp.disorder('<+>');
RESET enable_seqscan;
DROP TABLE near;

-- errors
SELECT pg_temp.error_of($$CREATE INDEX ON flat USING iqdb_flat (w)$$);
SELECT pg_temp.error_of($$CREATE INDEX ON flat USING iqdb_flat ((w::iqvector(3)))$$);
SELECT pg_temp.error_of($$CREATE INDEX ON flat USING iqdb_flat (x)$$);
SELECT pg_temp.error_of($$CREATE INDEX ON flat USING iqdb_flat (x iqvector_l2_ops)$$);
SELECT pg_temp.error_of($$CREATE INDEX ON flat USING iqdb_flat (v) INCLUDE (id)$$);
SELECT pg_temp.error_of($$CREATE UNIQUE INDEX ON flat USING iqdb_flat (v)$$);
SELECT pg_temp.error_of($$CREATE INDEX ON flat USING iqdb_flat (v DESC)$$);
SELECT pg_temp.error_of($$ALTER TABLE flat ADD EXCLUDE USING iqdb_flat (v WITH <->)$$);
SELECT pg_temp.error_of($$SELECT 1 FROM flat ORDER BY v <-> '[1,2]' LIMIT 1$$);
INSERT INTO flat (v) VALUES ('[1,2,3]');
SELECT pg_temp.error_of($$SELECT 1 FROM flat ORDER BY v <-> '[1,2]' LIMIT 1$$);
SELECT pg_temp.error_of($$SELECT 1 FROM flat ORDER BY v <-> '[1,2,nan]'$$);
SELECT pg_temp.error_of($$INSERT INTO flat (v) VALUES ('[1,2]')$$);
SELECT pg_temp.error_of($$INSERT INTO flat (w) VALUES ('[1,2]')$$);
SELECT pg_temp.error_of($$UPDATE flat SET w = '[1,2,3]'$$);
DROP TABLE flat;

-- settings; those that decide how a query is answered are shown with its plan
CREATE FUNCTION pg_temp.explained_settings() RETURNS SETOF text LANGUAGE plpgsql AS
$$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (SETTINGS, COSTS OFF) SELECT 1' LOOP
		RETURN QUERY SELECT m[1] FROM regexp_matches(line, '(iqdb\.\w+ = ''\w+'')', 'g') AS m;
	END LOOP;
END
$$;
SET iqdb.hnsw_ef_search = 11;
SET iqdb.ivf_probes = 12;
SET iqdb.max_scan_tuples = 13;
SELECT * FROM pg_temp.explained_settings() AS s ORDER BY s COLLATE "C";
RESET iqdb.hnsw_ef_search;
RESET iqdb.ivf_probes;
RESET iqdb.max_scan_tuples;
SHOW iqdb.fsync;
SHOW iqdb.fsync_interval;
SHOW iqdb.max_scan_tuples;
SHOW iqdb.on_corruption;
SELECT pg_temp.error_of('SET iqdb.fsync = never');
SELECT pg_temp.error_of('SET iqdb.on_corruption = ignore');
SELECT pg_temp.error_of('SET iqdb.max_scan_tuples = -1');
SELECT pg_temp.error_of('SET iqdb.hnsw_ef_search = 100001');
-- (14 only warns)
SELECT CASE WHEN current_setting('server_version_num')::int >= 150000 THEN pg_temp.error_of('SET iqdb.no_such_setting = 1')
	ELSE '42602 | invalid configuration parameter name "iqdb.no_such_setting"' END;
