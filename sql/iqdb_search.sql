-- iqdb: iqdb_search and iqdb_search_batch: what ORDER BY and LIMIT give, for whom, and what is refused
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS iqdb;
RESET client_min_messages;
SET jit = off;
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

-- ---- answers ----------------------------------------------------------------------------------------------------------

-- no two rows are equally far from a query
CREATE TABLE thing (id int PRIMARY KEY, kind int, note text, v iqvector(3)) WITH (fillfactor = 50, autovacuum_enabled = off);
INSERT INTO thing SELECT i, i % 10, 'note ' || i, ARRAY[sqrt(i), sin(i) * 10, i * 7919 % 1009 / 31.0]::real[]::iqvector FROM generate_series(1, 600) i;
INSERT INTO thing VALUES (0, 0, 'no vector', NULL);
-- of some rows the version that is seen has another TID than the one that indexes know
BEGIN;
UPDATE thing SET note = note || '.' WHERE id % 3 = 0;
SELECT n_tup_hot_upd > 100 FROM pg_stat_xact_user_tables WHERE relname = 'thing';
COMMIT;
CREATE TABLE asked AS
SELECT i AS n, ARRAY[i * 0.37, cos(i) * 8, i % 17 * 1.9]::real[]::iqvector AS q FROM generate_series(1, 200) i;
SET iqdb.hnsw_ef_search = 1000;
SET iqdb.ivf_probes = 100000;

-- Rows of a batch, and of as many statements that sort the table, that the other one has not; the order is looked at as well.
CREATE FUNCTION pg_temp.differences(index regclass, operator text, k int, condition text, OUT answers bigint, OUT differences bigint)
LANGUAGE plpgsql AS
$$
BEGIN
	CREATE TEMPORARY TABLE batch AS
	SELECT query, row_number() OVER (PARTITION BY query) AS rank, tid, distance
	FROM iqdb_search_batch(index, (SELECT array_agg(q ORDER BY n) FROM asked), k, condition);
	SET LOCAL enable_indexscan = off;
	EXECUTE format('CREATE TEMPORARY TABLE sorted AS SELECT n AS query, row_number() OVER (PARTITION BY n ORDER BY d) AS rank, tid, d AS distance '
		'FROM asked, LATERAL (SELECT ctid AS tid, v %s q AS d FROM thing WHERE v IS NOT NULL AND (%s) ORDER BY d LIMIT %s) s',
		operator, coalesce(condition, 'true'), k);
	SET LOCAL enable_indexscan = on;
	SELECT count(*) INTO answers FROM batch;
	SELECT count(*) INTO differences
	FROM ((TABLE batch EXCEPT TABLE sorted) UNION ALL (TABLE sorted EXCEPT TABLE batch)) s;
	DROP TABLE batch, sorted;
END
$$;
DO $$
DECLARE
	method text;
	class text[];
	line text;
BEGIN
	FOREACH method IN ARRAY '{iqdb_flat,iqdb_hnsw,iqdb_ivf}'::text[] LOOP
		FOREACH class SLICE 1 IN ARRAY '{{iqvector_l2_ops,<->},{iqvector_cosine_ops,<=>},{iqvector_ip_ops,<#>}}'::text[] LOOP
			EXECUTE format('CREATE INDEX thing_v ON thing USING %I (v %I)', method, class[1]);
			SELECT a.answers || ' ' || a.differences || ', ' || b.answers || ' ' || b.differences || ', ' || c.answers || ' ' || c.differences
				|| ', ' || d.answers || ' ' || d.differences INTO line
			FROM pg_temp.differences('thing_v', class[2], 5, NULL) a, pg_temp.differences('thing_v', class[2], 70, NULL) b,
				pg_temp.differences('thing_v', class[2], 10, 'kind = 3') c, pg_temp.differences('thing_v', class[2], 3, 'id < 3') d;
			RAISE INFO '% %: %', method, class[1], line;
			DROP INDEX thing_v;
		END LOOP;
	END LOOP;
END
$$;

