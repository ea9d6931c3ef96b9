-- The same rows in a column of pgvector's type, indexed as it is.
CREATE EXTENSION vector;
SELECT count(*) AS "made for pgvector's types" FROM iqdb_create_pgvector_support();
CREATE TABLE note_vector AS SELECT id, team, embedding::vector(256) FROM note;
CREATE INDEX note_vector_embedding ON note_vector USING iqdb_ivf (embedding vector_cosine_ops);
ANALYZE note_vector;

SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT id FROM note_vector ORDER BY embedding <=> (SELECT embed('disk space used by a table')::vector) LIMIT 10;
SELECT count(*) AS "of ten rows the same by both types"
FROM (SELECT id FROM note ORDER BY embedding <=> (SELECT embed('disk space used by a table')) LIMIT 10) AS ours
     JOIN (SELECT id FROM note_vector ORDER BY embedding <=> (SELECT embed('disk space used by a table')::vector) LIMIT 10) AS theirs
     USING (id);
DROP TABLE note_vector;
