/*
 * iqvector.h - the SQL type iqvector as the glue's files see it.
 *
 * The bytes are those of pgvector's vector, in memory, on disk and on the wire, so that a cast between the two is free.
 * A stored value always has 1 .. 16000 components, all finite: every door (input, receive, casts, arithmetic) checks.
 */
#ifndef IQDB_PG_IQVECTOR_H
#define IQDB_PG_IQVECTOR_H

#include "fmgr.h"

#include "core/vec/metric.h"
#include "pg/pg_compat.h"

typedef struct IqVector
{
	int32 vl_len_; /* varlena header, do not touch directly */
	int16 dim;
	int16 unused;  /* always zero */
	float x[FLEXIBLE_ARRAY_MEMBER];
} IqVector;

StaticAssertDecl(offsetof(IqVector, x) == 8, "iqvector must keep the layout of pgvector's vector");
StaticAssertDecl(IQDB_DIMENSION_MAX <= PG_INT16_MAX, "a dimension must fit its field");

#define IQVECTOR_SIZE(dim) (offsetof(IqVector, x) + sizeof(float) * (Size) (dim))

/* Detoasted, 4-byte aligned components; a copy when the datum was compressed, external or had a short header. */
#define DatumGetIqVectorP(datum) ((IqVector *) PG_DETOAST_DATUM(datum))
#define PG_GETARG_IQVECTOR_P(n) DatumGetIqVectorP(PG_GETARG_DATUM(n))
#define PG_RETURN_IQVECTOR_P(vector) PG_RETURN_POINTER(vector)

/* The text form, palloc'd: shortest digits that read back to the same floats. */
extern char *iqdb_pg_vector_text(const IqVector *vector);

/* A vector of dim components, palloc'd, not yet set. dim must have been checked. */
extern IqVector *iqdb_pg_vector_new(int dim);

/* Raise what pgvector raises: 22000 without a component, 54000 above 16000. */
extern void iqdb_pg_vector_check_dim(int64 dim);

/* Raises 22000 when a type modifier other than -1 is not dim. */
extern void iqdb_pg_vector_check_typmod(int32 typmod, int dim);

/* Raises 22000 for NaN and infinity. */
extern void iqdb_pg_vector_check_finite(const IqVector *vector);

/* Raises 22000 when the two differ in dimension. */
extern void iqdb_pg_vector_check_same_dim(const IqVector *a, const IqVector *b);

/* -1, 0, 1: by components, then by dimension, as arrays compare. -0 equals 0. */
extern int iqdb_pg_vector_compare(const IqVector *a, const IqVector *b);

#endif