CREATE INDEX thing_v ON thing USING iqdb_hnsw (v);
-- many queries with a condition: the table is asked once, for the rows that meet it
BEGIN;
SELECT seq_scan AS seq_before, idx_scan AS idx_before FROM pg_stat_xact_user_tables WHERE relname = 'thing' \gset
SELECT count(*) FROM iqdb_search_batch('thing_v', (SELECT array_agg(q) FROM asked), 5, 'kind IN (3, 4)');
SELECT seq_scan - :seq_before, idx_scan - :idx_before FROM pg_stat_xact_user_tables WHERE relname = 'thing';
ROLLBACK;
-- one query; a literal takes the type of the column
SELECT id, round(distance::numeric, 4), relation FROM iqdb_search('thing_v', '[3,4,5]', 3) s JOIN thing ON ctid = tid ORDER BY distance;
SELECT id FROM iqdb_search('thing_v', '[3,4,5]'::iqvector, 3, 'kind IN (1, 2)') s JOIN thing ON ctid = tid ORDER BY distance;
SELECT id FROM iqdb_search('thing_v', '[3,4,5]', filter => 'note = ''note 77''') s JOIN thing ON ctid = tid;
SELECT count(*) FROM iqdb_search('thing_v', '[3,4,5]');
-- several; those that are NULL have no answer, and keep their number
SELECT query, id FROM iqdb_search_batch('thing_v', '{"[3,4,5]",NULL,"[1,1,1]"}', 1) s JOIN thing ON ctid = tid ORDER BY query;
SELECT query, id FROM iqdb_search_batch('thing_v', ARRAY['[3,4,5]', NULL, '[1,1,1]']::iqvector[], 1, 'true') s JOIN thing ON ctid = tid ORDER BY query;
SELECT count(*), count(DISTINCT query) FROM iqdb_search_batch('thing_v', array_fill('[3,4,5]'::iqvector, ARRAY[3000]), 2);
SELECT count(*) FROM iqdb_search_batch('thing_v', '{}'::iqvector[]);
SELECT count(*) FROM iqdb_search('thing_v', NULL::iqvector);
SELECT count(*) FROM iqdb_search(NULL, '[3,4,5]'::iqvector);
SELECT count(*) FROM iqdb_search('thing_v', '[3,4,5]', NULL);
-- all rows, if there are no more; a row without a vector is none of them
SELECT count(*), count(DISTINCT tid), min(distance) >= 0 FROM iqdb_search('thing_v', '[3,4,5]', 100000);
SELECT count(*) FROM iqdb_search('thing_v', '[3,4,5]', 100000, 'kind = 0');
SELECT count(*) FROM iqdb_search('thing_v', '[3,4,5]', 100000, 'id = 0');
-- small memory: many passes
SET work_mem = '64kB';
SELECT count(*), count(DISTINCT (query, tid)) FROM iqdb_search_batch('thing_v', (SELECT array_agg(q) FROM asked), 600);
RESET work_mem;

-- ---- what a statement sees --------------------------------------------------------------------------------------------

BEGIN;
UPDATE thing SET v = '[3,4,5]' WHERE id = 500;
UPDATE thing SET kind = 77 WHERE id = 501;
DELETE FROM thing WHERE id IN (SELECT id FROM iqdb_search('thing_v', '[3,4,5]', 4) s JOIN thing ON ctid = tid WHERE id <> 500);
SELECT id, round(distance::numeric, 4) FROM iqdb_search('thing_v', '[3,4,5]', 3) s JOIN thing ON ctid = tid ORDER BY distance;
SELECT id FROM iqdb_search('thing_v', (SELECT v FROM thing WHERE id = 501), 1) s JOIN thing ON ctid = tid;
SELECT id FROM iqdb_search('thing_v', '[3,4,5]', 5, 'kind = 77') s JOIN thing ON ctid = tid;
SAVEPOINT a;
DELETE FROM thing WHERE id > 5;
SELECT count(*) FROM iqdb_search('thing_v', '[3,4,5]', 100);
SELECT count(*) FROM iqdb_search('thing_v', '[3,4,5]', 100, 'kind >= 0');
ROLLBACK TO a;
-- a cursor sees what was there when it was declared
DECLARE c CURSOR FOR SELECT count(*) FROM iqdb_search('thing_v', '[3,4,5]', 1000);
DECLARE d CURSOR FOR SELECT count(*) FROM iqdb_search('thing_v', '[3,4,5]', 1000, 'true');
DELETE FROM thing WHERE id > 5;
FETCH c;
FETCH d;
ROLLBACK;
SELECT id, round(distance::numeric, 4) FROM iqdb_search('thing_v', '[3,4,5]', 3) s JOIN thing ON ctid = tid ORDER BY distance;
BEGIN READ ONLY;
SELECT count(*) FROM iqdb_search('thing_v', '[3,4,5]', 7) a, iqdb_search('thing_v', '[3,4,5]', 2, 'kind < 5') b;
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT count(*) FROM iqdb_search('thing_v', '[3,4,5]', 7);
SELECT count(*) > 0 FROM pg_locks WHERE mode = 'SIReadLock' AND relation = 'thing_v'::regclass;
COMMIT;

