-- iqdb--0.1.0--0.2.0.sql - makes of what iqdb 0.1.0 made what 0.2.0 makes; and of what sources after it made that called
-- themselves 0.1.0, too, as long as they had no type iqhalfvec. What these may have made already is replaced.
--
-- Nothing is dropped that an index, a column or a cast can hang on: types, operators and operator classes stay what they are.
-- Functions whose arguments or columns have changed are made anew; a view that calls one stands in the way, and is to be
-- dropped before and made again. t/043_update.pl compares the outcome with iqdb--0.2.0.sql.

\echo Use "ALTER EXTENSION iqdb UPDATE TO '0.2.0'" to load this file. \quit

-- --------------------------------------------------------------------------
-- Functions with other arguments or columns
-- --------------------------------------------------------------------------

DROP FUNCTION IF EXISTS iqdb_indexes(regclass);
DROP FUNCTION iqdb_index_stats(regclass);
DROP FUNCTION IF EXISTS iqdb_ground_truth(regclass, anyarray, integer);
DROP FUNCTION IF EXISTS iqdb_recall(regclass, integer, integer, iqvector[]);
DROP FUNCTION IF EXISTS iqdb_recall(regclass, integer, integer, anyarray, boolean);
DROP FUNCTION IF EXISTS iqdb_estimate(text, bigint, integer, text);

-- --------------------------------------------------------------------------
-- Type iqvector is the preferred one of the two: ALTER TYPE has no word for that
-- --------------------------------------------------------------------------

UPDATE pg_catalog.pg_type SET typispreferred = true WHERE oid = 'iqvector'::pg_catalog.regtype;

-- --------------------------------------------------------------------------
-- What is new, or described otherwise
-- --------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION iqvector(iqvector, integer DEFAULT -1, boolean DEFAULT false) RETURNS iqvector
	AS 'MODULE_PATHNAME', 'iqvector_enforce_typmod' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
	SUPPORT iqvector_typmod_support;

CREATE OR REPLACE FUNCTION array_to_iqvector(integer[], integer DEFAULT -1, boolean DEFAULT false) RETURNS iqvector
	AS 'MODULE_PATHNAME', 'iqvector_from_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;

CREATE OR REPLACE FUNCTION array_to_iqvector(real[], integer DEFAULT -1, boolean DEFAULT false) RETURNS iqvector
	AS 'MODULE_PATHNAME', 'iqvector_from_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;

CREATE OR REPLACE FUNCTION array_to_iqvector(double precision[], integer DEFAULT -1, boolean DEFAULT false) RETURNS iqvector
	AS 'MODULE_PATHNAME', 'iqvector_from_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;

CREATE OR REPLACE FUNCTION array_to_iqvector(numeric[], integer DEFAULT -1, boolean DEFAULT false) RETURNS iqvector
	AS 'MODULE_PATHNAME', 'iqvector_from_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;

CREATE OR REPLACE FUNCTION iqvector_to_float4(iqvector, integer DEFAULT -1, boolean DEFAULT false) RETURNS real[]
	AS 'MODULE_PATHNAME', 'iqvector_to_float4' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;

CREATE OR REPLACE FUNCTION jsonb_to_iqvector(jsonb, integer DEFAULT -1, boolean DEFAULT false) RETURNS iqvector
	AS 'MODULE_PATHNAME', 'iqvector_from_jsonb' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 50;

CREATE OR REPLACE FUNCTION json_to_iqvector(json, integer DEFAULT -1, boolean DEFAULT false) RETURNS iqvector
	AS 'MODULE_PATHNAME', 'iqvector_from_json' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 50;
COMMENT ON FUNCTION json_to_iqvector(json, integer, boolean) IS 'convert json array of numbers to iqvector';

CREATE OR REPLACE FUNCTION iqvector_to_json(iqvector) RETURNS json
	AS 'MODULE_PATHNAME', 'iqvector_to_json' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 50;
COMMENT ON FUNCTION iqvector_to_json(iqvector) IS 'convert iqvector to json array of numbers';

CREATE OR REPLACE FUNCTION bytea_to_iqvector(bytea) RETURNS iqvector
	AS 'MODULE_PATHNAME', 'iqvector_from_bytea' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;
COMMENT ON FUNCTION bytea_to_iqvector(bytea) IS 'convert little-endian single-precision numbers to iqvector';

CREATE OR REPLACE FUNCTION iqvector_to_bytea(iqvector) RETURNS bytea
	AS 'MODULE_PATHNAME', 'iqvector_to_bytea' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;
COMMENT ON FUNCTION iqvector_to_bytea(iqvector) IS 'convert iqvector to little-endian single-precision numbers';

DO $$
BEGIN
	IF NOT EXISTS (SELECT FROM pg_catalog.pg_cast WHERE castsource = 'json'::pg_catalog.regtype AND casttarget = 'iqvector'::pg_catalog.regtype) THEN
		CREATE CAST (json AS iqvector)
			WITH FUNCTION json_to_iqvector(json, integer, boolean) AS ASSIGNMENT;
	END IF;
END
$$;

-- to_json, to_jsonb, row_to_json and json_agg look for this one.
DO $$
BEGIN
	IF NOT EXISTS (SELECT FROM pg_catalog.pg_cast WHERE castsource = 'iqvector'::pg_catalog.regtype AND casttarget = 'json'::pg_catalog.regtype) THEN
		CREATE CAST (iqvector AS json)
			WITH FUNCTION iqvector_to_json(iqvector) AS ASSIGNMENT;
	END IF;
END
$$;

-- Distances of iqvector
CREATE OR REPLACE FUNCTION iqvector_distance_support(internal) RETURNS internal
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION iqvector_distance_support(internal) IS 'planner support: the cost of a distance';

CREATE OR REPLACE FUNCTION inner_product(iqvector, iqvector) RETURNS float8
	AS 'MODULE_PATHNAME', 'iqvector_inner_product' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10
	SUPPORT iqvector_distance_support;

CREATE OR REPLACE FUNCTION l2_distance(iqvector, iqvector) RETURNS float8
	AS 'MODULE_PATHNAME', 'iqvector_l2_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10
	SUPPORT iqvector_distance_support;

CREATE OR REPLACE FUNCTION iqvector_negative_inner_product(iqvector, iqvector) RETURNS float8
	AS 'MODULE_PATHNAME', 'iqvector_negative_inner_product' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10
	SUPPORT iqvector_distance_support;

CREATE OR REPLACE FUNCTION cosine_distance(iqvector, iqvector) RETURNS float8
	AS 'MODULE_PATHNAME', 'iqvector_cosine_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10
	SUPPORT iqvector_distance_support;

CREATE OR REPLACE FUNCTION l1_distance(iqvector, iqvector) RETURNS float8
	AS 'MODULE_PATHNAME', 'iqvector_l1_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10
	SUPPORT iqvector_distance_support;

CREATE OR REPLACE FUNCTION hamming_distance(iqvector, iqvector) RETURNS float8
	AS 'MODULE_PATHNAME', 'iqvector_hamming_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10
	SUPPORT iqvector_distance_support;

CREATE OR REPLACE FUNCTION l2_norm(iqvector) RETURNS float8
	AS 'MODULE_PATHNAME', 'iqvector_norm' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;
