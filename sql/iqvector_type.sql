-- iqvector: text in and out, type modifier, storage
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

-- text that is accepted
SELECT input, input::iqvector AS output
FROM unnest(ARRAY[
	'[1,2,3]', '[-1,-2,-3]', '[1.,2.,3.]', '[.5,+.25,-.125]', ' [ 1,  2 ,    3  ] ', '[1.23456]', '[0]', '[-0]',
	'[00012]',
	'[1e3,1E3,1e+3,1e-3]', '[1.5e38,-1.5e38]', '[1.5e+38,-1.5e+38]', '[1.5e-38,-1.5e-38]', '[16777217]',
	'[0.1,0.2,0.3]',
	'[3.4028235e38,-3.4028235e38]', '[1.1754944e-38]', '[1e-45,-1e-45]', '[1e-46,-1e-46]',
	'[0e999999999999,1e-999999999999]',
	'[123456789012345678901234567890e-29]', '[0.000000000000000000000000000000000000000000000000000001e54]'
]) AS input;

SELECT E'\t\n\x0b\f\r[\t1\n,\x0b2\f,\r3]\t\n\x0b\f\r'::iqvector;

-- numbers are rounded once, from all their digits, ties to even (bits shown)
SELECT input, encode(substr(iqvector_send(input::iqvector), 5), 'hex') AS bits
FROM unnest(ARRAY[
	'[1.00000005960464477539062500]',                  -- half way up from 1: even is 1
	'[1.0000000596046447753906250000000000000000000000000000000000001]', -- a little more than half way
	'[1.0000000596046447753906249999999999999999999999999999999999999]', -- a little less
	'[1.00000017881393432617187500]',                  -- half way, the even one is above
	'[340282356779733661637539395458142568447]',       -- just below the limit: the largest float
	'[340282356779733661637539395458142568447.9]',
	'[0.7006492321624085354619e-45,-0.7006492321624085354619e-45]', -- just above half the smallest: the smallest
	'[0.7006492321624085354618e-45,-0.7006492321624085354618e-45]', -- just below: a zero of the same sign
	'[1.1754942106924411e-38]',                        -- the largest subnormal number
	'[1.1754942807573642e-38,1.1754942807573643e-38]'  -- around the middle between it and the smallest normal one
]) AS input;

-- a float prints as the shortest text that reads back to it
SELECT count(*) AS differing
FROM generate_series(1, 2000) AS i,
	LATERAL (SELECT format('[%s,%s]', (i * 1.37 - 999)::real / 7, exp((i - 1000) / 13.0)::real)::iqvector AS v) AS a
WHERE iqvector_send(v::text::iqvector) <> iqvector_send(v);

-- text that is not
SELECT input, pg_temp.error_of(format('SELECT %L::iqvector', input)) AS error
FROM unnest(ARRAY[
	'[hello,1]', '[NaN,1]', '[nan,1]', '[-nan(1)]', '[Infinity,1]', '[-Infinity,1]', '[inf]', '[4e38,1]', '[-4e38,1]',
	'[340282356779733661637539395458142568448]', '[1e999999999999]',
	'[1,2,3', '[1,2,3]9', '[1,2][3]', '1,2,3', '', '   ', '[', '[ ', '[,', '[]', '[ ]', '[,]', '[1,]', '[1a]', '[1,,3]',
	'[1, ,3]', '[1 2]', '[0x10]', '[1e]', '[1e+]', '[e1]', '[.]', '[+]', '[--1]', '[1.2.3]', '{1,2}', '[''1'']'
]) AS input;

-- the text of an array is told what to do
SELECT '{1,2,3}'::iqvector;

-- dimensions at the limit and beyond
SELECT iqvector_dims(('[' || repeat('1,', 15999) || '1]')::iqvector);
SELECT pg_temp.error_of($$SELECT ('[' || repeat('1,', 16000) || '1]')::iqvector$$);
SELECT pg_temp.error_of($$SELECT ('[' || repeat('1,', 16000) || 'junk]')::iqvector$$);

-- type modifier
SELECT '[1,2,3]'::iqvector(3);
SELECT unnest('{"[1,2,3]", "[4,5,6]"}'::iqvector(3)[]);
SELECT expression, pg_temp.error_of('SELECT ' || expression) AS error
FROM unnest(ARRAY[
	$$'[1,2,3]'::iqvector(2)$$, $$'[1,2,3]'::iqvector::iqvector(2)$$, $$'{"[1,2,3]"}'::iqvector(2)[]$$,
	$$'[1,2,3]'::iqvector(3, 2)$$, $$'[1,2,3]'::iqvector('a')$$, $$'[1,2,3]'::iqvector(0)$$,
	$$'[1,2,3]'::iqvector(-1)$$,
	$$'[1,2,3]'::iqvector(16001)$$
]) AS expression;

CREATE TABLE iqvector_typed (three iqvector(3), many iqvector(16000), loose iqvector);
SELECT attname, format_type(atttypid, atttypmod), attstorage, attalign
FROM pg_attribute WHERE attrelid = 'iqvector_typed'::regclass AND attnum > 0 ORDER BY attnum;
INSERT INTO iqvector_typed (three) VALUES ('[1,2,3]'), (NULL);
SELECT pg_temp.error_of($$INSERT INTO iqvector_typed (three) VALUES ('[1,2]')$$);
SELECT pg_temp.error_of($$INSERT INTO iqvector_typed (three) SELECT '[1,2,3,4]'::iqvector$$);
SELECT pg_temp.error_of($$ALTER TABLE iqvector_typed ALTER three TYPE iqvector(2)$$);
-- giving up a modifier rewrites nothing, asking for one checks every row
SELECT pg_relation_filenode('iqvector_typed') AS file \gset
ALTER TABLE iqvector_typed ALTER three TYPE iqvector;
SELECT pg_relation_filenode('iqvector_typed') = :file AS not_rewritten;
SELECT three FROM iqvector_typed;
ALTER TABLE iqvector_typed ALTER three TYPE iqvector(3);
SELECT pg_relation_filenode('iqvector_typed') = :file AS not_rewritten;

-- stored inline, with a short header, and out of line: the same vector comes back
TRUNCATE iqvector_typed;
INSERT INTO iqvector_typed (loose)
SELECT array_agg(i)::iqvector FROM unnest(ARRAY[1, 29, 30, 31, 498, 2000, 16000]) AS dim, generate_series(1, dim) AS i
	GROUP BY dim;
SELECT iqvector_dims(loose) AS dims, pg_column_size(loose) > 0 AS stored,
	loose = (SELECT array_agg(i)::iqvector FROM generate_series(1, iqvector_dims(loose)) AS i) AS same,
	loose <-> (SELECT array_agg(i)::iqvector FROM generate_series(1, iqvector_dims(loose)) AS i) AS distance
FROM iqvector_typed ORDER BY 1;
UPDATE iqvector_typed SET loose = loose || '[0]' WHERE iqvector_dims(loose) < 16000;
SELECT iqvector_dims(loose) AS dims, subvector(loose, iqvector_dims(loose) - 1, 2) AS tail FROM iqvector_typed
	ORDER BY 1;
DROP TABLE iqvector_typed;

-- the layout is pgvector's: header, int16 dimension, int16 zero, floats
SELECT typlen, typbyval, typalign, typstorage FROM pg_type WHERE oid = 'iqvector'::regtype;
SELECT pg_column_size('[1,2,3]'::iqvector) AS size, iqvector_send('[1,-2,0.5]') AS bytes;
