-- Compares one index with the exact answer of a sequential scan. Variable: method. Needs search.sql read before.
-- A neighbour counts as found when it is no farther than the tenth nearest: many items have equal descriptions, and
-- among those any is right.
SET enable_seqscan = off;
SELECT clock_timestamp() AS begun \gset
CREATE TEMPORARY TABLE by_index AS EXECUTE hundred;
SELECT extract(epoch FROM clock_timestamp() - :'begun'::timestamptz) * 1000 AS index_ms \gset
RESET enable_seqscan;

SET enable_indexscan = off;
SELECT clock_timestamp() AS begun \gset
CREATE TEMPORARY TABLE by_scan AS EXECUTE hundred;
SELECT extract(epoch FROM clock_timestamp() - :'begun'::timestamptz) * 1000 AS scan_ms \gset
RESET enable_indexscan;

SELECT :'method' AS method, searches, round(:index_ms / searches, 2) AS "ms per search",
       round(:scan_ms / searches, 2) AS "ms without index", recall AS "recall@10",
       pg_size_pretty(stats.memory) AS memory, pg_size_pretty(stats.disk) AS "own files"
FROM iqdb_index_stats(:'index') AS stats,
     (SELECT count(DISTINCT query_id) AS searches, round(avg((distance <= farthest + 1e-6)::int), 4) AS recall
      FROM by_index
      JOIN (SELECT query_id, max(distance) AS farthest FROM by_scan GROUP BY query_id) AS exact USING (query_id)) AS counts;