COMMENT ON FUNCTION l2_norm(iqvector) IS 'Euclidean norm';

CREATE OR REPLACE FUNCTION iqvector_sum(double precision[]) RETURNS iqvector
	AS 'MODULE_PATHNAME', 'iqvector_sum' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;
COMMENT ON FUNCTION iqvector_sum(double precision[]) IS 'aggregate final function';

CREATE OR REPLACE AGGREGATE sum(iqvector) (
	SFUNC = iqvector_accum,
	STYPE = double precision[],
	FINALFUNC = iqvector_sum,
	COMBINEFUNC = iqvector_combine,
	INITCOND = '{0}',
	PARALLEL = SAFE
);

-- Type iqhalfvec
CREATE TYPE iqhalfvec;

CREATE OR REPLACE FUNCTION iqhalfvec_in(cstring, oid, integer) RETURNS iqhalfvec
	AS 'MODULE_PATHNAME', 'iqhalfvec_in' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION iqhalfvec_in(cstring, oid, integer) IS 'I/O';

CREATE OR REPLACE FUNCTION iqhalfvec_out(iqhalfvec) RETURNS cstring
	AS 'MODULE_PATHNAME', 'iqhalfvec_out' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION iqhalfvec_out(iqhalfvec) IS 'I/O';

CREATE OR REPLACE FUNCTION iqhalfvec_typmod_in(cstring[]) RETURNS integer
	AS 'MODULE_PATHNAME', 'iqhalfvec_typmod_in' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION iqhalfvec_typmod_in(cstring[]) IS 'I/O typmod';

CREATE OR REPLACE FUNCTION iqhalfvec_recv(internal, oid, integer) RETURNS iqhalfvec
	AS 'MODULE_PATHNAME', 'iqhalfvec_recv' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION iqhalfvec_recv(internal, oid, integer) IS 'I/O';

CREATE OR REPLACE FUNCTION iqhalfvec_send(iqhalfvec) RETURNS bytea
	AS 'MODULE_PATHNAME', 'iqhalfvec_send' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION iqhalfvec_send(iqhalfvec) IS 'I/O';

CREATE TYPE iqhalfvec (
	INPUT     = iqhalfvec_in,
	OUTPUT    = iqhalfvec_out,
	TYPMOD_IN = iqhalfvec_typmod_in,
	RECEIVE   = iqhalfvec_recv,
	SEND      = iqhalfvec_send,
	ALIGNMENT = int4,
	STORAGE   = external
);
COMMENT ON TYPE iqhalfvec IS 'vector of 1 to 16000 half-precision numbers';

-- Casts of iqhalfvec
CREATE OR REPLACE FUNCTION iqhalfvec_typmod_support(internal) RETURNS internal
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION iqhalfvec_typmod_support(internal) IS 'planner support: type modifiers that need no check';

CREATE OR REPLACE FUNCTION iqhalfvec(iqhalfvec, integer DEFAULT -1, boolean DEFAULT false) RETURNS iqhalfvec
	AS 'MODULE_PATHNAME', 'iqhalfvec_enforce_typmod' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
	SUPPORT iqhalfvec_typmod_support;
COMMENT ON FUNCTION iqhalfvec(iqhalfvec, integer, boolean) IS 'check the dimensions a type modifier asks for';

CREATE OR REPLACE FUNCTION array_to_iqhalfvec(integer[], integer DEFAULT -1, boolean DEFAULT false) RETURNS iqhalfvec
	AS 'MODULE_PATHNAME', 'iqhalfvec_from_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;
COMMENT ON FUNCTION array_to_iqhalfvec(integer[], integer, boolean) IS 'convert int4 array to iqhalfvec';

CREATE OR REPLACE FUNCTION array_to_iqhalfvec(real[], integer DEFAULT -1, boolean DEFAULT false) RETURNS iqhalfvec
	AS 'MODULE_PATHNAME', 'iqhalfvec_from_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;
COMMENT ON FUNCTION array_to_iqhalfvec(real[], integer, boolean) IS 'convert float4 array to iqhalfvec';

CREATE OR REPLACE FUNCTION array_to_iqhalfvec(double precision[], integer DEFAULT -1, boolean DEFAULT false) RETURNS iqhalfvec
	AS 'MODULE_PATHNAME', 'iqhalfvec_from_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;
COMMENT ON FUNCTION array_to_iqhalfvec(double precision[], integer, boolean) IS 'convert float8 array to iqhalfvec';

CREATE OR REPLACE FUNCTION array_to_iqhalfvec(numeric[], integer DEFAULT -1, boolean DEFAULT false) RETURNS iqhalfvec
	AS 'MODULE_PATHNAME', 'iqhalfvec_from_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;
COMMENT ON FUNCTION array_to_iqhalfvec(numeric[], integer, boolean) IS 'convert numeric array to iqhalfvec';

CREATE OR REPLACE FUNCTION iqhalfvec_to_float4(iqhalfvec, integer DEFAULT -1, boolean DEFAULT false) RETURNS real[]
	AS 'MODULE_PATHNAME', 'iqhalfvec_to_float4' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;
COMMENT ON FUNCTION iqhalfvec_to_float4(iqhalfvec, integer, boolean) IS 'convert iqhalfvec to float4 array';

CREATE OR REPLACE FUNCTION jsonb_to_iqhalfvec(jsonb, integer DEFAULT -1, boolean DEFAULT false) RETURNS iqhalfvec
	AS 'MODULE_PATHNAME', 'iqhalfvec_from_jsonb' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 50;
COMMENT ON FUNCTION jsonb_to_iqhalfvec(jsonb, integer, boolean) IS 'convert jsonb array of numbers to iqhalfvec';

CREATE OR REPLACE FUNCTION iqhalfvec_to_jsonb(iqhalfvec) RETURNS jsonb
	AS 'MODULE_PATHNAME', 'iqhalfvec_to_jsonb' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 50;
COMMENT ON FUNCTION iqhalfvec_to_jsonb(iqhalfvec) IS 'convert iqhalfvec to jsonb array of numbers';

CREATE OR REPLACE FUNCTION json_to_iqhalfvec(json, integer DEFAULT -1, boolean DEFAULT false) RETURNS iqhalfvec
	AS 'MODULE_PATHNAME', 'iqhalfvec_from_json' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 50;
COMMENT ON FUNCTION json_to_iqhalfvec(json, integer, boolean) IS 'convert json array of numbers to iqhalfvec';

CREATE OR REPLACE FUNCTION iqhalfvec_to_json(iqhalfvec) RETURNS json
	AS 'MODULE_PATHNAME', 'iqhalfvec_to_json' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 50;
COMMENT ON FUNCTION iqhalfvec_to_json(iqhalfvec) IS 'convert iqhalfvec to json array of numbers';

CREATE OR REPLACE FUNCTION bytea_to_iqhalfvec(bytea) RETURNS iqhalfvec
	AS 'MODULE_PATHNAME', 'iqhalfvec_from_bytea' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;
COMMENT ON FUNCTION bytea_to_iqhalfvec(bytea) IS 'convert little-endian half-precision numbers to iqhalfvec';

