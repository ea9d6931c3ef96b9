-- iqvector: avg and sum
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS iqdb;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on

-- SQLSTATE, message and detail of what a statement raises
CREATE FUNCTION pg_temp.error_of(statement text) RETURNS text LANGUAGE plpgsql AS
$$
DECLARE
	detail text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' | ', SQLSTATE, SQLERRM, nullif(detail, ''));
END
$$;

SELECT avg(v), sum(v) FROM unnest(ARRAY['[1,2,3]'::iqvector, '[3,5,7]']) AS v;
SELECT avg(v), sum(v) FROM unnest(ARRAY['[1,2,3]'::iqvector, NULL, '[3,5,7]', NULL]) AS v;
SELECT avg(v), sum(v) FROM unnest(ARRAY['[1,2,3]'::iqvector]) AS v;
SELECT avg(v) IS NULL, sum(v) IS NULL FROM unnest(ARRAY[]::iqvector[]) AS v;
SELECT avg(v) IS NULL, sum(v) IS NULL FROM unnest(ARRAY[NULL, NULL]::iqvector[]) AS v;

-- the mean is computed in double precision: no overflow, no lost bits
SELECT avg(v) FROM unnest(ARRAY['[3e38]'::iqvector, '[3e38]']) AS v;
SELECT avg(v) FROM unnest(ARRAY['[16777216]'::iqvector, '[1]', '[1]', '[1]', '[1]']) AS v;

-- and so is the sum: it is rounded once, at the end
SELECT sum(v) FROM unnest(ARRAY['[3e38]'::iqvector, '[3e38]', '[-3e38]']) AS v;
SELECT sum(v) FROM unnest(ARRAY['[16777216]'::iqvector, '[1]', '[1]', '[1]', '[1]']) AS v;
SELECT sum('[0.1]'::iqvector), avg('[0.1]'::iqvector) FROM generate_series(1, 1000000);

-- all lengths
SELECT count(*) AS wrong FROM (
	SELECT dim, avg(v) AS mean, sum(v) AS total FROM generate_series(1, 40) AS dim, generate_series(1, 5) AS n,
		LATERAL (SELECT array_agg(i * n)::iqvector AS v FROM generate_series(1, dim) AS i) AS t GROUP BY dim) AS s
WHERE mean <> (SELECT array_agg(i * 3)::iqvector FROM generate_series(1, dim) AS i)
	OR total <> (SELECT array_agg(i * 15)::iqvector FROM generate_series(1, dim) AS i);

CREATE TABLE iqvector_rows (g int, v iqvector(3));
INSERT INTO iqvector_rows SELECT n % 4, ARRAY[n % 100, -(n % 100), n % 7] FROM generate_series(1, 10000) AS n;
INSERT INTO iqvector_rows SELECT 4, NULL FROM generate_series(1, 10);
ANALYZE iqvector_rows;

-- in one process
SET max_parallel_workers_per_gather = 0;
SELECT avg(v), sum(v), count(v) FROM iqvector_rows;
SELECT g, avg(v), sum(v), count(*) FROM iqvector_rows GROUP BY g ORDER BY g;

-- in several: the same
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
EXPLAIN (COSTS OFF) SELECT avg(v), sum(v) FROM iqvector_rows;
SELECT avg(v), sum(v), count(v) FROM iqvector_rows;
SELECT g, avg(v), sum(v), count(*) FROM iqvector_rows GROUP BY g ORDER BY g;
SELECT avg(v) IS NULL, sum(v) IS NULL FROM iqvector_rows WHERE g = 4;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
RESET max_parallel_workers_per_gather;

-- a state that is changed in place belongs to one group only, and a result already given stays as it was
SELECT n, sum(v) OVER (ORDER BY n), avg(v) OVER (ORDER BY n),
	sum(v) OVER (ORDER BY n ROWS BETWEEN 1 PRECEDING AND CURRENT ROW), v
