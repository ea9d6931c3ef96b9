-- bit strings: Hamming and Jaccard distances
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

SELECT a, b, iqdb_hamming_distance(a, b) AS hamming, iqdb_jaccard_distance(a, b) AS jaccard
FROM (VALUES (B'111', B'111'), (B'111', B'110'), (B'111', B'100'), (B'111', B'000'), (B'000', B'000'), (B'1', B'0'),
	(B'', B''), (B'1100', B'1011'), (B'11111111', B'11111110'), (B'111111111', B'011111111'),
	(B'1000000000000001', B'0000000000000001')) AS pairs (a, b);
-- bit and bit varying are one
SELECT iqdb_hamming_distance('101'::varbit, B'011'), iqdb_jaccard_distance('101'::bit(3), '011'::varbit);

-- every length, and bits in every place, against counting by hand
SELECT count(*) AS pairs,
	count(*) FILTER (WHERE iqdb_hamming_distance(a, b) <> length(replace((a # b)::text, '0', ''))) AS hamming,
	count(*) FILTER (WHERE iqdb_jaccard_distance(a, b) <>
		1 - coalesce(length(replace((a & b)::text, '0', ''))::float8 / nullif(length(replace((a | b)::text, '0', '')), 0), 0))
		AS jaccard
FROM (SELECT string_agg((n * i % 7 / 4)::text, '' ORDER BY i)::varbit AS a,
		string_agg(((n + i) * 31 % 11 / 6)::text, '' ORDER BY i)::varbit AS b
	FROM generate_series(1, 300) AS n, generate_series(1, n) AS i GROUP BY n) AS t;
SELECT count(*) AS wrong
FROM generate_series(1, 140) AS dim, generate_series(0, dim - 1) AS place,
	LATERAL (SELECT repeat('0', dim)::varbit AS zero, set_bit(repeat('0', dim)::varbit, place, 1) AS one) AS v
WHERE iqdb_hamming_distance(zero, one) <> 1 OR iqdb_jaccard_distance(zero, one) <> 1 OR iqdb_jaccard_distance(one, one) <> 0;

-- longer than any index takes, out of line too
SELECT iqdb_hamming_distance(a, ~a), iqdb_jaccard_distance(a, a | set_bit(a, 0, 1))
FROM (SELECT repeat('0100', 250000)::varbit AS a) AS v;
SELECT length(a), iqdb_hamming_distance(a, ~a), 2 * iqdb_jaccard_distance(a, b) FROM (SELECT repeat('01', 9000000)::varbit || B'1' AS a,
	repeat('11', 9000000)::varbit || B'1' AS b) AS v;
CREATE TEMP TABLE long (a varbit);
INSERT INTO long SELECT string_agg((i % 1000 * i % 5 / 3)::text, '' ORDER BY i)::varbit FROM generate_series(1, 100000) AS i;
SELECT length(a), iqdb_hamming_distance(a, ~a), iqdb_jaccard_distance(a, a) FROM long;

-- the signs of a vector are a bit string
SELECT iqdb_hamming_distance(binary_quantize('[1,-2,3]'::iqvector), binary_quantize('[1,2,-3]'::iqhalfvec));

SELECT expression, pg_temp.error_of('SELECT ' || expression) AS error
FROM unnest(ARRAY[
	$$iqdb_hamming_distance(B'111', B'00')$$, $$iqdb_jaccard_distance(B'', B'1')$$, $$iqdb_hamming_distance('101', '102')$$
]) AS expression;
SELECT iqdb_hamming_distance(NULL, B'1') IS NULL, iqdb_jaccard_distance(B'1', NULL) IS NULL;
