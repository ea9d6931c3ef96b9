-- What the demo asks, as prepared statements. The query's embedding is computed once, in a sub-select.

PREPARE search(text) AS
SELECT id, kind, name, description, embedding <=> (SELECT embed($1)) AS distance
FROM item
ORDER BY embedding <=> (SELECT embed($1))
LIMIT 40;

-- The same for reading: entries with the same description in one line.
PREPARE show(text) AS
WITH found AS MATERIALIZED (
    SELECT id, kind, name, description, embedding <=> (SELECT embed($1)) AS distance
    FROM item
    ORDER BY embedding <=> (SELECT embed($1))
    LIMIT 40
)
SELECT round(min(distance)::numeric, 3) AS distance, kind, left(description, 52) AS description,
       left(string_agg(name, '  ' ORDER BY distance, id), 50) AS names
FROM found
GROUP BY kind, description
ORDER BY min(distance), min(id)
LIMIT 6;

-- A hundred searches at once: the ten neighbours of every fiftieth item.
PREPARE hundred AS
SELECT query.id AS query_id, neighbour.id, neighbour.distance
FROM (SELECT id, embedding FROM item WHERE id % 50 = 0 AND embedding IS NOT NULL ORDER BY id LIMIT 100) AS query,
     LATERAL (SELECT item.id, item.embedding <=> query.embedding AS distance
              FROM item
              ORDER BY item.embedding <=> query.embedding
              LIMIT 10) AS neighbour;
