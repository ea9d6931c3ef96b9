/*
 * iqvector.h - the SQL types iqvector and iqhalfvec as the glue's files see them.
 *
 * The bytes are those of pgvector's vector and halfvec, in memory, on disk and on the wire, so that a cast between the
 * two is free. A stored value always has 1 .. 16000 components, all finite: every door (input, receive, casts, arithmetic)
 * checks.
 */
#ifndef IQDB_PG_IQVECTOR_H
#define IQDB_PG_IQVECTOR_H

#include "fmgr.h"

#include "core/vec/half.h"
#include "core/vec/metric.h"
#include "pg/pg_compat.h"

typedef struct IqVector
{
	int32 vl_len_; /* varlena header, do not touch directly */
	int16 dim;
	int16 unused;  /* always zero */
	float x[FLEXIBLE_ARRAY_MEMBER];
} IqVector;

/* The same with two bytes a component. */
typedef struct IqHalfVec
{
	int32    vl_len_;
	int16    dim;
	int16    unused;
	IqdbHalf x[FLEXIBLE_ARRAY_MEMBER];
} IqHalfVec;

StaticAssertDecl(offsetof(IqVector, x) == 8, "iqvector must keep the layout of pgvector's vector");
StaticAssertDecl(offsetof(IqHalfVec, x) == 8, "iqhalfvec must keep the layout of pgvector's halfvec");
StaticAssertDecl(IQDB_DIMENSION_MAX <= PG_INT16_MAX, "a dimension must fit its field");

#define IQVECTOR_SIZE(dim) (offsetof(IqVector, x) + sizeof(float) * (Size) (dim))
#define IQHALFVEC_SIZE(dim) (offsetof(IqHalfVec, x) + sizeof(IqdbHalf) * (Size) (dim))

/* Detoasted, 4-byte aligned components; a copy when the datum was compressed, external or had a short header. */
#define DatumGetIqVectorP(datum) ((IqVector *) PG_DETOAST_DATUM(datum))
#define DatumGetIqHalfVecP(datum) ((IqHalfVec *) PG_DETOAST_DATUM(datum))

#endif
