/*
 * iqbit.c - distances of bit strings, the server's own types bit and bit varying.
 *
 * The functions have names of ours, and no operators: pgvector has both for these types, and where it is installed beside
 * us its operators and ours would be the same. iqdb_create_pgvector_support() makes operators where there are none.
 * The unused bits behind the last one are zero in every value, as the core wants them.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/varbit.h"

#include "pg/pg_compat.h"
#include "pg/pg_kernels.h"

/* Raises what pgvector raises, 22000, when the two differ in length. */
static double
bit_distance(FunctionCallInfo fcinfo, IqdbMetric metric)
{
	VarBit *a = PG_GETARG_VARBIT_P(0);
	VarBit *b = PG_GETARG_VARBIT_P(1);

	if (VARBITLEN(a) != VARBITLEN(b))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("different bit lengths %d and %d", VARBITLEN(a), VARBITLEN(b))));
	return iqdb_element_distance(iqdb_pg_kernels(), iqdb_element(IQDB_ELEMENT_BIT), metric, VARBITS(a), VARBITS(b),
								 (size_t) VARBITLEN(a));
}

/* iqdb_hamming_distance(bit, bit) returns float8: how many bits differ */
PG_FUNCTION_INFO_V1(iqdb_hamming_distance);
Datum
iqdb_hamming_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(bit_distance(fcinfo, IQDB_METRIC_HAMMING));
}

/*
 * iqdb_jaccard_distance(bit, bit) returns float8: one less the share of common bits in those that are set in any; 1 where
 * none is common, none set included
 */
PG_FUNCTION_INFO_V1(iqdb_jaccard_distance);
Datum
iqdb_jaccard_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(bit_distance(fcinfo, IQDB_METRIC_JACCARD));
}