CREATE OR REPLACE FUNCTION iqhalfvec_to_bytea(iqhalfvec) RETURNS bytea
	AS 'MODULE_PATHNAME', 'iqhalfvec_to_bytea' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;
COMMENT ON FUNCTION iqhalfvec_to_bytea(iqhalfvec) IS 'convert iqhalfvec to little-endian half-precision numbers';

CREATE CAST (iqhalfvec AS iqhalfvec)
	WITH FUNCTION iqhalfvec(iqhalfvec, integer, boolean) AS IMPLICIT;

CREATE CAST (iqhalfvec AS real[])
	WITH FUNCTION iqhalfvec_to_float4(iqhalfvec, integer, boolean) AS ASSIGNMENT;

CREATE CAST (integer[] AS iqhalfvec)
	WITH FUNCTION array_to_iqhalfvec(integer[], integer, boolean) AS ASSIGNMENT;

CREATE CAST (real[] AS iqhalfvec)
	WITH FUNCTION array_to_iqhalfvec(real[], integer, boolean) AS ASSIGNMENT;

CREATE CAST (double precision[] AS iqhalfvec)
	WITH FUNCTION array_to_iqhalfvec(double precision[], integer, boolean) AS ASSIGNMENT;

CREATE CAST (numeric[] AS iqhalfvec)
	WITH FUNCTION array_to_iqhalfvec(numeric[], integer, boolean) AS ASSIGNMENT;

CREATE CAST (jsonb AS iqhalfvec)
	WITH FUNCTION jsonb_to_iqhalfvec(jsonb, integer, boolean) AS ASSIGNMENT;

CREATE CAST (iqhalfvec AS jsonb)
	WITH FUNCTION iqhalfvec_to_jsonb(iqhalfvec) AS ASSIGNMENT;

CREATE CAST (json AS iqhalfvec)
	WITH FUNCTION json_to_iqhalfvec(json, integer, boolean) AS ASSIGNMENT;

CREATE CAST (iqhalfvec AS json)
	WITH FUNCTION iqhalfvec_to_json(iqhalfvec) AS ASSIGNMENT;

CREATE OR REPLACE FUNCTION iqvector_to_iqhalfvec(iqvector, integer DEFAULT -1, boolean DEFAULT false) RETURNS iqhalfvec
	AS 'MODULE_PATHNAME', 'iqhalfvec_from_iqvector' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;
COMMENT ON FUNCTION iqvector_to_iqhalfvec(iqvector, integer, boolean) IS 'convert iqvector to iqhalfvec';

CREATE OR REPLACE FUNCTION iqhalfvec_to_iqvector(iqhalfvec, integer DEFAULT -1, boolean DEFAULT false) RETURNS iqvector
	AS 'MODULE_PATHNAME', 'iqvector_from_iqhalfvec' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;
COMMENT ON FUNCTION iqhalfvec_to_iqvector(iqhalfvec, integer, boolean) IS 'convert iqhalfvec to iqvector';

-- Implicit in one direction only, or an operator between the two would fit twice; in this one, so that a column of iqhalfvec
-- that is compared with an iqvector keeps its type, and its index.
CREATE CAST (iqvector AS iqhalfvec)
	WITH FUNCTION iqvector_to_iqhalfvec(iqvector, integer, boolean) AS IMPLICIT;

CREATE CAST (iqhalfvec AS iqvector)
	WITH FUNCTION iqhalfvec_to_iqvector(iqhalfvec, integer, boolean) AS ASSIGNMENT;

-- Distances of iqhalfvec
CREATE OR REPLACE FUNCTION inner_product(iqhalfvec, iqhalfvec) RETURNS float8
	AS 'MODULE_PATHNAME', 'iqhalfvec_inner_product' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10
	SUPPORT iqvector_distance_support;
COMMENT ON FUNCTION inner_product(iqhalfvec, iqhalfvec) IS 'inner product';

CREATE OR REPLACE FUNCTION l2_distance(iqhalfvec, iqhalfvec) RETURNS float8
	AS 'MODULE_PATHNAME', 'iqhalfvec_l2_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10
	SUPPORT iqvector_distance_support;
COMMENT ON FUNCTION l2_distance(iqhalfvec, iqhalfvec) IS 'Euclidean distance';

CREATE OR REPLACE FUNCTION iqhalfvec_negative_inner_product(iqhalfvec, iqhalfvec) RETURNS float8
	AS 'MODULE_PATHNAME', 'iqhalfvec_negative_inner_product' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10
	SUPPORT iqvector_distance_support;
COMMENT ON FUNCTION iqhalfvec_negative_inner_product(iqhalfvec, iqhalfvec) IS 'negative inner product';

CREATE OR REPLACE FUNCTION cosine_distance(iqhalfvec, iqhalfvec) RETURNS float8
	AS 'MODULE_PATHNAME', 'iqhalfvec_cosine_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10
	SUPPORT iqvector_distance_support;
COMMENT ON FUNCTION cosine_distance(iqhalfvec, iqhalfvec) IS 'cosine distance';

CREATE OR REPLACE FUNCTION l1_distance(iqhalfvec, iqhalfvec) RETURNS float8
	AS 'MODULE_PATHNAME', 'iqhalfvec_l1_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10
	SUPPORT iqvector_distance_support;
COMMENT ON FUNCTION l1_distance(iqhalfvec, iqhalfvec) IS 'taxicab distance';

CREATE OR REPLACE FUNCTION hamming_distance(iqhalfvec, iqhalfvec) RETURNS float8
	AS 'MODULE_PATHNAME', 'iqhalfvec_hamming_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10
	SUPPORT iqvector_distance_support;
COMMENT ON FUNCTION hamming_distance(iqhalfvec, iqhalfvec) IS 'number of components that differ';

CREATE OPERATOR <-> (
	LEFTARG = iqhalfvec, RIGHTARG = iqhalfvec, FUNCTION = l2_distance,
	COMMUTATOR = '<->'
);
COMMENT ON OPERATOR <-> (iqhalfvec, iqhalfvec) IS 'Euclidean distance';

CREATE OPERATOR <#> (
	LEFTARG = iqhalfvec, RIGHTARG = iqhalfvec, FUNCTION = iqhalfvec_negative_inner_product,
	COMMUTATOR = '<#>'
);
COMMENT ON OPERATOR <#> (iqhalfvec, iqhalfvec) IS 'negative inner product';

CREATE OPERATOR <=> (
	LEFTARG = iqhalfvec, RIGHTARG = iqhalfvec, FUNCTION = cosine_distance,
	COMMUTATOR = '<=>'
);
COMMENT ON OPERATOR <=> (iqhalfvec, iqhalfvec) IS 'cosine distance';

CREATE OPERATOR <+> (
	LEFTARG = iqhalfvec, RIGHTARG = iqhalfvec, FUNCTION = l1_distance,
	COMMUTATOR = '<+>'
);
COMMENT ON OPERATOR <+> (iqhalfvec, iqhalfvec) IS 'taxicab distance';

CREATE OPERATOR <~> (
	LEFTARG = iqhalfvec, RIGHTARG = iqhalfvec, FUNCTION = hamming_distance,
	COMMUTATOR = '<~>'
);
COMMENT ON OPERATOR <~> (iqhalfvec, iqhalfvec) IS 'number of components that differ';