-- ---- what a filter may be ---------------------------------------------------------------------------------------------

SELECT id FROM iqdb_search('thing_v', '[3,4,5]', 2, 'thing.kind = 3 AND public.thing.id IN (SELECT n * 2 + 1 FROM asked) -- odd ones') s JOIN thing ON ctid = tid;
SELECT id FROM iqdb_search('thing_v', '[3,4,5]', 1, '(kind) = /* ) OR ( */ (3)') s JOIN thing ON ctid = tid;
SELECT pg_temp.error_of(format('SELECT * FROM iqdb_search(''thing_v'', ''[3,4,5]'', 3, %L)', f)) FROM unnest(ARRAY[
	'', '-- nothing', 'kind = ', 'true) OR (true', 'true; DROP TABLE thing', 'true, true', 'true AS t', 'true t', 'DISTINCT true',
	'true FROM asked', 'true WHERE true', 'true ORDER BY id', 'true LIMIT 1', 'true FOR UPDATE', 'true GROUP BY id', 'id', '1',
	'kind = $1', 'count(*) > 1', 'generate_series(1, 2) = 1', 'nothing = 1', '/* open', 'kind = ''open', '*', 'thing.*',
	'true UNION SELECT true', 'EXISTS (WITH x AS (DELETE FROM thing RETURNING 1) SELECT 1 FROM x)', 'NULL', 'false']) WITH ORDINALITY u (f, n) ORDER BY n;
SELECT count(*) FROM thing;

-- ---- arguments --------------------------------------------------------------------------------------------------------

SELECT pg_temp.error_of('SELECT * FROM iqdb_search(''thing_v'', ''[3,4]'')');
SELECT pg_temp.error_of('SELECT * FROM iqdb_search(''thing_v'', ''[3,4,'')');
SELECT pg_temp.error_of('SELECT * FROM iqdb_search(''thing_v'', B''101'')');
SELECT pg_temp.error_of('SELECT * FROM iqdb_search(''thing_v'', 3)');
SELECT pg_temp.error_of('SELECT * FROM iqdb_search_batch(''thing_v'', ARRAY[3])');
SELECT pg_temp.error_of('SELECT * FROM iqdb_search(''thing_v'', ''[3,4,5]'', 0)');
SELECT pg_temp.error_of('SELECT * FROM iqdb_search(''thing_v'', ''[3,4,5]'', 100001)');
SELECT pg_temp.error_of('SELECT * FROM iqdb_search(''thing'', ''[3,4,5]'')');
SELECT pg_temp.error_of('SELECT * FROM iqdb_search(''thing_pkey'', ''[3,4,5]'')');
SELECT pg_temp.error_of('SELECT * FROM iqdb_search(''nothing'', ''[3,4,5]'')');

-- ---- indexes of other kinds -------------------------------------------------------------------------------------------

-- an expression, a predicate, another schema, names that want quotes
CREATE SCHEMA "Far Away";
CREATE TABLE "Far Away"."Thing" AS SELECT * FROM thing;
CREATE INDEX "An index" ON "Far Away"."Thing" USING iqdb_flat (((v + '[1,1,1]')::iqvector(3))) WHERE kind <> 4 OR id < 100;
SELECT count(*) FROM iqdb_search('"Far Away"."An index"', '[4,5,6]', 1000);
SELECT count(*) FROM iqdb_search('"Far Away"."An index"', '[4,5,6]', 1000, 'true');
SELECT a.id, a.id = b.id, round(a.distance::numeric, 4)
FROM (SELECT * FROM iqdb_search('"Far Away"."An index"', '[4,5,6]', 1) JOIN "Far Away"."Thing" ON ctid = tid) a,
	(SELECT * FROM iqdb_search('"Far Away"."An index"', '[4,5,6]', 1, 'true') JOIN "Far Away"."Thing" ON ctid = tid) b;
