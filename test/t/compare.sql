-- compare.sql - functions that compare an index with a sequential scan; loaded by IqdbTest.pm.
CREATE EXTENSION IF NOT EXISTS iqdb;

-- A random vector: multiples of 1 / steps, so that ties and duplicates happen when steps is small.
CREATE OR REPLACE FUNCTION iqdb_random(dimension int, steps int DEFAULT 1000000) RETURNS iqvector
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
	RETURN ARRAY(SELECT floor(random() * steps) / steps FROM generate_series(1, dimension))::real[]::iqvector;
END $$;

-- The place of a row as a number, for tables without a key.
CREATE OR REPLACE FUNCTION iqdb_row(place tid) RETURNS bigint LANGUAGE sql IMMUTABLE AS
	'SELECT ((place::text::point)[0]::bigint << 16) + (place::text::point)[1]::bigint';

-- The rows of a query through an index (or not), in their order; fails if the plan is not the one wanted.
CREATE OR REPLACE FUNCTION iqdb_rows(query text, by_index boolean, OUT ids bigint[], OUT distances float8[])
LANGUAGE plpgsql AS $$
DECLARE
	line text;
	used boolean := false;
BEGIN
	PERFORM set_config('enable_seqscan', CASE WHEN by_index THEN 'off' ELSE 'on' END, true);
	PERFORM set_config('enable_bitmapscan', 'off', true);
	PERFORM set_config('enable_indexscan', CASE WHEN by_index THEN 'on' ELSE 'off' END, true);
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		used := used OR line LIKE '%Index Scan using%';
	END LOOP;
	IF used <> by_index THEN
		RAISE EXCEPTION 'the plan is not by % for %', CASE WHEN by_index THEN 'index' ELSE 'sequential scan' END, query;
	END IF;
	EXECUTE 'SELECT array_agg(id), array_agg(d) FROM (' || query || ') q' INTO ids, distances;
	ids := coalesce(ids, '{}');
	distances := coalesce(distances, '{}');
END $$;

-- One line per difference between index order and sequential order: for each of some query vectors (rows of the table,
-- and a vector that is not in it), the nearest ones; and once the whole table.
CREATE OR REPLACE FUNCTION iqdb_compare(tab text, id text, col text, op text, queries int, lim int, filter text,
	exact boolean, recall_wanted float8, whole boolean) RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
	target iqvector;
	targets iqvector[];
	base text;
	query text;
	a record;
	b record;
	found int := 0;
	total int := 0;
	problem text;
BEGIN
	-- of v::iqvector(3), it is v that must not be NULL: the cast may fail for rows that the filter leaves out
	base := format('FROM %s WHERE %s%s IS NOT NULL', tab, CASE WHEN filter <> '' THEN filter || ' AND ' ELSE '' END,
		split_part(col, '::', 1));
	EXECUTE format('SELECT coalesce(array_agg(v), ''{}'') FROM (SELECT %s AS v %s ORDER BY random() LIMIT %s) t',
		col, base, greatest(queries - 1, 1)) INTO targets;
	IF targets <> '{}' THEN
		targets := targets || (SELECT array_agg(random())::real[]::iqvector
			FROM generate_series(1, iqvector_dims(targets[1])));
	ELSE
		EXECUTE format('SELECT coalesce(array_agg(v), ''{}'') FROM (SELECT %s AS v FROM %s WHERE %s IS NOT NULL LIMIT 1) t',
			col, tab, col) INTO targets;
		IF targets = '{}' THEN
			RETURN;
		END IF;
	END IF;
	FOREACH target IN ARRAY targets LOOP
		query := format('SELECT %s::bigint AS id, %s %s %L::iqvector AS d %s ORDER BY %s %s %L::iqvector LIMIT %s',
			id, col, op, target, base, col, op, target, lim);
		SELECT * INTO a FROM iqdb_rows(query, true);
		SELECT * INTO b FROM iqdb_rows(query, false);
		problem := iqdb_difference(a.ids, a.distances, b.ids, b.distances, exact);
		IF problem IS NOT NULL THEN
			RETURN NEXT format('%s: %s', problem, left(query, 200));
		END IF;
		-- a row as near as the farthest wanted one is as good
		total := total + cardinality(b.ids);
		found := found + (SELECT count(*) FROM unnest(a.distances) d WHERE d <= b.distances[cardinality(b.ids)] + 1e-6);
	END LOOP;
	IF total > 0 AND found::float8 / total < recall_wanted THEN
		RETURN NEXT format('recall %s is below %s', round(found::numeric / total, 4), recall_wanted);
	END IF;

	IF whole THEN
		query := format('SELECT %s::bigint AS id, %s %s %L::iqvector AS d %s ORDER BY %s %s %L::iqvector',
			id, col, op, target, base, col, op, target);
		SELECT * INTO a FROM iqdb_rows(query, true);
		SELECT * INTO b FROM iqdb_rows(query, false);
		problem := iqdb_difference(a.ids, a.distances, b.ids, b.distances, true);
		IF problem IS NOT NULL THEN
			RETURN NEXT format('whole table, %s: %s', problem, left(query, 200));
		END IF;
	END IF;
END $$;

-- What is wrong with result a, b being right; NULL if nothing. Rows of equal distance may be swapped, also at the end.
CREATE OR REPLACE FUNCTION iqdb_difference(a_ids bigint[], a float8[], b_ids bigint[], b float8[], exact boolean)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	n int := cardinality(b);
	twice bigint;
	missing bigint;
BEGIN
	IF cardinality(a) <> n THEN
		RETURN format('%s rows instead of %s', cardinality(a), n);
	END IF;
	SELECT id INTO twice FROM unnest(a_ids) id GROUP BY id HAVING count(*) > 1 LIMIT 1;
	IF FOUND THEN
		RETURN format('row %s twice', twice);
	END IF;
	FOR i IN 2 .. n LOOP
		IF a[i] < a[i - 1] THEN
			RETURN format('wrong order at %s', i);
		END IF;
	END LOOP;
	IF exact THEN
		FOR i IN 1 .. n LOOP
			IF a[i] IS DISTINCT FROM b[i] THEN
				RETURN format('distance %s at %s instead of %s', a[i], i, b[i]);
			END IF;
		END LOOP;
		SELECT u.id INTO missing FROM unnest(b_ids, b) u (id, d) WHERE d < b[n] AND id <> ALL (a_ids) LIMIT 1;
		IF FOUND THEN
			RETURN format('row %s is missing', missing);
		END IF;
	END IF;
	RETURN NULL;
END $$;
