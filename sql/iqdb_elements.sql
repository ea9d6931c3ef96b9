-- iqdb: columns of half vectors and of bit strings under all methods: classes, answers, what is refused
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS iqdb;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on

-- SQLSTATE, message, detail and hint of what a statement raises
CREATE FUNCTION pg_temp.error_of(statement text) RETURNS text LANGUAGE plpgsql AS
$$
DECLARE
	detail text;
	hint text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' | ', SQLSTATE, replace(SQLERRM, 'public.', ''), nullif(detail, ''), nullif(hint, ''));
END
$$;

-- operators for bit are made where pgvector is not installed, and once
SELECT made FROM iqdb_create_pgvector_support() made ORDER BY made;
SELECT count(*) FROM iqdb_create_pgvector_support();
SELECT B'1100' <~> B'1010', B'1100' <%> B'1010', B'0000' <%> B'0000', B'' <~> B'';
SELECT pg_temp.error_of($$SELECT B'11' <~> B'111'$$);
SELECT count(*) FROM pg_opclass o JOIN pg_am a ON a.oid = opcmethod
WHERE amname LIKE 'iqdb%' AND (opcname LIKE 'bit%' OR opcname LIKE 'iqhalf%') AND amvalidate(o.oid);

CREATE TABLE element (id int, v iqhalfvec(8), b bit(70));
INSERT INTO element SELECT i, ARRAY(SELECT (hashint4(i * 31 + j) % 1000) / 64.0 FROM generate_series(1, 8) j)::real[]::iqvector(8)::iqhalfvec,
	(SELECT string_agg((hashint4(i * 71 + j) & 1)::text, '' ORDER BY j) FROM generate_series(1, 70) j)::bit(70)
FROM generate_series(1, 400) i;
INSERT INTO element SELECT i, CASE WHEN i % 2 = 0 THEN array_fill(0, ARRAY[8])::real[]::iqvector(8)::iqhalfvec END, 0::bit(70)
FROM generate_series(401, 420) i;
ANALYZE element;

-- How many of the rows that an index hands out are in another order than the operator's values, how many are missing, and
-- how many of the nearest ten are not those of a sequential scan: all 0 for an exact method, the first two for every one.
CREATE FUNCTION pg_temp.wrong(method text, class text, operator text, col text, OUT disorder int, OUT missing int, OUT far int)
LANGUAGE plpgsql AS
$$
DECLARE
	query text;
	mine float8[];
	theirs float8[];
BEGIN
	EXECUTE format('CREATE INDEX element_i ON element USING %I (%I %I)', method, col, class);
	query := format('SELECT array_agg(d) FROM (SELECT %1$I %2$s (SELECT %1$I FROM element WHERE id = 17) AS d FROM element '
		'WHERE %1$I IS NOT NULL ORDER BY %1$I %2$s (SELECT %1$I FROM element WHERE id = 17)) q', col, operator);
	SET LOCAL enable_seqscan = off;
	EXECUTE query INTO mine;
	SET LOCAL enable_seqscan = on;
	SET LOCAL enable_indexscan = off;
	EXECUTE query INTO theirs;
	SET LOCAL enable_indexscan = on;
	disorder := (SELECT count(*) FROM unnest(mine[1:10], mine[2:11]) u (a, b) WHERE a > b);
	missing := cardinality(theirs) - cardinality(mine);
	far := (SELECT count(*) FROM unnest(mine[1:10]) d WHERE d > theirs[10]);
	IF EXISTS (SELECT FROM iqdb_check('element_i')) THEN
		RAISE 'not sound: %', (SELECT string_agg(f, ', ') FROM iqdb_check('element_i') f);
	END IF;
	DROP INDEX element_i;
END
$$;

SELECT method, class, w.disorder, w.missing, CASE WHEN method = 'iqdb_flat' OR w.far > 2 THEN w.far END
FROM unnest(ARRAY['iqdb_flat', 'iqdb_hnsw', 'iqdb_ivf']) method,
	(VALUES ('iqhalfvec_l2_ops', '<->', 'v'), ('iqhalfvec_ip_ops', '<#>', 'v'), ('iqhalfvec_cosine_ops', '<=>', 'v'),
		('iqhalfvec_l1_ops', '<+>', 'v'), ('iqhalfvec_hamming_ops', '<~>', 'v'),
		('bit_hamming_ops', '<~>', 'b'), ('bit_jaccard_ops', '<%>', 'b')) c (class, operator, col),
	LATERAL pg_temp.wrong(method, class, operator, col) w;