FROM (SELECT n, ARRAY[n, 10 * n]::iqvector AS v FROM generate_series(1, 4) AS n) AS t ORDER BY n;
SELECT g, h, sum(v), avg(v)
FROM (VALUES (1, 1, '[1]'::iqvector), (1, 2, '[2]'), (2, 1, '[4]'), (2, 2, '[8]')) AS t (g, h, v)
GROUP BY GROUPING SETS ((g), (h), (g, h), ()) ORDER BY g, h;
SELECT array_agg(total ORDER BY n)
FROM (SELECT n, sum(ARRAY[n]::iqvector) OVER (ORDER BY n) AS total FROM generate_series(1, 4) AS n) AS t;
SELECT sum(v + v), sum(DISTINCT v), sum(v) FILTER (WHERE v > '[1]')
FROM (VALUES ('[1]'::iqvector), ('[1]'), ('[2]')) AS t (v);

-- out-of-line values
CREATE TABLE iqvector_wide (v iqvector);
INSERT INTO iqvector_wide SELECT (SELECT array_agg(i % 10 + n)::iqvector FROM generate_series(1, 16000) AS i)
	FROM generate_series(1, 5) AS n;
SELECT iqvector_dims(avg(v)), subvector(avg(v), 9, 3), subvector(sum(v), 15998, 3) FROM iqvector_wide;
DROP TABLE iqvector_wide, iqvector_rows;

-- the pieces, by hand
SELECT iqvector_avg('{2,2,4,6}'), iqvector_avg('{0}') IS NULL, iqvector_accum('{0}', '[1,2,3]'),
	iqvector_accum('{1,1,2,3}', '[1,2,3]');
SELECT iqvector_sum('{2,2,4,6}'), iqvector_sum('{0}') IS NULL;
SELECT iqvector_combine('{1,2}', '{3,4}'), iqvector_combine('{0}', '{3,4}'), iqvector_combine('{1,2}', '{0}'),
	iqvector_combine('{0}', '{0}');
-- called by hand, no state is changed under its owner
SELECT s, iqvector_accum(s, '[10]'), iqvector_accum(s, '[10]') FROM (VALUES ('{1,5}'::float8[])) AS t (s);
SELECT v, iqvector_add(v, v), iqvector_add(v, v) FROM (VALUES ('[1,2]'::iqvector)) AS t (v);

-- errors
SELECT expression, pg_temp.error_of('SELECT ' || expression) AS error
FROM unnest(ARRAY[
	$$avg(v) FROM unnest(ARRAY['[1,2]'::iqvector, '[3]']) AS v$$,
	$$sum(v) FROM unnest(ARRAY['[1,2]'::iqvector, '[3]']) AS v$$,
	$$sum(v) FROM unnest(ARRAY['[3e38]'::iqvector, '[3e38]']) AS v$$,
	$$iqvector_avg('{1}')$$, $$iqvector_avg('{{2,2,4,6}}')$$, $$iqvector_avg('{NULL,2,4,6}')$$, $$iqvector_avg('{}')$$,
	$$iqvector_avg('{1,NaN}')$$, $$iqvector_sum('{1,NaN}')$$, $$iqvector_sum('{1,Infinity}')$$,
	$$iqvector_sum('{1,1e39}')$$, $$iqvector_sum('{1}')$$, $$iqvector_sum('{{1}}')$$,
	$$iqvector_avg('{1,1e300}')$$, $$iqvector_avg(array_agg(n)) FROM generate_series(1, 16002) AS n$$,
	$$iqvector_accum('{{0}}', '[1,2,3]')$$, $$iqvector_accum('{NULL}', '[1,2,3]')$$,
	$$iqvector_accum('{}', '[1,2,3]')$$, $$iqvector_accum('{0,0}', '[1,2,3]')$$,
	$$iqvector_accum('{1,Infinity}', '[1]')$$,
	$$iqvector_combine('{1,2}', '{3,4,5}')$$, $$iqvector_combine('{{1,2}}', '{3,4}')$$,
	$$iqvector_combine('{1,2}', '{{3,4}}')$$,
	$$iqvector_combine('{NULL,2}', '{3,4}')$$, $$iqvector_combine('{1,2}', '{3,NULL}')$$,
	$$iqvector_combine('{}', '{0}')$$, $$iqvector_combine('{0}', '{}')$$,
	$$iqvector_combine('{1,1e308}', '{1,1e308}')$$,
	$$iqvector_combine('{0}', (SELECT array_agg(n) FROM generate_series(1, 16002) AS n))$$,
	$$iqvector_combine((SELECT array_agg(n) FROM generate_series(1, 16002) AS n), '{0}')$$
]) AS expression;