DROP TABLE "Far Away"."Thing";
DROP SCHEMA "Far Away";
-- half vectors, bits, a domain
CREATE DOMAIN place AS iqhalfvec(2);
CREATE TABLE half (id int, v place);
INSERT INTO half SELECT i, ARRAY[i, i % 7]::real[]::iqhalfvec FROM generate_series(1, 200) i;
CREATE INDEX half_v ON half USING iqdb_ivf (v);
SELECT id, distance FROM iqdb_search('half_v', '[100,2]', 2) JOIN half ON ctid = tid ORDER BY distance;
SELECT id, distance FROM iqdb_search('half_v', '[100,2]'::iqhalfvec, 2, 'id < 100') JOIN half ON ctid = tid ORDER BY distance;
SELECT pg_temp.error_of('SELECT * FROM iqdb_search(''half_v'', ''[100,2]''::iqvector)');
SET client_min_messages = warning;
SELECT count(*) > 0 FROM iqdb_create_pgvector_support();
RESET client_min_messages;
CREATE TABLE bits (id int, b bit(8));
INSERT INTO bits SELECT i, i::bit(8) FROM generate_series(0, 255) i;
CREATE INDEX bits_b ON bits USING iqdb_flat (b bit_hamming_ops);
SELECT id, distance FROM iqdb_search('bits_b', B'00000111', 1) JOIN bits ON ctid = tid;
SELECT query, min(id), max(distance) FROM iqdb_search_batch('bits_b', '{00000111,11111111}', 1, 'id % 2 = 0') JOIN bits ON ctid = tid GROUP BY 1 ORDER BY 1;
-- a temporary table
CREATE TEMPORARY TABLE passing AS SELECT * FROM thing WHERE id <= 50;
CREATE INDEX passing_v ON passing USING iqdb_ivf (v);
SELECT count(*) FROM iqdb_search('passing_v', '[3,4,5]', 1000);
SELECT count(*) FROM iqdb_search('passing_v', '[3,4,5]', 1000, 'kind = 1');

-- ---- partitions -----------------------------------------------------------------------------------------------------

CREATE TABLE parted (id int, kind int, v iqvector(3)) PARTITION BY LIST (kind);
CREATE TABLE parted_a PARTITION OF parted FOR VALUES IN (0, 1, 2);
CREATE TABLE parted_b PARTITION OF parted FOR VALUES IN (3, 4, 5, 6) PARTITION BY RANGE (id);
CREATE TABLE parted_b1 PARTITION OF parted_b FOR VALUES FROM (0) TO (300);
CREATE TABLE parted_b2 PARTITION OF parted_b DEFAULT;
-- with columns in another order
CREATE TABLE parted_c (v iqvector(3), kind int, gone int, id int);
ALTER TABLE parted_c DROP COLUMN gone;
ALTER TABLE parted ATTACH PARTITION parted_c DEFAULT;
CREATE INDEX parted_v ON parted USING iqdb_ivf (v);
SELECT count(*) FROM iqdb_search('parted_v', '[3,4,5]', 3);
INSERT INTO parted SELECT id, kind, v FROM thing;
-- as many rows of all as of each, and in their order
CREATE FUNCTION pg_temp.parted_differences(k int, condition text, OUT answers bigint, OUT differences bigint) LANGUAGE plpgsql AS
$$
BEGIN
	CREATE TEMPORARY TABLE batch AS
	SELECT query, row_number() OVER (PARTITION BY query) AS rank, relation, tid, distance
	FROM iqdb_search_batch('parted_v', (SELECT array_agg(q ORDER BY n) FROM asked), k, condition);
	SET LOCAL enable_indexscan = off;
	EXECUTE format('CREATE TEMPORARY TABLE sorted AS SELECT n AS query, row_number() OVER (PARTITION BY n ORDER BY d) AS rank, t AS relation, tid, d AS distance '
		'FROM asked, LATERAL (SELECT tableoid::regclass AS t, ctid AS tid, v <-> q AS d FROM parted WHERE v IS NOT NULL AND (%s) ORDER BY d LIMIT %s) s',
		coalesce(condition, 'true'), k);
	SET LOCAL enable_indexscan = on;
	SELECT count(*) INTO answers FROM batch;
	SELECT count(*) INTO differences FROM ((TABLE batch EXCEPT TABLE sorted) UNION ALL (TABLE sorted EXCEPT TABLE batch)) s;
	DROP TABLE batch, sorted;
