#!/usr/bin/env bash
# pgvector_second_sort_key.sh - ORDER BY two distances, answered by an hnsw index, is sorted by the first alone.
#
# Versions: PostgreSQL 17.12, pgvector 0.8.0 (Debian 13). Seen on 2026-11-30.
#
# An access method that can order by operators is handed as many ordering operators as the query has on the column, not just
# one: the planner asks the operator class about each and never the method how many it obeys. GiST obeys all of them, so the
# same query over "cube" is right. pgvector's hnsw (and ivfflat) read the first only, and the plan has no sort node that
# would set right what they return. Eight points lie at the same distance from the origin; the second distance is to tell.
. "$(dirname "$0")/lib/setup.sh"
packages postgresql-17=17.12-0+deb13u1 postgresql-17-pgvector=0.8.0-1
on_server <<'END' | expect 'sorted: {5,3,1,7,8,2,4,6}
hnsw: Index Scan using t_v on t
hnsw: not in order
gist: Index Scan using t_c on t
gist: in order'
psql -XqAt <<'SQL'
CREATE EXTENSION vector;
CREATE EXTENSION cube;
CREATE TABLE t (id int, v vector(2), c cube);
INSERT INTO t SELECT id, ARRAY[x, y]::vector, cube(ARRAY[x, y]::float8[]) FROM (VALUES (1, 3, 4), (2, -3, 4), (3, 4, 3),
    (4, -4, 3), (5, 5, 0), (6, -5, 0), (7, 0, 5), (8, 0, -5)) AS p (id, x, y);
SELECT 'sorted: ' || array_agg(id)::text FROM (SELECT id FROM t ORDER BY v <-> '[0,0]', v <-> '[5,0]', id) s;
CREATE INDEX t_v ON t USING hnsw (v vector_l2_ops);
CREATE INDEX t_c ON t USING gist (c);
SET enable_seqscan = off;
SET enable_sort = off;
\o plan
EXPLAIN (COSTS OFF) SELECT id FROM t ORDER BY v <-> '[0,0]', v <-> '[5,0]';
\o
\! sed -n '/Index Scan/s/^/hnsw: /p' plan
WITH answer AS (SELECT row_number() OVER () AS place, second
    FROM (SELECT v <-> '[5,0]' AS second FROM t ORDER BY v <-> '[0,0]', v <-> '[5,0]') s)
SELECT 'hnsw: ' || CASE WHEN (SELECT array_agg(second ORDER BY place) = array_agg(second ORDER BY second) FROM answer)
    THEN 'in order' ELSE 'not in order' END;
\o plan
EXPLAIN (COSTS OFF) SELECT id FROM t ORDER BY c <-> '(0,0)'::cube, c <-> '(5,0)'::cube;
\o
\! sed -n '/Index Scan/s/^/gist: /p' plan
WITH answer AS (SELECT row_number() OVER () AS place, second FROM (SELECT c <-> '(5,0)'::cube AS second FROM t
    ORDER BY c <-> '(0,0)'::cube, c <-> '(5,0)'::cube) s)
SELECT 'gist: ' || CASE WHEN (SELECT array_agg(second ORDER BY place) = array_agg(second ORDER BY second) FROM answer)
    THEN 'in order' ELSE 'not in order' END;
SQL
END
