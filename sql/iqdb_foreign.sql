-- iqdb: foreign tables: what postgres_fdw sends to the other server (which is never asked here)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS iqdb;
CREATE EXTENSION IF NOT EXISTS postgres_fdw;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on

CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (dbname 'elsewhere', extensions 'iqdb');
CREATE USER MAPPING FOR CURRENT_USER SERVER elsewhere;
CREATE FOREIGN TABLE away (id bigint, v iqvector(3), note text) SERVER elsewhere;

-- which clauses the other server is told
CREATE FUNCTION pg_temp.shipped(query text) RETURNS text LANGUAGE plpgsql AS
$$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (VERBOSE, COSTS OFF) ' || query LOOP
		IF line ~ 'Remote SQL' THEN
			RETURN concat_ws(' ', substring(line FROM 'WHERE'), substring(line FROM 'ORDER BY'), substring(line FROM 'LIMIT'));
		END IF;
	END LOOP;
END
$$;

-- tables that were never analyzed
SELECT rows, operator, columns, pg_temp.shipped(format($$SELECT %s FROM away ORDER BY v %s '[1,2,3]' LIMIT %s$$, columns, operator, rows))
FROM unnest(ARRAY[1, 10, 100, 500]) AS rows, unnest(ARRAY['<->', '<#>', '<=>', '<+>', '<~>']) AS operator,
	unnest(ARRAY['id', '*', 'v <-> ''[1,2,3]'' AS d']) AS columns
WHERE pg_temp.shipped(format($$SELECT %s FROM away ORDER BY v %s '[1,2,3]' LIMIT %s$$, columns, operator, rows)) <> 'ORDER BY LIMIT';
SELECT pg_temp.shipped($$SELECT id FROM away ORDER BY v <-> '[1,2,3]' LIMIT 10$$),
	pg_temp.shipped($$SELECT id FROM away ORDER BY l2_distance('[1,2,3]', v) LIMIT 10$$),
	pg_temp.shipped($$SELECT id FROM away WHERE v <-> '[1,2,3]' < 1 ORDER BY v <-> '[1,2,3]' LIMIT 10$$);

SET client_min_messages = warning;
DROP SERVER elsewhere CASCADE;