-- by default, by expression, by domain; what plans use; changed rows
SET enable_seqscan = off;
CREATE INDEX element_v ON element USING iqdb_hnsw (v);
CREATE INDEX element_b ON element USING iqdb_flat ((subvector(v, 1, 4)::iqhalfvec(4)) iqhalfvec_l1_ops);
CREATE DOMAIN signs AS bit(5);
CREATE TABLE marked (id int, s signs);
CREATE INDEX marked_s ON marked USING iqdb_ivf (s bit_jaccard_ops);
INSERT INTO marked VALUES (1, B'11111'), (2, B'00001'), (3, B'00000'), (4, NULL), (5, B'10011');
SELECT id, s <%> B'10001' FROM marked ORDER BY s <%> B'10001';
EXPLAIN (COSTS OFF) SELECT id FROM marked ORDER BY s <%> B'10001' LIMIT 1;
EXPLAIN (COSTS OFF) SELECT id FROM element ORDER BY v <-> '[1,2,3,4,5,6,7,8]' LIMIT 1;
EXPLAIN (COSTS OFF) SELECT id FROM element ORDER BY subvector(v, 1, 4)::iqhalfvec(4) <+> '[1,2,3,4]' LIMIT 1;
UPDATE element SET v = '[1,2,3,4,5,6,7,8]' WHERE id = 5;
DELETE FROM element WHERE id % 3 = 0;
VACUUM element;
SELECT id, v <-> '[1,2,3,4,5,6,7,9]' FROM element ORDER BY v <-> '[1,2,3,4,5,6,7,9]' LIMIT 1;
SELECT id FROM marked ORDER BY s <%> NULL LIMIT 1;
SELECT * FROM iqdb_check('element_v');
SELECT query_count, mean_recall > 0.9 FROM iqdb_recall('element_v', 5);
SELECT query_count, mean_recall FROM iqdb_recall('marked_s', 2, queries => ARRAY[B'10001', B'00000']);

-- half the bytes of floats, and an eighth of a byte a bit; own files have none of them
SELECT type, memory, disk FROM unnest(ARRAY['iqvector', 'iqhalfvec', 'vector', 'halfvec', 'bit']) type,
	LATERAL (SELECT memory / 1000000 AS memory, disk / 1000000 AS disk FROM iqdb_estimate('flat', 1000000, 1024, '', type)) e;

-- what is refused
CREATE TABLE wide (id int, b bit varying(8), one bit, v iqhalfvec, other text);
SELECT pg_temp.error_of('CREATE INDEX ON wide USING iqdb_flat (b bit_hamming_ops)');
SELECT pg_temp.error_of('CREATE INDEX ON wide USING iqdb_flat (v)');
SELECT pg_temp.error_of('CREATE INDEX ON wide USING iqdb_flat ((b::bit) bit_hamming_ops)');
SELECT pg_temp.error_of('CREATE INDEX ON wide USING iqdb_flat (other)');
SELECT pg_temp.error_of('CREATE INDEX ON marked USING iqdb_flat (s)');
SELECT pg_temp.error_of('CREATE INDEX ON marked USING iqdb_ivf (s bit_hamming_ops) WITH (quantization = pq)');
SELECT pg_temp.error_of('CREATE INDEX ON element USING iqdb_flat (v iqvector_l2_ops)');
SELECT pg_temp.error_of($$SELECT id FROM element ORDER BY v <-> '[1,2]' LIMIT 1$$);
SELECT pg_temp.error_of($$SELECT id FROM marked ORDER BY s <%> B'11' LIMIT 1$$);
SELECT pg_temp.error_of($$SELECT iqdb_recall('marked_s', 2, queries => ARRAY['[1,2,3,4,5]']::iqvector[])$$);
SELECT pg_temp.error_of($$SELECT iqdb_recall('marked_s', 2, queries => ARRAY[B'11'])$$);
SELECT pg_temp.error_of($$SELECT iqdb_estimate('flat', 10, 3, '', 'text')$$);
SELECT pg_temp.error_of($$SELECT iqdb_estimate('flat', 10, 16001, '', 'iqhalfvec')$$);
CREATE INDEX wide_one ON wide USING iqdb_flat (one bit_hamming_ops);
INSERT INTO wide (id, one) VALUES (1, B'1'), (2, B'0');
SELECT id FROM wide ORDER BY one <~> B'0';

SET client_min_messages = warning;
DROP TABLE element, marked, wide;
DROP DOMAIN signs;
DROP OPERATOR <~> (bit, bit), <%> (bit, bit) CASCADE;
SELECT count(*) FROM pg_opclass WHERE opcname LIKE 'bit\_%\_ops' AND opcmethod <> 403 AND opcmethod IN (SELECT oid FROM pg_am WHERE amname LIKE 'iqdb%');
