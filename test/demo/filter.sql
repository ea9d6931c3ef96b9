-- Searches among the notes of some teams, by index and by reading the table: milliseconds of the second of two executions, and
-- how many of the ten rows are the same.
CREATE TEMPORARY TABLE took (share text, teams int, way text, ms numeric, ids int[]);

CREATE FUNCTION pg_temp.ask(share text, teams int, way text) RETURNS void LANGUAGE plpgsql AS
$$
DECLARE
    begun timestamptz;
    ids int[];
BEGIN
    FOR i IN 1..2 LOOP
        begun := clock_timestamp();
        EXECUTE format('SELECT ARRAY(SELECT id FROM note WHERE team < %s
            ORDER BY embedding <=> (SELECT embed(''disk space used by a table'')) LIMIT 10)', teams) INTO ids;
    END LOOP;
    INSERT INTO took VALUES (share, teams, way, round((extract(epoch FROM clock_timestamp() - begun) * 1000)::numeric, 1), ids);
END
$$;

CREATE TEMPORARY TABLE share AS
SELECT * FROM (VALUES ('all', 1000), ('half', 500), ('10 %', 100), ('1 %', 10), ('0.1 %', 1)) AS s (share, teams);

SELECT count(pg_temp.ask(share, teams, 'index')) FROM share \gset
SET enable_indexscan = off;
SET enable_bitmapscan = off;
SET iqdb.enable_vector_scan = off;
SELECT count(pg_temp.ask(share, teams, 'table')) FROM share \gset
RESET enable_indexscan;
RESET enable_bitmapscan;
RESET iqdb.enable_vector_scan;

SELECT share AS "of the notes", i.ms AS "ms by index", t.ms AS "ms by table", cardinality(i.ids) AS rows,
       (SELECT count(*) FROM unnest(i.ids) AS id WHERE id = ANY (t.ids)) AS "as by table"
FROM took AS i JOIN took AS t USING (share, teams)
WHERE i.way = 'index' AND t.way = 'table'
ORDER BY teams DESC;

\echo '   How PostgreSQL finds those of one per cent:'
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF)
SELECT id FROM note WHERE team < 10 ORDER BY embedding <=> (SELECT embed('disk space used by a table')) LIMIT 10;
