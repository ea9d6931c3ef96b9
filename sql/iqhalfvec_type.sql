-- iqhalfvec: text and binary in and out, type modifier, storage
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
SELECT input, input::iqhalfvec AS output
FROM unnest(ARRAY[
	'[1,2,3]', ' [ -1,  2. ,    .5  ] ', '[0.1,0.2,0.3]', '[1.23456]', '[-0]', '[1e3,1e-3]',
	'[2048,2049,2050,2051]',                           -- eleven digits: above 2048 only even numbers are
	'[65504,-65504]', '[65519.996]',                   -- the largest, and what is rounded to it
	'[6.1035156e-05,6.0975552e-05]',                   -- the smallest normal one and the largest below
	'[5.9604645e-08,-5.9604645e-08]',                  -- the smallest
	'[2.9802323e-08,-2.9802323e-08,2.9802326e-08]',    -- half of it is a zero of its sign, a little more is not
	'[1e-400]', '[123456789012345678901234567890e-29]'
]) AS input;

-- numbers become the nearest half, ties to even, by way of the nearest float (bits shown)
SELECT input, encode(substr(iqhalfvec_send(input::iqhalfvec), 5), 'hex') AS bits
FROM unnest(ARRAY[
	'[1.00048828125,1.00146484375]',                   -- half way: 1 is even, and 1.001953125
	'[1.0004884,1.0004881]',
	'[1.00048828125000000000001]',                     -- the nearest float is half way
	'[65519.998,65519.99]', '[-0.00006103515625,0.00006097555160522461]'
]) AS input;

-- every finite half prints as text that reads back to it, and as a float would
SELECT count(*) AS halves, count(*) FILTER (WHERE iqhalfvec_send(v::text::iqhalfvec) <> iqhalfvec_send(v)) AS changed,
	count(*) FILTER (WHERE v::text <> v::iqvector::text) AS other_text
FROM generate_series(0, 65535) AS bits,
	LATERAL (SELECT bytea_to_iqhalfvec(set_byte(set_byte('\x0000', 0, bits & 255), 1, bits >> 8)) AS v) AS t
WHERE bits & 31744 <> 31744;

-- text that is not
SELECT input, pg_temp.error_of(format('SELECT %L::iqhalfvec', input)) AS error
FROM unnest(ARRAY[
	'[hello,1]', '[NaN,1]', '[-Infinity,1]', '[inf]', '[65520,1]', '[1, -65520 ,x]', '[1e39]', '[1e400]',
	'[1,2,3', '[1,2,3]9', '1,2,3', '', '[', '[]', '[1,]', '[1a]', '[1,,3]', '[1 2]', '[0x10]', '{1,2}'
]) AS input;

-- dimensions at the limit and beyond
SELECT iqhalfvec_dims(('[' || repeat('1,', 15999) || '1]')::iqhalfvec);
SELECT pg_temp.error_of($$SELECT ('[' || repeat('1,', 16000) || '1]')::iqhalfvec$$);

-- type modifier
SELECT '[1,2,3]'::iqhalfvec(3);
SELECT unnest('{"[1,2,3]", "[4,5,6]"}'::iqhalfvec(3)[]);
SELECT expression, pg_temp.error_of('SELECT ' || expression) AS error
FROM unnest(ARRAY[
	$$'[1,2,3]'::iqhalfvec(2)$$, $$'[1,2,3]'::iqhalfvec::iqhalfvec(2)$$, $$'[1,2,3]'::iqhalfvec(3, 2)$$,
	$$'[1,2,3]'::iqhalfvec('a')$$, $$'[1,2,3]'::iqhalfvec(0)$$, $$'[1,2,3]'::iqhalfvec(16001)$$
]) AS expression;

CREATE TABLE iqhalfvec_typed (three iqhalfvec(3), loose iqhalfvec);
SELECT attname, format_type(atttypid, atttypmod), attstorage, attalign
FROM pg_attribute WHERE attrelid = 'iqhalfvec_typed'::regclass AND attnum > 0 ORDER BY attnum;
INSERT INTO iqhalfvec_typed (three) VALUES ('[1,2,3]'), (NULL);
SELECT pg_temp.error_of($$INSERT INTO iqhalfvec_typed (three) VALUES ('[1,2]')$$);
SELECT pg_temp.error_of($$ALTER TABLE iqhalfvec_typed ALTER three TYPE iqhalfvec(2)$$);
-- giving up a modifier rewrites nothing
SELECT pg_relation_filenode('iqhalfvec_typed') AS file \gset
ALTER TABLE iqhalfvec_typed ALTER three TYPE iqhalfvec;
SELECT pg_relation_filenode('iqhalfvec_typed') = :file AS not_rewritten;

-- stored inline, with a short header, and out of line: the same vector comes back
TRUNCATE iqhalfvec_typed;
INSERT INTO iqhalfvec_typed (loose)
SELECT array_agg(i % 2000)::iqhalfvec FROM unnest(ARRAY[1, 58, 59, 60, 1000, 4000, 16000]) AS dim,
	generate_series(1, dim) AS i GROUP BY dim;
