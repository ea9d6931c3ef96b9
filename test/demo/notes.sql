-- A hundred thousand texts: each is one of the descriptions and three words more, written by one of a thousand teams. Their
-- embeddings are made as those of the descriptions are.

CREATE TABLE note (id integer PRIMARY KEY, team integer NOT NULL, body text NOT NULL, embedding iqvector(256));

WITH numbered_word AS (
    SELECT row_number() OVER (ORDER BY lexeme) - 1 AS number, lexeme FROM direction
), numbered_item AS (
    SELECT row_number() OVER (ORDER BY id) - 1 AS number, id FROM item WHERE embedding IS NOT NULL
), chosen AS (
    SELECT note_id, word.lexeme
    FROM generate_series(1, 100000) AS note_id
         JOIN numbered_item ON number = abs(hashint8extended(note_id, 1) % (SELECT count(*) FROM numbered_item))
         JOIN word ON word.item_id = numbered_item.id
    UNION ALL
    SELECT note_id, lexeme
    FROM generate_series(1, 100000) AS note_id CROSS JOIN generate_series(1, 3) AS word
         JOIN numbered_word ON number = abs(hashint8extended(note_id::bigint * 4 + word, 2) % (SELECT count(*) FROM numbered_word))
)
INSERT INTO note
SELECT note_id, abs(hashint4(note_id) % 1000), string_agg(lexeme, ' '), l2_normalize(sum(vector))
FROM chosen JOIN direction USING (lexeme)
GROUP BY note_id;

CREATE INDEX note_team ON note (team);
VACUUM ANALYZE note;

SELECT count(*) AS notes, count(DISTINCT team) AS teams, pg_size_pretty(pg_table_size('note')) AS table_size,
       min(body) FILTER (WHERE id = 1) AS one_of_them
FROM note;
