/*
 * iqbit.c - distances of bit strings, the server's own types bit and bit varying.
 *
 * The functions have names of ours, and no operators: pgvector has both for these types, and where it is installed beside
 * us its operators and ours would be the same. iqdb_create_pgvector_support() makes operators where there are none.
 */
#include "postgres.h"

#include "fmgr.h"
#include "port/pg_bitutils.h"
#include "utils/varbit.h"

#include "pg/pg_compat.h"

/* How many bits are set in one of two strings, in the other, and in both. */
typedef struct BitCounts
{
	uint64 a;
	uint64 b;
	uint64 common;
} BitCounts;

/* Unused bits of the last byte are zero in every string. Words are counted, the bytes left over as a word with zeros. */
static BitCounts
count_bits(const VarBit *a, const VarBit *b)
{
	const bits8 *bytes_a = VARBITS(a);
	const bits8 *bytes_b = VARBITS(b);
	Size         size = VARBITBYTES(a);
	BitCounts    counts = {0, 0, 0};

	for (Size i = 0; i < size; i += sizeof(uint64))
	{
		Size   part = Min(size - i, sizeof(uint64));
		uint64 word_a = 0;
		uint64 word_b = 0;

		memcpy(&word_a, bytes_a + i, part);
		memcpy(&word_b, bytes_b + i, part);
		counts.a += pg_popcount64(word_a);
		counts.b += pg_popcount64(word_b);
		counts.common += pg_popcount64(word_a & word_b);
	}
	return counts;
}

/* The counts of the two arguments. Raises what pgvector raises, 22000, when they differ in length. */
static BitCounts
count_arguments(FunctionCallInfo fcinfo)
{
	VarBit *a = PG_GETARG_VARBIT_P(0);
	VarBit *b = PG_GETARG_VARBIT_P(1);

	if (VARBITLEN(a) != VARBITLEN(b))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("different bit lengths %d and %d", VARBITLEN(a), VARBITLEN(b))));
	return count_bits(a, b);
}

/* iqdb_hamming_distance(bit, bit) returns float8: how many bits differ */
PG_FUNCTION_INFO_V1(iqdb_hamming_distance);
Datum
iqdb_hamming_distance(PG_FUNCTION_ARGS)
{
	BitCounts counts = count_arguments(fcinfo);

	PG_RETURN_FLOAT8((float8) (counts.a + counts.b - 2 * counts.common));
}

/*
 * iqdb_jaccard_distance(bit, bit) returns float8: one less the share of common bits in those that are set in any; 1 where
 * none is common, none set included
 */
PG_FUNCTION_INFO_V1(iqdb_jaccard_distance);
Datum
iqdb_jaccard_distance(PG_FUNCTION_ARGS)
{
	BitCounts counts = count_arguments(fcinfo);

	if (counts.common == 0)
		PG_RETURN_FLOAT8(1.0);
	PG_RETURN_FLOAT8(1.0 - (float8) counts.common / (float8) (counts.a + counts.b - counts.common));
}
