-- Plans over the order of an index: what it can promise, and what the server has to sort.
SET client_min_messages = warning;
SET enable_seqscan = off;

-- The plan's nodes, one line, without what is not about order.
CREATE FUNCTION plan(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	line text;
	nodes text[] := '{}';
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		line := replace(line, 'Custom Scan (Vector Scan)', 'Vector Scan');
		IF line ~ '^\s*->|^\S' THEN
			nodes := nodes || regexp_replace(substring(line, '[A-Z][A-Za-z ]+'), ' (using|on) .*', '');
		END IF;
	END LOOP;
	RETURN array_to_string(nodes, ' < ');
END $$;

-- Few values and many ties: rows of equal first distance are in no order by themselves.
CREATE TABLE plan_row (id int PRIMARY KEY, part int, v iqvector(2));
INSERT INTO plan_row SELECT i, i % 4, format('[%s,%s]', i * 7 % 5, i * 11 % 7)::iqvector FROM generate_series(1, 700) i;
CREATE INDEX plan_flat ON plan_row USING iqdb_flat (v);
ANALYZE plan_row;

-- One distance of several: Incremental Sort does the rest.
SELECT plan($$SELECT id FROM plan_row ORDER BY v <-> '[0,0]', v <-> '[0,5]' LIMIT 5$$);
SELECT plan($$SELECT id FROM plan_row ORDER BY v <-> '[0,0]', v <-> '[0,5]', id LIMIT 5$$);
SELECT plan($$SELECT id FROM plan_row ORDER BY v <-> '[0,0]', id LIMIT 5$$);
SELECT id FROM plan_row ORDER BY v <-> '[0,0]', v <-> '[0,5]', id LIMIT 3 OFFSET 19;
SELECT id FROM plan_row ORDER BY v <-> '[0,0]', v <-> '[0,5]' DESC, id LIMIT 3 OFFSET 19;
SELECT id, row_number() OVER (ORDER BY v <-> '[0,0]', v <-> '[5,0]', id) FROM plan_row ORDER BY 2 LIMIT 3;
SELECT q, s.id FROM generate_series(0, 2) q, LATERAL (SELECT id FROM plan_row
	ORDER BY v <-> format('[%s,0]', q)::iqvector, v <-> format('[0,%s]', q)::iqvector, id LIMIT 2) s ORDER BY q, id;

-- All of it, in both ways.
CREATE FUNCTION differs(query text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	a text;
	b text;
BEGIN
	EXECUTE 'SELECT string_agg(s::text, '';'') FROM (' || query || ') s' INTO a;
	SET LOCAL enable_indexscan = off;
	EXECUTE 'SELECT string_agg(s::text, '';'') FROM (' || query || ') s' INTO b;
	SET LOCAL enable_indexscan = on;
	RETURN a IS DISTINCT FROM b;
END $$;
SELECT differs($$SELECT id FROM plan_row ORDER BY v <-> '[1,2]', v <-> '[2,1]', id LIMIT 600$$);
SELECT differs($$SELECT v <-> '[1,2]', v <-> '[2,1]' FROM plan_row ORDER BY 1, 2 LIMIT 600$$);

-- Partitions: each is sorted by one distance, and merged.
CREATE TABLE plan_parts (id int, part int, v iqvector(2)) PARTITION BY LIST (part);
CREATE TABLE plan_part_0 PARTITION OF plan_parts FOR VALUES IN (0, 1);
CREATE TABLE plan_part_1 PARTITION OF plan_parts FOR VALUES IN (2, 3);
INSERT INTO plan_parts SELECT id, part, v FROM plan_row;
CREATE INDEX ON plan_parts USING iqdb_flat (v);
ANALYZE plan_parts;
SELECT plan($$SELECT id FROM plan_parts ORDER BY v <-> '[0,0]', v <-> '[0,5]' LIMIT 5$$);
SELECT differs($$SELECT id FROM plan_parts ORDER BY v <-> '[1,2]', v <-> '[2,1]', id LIMIT 600$$);
DROP TABLE plan_parts;

-- An approximate index may find a row too late for its place. Whoever builds on the order gets one that is sorted.
DROP INDEX plan_flat;
CREATE INDEX plan_hnsw ON plan_row USING iqdb_hnsw (v);
ANALYZE plan_row;
SELECT plan($$SELECT id FROM plan_row ORDER BY v <-> '[0,0]' LIMIT 1$$);
SELECT plan($$SELECT id FROM plan_row ORDER BY v <-> '[0,0]' LIMIT 5$$);
SELECT plan($$SELECT id FROM plan_row WHERE part < 5 ORDER BY v <-> '[0,0]' LIMIT 5 OFFSET 2$$);
SELECT plan($$SELECT id FROM plan_row ORDER BY v <-> '[0,0]', id LIMIT 5$$);
SELECT plan($$SELECT id FROM plan_row ORDER BY v <-> '[0,0]'$$);
SELECT plan($$SELECT DISTINCT v <-> '[0,0]' AS d FROM plan_row ORDER BY d LIMIT 5$$);
SELECT plan($$SELECT DISTINCT d FROM (SELECT v <-> '[0,0]' AS d FROM plan_row ORDER BY d LIMIT 5) s$$);
SELECT plan($$SELECT DISTINCT d FROM (SELECT v <-> '[0,0]' AS d FROM plan_row ORDER BY d OFFSET 0) s$$);
SELECT plan($$SELECT min(v <-> '[0,0]') FROM plan_row$$);

-- A window keeps the stream if nothing but a small LIMIT can end it.
SELECT plan($$SELECT id, rank() OVER (ORDER BY v <-> '[0,0]') FROM plan_row ORDER BY v <-> '[0,0]' LIMIT 5$$);
SELECT plan($$SELECT id, rank() OVER (ORDER BY v <-> '[0,0]') FROM plan_row ORDER BY v <-> '[0,0]' LIMIT 500$$);
SELECT plan($$SELECT id, rank() OVER (ORDER BY v <-> '[0,0]') FROM plan_row WHERE part < 5 ORDER BY v <-> '[0,0]' LIMIT 5$$);
SELECT plan($$SELECT id, count(*) OVER () FROM plan_row ORDER BY v <-> '[0,0]' LIMIT 5$$);
SELECT plan($$SELECT rank() OVER (ORDER BY d) FROM
	(SELECT v <-> '[0,0]' AS d FROM plan_row WHERE part < 5 ORDER BY d LIMIT 5) s$$);

-- Joined by the distance: a merge join would build on the order.
SET enable_hashjoin = off;
SET enable_nestloop = off;
SELECT plan($$SELECT id FROM plan_row LEFT JOIN generate_series(0, 5) x ON x = (v <-> '[0,0]')
	ORDER BY v <-> '[0,0]' LIMIT 5$$);
SELECT plan($$SELECT id FROM plan_row JOIN generate_series(0, 5) x ON x = (v <-> '[0,0]')
	ORDER BY v <-> '[0,0]' LIMIT 5$$);
RESET enable_hashjoin;
RESET enable_nestloop;

-- Cursors: a stream without LIMIT, and rows that are locked, in the order in which they are locked.
SELECT plan($$DECLARE c CURSOR FOR SELECT id FROM plan_row WHERE part < 5 ORDER BY v <-> '[0,0]'$$);
SELECT plan($$SELECT id FROM plan_row ORDER BY v <-> '[0,0]' LIMIT 5 FOR UPDATE$$);

-- A filter that leaves little, or nothing, is quicker without the index; one that leaves half of the rows is not.
RESET enable_seqscan;
CREATE TABLE plan_filter AS SELECT i AS id, i % 50 AS c, i % 2 AS half, 'owner ' || i % 300 AS owner,
	format('[%s,%s,%s]', i * 7919 % 1009, i * 104729 % 2003, i * 15485 % 4001)::iqvector(3) AS v FROM generate_series(1, 10000) i;
CREATE INDEX ON plan_filter (c);
CREATE INDEX plan_filter_v ON plan_filter USING iqdb_hnsw (v);
VACUUM ANALYZE plan_filter;
SELECT plan($$SELECT id FROM plan_filter WHERE c = 26 ORDER BY v <-> '[500,500,500]' LIMIT 20$$);
SELECT plan($$SELECT id FROM plan_filter WHERE owner = 'nobody' ORDER BY v <-> '[500,500,500]' LIMIT 20$$);
SELECT plan($$SELECT id FROM plan_filter WHERE half = 1 ORDER BY v <-> '[500,500,500]' LIMIT 20$$);
SELECT plan($$SELECT id FROM plan_filter ORDER BY v <-> '[500,500,500]' LIMIT 20$$);
SELECT plan($$SELECT id FROM plan_filter ORDER BY v <-> '[500,500,500]'$$);
DROP INDEX plan_filter_v;
CREATE INDEX plan_filter_v ON plan_filter USING iqdb_ivf (v);
SELECT plan($$SELECT id FROM plan_filter WHERE c = 26 ORDER BY v <-> '[500,500,500]' LIMIT 20$$);
SELECT plan($$SELECT id FROM plan_filter WHERE owner = 'nobody' ORDER BY v <-> '[500,500,500]' LIMIT 20$$);
SELECT plan($$SELECT id FROM plan_filter WHERE half = 1 ORDER BY v <-> '[500,500,500]' LIMIT 20$$);
DROP INDEX plan_filter_v;
CREATE INDEX plan_filter_v ON plan_filter USING iqdb_flat (v);
SELECT plan($$SELECT id FROM plan_filter WHERE c = 26 ORDER BY v <-> '[500,500,500]' LIMIT 20$$);
SELECT plan($$SELECT id FROM plan_filter WHERE owner = 'nobody' ORDER BY v <-> '[500,500,500]' LIMIT 20$$);
SELECT plan($$SELECT id FROM plan_filter WHERE half = 1 ORDER BY v <-> '[500,500,500]' LIMIT 20$$);
DROP TABLE plan_filter;

-- Vectors outside of their rows: reading the table fetches each of them, the index only those of its answer.
RESET enable_seqscan;
CREATE TABLE plan_toast (id int, v iqvector(520));
ALTER TABLE plan_toast ALTER v SET STORAGE EXTERNAL;
INSERT INTO plan_toast SELECT i, ARRAY(SELECT i * 7919 % 1009 + j * i % 251 FROM generate_series(1, 520) j)::iqvector
	FROM generate_series(1, 800) i;
CREATE INDEX plan_toast_v ON plan_toast USING iqdb_hnsw (v);
SELECT plan($$SELECT id FROM plan_toast ORDER BY v <-> (SELECT v FROM plan_toast WHERE id = 7) LIMIT 10$$);
VACUUM ANALYZE plan_toast;
SELECT plan($$SELECT id FROM plan_toast ORDER BY v <-> (SELECT v FROM plan_toast WHERE id = 7) LIMIT 10$$);
-- a cast reads it as well
CREATE TABLE plan_cast (id int, v iqvector(1200));
ALTER TABLE plan_cast ALTER v SET STORAGE EXTERNAL;
INSERT INTO plan_cast SELECT i, ARRAY(SELECT i * 7919 % 1009 + j * i % 251 FROM generate_series(1, 1200) j)::iqvector
	FROM generate_series(1, 300) i;
CREATE INDEX plan_cast_v ON plan_cast USING iqdb_hnsw ((v::iqhalfvec(1200)) iqhalfvec_l2_ops);
VACUUM ANALYZE plan_cast;
SELECT plan($$SELECT id FROM plan_cast ORDER BY v::iqhalfvec(1200) <-> (SELECT v::iqhalfvec(1200) FROM plan_cast WHERE id = 7) LIMIT 10$$);
DROP TABLE plan_cast;
DROP TABLE plan_toast;

DROP TABLE plan_row;
DROP FUNCTION plan(text);
DROP FUNCTION differs(text);