-- Functions of iqhalfvec
CREATE OR REPLACE FUNCTION iqhalfvec_dims(iqhalfvec) RETURNS integer
	AS 'MODULE_PATHNAME', 'iqhalfvec_dims' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION iqhalfvec_dims(iqhalfvec) IS 'number of dimensions';

CREATE OR REPLACE FUNCTION vector_dims(iqhalfvec) RETURNS integer
	AS 'MODULE_PATHNAME', 'iqhalfvec_dims' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vector_dims(iqhalfvec) IS 'number of dimensions';

CREATE OR REPLACE FUNCTION iqhalfvec_norm(iqhalfvec) RETURNS float8
	AS 'MODULE_PATHNAME', 'iqhalfvec_norm' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;
COMMENT ON FUNCTION iqhalfvec_norm(iqhalfvec) IS 'Euclidean norm';

CREATE OR REPLACE FUNCTION vector_norm(iqhalfvec) RETURNS float8
	AS 'MODULE_PATHNAME', 'iqhalfvec_norm' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;
COMMENT ON FUNCTION vector_norm(iqhalfvec) IS 'Euclidean norm';

CREATE OR REPLACE FUNCTION l2_norm(iqhalfvec) RETURNS float8
	AS 'MODULE_PATHNAME', 'iqhalfvec_norm' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;
COMMENT ON FUNCTION l2_norm(iqhalfvec) IS 'Euclidean norm';

CREATE OR REPLACE FUNCTION l2_normalize(iqhalfvec) RETURNS iqhalfvec
	AS 'MODULE_PATHNAME', 'iqhalfvec_l2_normalize' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;
COMMENT ON FUNCTION l2_normalize(iqhalfvec) IS 'normalize with Euclidean norm';

CREATE OR REPLACE FUNCTION subvector(iqhalfvec, integer, integer) RETURNS iqhalfvec
	AS 'MODULE_PATHNAME', 'iqhalfvec_subvector' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;
COMMENT ON FUNCTION subvector(iqhalfvec, integer, integer) IS 'part of a vector: first component, number of components';

CREATE OR REPLACE FUNCTION binary_quantize(iqhalfvec) RETURNS bit
	AS 'MODULE_PATHNAME', 'iqhalfvec_binary_quantize' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;
COMMENT ON FUNCTION binary_quantize(iqhalfvec) IS 'one bit per component, set for those above zero';

-- Arithmetic of iqhalfvec
CREATE OR REPLACE FUNCTION iqhalfvec_add(iqhalfvec, iqhalfvec) RETURNS iqhalfvec
	AS 'MODULE_PATHNAME', 'iqhalfvec_add' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;
COMMENT ON FUNCTION iqhalfvec_add(iqhalfvec, iqhalfvec) IS 'implementation of + operator';

CREATE OR REPLACE FUNCTION iqhalfvec_sub(iqhalfvec, iqhalfvec) RETURNS iqhalfvec
	AS 'MODULE_PATHNAME', 'iqhalfvec_sub' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;
COMMENT ON FUNCTION iqhalfvec_sub(iqhalfvec, iqhalfvec) IS 'implementation of - operator';

CREATE OR REPLACE FUNCTION iqhalfvec_mul(iqhalfvec, iqhalfvec) RETURNS iqhalfvec
	AS 'MODULE_PATHNAME', 'iqhalfvec_mul' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;
COMMENT ON FUNCTION iqhalfvec_mul(iqhalfvec, iqhalfvec) IS 'implementation of * operator';

CREATE OR REPLACE FUNCTION iqhalfvec_concat(iqhalfvec, iqhalfvec) RETURNS iqhalfvec
	AS 'MODULE_PATHNAME', 'iqhalfvec_concat' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;
COMMENT ON FUNCTION iqhalfvec_concat(iqhalfvec, iqhalfvec) IS 'implementation of || operator';

CREATE OPERATOR + (
	LEFTARG = iqhalfvec, RIGHTARG = iqhalfvec, FUNCTION = iqhalfvec_add,
	COMMUTATOR = +
);
COMMENT ON OPERATOR + (iqhalfvec, iqhalfvec) IS 'add';

CREATE OPERATOR - (
	LEFTARG = iqhalfvec, RIGHTARG = iqhalfvec, FUNCTION = iqhalfvec_sub
);
COMMENT ON OPERATOR - (iqhalfvec, iqhalfvec) IS 'subtract';

CREATE OPERATOR * (
	LEFTARG = iqhalfvec, RIGHTARG = iqhalfvec, FUNCTION = iqhalfvec_mul,
	COMMUTATOR = *
);
COMMENT ON OPERATOR * (iqhalfvec, iqhalfvec) IS 'multiply';

CREATE OPERATOR || (
	LEFTARG = iqhalfvec, RIGHTARG = iqhalfvec, FUNCTION = iqhalfvec_concat
);
COMMENT ON OPERATOR || (iqhalfvec, iqhalfvec) IS 'concatenate';

-- Comparison of iqhalfvec
CREATE OR REPLACE FUNCTION iqhalfvec_lt(iqhalfvec, iqhalfvec) RETURNS boolean
	AS 'MODULE_PATHNAME', 'iqhalfvec_lt' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION iqhalfvec_lt(iqhalfvec, iqhalfvec) IS 'implementation of < operator';

CREATE OR REPLACE FUNCTION iqhalfvec_le(iqhalfvec, iqhalfvec) RETURNS boolean
	AS 'MODULE_PATHNAME', 'iqhalfvec_le' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION iqhalfvec_le(iqhalfvec, iqhalfvec) IS 'implementation of <= operator';

CREATE OR REPLACE FUNCTION iqhalfvec_eq(iqhalfvec, iqhalfvec) RETURNS boolean
	AS 'MODULE_PATHNAME', 'iqhalfvec_eq' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION iqhalfvec_eq(iqhalfvec, iqhalfvec) IS 'implementation of = operator';

CREATE OR REPLACE FUNCTION iqhalfvec_ne(iqhalfvec, iqhalfvec) RETURNS boolean
	AS 'MODULE_PATHNAME', 'iqhalfvec_ne' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION iqhalfvec_ne(iqhalfvec, iqhalfvec) IS 'implementation of <> operator';

CREATE OR REPLACE FUNCTION iqhalfvec_ge(iqhalfvec, iqhalfvec) RETURNS boolean
	AS 'MODULE_PATHNAME', 'iqhalfvec_ge' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION iqhalfvec_ge(iqhalfvec, iqhalfvec) IS 'implementation of >= operator';

CREATE OR REPLACE FUNCTION iqhalfvec_gt(iqhalfvec, iqhalfvec) RETURNS boolean
	AS 'MODULE_PATHNAME', 'iqhalfvec_gt' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION iqhalfvec_gt(iqhalfvec, iqhalfvec) IS 'implementation of > operator';

CREATE OR REPLACE FUNCTION iqhalfvec_cmp(iqhalfvec, iqhalfvec) RETURNS integer
	AS 'MODULE_PATHNAME', 'iqhalfvec_cmp' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION iqhalfvec_cmp(iqhalfvec, iqhalfvec) IS 'less-equal-greater';

