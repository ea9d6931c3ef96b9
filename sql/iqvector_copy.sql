-- iqvector: COPY in text, CSV and binary, and binary input that lies
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

CREATE TABLE iqvector_source (id int, v iqvector(3), more iqvector[]);
CREATE TABLE iqvector_target (LIKE iqvector_source);
INSERT INTO iqvector_source VALUES (1, '[0,0,0]', NULL), (2, '[1,2,3]', ARRAY['[1]', '[2,3]']::iqvector[]),
	(3, '[1e-45,-0,3.4028235e38]', '{}'), (4, NULL, ARRAY[NULL, '[0.1]']::iqvector[]);

-- there and back through a file of the server
CREATE FUNCTION pg_temp.copy_round_trip(options text) RETURNS SETOF iqvector_target LANGUAGE plpgsql AS
$$
DECLARE
	file text := current_setting('data_directory') || '/iqvector_copy_test.tmp';
BEGIN
	TRUNCATE iqvector_target;
	EXECUTE format('COPY iqvector_source TO %L WITH (%s)', file, options);
	EXECUTE format('COPY iqvector_target FROM %L WITH (%s)', file, options);
	EXECUTE format('COPY (SELECT) TO PROGRAM %L', format('cat >/dev/null; rm %L', file));
	RETURN QUERY SELECT * FROM iqvector_target ORDER BY id;
END
$$;
SELECT * FROM pg_temp.copy_round_trip('FORMAT text');
SELECT * FROM pg_temp.copy_round_trip('FORMAT csv, HEADER');
SELECT * FROM pg_temp.copy_round_trip('FORMAT binary');
SELECT count(*) AS changed FROM iqvector_source AS s JOIN iqvector_target AS t USING (id)
WHERE iqvector_send(s.v) <> iqvector_send(t.v);

COPY iqvector_source (id, v) TO stdout;
COPY iqvector_source (id, v) TO stdout WITH (FORMAT csv);
COPY iqvector_target (id, v) FROM stdin;
10	[1,2,3]
11	\N
12	 [ 4, 5 ,6 ]
\.
COPY iqvector_target (id, v) FROM stdin WITH (FORMAT csv);
13,"[7,8,9]"
14,
\.
SELECT id, v FROM iqvector_target WHERE id >= 10 ORDER BY id;

-- one vector as the bytes of a binary COPY: signature, flags, no extension, one field of that many bytes, end
CREATE TEMP TABLE received (v iqvector);
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
	'\x000100003f800000', '\x000300003f8000004000000040400000', '\x000200008000000000000001', '\x000100007f7fffff',
	-- cut short
	'\x', '\x00', '\x0001', '\x00010000', '\x000100003f8000', '\x000200003f800000',
	-- too long
	'\x000100003f80000000', '\x000100003f8000003f800000',
	-- dimension lies
	'\x00000000', '\x00000001', '\xffff0000', '\x80000000', '\x3e810000', '\x3e800000',
	-- reserved field used
	'\x000100013f800000', '\x0001ffff3f800000',
	-- not numbers
	'\x000100007fc00000', '\x00010000ffc00001', '\x000100007f800001', '\x000100007f800000', '\x00010000ff800000',
	'\x000200003f8000007fc00000'
]::bytea[]) AS bytes;

-- the type modifier holds for binary input too
ALTER TABLE received ALTER v TYPE iqvector(2);
SELECT pg_temp.receive('\x000200003f80000040000000'), pg_temp.receive('\x000100003f800000');

-- the bytes of an array are told from those of a vector
SELECT bytes, pg_temp.receive(bytes)
FROM unnest(ARRAY[array_send(ARRAY[1, 2]::real[]), array_send(ARRAY[1, 2]::float8[]), array_send(ARRAY[1, 2]),
	array_send(ARRAY[1.5]), array_send('{}'::real[]), array_send(ARRAY['a'])]) AS bytes;

-- bytes of numbers alone, which drivers send for a Float32Array, are told where to go
CREATE FUNCTION pg_temp.hint_of(program text) RETURNS text LANGUAGE plpgsql AS
$$
DECLARE
	hint text;
BEGIN
	EXECUTE format('COPY received FROM PROGRAM %L WITH (FORMAT binary)', program);
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' | ', SQLERRM, hint);
END
$$;
SELECT pg_temp.hint_of(format(
	$$printf 'PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0\0\001\0\0\0\014%s\0\0\240\100\0\0\300\100\377\377'$$, first))
FROM unnest(ARRAY['\0\0\200\100', '\315\314\314\075', '\0\100\200\077']) AS first;

DROP FUNCTION pg_temp.copy_round_trip(text);
DROP TABLE iqvector_source, iqvector_target;