END
$$;
SELECT * FROM pg_temp.parted_differences(1, NULL);
SELECT * FROM pg_temp.parted_differences(13, NULL);
SELECT * FROM pg_temp.parted_differences(599, NULL);
SELECT * FROM pg_temp.parted_differences(1000, NULL);
SELECT * FROM pg_temp.parted_differences(20, 'kind IN (2, 5, 9) AND id % 4 = 1');
SELECT id, relation FROM iqdb_search('parted_v', '[3,4,5]', 4) s JOIN parted ON ctid = tid AND tableoid = relation ORDER BY distance;
-- the index of some partitions, and of one
SELECT count(*), array_agg(DISTINCT relation::text ORDER BY relation::text) FROM iqdb_search('parted_b_v_idx', '[3,4,5]', 1000);
SELECT count(*), array_agg(DISTINCT relation::text) FROM iqdb_search('parted_b2_v_idx', '[3,4,5]', 1000, 'kind = 4');
SELECT pg_temp.error_of('SELECT * FROM iqdb_search(''parted'', ''[3,4,5]'')');
CREATE INDEX parted_w ON ONLY parted USING iqdb_flat (v);
SELECT pg_temp.error_of('SELECT * FROM iqdb_search(''parted_w'', ''[3,4,5]'')');
CREATE TABLE empty (id int, v iqvector(3)) PARTITION BY LIST (id);
CREATE INDEX empty_v ON empty USING iqdb_flat (v);
SELECT count(*) FROM iqdb_search('empty_v', '[3,4,5]');
SELECT pg_temp.error_of('SELECT * FROM iqdb_search(''empty_v'', ''[3,4]'')');
-- rights and policies are those of the table whose index is named
CREATE ROLE iqdb_reader;
GRANT SELECT ON parted TO iqdb_reader;
SET ROLE iqdb_reader;
SELECT count(*) FROM iqdb_search('parted_v', '[3,4,5]', 1000);
SELECT count(*) FROM iqdb_search('parted_v', '[3,4,5]', 1000, 'kind < 3');
SELECT pg_temp.error_of('SELECT * FROM iqdb_search(''parted_a_v_idx'', ''[3,4,5]'')');
RESET ROLE;
ALTER TABLE parted ENABLE ROW LEVEL SECURITY;
CREATE POLICY sevens ON parted TO iqdb_reader USING (kind IN (1, 7));
SET ROLE iqdb_reader;
SELECT count(*), array_agg(DISTINCT relation::text ORDER BY relation::text) FROM iqdb_search('parted_v', '[3,4,5]', 1000);
RESET ROLE;
DROP TABLE parted, empty;

-- ---- conditions on columns of the index ------------------------------------------------------------------------------

-- does the index ask them itself, so that the executor fetches no row? And: answers, differences
CREATE FUNCTION pg_temp.by_columns(index regclass, k int, condition text) RETURNS text LANGUAGE plpgsql SET enable_seqscan = off AS
$$
DECLARE
	before bigint;
	fetched bigint;
	d record;
BEGIN
	SELECT seq_scan + idx_tup_fetch INTO before FROM pg_stat_xact_user_tables WHERE relname = 'thing';
	PERFORM count(*) FROM iqdb_search_batch(index, (SELECT array_agg(q) FROM asked), k, condition);
	SELECT seq_scan + idx_tup_fetch - before INTO fetched FROM pg_stat_xact_user_tables WHERE relname = 'thing';
	SELECT * INTO d FROM pg_temp.differences(index, '<->', k, condition);
	RETURN format('%s, %s rows, %s differences', CASE WHEN fetched = 0 THEN 'itself' ELSE 'by rows' END, d.answers, d.differences);