CREATE OPERATOR < (
	LEFTARG = iqhalfvec, RIGHTARG = iqhalfvec, FUNCTION = iqhalfvec_lt,
	COMMUTATOR = >, NEGATOR = >=,
	RESTRICT = scalarltsel, JOIN = scalarltjoinsel
);
COMMENT ON OPERATOR < (iqhalfvec, iqhalfvec) IS 'less than';

CREATE OPERATOR <= (
	LEFTARG = iqhalfvec, RIGHTARG = iqhalfvec, FUNCTION = iqhalfvec_le,
	COMMUTATOR = >=, NEGATOR = >,
	RESTRICT = scalarlesel, JOIN = scalarlejoinsel
);
COMMENT ON OPERATOR <= (iqhalfvec, iqhalfvec) IS 'less than or equal';

CREATE OPERATOR = (
	LEFTARG = iqhalfvec, RIGHTARG = iqhalfvec, FUNCTION = iqhalfvec_eq,
	COMMUTATOR = =, NEGATOR = <>,
	RESTRICT = eqsel, JOIN = eqjoinsel, MERGES
);
COMMENT ON OPERATOR = (iqhalfvec, iqhalfvec) IS 'equal';

CREATE OPERATOR <> (
	LEFTARG = iqhalfvec, RIGHTARG = iqhalfvec, FUNCTION = iqhalfvec_ne,
	COMMUTATOR = <>, NEGATOR = =,
	RESTRICT = neqsel, JOIN = neqjoinsel
);
COMMENT ON OPERATOR <> (iqhalfvec, iqhalfvec) IS 'not equal';

CREATE OPERATOR >= (
	LEFTARG = iqhalfvec, RIGHTARG = iqhalfvec, FUNCTION = iqhalfvec_ge,
	COMMUTATOR = <=, NEGATOR = <,
	RESTRICT = scalargesel, JOIN = scalargejoinsel
);
COMMENT ON OPERATOR >= (iqhalfvec, iqhalfvec) IS 'greater than or equal';

CREATE OPERATOR > (
	LEFTARG = iqhalfvec, RIGHTARG = iqhalfvec, FUNCTION = iqhalfvec_gt,
	COMMUTATOR = <, NEGATOR = <=,
	RESTRICT = scalargtsel, JOIN = scalargtjoinsel
);
COMMENT ON OPERATOR > (iqhalfvec, iqhalfvec) IS 'greater than';

CREATE OPERATOR CLASS iqhalfvec_ops
	DEFAULT FOR TYPE iqhalfvec USING btree AS
	OPERATOR 1 <,
	OPERATOR 2 <=,
	OPERATOR 3 =,
	OPERATOR 4 >=,
	OPERATOR 5 >,
	FUNCTION 1 iqhalfvec_cmp(iqhalfvec, iqhalfvec);

-- Aggregates of iqhalfvec
CREATE OR REPLACE FUNCTION iqhalfvec_accum(double precision[], iqhalfvec) RETURNS double precision[]
	AS 'MODULE_PATHNAME', 'iqhalfvec_accum' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;
COMMENT ON FUNCTION iqhalfvec_accum(double precision[], iqhalfvec) IS 'aggregate transition function';

CREATE OR REPLACE FUNCTION iqhalfvec_combine(double precision[], double precision[]) RETURNS double precision[]
	AS 'MODULE_PATHNAME', 'iqhalfvec_combine' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;
COMMENT ON FUNCTION iqhalfvec_combine(double precision[], double precision[]) IS 'aggregate combine function';

CREATE OR REPLACE FUNCTION iqhalfvec_avg(double precision[]) RETURNS iqhalfvec
	AS 'MODULE_PATHNAME', 'iqhalfvec_avg' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;
COMMENT ON FUNCTION iqhalfvec_avg(double precision[]) IS 'aggregate final function';

CREATE OR REPLACE FUNCTION iqhalfvec_sum(double precision[]) RETURNS iqhalfvec
	AS 'MODULE_PATHNAME', 'iqhalfvec_sum' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;
COMMENT ON FUNCTION iqhalfvec_sum(double precision[]) IS 'aggregate final function';