SELECT iqhalfvec_dims(loose) AS dims,
	loose = (SELECT array_agg(i % 2000)::iqhalfvec FROM generate_series(1, iqhalfvec_dims(loose)) AS i) AS same,
	loose <-> (SELECT array_agg(i % 2000)::iqhalfvec FROM generate_series(1, iqhalfvec_dims(loose)) AS i) AS distance
FROM iqhalfvec_typed ORDER BY 1;
DROP TABLE iqhalfvec_typed;

-- the layout is pgvector's: header, int16 dimension, int16 zero, halves
SELECT typlen, typbyval, typalign, typstorage FROM pg_type WHERE oid = 'iqhalfvec'::regtype;
SELECT pg_column_size('[1,2,3]'::iqhalfvec) AS size, iqhalfvec_send('[1,-2,0.5]') AS bytes;

-- COPY there and back, in each format
CREATE TABLE iqhalfvec_source (id int, v iqhalfvec(3), more iqhalfvec[]);
CREATE TABLE iqhalfvec_target (LIKE iqhalfvec_source);
INSERT INTO iqhalfvec_source VALUES (1, '[0,0,0]', NULL), (2, '[1,2,3]', ARRAY['[1]', '[2,3]']::iqhalfvec[]),
	(3, '[6e-8,-0,65504]', '{}'), (4, NULL, ARRAY[NULL, '[0.1]']::iqhalfvec[]);
CREATE FUNCTION pg_temp.copy_round_trip(options text) RETURNS SETOF iqhalfvec_target LANGUAGE plpgsql AS
$$
DECLARE
	file text := current_setting('data_directory') || '/iqhalfvec_copy_test.tmp';
BEGIN
	TRUNCATE iqhalfvec_target;
	EXECUTE format('COPY iqhalfvec_source TO %L WITH (%s)', file, options);
	EXECUTE format('COPY iqhalfvec_target FROM %L WITH (%s)', file, options);
	EXECUTE format('COPY (SELECT) TO PROGRAM %L', format('cat >/dev/null; rm %L', file));
	RETURN QUERY SELECT * FROM iqhalfvec_target ORDER BY id;
END
$$;
SELECT * FROM pg_temp.copy_round_trip('FORMAT text');
SELECT * FROM pg_temp.copy_round_trip('FORMAT csv, HEADER');
SELECT * FROM pg_temp.copy_round_trip('FORMAT binary');
SELECT count(*) AS changed FROM iqhalfvec_source AS s JOIN iqhalfvec_target AS t USING (id)
WHERE iqhalfvec_send(s.v) <> iqhalfvec_send(t.v);
DROP FUNCTION pg_temp.copy_round_trip(text);
DROP TABLE iqhalfvec_source, iqhalfvec_target;

-- one vector as the bytes of a binary COPY: signature, flags, no extension, one field of that many bytes, end
CREATE TEMP TABLE received (v iqhalfvec);
CREATE FUNCTION pg_temp.receive(bytes bytea) RETURNS text LANGUAGE plpgsql AS
$$
DECLARE
	whole bytea := '\x5047434f50590aff0d0a00'::bytea || '\x0000000000000000'::bytea || '\x0001'::bytea
		|| int4send(length(bytes)) || bytes
		|| '\xffff'::bytea;
	program text := '';
	result text;
BEGIN
	FOR i IN 0 .. length(whole) - 1 LOOP
		program := program || '\' || (get_byte(whole, i) / 64)::text || (get_byte(whole, i) / 8 % 8)::text
			|| (get_byte(whole, i) % 8)::text;
	END LOOP;
	TRUNCATE received;
	program := format('printf ''%s''', program);
	result := pg_temp.error_of(format('COPY received FROM PROGRAM %L WITH (FORMAT binary)', program));
	RETURN CASE WHEN result = 'no error' THEN (SELECT v::text FROM received) ELSE result END;
END
$$;
SELECT bytes, pg_temp.receive(bytes)
FROM unnest(ARRAY[
	-- right
	'\x000100003c00', '\x000300003c0040004200', '\x0002000080000001', '\x000100007bff',
	-- cut short, and too long
	'\x', '\x0001', '\x00010000', '\x000100003c', '\x000200003c00', '\x000100003c0000',
	-- dimension lies, reserved field used
	'\x00000000', '\xffff0000', '\x3e810000', '\x3e800000', '\x000100013c00', '\x0001ffff3c00',
	-- not numbers
	'\x000100007e00', '\x00010000fc01', '\x000100007c00', '\x000200003c00fc00'
]::bytea[]) AS bytes;
ALTER TABLE received ALTER v TYPE iqhalfvec(2);
SELECT pg_temp.receive('\x000200003c004000'), pg_temp.receive('\x000100003c00'),
	pg_temp.receive(array_send(ARRAY[1, 2]::real[]));