END
$$;
ALTER TABLE thing ADD labels int[], ADD good boolean;
UPDATE thing SET labels = ARRAY[id % 3, 10 + id % 4], good = id % 5 <> 0;
VACUUM ANALYZE thing;
DO $$
DECLARE
	method text;
BEGIN
	FOREACH method IN ARRAY '{iqdb_flat,iqdb_hnsw,iqdb_ivf}'::text[] LOOP
		EXECUTE format('CREATE INDEX thing_k ON thing USING %I (v, kind, id, note, labels, good)', method);
		RAISE INFO '%: %', method, pg_temp.by_columns('thing_k', 10, 'kind = 3');
		RAISE INFO '%: %', method, pg_temp.by_columns('thing_k', 7, 'kind IN (3, 5, 6) AND id < 400 AND good');
		-- what is kept as a hash, or as labels, is asked of the rows once more
		RAISE INFO '%: %', method, pg_temp.by_columns('thing_k', 3, 'note IN (''note 77'', ''note 78.'', ''note 78'')');
		RAISE INFO '%: %', method, pg_temp.by_columns('thing_k', 600, 'labels @> ARRAY[2, 11] AND NOT good');
		-- values that are known when the statement runs; all rows; none
		RAISE INFO '%: %', method, pg_temp.by_columns('thing_k', 5, 'id > length(current_database()) * 20');
		RAISE INFO '%: %', method, pg_temp.by_columns('thing_k', 5, 'true');
		RAISE INFO '%: %', method, pg_temp.by_columns('thing_k', 5, 'kind = 100000000000');
		-- something else has to be asked, too: the table says which rows
		RAISE INFO '%: %', method, pg_temp.by_columns('thing_k', 5, 'kind = 3 AND length(note) > 6');
		RAISE INFO '%: %', method, pg_temp.by_columns('thing_k', 5, 'kind = (SELECT 3)');
		DROP INDEX thing_k;
	END LOOP;
END
$$;
-- the rows that a condition is true of are those that the statement sees
CREATE INDEX thing_k ON thing USING iqdb_hnsw (v, kind) WHERE id > 100;
SET enable_seqscan = off;
BEGIN;
UPDATE thing SET kind = 1000 WHERE id IN (300, 400);
UPDATE thing SET id = -1 WHERE id = 300;
SELECT query, id FROM iqdb_search_batch('thing_k', ARRAY['[3,4,5]', '[1,2,3]']::iqvector[], 5, 'kind = 1000') JOIN thing ON ctid = tid ORDER BY query;
ROLLBACK;
SELECT count(*) FROM iqdb_search_batch('thing_k', ARRAY['[3,4,5]', '[1,2,3]']::iqvector[], 5, 'kind = 1000');
DROP INDEX thing_k;
-- partitions in which no row can be are left out, others ask by their own columns
CREATE TABLE parted (id int, kind int, v iqvector(3)) PARTITION BY LIST (kind);
CREATE TABLE parted_a PARTITION OF parted FOR VALUES IN (0, 1, 2);
CREATE TABLE parted_b (v iqvector(3), kind int, id int);
ALTER TABLE parted ATTACH PARTITION parted_b DEFAULT;
INSERT INTO parted SELECT id, kind, v FROM thing;
CREATE INDEX parted_v ON parted USING iqdb_ivf (v, id, kind);
ANALYZE parted;
SELECT * FROM pg_temp.parted_differences(13, 'id < 300 AND kind IN (1, 4)');
SELECT * FROM pg_temp.parted_differences(13, 'kind = 2');
SELECT * FROM pg_temp.parted_differences(13, 'kind = 2 AND kind = 4');
DROP TABLE parted;
RESET enable_seqscan;

-- ---- rights -----------------------------------------------------------------------------------------------------------