CREATE OR REPLACE AGGREGATE avg(iqhalfvec) (
	SFUNC = iqhalfvec_accum,
	STYPE = double precision[],
	FINALFUNC = iqhalfvec_avg,
	COMBINEFUNC = iqhalfvec_combine,
	INITCOND = '{0}',
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE avg(iqhalfvec) IS 'the average (arithmetic mean) as iqhalfvec of all iqhalfvec values';

CREATE OR REPLACE AGGREGATE sum(iqhalfvec) (
	SFUNC = iqhalfvec_accum,
	STYPE = double precision[],
	FINALFUNC = iqhalfvec_sum,
	COMBINEFUNC = iqhalfvec_combine,
	INITCOND = '{0}',
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE sum(iqhalfvec) IS 'sum as iqhalfvec across all iqhalfvec values';

-- Bit strings

-- Names of ours, and no operators: pgvector has functions and operators for the server's type, which may be in the same
-- schema.
CREATE OR REPLACE FUNCTION iqdb_hamming_distance(bit, bit) RETURNS float8
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10
	SUPPORT iqvector_distance_support;
COMMENT ON FUNCTION iqdb_hamming_distance(bit, bit) IS 'number of bits that differ';

CREATE OR REPLACE FUNCTION iqdb_jaccard_distance(bit, bit) RETURNS float8
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10
	SUPPORT iqvector_distance_support;
COMMENT ON FUNCTION iqdb_jaccard_distance(bit, bit) IS
	'one less the share of common bits in those that are set in any; 1 where none is common';

-- pgvector

-- iqvector has the bytes of pgvector's vector, and iqhalfvec those of its halfvec, so that a column changes its type without
-- being rewritten. Only the types that the extension "vector" owns are known to have them: others of those names are not
-- taken. The casts belong to whoever calls, not to this extension: pg_dump writes them out, and dropping either extension
-- asks for CASCADE. Those from pgvector's types are implicit, so that the two can be compared with each other; the other
-- direction is not, or no operator would be the best for both.
CREATE OR REPLACE FUNCTION iqdb_create_vector_casts() RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	pair record;
BEGIN
	IF NOT EXISTS (SELECT FROM pg_type t
			JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
			JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
		WHERE e.extname = 'vector' AND t.typname = 'vector')
	THEN
		RAISE EXCEPTION 'type "vector" of extension "vector" does not exist'
			USING ERRCODE = 'undefined_object', HINT = 'Install pgvector first: CREATE EXTENSION vector.';
	END IF;

	-- older versions of pgvector have no halfvec
	FOR pair IN
		WITH owned AS (
			SELECT e.extname, t.typname, t.oid
			FROM pg_type t
				JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
				JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid)
		SELECT theirs.oid AS theirs, ours.oid AS ours
		FROM owned theirs JOIN owned ours ON ours.typname = 'iq' || theirs.typname
		WHERE theirs.extname = 'vector' AND theirs.typname IN ('vector', 'halfvec') AND ours.extname = 'iqdb'
	LOOP
		IF NOT EXISTS (SELECT FROM pg_cast WHERE castsource = pair.theirs AND casttarget = pair.ours) THEN
			EXECUTE format('CREATE CAST (%s AS %s) WITHOUT FUNCTION AS IMPLICIT', pair.theirs::regtype, pair.ours::regtype);
		END IF;
		IF NOT EXISTS (SELECT FROM pg_cast WHERE castsource = pair.ours AND casttarget = pair.theirs) THEN
			EXECUTE format('CREATE CAST (%s AS %s) WITHOUT FUNCTION AS ASSIGNMENT', pair.ours::regtype, pair.theirs::regtype);
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION iqdb_create_vector_casts() IS
	'create casts between iqvector and the vector of pgvector, and between iqhalfvec and its halfvec';

CREATE OR REPLACE FUNCTION iqdb_metric_jaccard() RETURNS integer LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME';

CREATE OPERATOR CLASS iqhalfvec_l2_ops DEFAULT FOR TYPE iqhalfvec USING iqdb_flat AS
	OPERATOR 1 <-> (iqhalfvec, iqhalfvec) FOR ORDER BY float_ops, FUNCTION 1 iqdb_metric_l2();
CREATE OPERATOR CLASS iqhalfvec_ip_ops FOR TYPE iqhalfvec USING iqdb_flat AS
	OPERATOR 1 <#> (iqhalfvec, iqhalfvec) FOR ORDER BY float_ops, FUNCTION 1 iqdb_metric_ip();
CREATE OPERATOR CLASS iqhalfvec_cosine_ops FOR TYPE iqhalfvec USING iqdb_flat AS
	OPERATOR 1 <=> (iqhalfvec, iqhalfvec) FOR ORDER BY float_ops, FUNCTION 1 iqdb_metric_cosine();
CREATE OPERATOR CLASS iqhalfvec_l1_ops FOR TYPE iqhalfvec USING iqdb_flat AS
	OPERATOR 1 <+> (iqhalfvec, iqhalfvec) FOR ORDER BY float_ops, FUNCTION 1 iqdb_metric_l1();
CREATE OPERATOR CLASS iqhalfvec_hamming_ops FOR TYPE iqhalfvec USING iqdb_flat AS
	OPERATOR 1 <~> (iqhalfvec, iqhalfvec) FOR ORDER BY float_ops, FUNCTION 1 iqdb_metric_hamming();
CREATE OPERATOR CLASS iqhalfvec_l2_ops DEFAULT FOR TYPE iqhalfvec USING iqdb_hnsw AS
	OPERATOR 1 <-> (iqhalfvec, iqhalfvec) FOR ORDER BY float_ops, FUNCTION 1 iqdb_metric_l2();
CREATE OPERATOR CLASS iqhalfvec_ip_ops FOR TYPE iqhalfvec USING iqdb_hnsw AS
	OPERATOR 1 <#> (iqhalfvec, iqhalfvec) FOR ORDER BY float_ops, FUNCTION 1 iqdb_metric_ip();
CREATE OPERATOR CLASS iqhalfvec_cosine_ops FOR TYPE iqhalfvec USING iqdb_hnsw AS
	OPERATOR 1 <=> (iqhalfvec, iqhalfvec) FOR ORDER BY float_ops, FUNCTION 1 iqdb_metric_cosine();
CREATE OPERATOR CLASS iqhalfvec_l1_ops FOR TYPE iqhalfvec USING iqdb_hnsw AS
	OPERATOR 1 <+> (iqhalfvec, iqhalfvec) FOR ORDER BY float_ops, FUNCTION 1 iqdb_metric_l1();
CREATE OPERATOR CLASS iqhalfvec_hamming_ops FOR TYPE iqhalfvec USING iqdb_hnsw AS
	OPERATOR 1 <~> (iqhalfvec, iqhalfvec) FOR ORDER BY float_ops, FUNCTION 1 iqdb_metric_hamming();
CREATE OPERATOR CLASS iqhalfvec_l2_ops DEFAULT FOR TYPE iqhalfvec USING iqdb_ivf AS
	OPERATOR 1 <-> (iqhalfvec, iqhalfvec) FOR ORDER BY float_ops, FUNCTION 1 iqdb_metric_l2();
CREATE OPERATOR CLASS iqhalfvec_ip_ops FOR TYPE iqhalfvec USING iqdb_ivf AS
	OPERATOR 1 <#> (iqhalfvec, iqhalfvec) FOR ORDER BY float_ops, FUNCTION 1 iqdb_metric_ip();
CREATE OPERATOR CLASS iqhalfvec_cosine_ops FOR TYPE iqhalfvec USING iqdb_ivf AS
	OPERATOR 1 <=> (iqhalfvec, iqhalfvec) FOR ORDER BY float_ops, FUNCTION 1 iqdb_metric_cosine();
CREATE OPERATOR CLASS iqhalfvec_l1_ops FOR TYPE iqhalfvec USING iqdb_ivf AS
	OPERATOR 1 <+> (iqhalfvec, iqhalfvec) FOR ORDER BY float_ops, FUNCTION 1 iqdb_metric_l1();
CREATE OPERATOR CLASS iqhalfvec_hamming_ops FOR TYPE iqhalfvec USING iqdb_ivf AS
	OPERATOR 1 <~> (iqhalfvec, iqhalfvec) FOR ORDER BY float_ops, FUNCTION 1 iqdb_metric_hamming();

-- Operator classes of columns to filter by

-- An index has its vector first, and columns behind it, whose conditions it takes as a B-tree would: strategies 1 to 5 are
-- < <= = >= >, then come 6 <>, 7 && and 8 @>. Operators of two types are those that depend on no setting. What is kept as a hash
-- has equality only. Class column_ops takes enums and arrays, and all other types, which are refused when the index is built,
-- with a list of those that can be a column.
DO $$
DECLARE
	method name;
	family record;
	class record;
	operator record;
BEGIN
	FOREACH method IN ARRAY ARRAY['iqdb_flat', 'iqdb_hnsw', 'iqdb_ivf'] LOOP
		FOR family IN
			SELECT * FROM (VALUES
				('bool_ops', ARRAY['bool'], ARRAY[1, 2, 3, 4, 5, 6]),
				('integer_ops', ARRAY['int2', 'int4', 'int8'], ARRAY[1, 2, 3, 4, 5, 6]),
				('float_ops', ARRAY['float4', 'float8'], ARRAY[1, 2, 3, 4, 5, 6]),
				('datetime_ops', ARRAY['date', 'timestamp', 'timestamptz'], ARRAY[1, 2, 3, 4, 5, 6]),
				('text_ops', ARRAY['text'], ARRAY[3]),
				('bpchar_ops', ARRAY['bpchar'], ARRAY[3]),
				('uuid_ops', ARRAY['uuid'], ARRAY[3])) AS f (name, types, strategies)
		LOOP
			EXECUTE format('CREATE OPERATOR FAMILY %I USING %I', family.name, method);
			FOR class IN SELECT type, 'pg_catalog.' || type AS full_type FROM unnest(family.types) type LOOP
				EXECUTE format('CREATE OPERATOR CLASS %I DEFAULT FOR TYPE %s USING %I FAMILY %I AS STORAGE %2$s',
					class.type || '_ops', class.full_type, method, family.name);
			END LOOP;
			FOR operator IN
				SELECT strategy, o.oid::regoperator AS name
				FROM unnest(ARRAY['<', '<=', '=', '>=', '>', '<>']) WITH ORDINALITY s (symbol, strategy)
					JOIN pg_catalog.pg_operator o ON o.oprname = s.symbol AND o.oprnamespace = 'pg_catalog'::regnamespace
					JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode AND p.provolatile = 'i'
					JOIN pg_catalog.pg_type l ON l.oid = o.oprleft AND l.typname = ANY (family.types)
					JOIN pg_catalog.pg_type r ON r.oid = o.oprright AND r.typname = ANY (family.types)
				WHERE strategy = ANY (family.strategies)
				ORDER BY l.typname, r.typname, strategy
			LOOP
				EXECUTE format('ALTER OPERATOR FAMILY %I USING %I ADD OPERATOR %s %s',
					family.name, method, operator.strategy, operator.name);
			END LOOP;
		END LOOP;
		EXECUTE format('CREATE OPERATOR CLASS column_ops DEFAULT FOR TYPE pg_catalog.anyelement USING %I AS '
			'OPERATOR 1 < (anyenum, anyenum), OPERATOR 2 <= (anyenum, anyenum), OPERATOR 3 = (anyenum, anyenum), '
			'OPERATOR 4 >= (anyenum, anyenum), OPERATOR 5 > (anyenum, anyenum), OPERATOR 6 <> (anyenum, anyenum), '
			'OPERATOR 3 = (anyarray, anyarray), OPERATOR 7 && (anyarray, anyarray), OPERATOR 8 @> (anyarray, anyarray)', method);
	END LOOP;
END
$$;

-- Operator classes for pgvector's own types, and for bit strings

-- Under pgvector's operator a zero vector has no cosine distance, NaN, and stands behind all others.
CREATE OR REPLACE FUNCTION iqdb_metric_cosine_nan() RETURNS integer LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME';

-- With these classes columns of type "vector", "halfvec" and "bit" are indexed as they are. They lie in the schema of
-- pgvector's operators under pgvector's names, and belong to whoever calls: pg_dump writes them out, and dropping either
-- extension asks for CASCADE. A later call makes what a newer pgvector has beyond the older one.
--
-- bit is the server's own type. Where pgvector is not installed, its operators for bit are made here, in the schema of iqdb.
CREATE OR REPLACE FUNCTION iqdb_create_pgvector_support() RETURNS SETOF text
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	home name;
	wanted record;
BEGIN
	SELECT n.nspname INTO STRICT home
	FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
	WHERE e.extname = 'iqdb';

	IF EXISTS (SELECT FROM pg_extension WHERE extname = 'vector') THEN
		EXECUTE format('SELECT %I.iqdb_create_vector_casts()', home);
	ELSE
		FOR wanted IN
			SELECT * FROM (VALUES ('<~>', 'iqdb_hamming_distance'), ('<%>', 'iqdb_jaccard_distance')) AS c (operator, function)
			WHERE NOT EXISTS (
				SELECT FROM pg_operator o
				WHERE o.oprname = c.operator AND o.oprleft = 'bit'::regtype AND o.oprright = 'bit'::regtype AND
					o.oprnamespace = home::text::regnamespace)
		LOOP
			EXECUTE format('CREATE OPERATOR %1$I.%2$s (LEFTARG = bit, RIGHTARG = bit, FUNCTION = %1$I.%3$I, '
				'COMMUTATOR = OPERATOR(%1$I.%2$s))', home, wanted.operator, wanted.function);
			RETURN NEXT format('operator %s (bit, bit)', wanted.operator);
		END LOOP;
	END IF;

	FOR wanted IN
		WITH operators AS (
			-- those of pgvector, or those for bit that were made above
			SELECT o.oid, o.oprname, o.oprnamespace, o.oprleft, o.oprright
			FROM pg_operator o
				JOIN pg_depend d ON d.classid = 'pg_operator'::regclass AND d.objid = o.oid AND d.deptype = 'e'
				JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
			WHERE e.extname = 'vector'
			UNION ALL
			SELECT o.oid, o.oprname, o.oprnamespace, o.oprleft, o.oprright
			FROM pg_operator o
				JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = o.oprcode AND d.deptype = 'e'
				JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
			WHERE e.extname = 'iqdb' AND o.oprleft = 'bit'::regtype AND o.oprnamespace = home::text::regnamespace AND
				NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'vector')
		)
		SELECT a.amname AS method, c.name AS class, t.oid::regtype AS type, o.oid::regoperator AS operator,
			format('%I.%I()', home, c.metric) AS metric, o.oprnamespace::regnamespace AS schema
		FROM (VALUES ('vector', 'vector_l2_ops', '<->', 'iqdb_metric_l2'),
				('vector', 'vector_ip_ops', '<#>', 'iqdb_metric_ip'),
				('vector', 'vector_cosine_ops', '<=>', 'iqdb_metric_cosine_nan'),
				('vector', 'vector_l1_ops', '<+>', 'iqdb_metric_l1'),
				('halfvec', 'halfvec_l2_ops', '<->', 'iqdb_metric_l2'),
				('halfvec', 'halfvec_ip_ops', '<#>', 'iqdb_metric_ip'),
				('halfvec', 'halfvec_cosine_ops', '<=>', 'iqdb_metric_cosine_nan'),
				('halfvec', 'halfvec_l1_ops', '<+>', 'iqdb_metric_l1'),
				('bit', 'bit_hamming_ops', '<~>', 'iqdb_metric_hamming'),
				('bit', 'bit_jaccard_ops', '<%>', 'iqdb_metric_jaccard')) AS c (type, name, operator, metric)
			JOIN operators o ON o.oprname = c.operator AND o.oprleft = o.oprright
			JOIN pg_type t ON t.oid = o.oprleft AND t.typname = c.type
			JOIN pg_am a ON a.amname IN ('iqdb_flat', 'iqdb_hnsw', 'iqdb_ivf')
		WHERE NOT EXISTS (
			SELECT FROM pg_opclass k
			WHERE k.opcmethod = a.oid AND k.opcname = c.name AND k.opcnamespace = o.oprnamespace)
		ORDER BY a.amname, c.name
	LOOP
		EXECUTE format('CREATE OPERATOR CLASS %s.%I FOR TYPE %s USING %I AS '
			'OPERATOR 1 %s FOR ORDER BY float_ops, FUNCTION 1 %s',
			wanted.schema, wanted.class, wanted.type, wanted.method, wanted.operator, wanted.metric);
		RETURN NEXT format('operator class %s for access method %s', wanted.class, wanted.method);
	END LOOP;
END
$$;
COMMENT ON FUNCTION iqdb_create_pgvector_support() IS
	'let columns of pgvector''s types and of bit be indexed as they are, and be cast; what was made';
COMMENT ON FUNCTION iqdb_optimize(regclass) IS 'repair and retrain an index while it is in use; rows that were removed make room for new ones';

CREATE OR REPLACE FUNCTION iqdb_index_stats(
	index regclass,
	OUT engine text,
	OUT metric text,
	OUT dimensions integer,
	OUT quantization text,
	OUT filter_columns integer,
	OUT state text,
	OUT rows bigint,
	OUT deleted bigint,
	OUT known bigint,
	OUT unlinked bigint,
	OUT memory bigint,
	OUT memory_file text,
	OUT vectors_on_disk bigint,
	OUT disk bigint,
	OUT log_bytes bigint,
	OUT journal_entries bigint,
	OUT journal_kept bigint,
	OUT journal_lag bigint,
	OUT snapshot_time timestamptz,
	OUT snapshot_bytes bigint,
	OUT generation text,
	OUT levels bigint[],
	OUT twins bigint,
	OUT unreachable bigint,
	OUT lists integer,
	OUT list_min bigint,
	OUT list_max bigint,
	OUT list_mean float8,
	OUT trained boolean,
	OUT trained_rows bigint,
	OUT newcomers bigint,
	OUT drift float8
) RETURNS record
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'iqdb_sql_index_stats';
COMMENT ON FUNCTION iqdb_index_stats(regclass) IS 'numbers about an index';

CREATE OR REPLACE FUNCTION iqdb_suggest_probes(index regclass, coverage float8) RETURNS integer
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'iqdb_sql_suggest_probes';

CREATE OR REPLACE FUNCTION iqdb_index_size(index regclass) RETURNS bigint
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'iqdb_sql_index_size';

CREATE FUNCTION iqdb_cache_stats(
	index regclass,
	OUT hits bigint,
	OUT misses bigint,
	OUT evictions bigint,
	OUT entries bigint,
	OUT capacity bigint,
	OUT hit_rate float8
) RETURNS record
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'iqdb_sql_cache_stats';
COMMENT ON FUNCTION iqdb_cache_stats(regclass) IS 'what the result cache of an index has done since it was begun';

CREATE OR REPLACE FUNCTION iqdb_check(index regclass) RETURNS SETOF text
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'iqdb_sql_check';

-- Numbers are NULL where the caller may not see them, or the index is not ready.
CREATE OR REPLACE FUNCTION iqdb_indexes(
	relation regclass DEFAULT NULL,
	OUT index regclass,
	OUT indexed_table regclass,
	OUT method name,
	OUT operator_class name,
	OUT options text[],
	OUT valid boolean,
	OUT state text,
	OUT rows bigint,
	OUT memory bigint,
	OUT size bigint
) RETURNS SETOF record
	LANGUAGE sql STABLE PARALLEL UNSAFE
BEGIN ATOMIC
	SELECT c.oid::pg_catalog.regclass, i.indrelid::pg_catalog.regclass, a.amname, o.opcname, c.reloptions, i.indisvalid, s.state,
		s.rows, s.memory, iqdb_index_size(x.visible)
	FROM pg_catalog.pg_class c
		JOIN pg_catalog.pg_am a ON a.oid = c.relam AND a.amname IN ('iqdb_flat', 'iqdb_hnsw', 'iqdb_ivf')
		JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
		JOIN pg_catalog.pg_opclass o ON o.oid = i.indclass[0]
		-- functions without an argument are not called
		CROSS JOIN LATERAL (SELECT CASE WHEN i.indisready AND NOT pg_catalog.pg_is_other_temp_schema(c.relnamespace) AND
			(pg_catalog.has_table_privilege(i.indrelid, 'SELECT') OR pg_catalog.pg_has_role('pg_monitor', 'USAGE'))
			THEN c.oid::pg_catalog.regclass END) x (visible)
		LEFT JOIN LATERAL iqdb_index_stats(x.visible) s ON true
	WHERE c.relkind = 'i' AND (relation IS NULL OR c.oid = relation OR i.indrelid = relation OR
		c.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree(relation)) OR
		i.indrelid IN (SELECT relid FROM pg_catalog.pg_partition_tree(relation)))
	ORDER BY c.oid::pg_catalog.regclass::text;
