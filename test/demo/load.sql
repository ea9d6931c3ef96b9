-- What is searched: the descriptions that PostgreSQL keeps of its own functions, operators, types and so on.
CREATE TABLE item (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text NOT NULL,
    name        text NOT NULL,
    description text NOT NULL,
    embedding   iqvector(256)
);

INSERT INTO item (kind, name, description)
SELECT CASE classoid WHEN 'pg_proc'::regclass THEN 'function'
                     WHEN 'pg_operator'::regclass THEN 'operator'
                     WHEN 'pg_type'::regclass THEN 'type'
                     ELSE replace(substr(classoid::regclass::text, 4), '_', ' ') END,
       CASE classoid WHEN 'pg_proc'::regclass THEN objoid::regprocedure::text
                     WHEN 'pg_operator'::regclass THEN objoid::regoperator::text
                     WHEN 'pg_type'::regclass THEN objoid::regtype::text
                     ELSE (pg_identify_object(classoid, objoid, 0)).identity END,
       description
FROM pg_description
WHERE objsubid = 0 AND objoid < 16384
ORDER BY classoid, objoid;

SELECT kind, count(*) AS items FROM item GROUP BY kind ORDER BY items DESC;
