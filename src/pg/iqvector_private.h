/*
 * iqvector_private.h - what the files of the types iqvector and iqhalfvec share.
 *
 * The two types differ in how a component is stored, and in nothing that a user sees. So each SQL function is written
 * once, for a value of either type and a description of the type, and IQDB_PG_VECTOR_FUNCTION makes the two functions that
 * the SQL script names. Components are read and computed with as floats, a piece at a time: those of an iqvector where
 * they lie, those of an iqhalfvec widened into a buffer on the stack.
 */
#ifndef IQDB_PG_IQVECTOR_PRIVATE_H
#define IQDB_PG_IQVECTOR_PRIVATE_H

#include "core/vec/text.h"
#include "pg/iqvector.h"
#include "pg/pg_kernels.h"

typedef struct IqdbPgVectorType
{
	const char     *name;      /* as messages say it */
	const char     *like;      /* pgvector's type of the same bytes */
	IqdbElementKind element;   /* F32 or F16 */
	Size            component; /* bytes of one */
} IqdbPgVectorType;

extern const IqdbPgVectorType iqdb_pg_iqvector;
extern const IqdbPgVectorType iqdb_pg_iqhalfvec;

/* A value of either type. */
typedef struct IqdbPgVector
{
	int32 vl_len_;
	int16 dim;
	int16 unused;
	char  components[FLEXIBLE_ARRAY_MEMBER];
} IqdbPgVector;

StaticAssertDecl(offsetof(IqdbPgVector, components) == offsetof(IqVector, x), "iqvector must be of this form");
StaticAssertDecl(offsetof(IqdbPgVector, components) == offsetof(IqHalfVec, x), "iqhalfvec must be of this form");

#define IQDB_PG_VECTOR_SIZE(type, dim) (offsetof(IqdbPgVector, components) + (type)->component * (Size) (dim))

/* The components, by what the type says they are. */
#define VECTOR_FLOATS(vector) ((float *) (vector)->components)
#define VECTOR_HALVES(vector) ((IqdbHalf *) (vector)->components)

#define PG_GETARG_VECTOR_P(n) ((IqdbPgVector *) PG_DETOAST_DATUM(PG_GETARG_DATUM(n)))
#define PG_RETURN_VECTOR_P(vector) PG_RETURN_POINTER(vector)

/* The SQL functions iqvector_NAME and iqhalfvec_NAME, which are both vector_NAME(fcinfo, type). */
#define IQDB_PG_VECTOR_FUNCTION(NAME) \
	PG_FUNCTION_INFO_V1(iqvector_##NAME); \
	Datum \
	iqvector_##NAME(PG_FUNCTION_ARGS) \
	{ \
		return vector_##NAME(fcinfo, &iqdb_pg_iqvector); \
	} \
	PG_FUNCTION_INFO_V1(iqhalfvec_##NAME); \
	Datum \
	iqhalfvec_##NAME(PG_FUNCTION_ARGS) \
	{ \
		return vector_##NAME(fcinfo, &iqdb_pg_iqhalfvec); \
	}

static inline bool
iqdb_pg_vector_is_half(const IqdbPgVectorType *type)
{
	return type->element == IQDB_ELEMENT_F16;
}

/* Components in a piece, but for the last: a multiple of 8, small enough for a few buffers on the stack. */
#define IQDB_PG_PIECE 512

/* How many components the piece has that begins at start. */
static inline int
iqdb_pg_vector_piece(const IqdbPgVector *vector, int start)
{
	return Min(vector->dim - start, IQDB_PG_PIECE);
}

/* The components from start on as floats: in their place, or widened into the buffer, which has room for count. */
static inline const float *
iqdb_pg_vector_floats(const IqdbPgVectorType *type, const IqdbPgVector *vector, int start, int count, float *buffer)
{
	const char *components = vector->components + type->component * (Size) start;

	/* the core would answer the same; comparisons of a btree take few components at a time */
	if (type->element == IQDB_ELEMENT_F32)
		return (const float *) components;
	return iqdb_element_floats(iqdb_pg_kernels(), iqdb_element(type->element), components, (size_t) count, buffer);
}

/* A vector of dim components, palloc'd, not yet set. dim must have been checked. */
extern IqdbPgVector *iqdb_pg_vector_new(const IqdbPgVectorType *type, int dim);

/*
 * Sets the components from start on. What is too large for a half becomes infinite; the position of the first such value is
 * returned, count if there is none.
 */
extern int iqdb_pg_vector_round(const IqdbPgVectorType *type, IqdbPgVector *vector, int start, const float *values,
								int count);

/* The same, but raises 22003 for what is too large. */
extern void iqdb_pg_vector_set(const IqdbPgVectorType *type, IqdbPgVector *vector, int start, const float *values,
							   int count);

/* The text form, palloc'd: shortest digits that read back to the same components. */
extern char *iqdb_pg_vector_text(const IqdbPgVectorType *type, const IqdbPgVector *vector);

/* Reads a text of length bytes; NULL, and *fault_out says why, when it is not the form of a vector. Never raises. */
extern IqdbPgVector *iqdb_pg_vector_parse(const IqdbPgVectorType *type, const char *text, Size length,
										  IqdbVectorFault *fault_out);

/* Raise what pgvector raises: 22000 without a component, 54000 above 16000. */
extern void iqdb_pg_vector_check_dim(const IqdbPgVectorType *type, int64 dim);

/* Raises 22000 when a type modifier other than -1 is not dim. */
extern void iqdb_pg_vector_check_typmod(int32 typmod, int dim);

/* Raises 22000 for NaN and infinity. */
extern void iqdb_pg_vector_check_finite(const IqdbPgVectorType *type, const IqdbPgVector *vector);

/* Raises 22000 when the two differ in dimension. */
extern void iqdb_pg_vector_check_same_dim(const IqdbPgVectorType *type, const IqdbPgVector *a, const IqdbPgVector *b);

#endif