END;
COMMENT ON FUNCTION iqdb_indexes(regclass) IS
	'all indexes of iqdb on a table and its partitions, or of a partitioned index, or of the database';

CREATE OR REPLACE FUNCTION iqdb_recall(
	index regclass,
	k integer DEFAULT 10,
	sample integer DEFAULT 100,
	queries anyarray DEFAULT NULL::iqvector[],
	held_out boolean DEFAULT false,
	OUT query_count integer,
	OUT mean_recall float8,
	OUT p1_recall float8,
	OUT min_recall float8,
	OUT below_half float8,
	OUT at_zero float8,
	OUT qps float8,
	OUT p50_ms float8,
	OUT p95_ms float8,
	OUT p99_ms float8,
	OUT exact_qps float8,
	OUT exact_p50_ms float8,
	OUT exact_p95_ms float8,
	OUT exact_p99_ms float8
) RETURNS record
	LANGUAGE C STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'iqdb_sql_recall';
COMMENT ON FUNCTION iqdb_recall(regclass, integer, integer, anyarray, boolean) IS
	'recall and latency of an index against exact search over the same rows; queries are given, or made from its rows';

CREATE OR REPLACE FUNCTION iqdb_ground_truth(
	index regclass,
	queries anyarray,
	k integer DEFAULT 10,
	OUT query integer,
	OUT rank integer,
	OUT tid tid,
	OUT distance float8,
	OUT relation regclass
) RETURNS SETOF record
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'iqdb_sql_ground_truth';
COMMENT ON FUNCTION iqdb_ground_truth(regclass, anyarray, integer) IS
	'the nearest rows of each query, exact: one pass over the table, as the calling statement sees it';

