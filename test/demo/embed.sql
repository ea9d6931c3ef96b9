-- Embeddings made in SQL, so that the demo needs no model: words are reduced to lexemes, each lexeme gets a random but
-- repeatable direction in 256 dimensions (the signs are the bits of four hashes), as long as the lexeme is rare (its
-- inverse document frequency). A text's embedding is the sum over its lexemes, scaled to length 1. Texts that share rare
-- words get near each other; texts that share none are nearly at right angles.

CREATE TABLE word AS
SELECT item.id AS item_id, term.lexeme, cardinality(term.positions) AS times
FROM item, unnest(to_tsvector('english', item.description)) AS term;

CREATE TABLE direction (lexeme text PRIMARY KEY, vector iqvector(256) NOT NULL);

INSERT INTO direction
SELECT lexeme,
       (SELECT array_agg(weight * CASE (hashtextextended(lexeme, d / 64) >> (d % 64)) & 1 WHEN 1 THEN 1 ELSE -1 END
                         ORDER BY d)
        FROM generate_series(0, 255) AS d)::iqvector(256)
FROM (SELECT lexeme, ln((SELECT count(*) FROM item)::float8 / count(*))::real AS weight
      FROM word GROUP BY lexeme) AS lexemes
WHERE weight > 0;

-- An aggregate of vectors does the rest.
UPDATE item SET embedding = sums.vector
FROM (SELECT word.item_id, l2_normalize(sum(direction.vector)) AS vector
      FROM word JOIN direction USING (lexeme), generate_series(1, word.times)
      GROUP BY word.item_id) AS sums
WHERE item.id = sums.item_id;

CREATE FUNCTION embed(words text) RETURNS iqvector STABLE LANGUAGE sql
RETURN (SELECT l2_normalize(sum(direction.vector))
        FROM unnest(to_tsvector('english', words)) AS term JOIN direction USING (lexeme),
             generate_series(1, cardinality(term.positions)));

VACUUM ANALYZE item;

SELECT count(*) AS items, count(embedding) AS embedded, (SELECT count(*) FROM direction) AS lexemes,
       pg_size_pretty(pg_total_relation_size('item')) AS table_size
FROM item;