SET ROLE iqdb_reader;
SELECT pg_temp.error_of('SELECT * FROM iqdb_search(''thing_v'', ''[3,4,5]'')');
RESET ROLE;
GRANT SELECT (id, v) ON thing TO iqdb_reader;
SET ROLE iqdb_reader;
SELECT pg_temp.error_of('SELECT * FROM iqdb_search(''thing_v'', ''[3,4,5]'')');
RESET ROLE;
GRANT SELECT (ctid) ON thing TO iqdb_reader;
SET ROLE iqdb_reader;
SELECT id FROM iqdb_search('thing_v', '[3,4,5]', 2) JOIN thing ON ctid = tid ORDER BY distance;
SELECT id FROM iqdb_search('thing_v', '[3,4,5]', 2, 'id > 300') JOIN thing ON ctid = tid ORDER BY distance;
SELECT pg_temp.error_of('SELECT * FROM iqdb_search(''thing_v'', ''[3,4,5]'', 2, ''kind = 3'')');
SELECT pg_temp.error_of('SELECT * FROM iqdb_search(''thing_v'', ''[3,4,5]'', 2, ''EXISTS (SELECT FROM asked)'')');
RESET ROLE;
-- what the index asks alone needs the same rights
CREATE INDEX thing_k ON thing USING iqdb_hnsw (v, kind);
GRANT UPDATE (kind) ON thing TO iqdb_reader;
SET enable_seqscan = off;
SET ROLE iqdb_reader;
SELECT pg_temp.error_of('SELECT * FROM iqdb_search_batch(''thing_k'', ARRAY[''[3,4,5]'', ''[1,2,3]'']::iqvector[], 2, ''kind = 3'')');
RESET ROLE;
RESET enable_seqscan;
-- of an expression and a predicate all columns count
CREATE INDEX thing_p ON thing USING iqdb_flat (v) WHERE note <> 'note 5';
SET ROLE iqdb_reader;
SELECT pg_temp.error_of('SELECT * FROM iqdb_search(''thing_p'', ''[3,4,5]'')');
RESET ROLE;
GRANT SELECT (note) ON thing TO iqdb_reader;
SET ROLE iqdb_reader;
SELECT count(*) FROM iqdb_search('thing_p', '[3,4,5]', 1000);
RESET ROLE;
DROP INDEX thing_p;

-- policies hold for those whom they concern
GRANT SELECT ON thing TO iqdb_reader;
ALTER TABLE thing ENABLE ROW LEVEL SECURITY;
CREATE POLICY sevens ON thing TO iqdb_reader USING (kind = 7);
SELECT count(*) FROM iqdb_search('thing_v', '[3,4,5]', 1000);
SET ROLE iqdb_reader;
SELECT count(*) FROM iqdb_search('thing_v', '[3,4,5]', 1000);
SELECT count(*), bool_and(kind = 7) FROM iqdb_search_batch('thing_v', (SELECT array_agg(v) FROM thing), 5) JOIN thing ON ctid = tid;
SELECT count(*) FROM iqdb_search('thing_v', '[3,4,5]', 1000, 'kind = 8 OR id < 100');
SET enable_seqscan = off;
SELECT count(*), bool_and(kind = 7) FROM iqdb_search_batch('thing_k', ARRAY['[3,4,5]', '[1,2,3]']::iqvector[], 10) JOIN thing ON ctid = tid;
SELECT count(*) FROM iqdb_search_batch('thing_k', ARRAY['[3,4,5]', '[1,2,3]']::iqvector[], 10, 'kind = 8');
SELECT count(*) FROM iqdb_search_batch('thing_k', ARRAY['[3,4,5]', '[1,2,3]']::iqvector[], 10, 'kind < 8');
RESET enable_seqscan;
SET row_security = off;
SELECT pg_temp.error_of('SELECT * FROM iqdb_search(''thing_v'', ''[3,4,5]'')');
RESET row_security;
-- a condition that would tell is asked of no row that the policy hides
RESET ROLE;
CREATE FUNCTION pg_temp.tell(id int) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN IF id % 10 <> 7 THEN RAISE EXCEPTION 'row %', id; END IF; RETURN true; END $$;
SET ROLE iqdb_reader;
SELECT count(*) FROM iqdb_search('thing_v', '[3,4,5]', 1, 'pg_temp.tell(id) AND id < 20');
RESET ROLE;
DROP TABLE thing, asked, half, bits, passing;
DROP DOMAIN place;
DROP ROLE iqdb_reader;