CREATE OR REPLACE FUNCTION iqdb_search(
	index regclass,
	query anycompatible,
	k integer DEFAULT 10,
	filter text DEFAULT NULL,
	OUT tid tid,
	OUT distance float8,
	OUT relation regclass
) RETURNS SETOF record
	LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 10 AS 'MODULE_PATHNAME', 'iqdb_sql_search';
COMMENT ON FUNCTION iqdb_search(regclass, anycompatible, integer, text) IS
	'the nearest rows of a query by an index, of those that the caller may see and that meet a condition';

CREATE OR REPLACE FUNCTION iqdb_search_batch(
	index regclass,
	queries anycompatiblearray,
	k integer DEFAULT 10,
	filter text DEFAULT NULL,
	OUT query integer,
	OUT tid tid,
	OUT distance float8,
	OUT relation regclass
) RETURNS SETOF record
	LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 1000 AS 'MODULE_PATHNAME', 'iqdb_sql_search_batch';
COMMENT ON FUNCTION iqdb_search_batch(regclass, anycompatiblearray, integer, text) IS
	'the nearest rows of each of many queries by an index, of those that the caller may see and that meet a condition';

CREATE OR REPLACE FUNCTION iqdb_estimate(
	method text,
	rows bigint,
	dimensions integer,
	options text DEFAULT '',
	type text DEFAULT 'iqvector',
	columns regtype[] DEFAULT '{}',
	OUT memory bigint,
	OUT disk bigint,
	OUT vectors_on_disk bigint,
	OUT build_seconds float8
) RETURNS record
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'iqdb_sql_estimate';
COMMENT ON FUNCTION iqdb_estimate(text, bigint, integer, text, text, regtype[]) IS
	'what an index would need: bytes in memory, bytes of own files, bytes of vectors on disk, seconds to build here';
