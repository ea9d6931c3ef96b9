/*
 * iqdb.h - the embedded vector database: all that a C or C++ program sees of it, in one header that includes nothing of ours.
 *
 *   version, status      what is linked, what a call returns
 *   memory, files        services a program may lend: an allocator, files, a cancel flag
 *   ids, values          what names a row; strings, numbers, booleans and null beside its vector
 *   metadata, filters    maps of values, and conditions on them
 *   options              elements, metrics, engines and what tunes them
 *   database             open, write, search, verify
 *   asynchronous calls   the same by the threads of a pool, with a callback
 *   files of vectors     .fvecs, .ivecs, .bvecs, .fbin, .npy
 *   JSON                 rows and results as text, and back
 *
 * Here types and functions of the library are declared, for itself too: the headers of its folders include this one, so it
 * cannot differ from what was compiled. A program needs nothing beside it: cc program.c $(pkg-config --cflags --libs iqdb).
 * docs/library.md is the manual.
 *
 * Every function that can fail returns IqdbStatus and takes an IqdbError, which may be NULL, for the detail. Results come
 * back through last parameters called ..._out; on failure pointers among them are NULL. Nothing here prints, jumps or exits.
 * Strings have lengths, and need no NUL. Sizes are in bytes, times in milliseconds, unless a name says otherwise.
 */
#ifndef IQDB_PUBLIC_IQDB_H
#define IQDB_PUBLIC_IQDB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define IQDB_API __attribute__((visibility("default")))
#define IQDB_MUST_CHECK __attribute__((warn_unused_result))
#else
#define IQDB_API
#define IQDB_MUST_CHECK
#endif

/* ---- version ----------------------------------------------------------------------------------------------------- */

/* Of this header. The last number of a release of bug fixes alone goes up alone. */
#define IQDB_VERSION "0.2.0"
#define IQDB_VERSION_MAJOR 0
#define IQDB_VERSION_MINOR 2
#define IQDB_VERSION_PATCH 0

/* Of the library that is linked, in the same form. */
IQDB_API const char *iqdb_library_version(void);

/* ---- status ------------------------------------------------------------------------------------------------------ */

typedef enum IqdbStatus
{
	IQDB_OK = 0,

	/* the caller asked for something that cannot be */
	IQDB_ERR_DIMENSION,   /* vector length differs from the index's */
	IQDB_ERR_VECTOR,      /* empty vector, NaN or infinity */
	IQDB_ERR_CONFIG,      /* option out of range, empty id, shape differs from the stored one */
	IQDB_ERR_METRIC,      /* metric unknown, or not possible with this engine or quantizer */
	IQDB_ERR_FILTER,      /* filter too deep, or an IN list too long */
	IQDB_ERR_NOT_FOUND,
	IQDB_ERR_DUPLICATE,
	IQDB_ERR_UNSUPPORTED, /* valid, but this build or engine cannot do it */
	IQDB_ERR_STATE,       /* the handle is closed or broken */

	/* the environment said no */
	IQDB_ERR_NOMEM,
	IQDB_ERR_LIMIT,       /* a limit set by the user is reached */
	IQDB_ERR_NO_SPACE,    /* disk, or the file system of the arena, is full */
	IQDB_ERR_IO,
	IQDB_ERR_LOCKED,      /* another process has the database open */
	IQDB_ERR_CANCELLED,

	/* bytes lie */
	IQDB_ERR_CORRUPT,
	IQDB_ERR_VERSION,

	IQDB_STATUS_COUNT
} IqdbStatus;

/* Detail of a failure. Messages carry sizes and names, never the content of a row. Untouched by calls that succeed. */
typedef struct IqdbError
{
	IqdbStatus code;
	int        sys_errno;   /* 0, or errno of the failed call */
	uint64_t   offset;      /* CORRUPT: byte offset in the file or the text, else 0 */
	char       file[120];   /* file concerned, or "" */
	char       message[200];/* one sentence, lower case, no full stop */
} IqdbError;

/* The code's name in the spelling above without prefix, for example "DIMENSION". Never NULL. */
IQDB_API const char *iqdb_status_name(IqdbStatus code);

/* ---- memory, files, cancel --------------------------------------------------------------------------------------- */

/*
 * Memory of the program's: one function does it all. resize(arg, NULL, 0, n) allocates, resize(arg, p, old, n) moves,
 * resize(arg, p, old, 0) frees and returns NULL. Returns NULL on failure, p then stays valid. Must never jump. Alignment:
 * 16 bytes. Wherever an allocator is asked for, NULL is the C library's.
 */
typedef struct IqdbAllocator
{
	void *(*resize)(void *arg, void *pointer, size_t old_size, size_t new_size);
	void *arg;
} IqdbAllocator;

/* pointer may be NULL; size is the size it was allocated with. */
IQDB_API void iqdb_free(const IqdbAllocator *allocator, void *pointer, size_t size);

/* Open flags. Without IQDB_IO_WRITE the file is opened for reading only. */
#define IQDB_IO_WRITE 1u     /* reading and writing */
#define IQDB_IO_CREATE 2u    /* create an empty file when there is none; needs IQDB_IO_WRITE */
#define IQDB_IO_EXCLUSIVE 4u /* with IQDB_IO_CREATE: fail when the file is there already */

/*
 * Files of the program's. Each call returns 0 or an errno value, never jumps, restarts by itself after EINTR. A handle is a
 * number of the program's choice that is never 0. Paths are what the library was given, with a suffix. Calls on one handle
 * may come from several threads at once; the library serialises those that conflict.
 *
 * A failed sync is final: the kernel may have dropped the pages it could not write, so a second sync that succeeds proves
 * nothing.
 */
typedef struct IqdbIo
{
	int (*open)(void *arg, const char *path, unsigned flags, intptr_t *handle_out);
	/* The handle is gone even when this returns an error. */
	int (*close)(void *arg, intptr_t handle);
	/* Reads size bytes at offset, fewer only at the end of the file; *read_out = how many. */
	int (*read)(void *arg, intptr_t handle, void *buffer, size_t size, uint64_t offset, size_t *read_out);
	/* Writes all size bytes at offset, or fails; what a failed call left in the file is undefined. */
	int (*write)(void *arg, intptr_t handle, const void *buffer, size_t size, uint64_t offset);
	int (*size)(void *arg, intptr_t handle, uint64_t *size_out);
	int (*truncate)(void *arg, intptr_t handle, uint64_t size);
	/* Content and size are on stable storage when this returns 0. The name of a new file is not: see sync_dir. */
	int (*sync)(void *arg, intptr_t handle);
	/* Advisory lock on the open file, until close; EWOULDBLOCK when somebody else, in any process, is in the way. */
	int (*try_lock)(void *arg, intptr_t handle, bool exclusive);
	/* Replaces to if it is there, atomically. */
	int (*rename)(void *arg, const char *from, const char *to);
	int (*unlink)(void *arg, const char *path);
	/* Names created, renamed or removed in the folder are on stable storage when this returns 0. */
	int (*sync_dir)(void *arg, const char *folder);
	/* Calls found(found_arg, name) for each entry but "." and ".." in no order; stops when it returns false. */
	int (*list)(void *arg, const char *folder, bool (*found)(void *found_arg, const char *name), void *found_arg);
	void *arg;
} IqdbIo;

/* Reads a flag, nothing else: true asks a long loop to return IQDB_ERR_CANCELLED soon. May be NULL. */
typedef bool (*IqdbCancel)(void *arg);

/* ---- ids --------------------------------------------------------------------------------------------------------- */

/* The numbers are written to disk: never change one. */
typedef enum IqdbIdKind
{
	IQDB_ID_U64 = 0,
	IQDB_ID_BYTES = 1
} IqdbIdKind;

/*
 * What names a row: an unsigned 64-bit number, or a non-empty string of any bytes. An id is a view: a byte string belongs to
 * somebody else and must outlive it. The two kinds are never equal to each other; ids have no order.
 */
typedef struct IqdbId
{
	IqdbIdKind           kind;
	uint32_t             length; /* BYTES only */
	uint64_t             number; /* U64 only */
	const unsigned char *bytes;  /* BYTES only */
} IqdbId;

static inline IqdbId
iqdb_id_u64(uint64_t number)
{
	IqdbId id = {IQDB_ID_U64, 0, 0, NULL};

	id.number = number;
	return id;
}

static inline IqdbId
iqdb_id_bytes(const void *bytes, uint32_t length)
{
	IqdbId id = {IQDB_ID_BYTES, 0, 0, NULL};

	id.length = length;
	id.bytes = (const unsigned char *) bytes;
	return id;
}

IQDB_API bool iqdb_id_equal(IqdbId a, IqdbId b);

/*
 * Text form: decimal, or two lower-case hex digits per byte without prefix. Writes at most size bytes, NUL included
 * (nothing when size is 0), and returns the length of the whole text without NUL.
 */
IQDB_API size_t iqdb_id_text(IqdbId id, char *text, size_t size);

/* ---- values ------------------------------------------------------------------------------------------------------ */

/* The numbers are written to disk: never change one. */
typedef enum IqdbValueKind
{
	IQDB_VALUE_STRING = 0,
	IQDB_VALUE_INT = 1,
	IQDB_VALUE_FLOAT = 2,
	IQDB_VALUE_BOOL = 3,
	IQDB_VALUE_NULL = 4
} IqdbValueKind;

#define IQDB_VALUE_KIND_COUNT 5

/*
 * One metadata value. A value is a view: a string's bytes belong to somebody else (a builder's caller, or the encoded bytes
 * it was read from) and must outlive it. Strings are any bytes; nothing here looks at their encoding.
 *
 * Kinds never mix: 1 and 1.0 are neither equal nor ordered. NaN is not equal to itself and has no order; -0.0 equals 0.0;
 * null equals null. Strings order bytewise, false stands before true.
 */
typedef struct IqdbValue
{
	IqdbValueKind kind;
	uint32_t      string_length; /* STRING only: bytes */
	union
	{
		const char *string; /* not NUL-terminated; may be NULL when empty */
		int64_t     integer;
		double      real;
		bool        boolean;
	} as;
} IqdbValue;

static inline IqdbValue
iqdb_value_null(void)
{
	IqdbValue value = {IQDB_VALUE_NULL, 0, {NULL}};

	return value;
}

static inline IqdbValue
iqdb_value_string(const char *bytes, uint32_t length)
{
	IqdbValue value = {IQDB_VALUE_STRING, 0, {NULL}};

	value.string_length = length;
	value.as.string = bytes;
	return value;
}

static inline IqdbValue
iqdb_value_int(int64_t integer)
{
	IqdbValue value = {IQDB_VALUE_INT, 0, {NULL}};

	value.as.integer = integer;
	return value;
}

static inline IqdbValue
iqdb_value_float(double real)
{
	IqdbValue value = {IQDB_VALUE_FLOAT, 0, {NULL}};

	value.as.real = real;
	return value;
}

static inline IqdbValue
iqdb_value_bool(bool boolean)
{
	IqdbValue value = {IQDB_VALUE_BOOL, 0, {NULL}};

	value.as.boolean = boolean;
	return value;
}

typedef enum IqdbOrder
{
	IQDB_ORDER_LESS = -1,
	IQDB_ORDER_EQUAL = 0,
	IQDB_ORDER_GREATER = 1,
	IQDB_ORDER_NONE = 2 /* different kinds, or a NaN */
} IqdbOrder;

/* IQDB_ORDER_EQUAL exactly when the two are equal in the sense above. */
IQDB_API IqdbOrder iqdb_value_compare(const IqdbValue *a, const IqdbValue *b);

static inline bool
iqdb_value_equal(const IqdbValue *a, const IqdbValue *b)
{
	return iqdb_value_compare(a, b) == IQDB_ORDER_EQUAL;
}

/* ---- metadata ---------------------------------------------------------------------------------------------------- */

/*
 * A row's metadata is an immutable map from string to value, kept as one flat byte string, its encoded form
 * (core/meta/metadata.h): that is what rows are written with and read back with. Keys are any bytes. A row without metadata
 * has no bytes (NULL, 0); to filters that is the same as an empty map.
 *
 * Look-up and iteration never read outside the given bytes, whatever these hold; on bytes that did not pass
 * iqdb_metadata_validate their answers mean nothing. What the database hands out has passed.
 */

/* An encoded map is never longer. */
#define IQDB_METADATA_BYTES_MAX ((size_t) 64 * 1024 * 1024)

typedef struct IqdbMetadataEntry
{
	const char *key; /* not NUL-terminated */
	size_t      key_length;
	IqdbValue   value;
} IqdbMetadataEntry;

/*
 * Checks bytes of unknown origin completely. length 0 is valid: no metadata. Errors: IQDB_ERR_CORRUPT with the offset
 * in these bytes, IQDB_ERR_LIMIT (longer than IQDB_METADATA_BYTES_MAX).
 */
IQDB_API IqdbStatus iqdb_metadata_validate(const unsigned char *bytes, size_t length, IqdbError *err) IQDB_MUST_CHECK;

/* Number of entries. */
IQDB_API uint32_t iqdb_metadata_count(const unsigned char *bytes, size_t length);

/* false when the key is absent, *value_out is then untouched. A string value points into the bytes. */
IQDB_API bool iqdb_metadata_lookup(const unsigned char *bytes, size_t length, const char *key, size_t key_length,
								   IqdbValue *value_out);

typedef struct IqdbMetadataCursor
{
	const unsigned char *at;
	const unsigned char *end;
	uint32_t             left;
} IqdbMetadataCursor;

/* Iteration in ascending key order; pointers lead into the bytes. */
IQDB_API IqdbMetadataCursor iqdb_metadata_first(const unsigned char *bytes, size_t length);
IQDB_API bool iqdb_metadata_next(IqdbMetadataCursor *cursor, IqdbMetadataEntry *entry_out);

/* Makes metadata; its fields are the library's own. Copies what it is given, allocates nothing before the first put. */
typedef struct IqdbMetadataBuilder
{
	const IqdbAllocator *allocator;
	unsigned char       *entries; /* encoded entries in the order they came */
	size_t               entries_length;
	size_t               entries_allocated;
	size_t              *offsets; /* of each entry */
	size_t               count;
	size_t               offsets_allocated;
} IqdbMetadataBuilder;

/* The allocator (NULL: the C library's) must outlive the builder. */
IQDB_API void iqdb_metadata_builder_init(IqdbMetadataBuilder *builder, const IqdbAllocator *allocator);
IQDB_API void iqdb_metadata_builder_free(IqdbMetadataBuilder *builder);

/*
 * Adds an entry; of several with one key the last wins. Errors: IQDB_ERR_NOMEM, IQDB_ERR_LIMIT (all entries together
 * pass IQDB_METADATA_BYTES_MAX), IQDB_ERR_CONFIG (unknown kind of value). Nothing has changed then.
 */
IQDB_API IqdbStatus iqdb_metadata_put(IqdbMetadataBuilder *builder, const char *key, size_t key_length,
									  const IqdbValue *value, IqdbError *err) IQDB_MUST_CHECK;

/*
 * The encoded map, in memory of the builder's allocator that the caller frees (iqdb_free with *length_out). The builder
 * keeps its entries. Errors: IQDB_ERR_NOMEM.
 */
IQDB_API IqdbStatus iqdb_metadata_finish(IqdbMetadataBuilder *builder, unsigned char **bytes_out, size_t *length_out,
										 IqdbError *err) IQDB_MUST_CHECK;

/* ---- filters ----------------------------------------------------------------------------------------------------- */

/*
 * Conditions on a row's metadata: built as a tree, kept in one piece, evaluated in place. Truth has two values. A leaf is
 * true only when the row has the field, with a value of the literal's kind, and the comparison holds; so on a row without
 * the field, and on a field of another kind, every leaf is false, NEQ included.
 *
 *   EQ  LT  LTE  GT  GTE   iqdb_value_compare; false where there is no order (NaN)
 *   NEQ                    present, same kind and not equal (so true where a NaN is met)
 *   IN                     equal to one of the values; an empty list is false
 *   AND OR                 of no condition: true, false
 *   NOT                    the opposite: NOT (EQ) is true where the field is absent
 *
 * Limits: AND, OR and NOT nest at most IQDB_FILTER_DEPTH_MAX deep (a leaf adds nothing), a list has at most
 * IQDB_FILTER_IN_MAX values, the encoded form at most IQDB_FILTER_BYTES_MAX bytes. AND and OR may be as wide as that
 * allows.
 */
#define IQDB_FILTER_DEPTH_MAX 64
#define IQDB_FILTER_IN_MAX 1024
#define IQDB_FILTER_BYTES_MAX ((size_t) 4 * 1024 * 1024)

/* The numbers are part of the encoded form: never change one. */
typedef enum IqdbFilterOp
{
	IQDB_FILTER_EQ = 0,
	IQDB_FILTER_NEQ = 1,
	IQDB_FILTER_LT = 2,
	IQDB_FILTER_LTE = 3,
	IQDB_FILTER_GT = 4,
	IQDB_FILTER_GTE = 5,
	IQDB_FILTER_IN = 6,
	IQDB_FILTER_AND = 7,
	IQDB_FILTER_OR = 8,
	IQDB_FILTER_NOT = 9
} IqdbFilterOp;

#define IQDB_FILTER_OP_COUNT 10

/* A finished filter: immutable, one allocation, may be read by many threads. */
typedef struct IqdbFilter IqdbFilter;

/*
 * Makes a filter of an encoded form (core/meta/filter.h) that may lie. Everything is checked before memory is asked for; the
 * memory is at most about fifty times the length (one-byte NOTs), usually three times. The bytes are copied. Errors:
 * IQDB_ERR_CORRUPT with the offset in the bytes, IQDB_ERR_FILTER (a limit), IQDB_ERR_NOMEM.
 */
IQDB_API IqdbStatus iqdb_filter_decode(const IqdbAllocator *allocator, const unsigned char *bytes, size_t length,
									   IqdbFilter **filter_out, IqdbError *err) IQDB_MUST_CHECK;

/* filter may be NULL. */
IQDB_API void iqdb_filter_free(const IqdbAllocator *allocator, IqdbFilter *filter);

/* The encoded form, as long as the filter lives. */
IQDB_API const unsigned char *iqdb_filter_encoded(const IqdbFilter *filter, size_t *length_out);

/*
 * Does a row with this encoded metadata (NULL and 0 when it has none) satisfy the filter? Allocates nothing, cannot
 * fail, never reads outside the given bytes.
 */
IQDB_API bool iqdb_filter_matches(const IqdbFilter *filter, const unsigned char *metadata, size_t length);

/*
 * Conditions are numbers handed out by the builder, put together from the leaves up. The first failure (no memory, a
 * condition used twice or unknown, a list too long) is remembered and reported by iqdb_filter_finish: the functions in
 * between need no check.
 */
typedef uint32_t IqdbCondition;

/* Makes filters; its fields are the library's own. */
typedef struct IqdbFilterBuilder
{
	const IqdbAllocator *allocator;
	unsigned char       *bytes; /* encoded leaves */
	size_t               bytes_length;
	size_t               bytes_allocated;
	void                *nodes;
	size_t               node_count;
	size_t               nodes_allocated;
	IqdbStatus           failure;
} IqdbFilterBuilder;

/* Allocates nothing. The allocator (NULL: the C library's) must outlive the builder. */
IQDB_API void iqdb_filter_builder_init(IqdbFilterBuilder *builder, const IqdbAllocator *allocator);
IQDB_API void iqdb_filter_builder_free(IqdbFilterBuilder *builder);

/* One of EQ .. GTE. Field and value are copied. */
IQDB_API IqdbCondition iqdb_filter_compare(IqdbFilterBuilder *builder, IqdbFilterOp op, const char *field,
										   size_t field_length, const IqdbValue *value);

/* The six by name. */
IQDB_API IqdbCondition iqdb_filter_eq(IqdbFilterBuilder *builder, const char *field, size_t field_length,
									  const IqdbValue *value);
IQDB_API IqdbCondition iqdb_filter_neq(IqdbFilterBuilder *builder, const char *field, size_t field_length,
									   const IqdbValue *value);
IQDB_API IqdbCondition iqdb_filter_lt(IqdbFilterBuilder *builder, const char *field, size_t field_length,
									  const IqdbValue *value);
IQDB_API IqdbCondition iqdb_filter_lte(IqdbFilterBuilder *builder, const char *field, size_t field_length,
									   const IqdbValue *value);
IQDB_API IqdbCondition iqdb_filter_gt(IqdbFilterBuilder *builder, const char *field, size_t field_length,
									  const IqdbValue *value);
IQDB_API IqdbCondition iqdb_filter_gte(IqdbFilterBuilder *builder, const char *field, size_t field_length,
									   const IqdbValue *value);

/* Field and values are copied. */
IQDB_API IqdbCondition iqdb_filter_in(IqdbFilterBuilder *builder, const char *field, size_t field_length,
									  const IqdbValue *values, size_t count);

/* The conditions become part of the new one: each may be used once. */
IQDB_API IqdbCondition iqdb_filter_and(IqdbFilterBuilder *builder, const IqdbCondition *conditions, size_t count);
IQDB_API IqdbCondition iqdb_filter_or(IqdbFilterBuilder *builder, const IqdbCondition *conditions, size_t count);
IQDB_API IqdbCondition iqdb_filter_not(IqdbFilterBuilder *builder, IqdbCondition condition);

/*
 * The filter under a root condition, in memory of the builder's allocator; free it with iqdb_filter_free. The builder
 * keeps its conditions. Errors: IQDB_ERR_FILTER (a limit), IQDB_ERR_NOMEM, IQDB_ERR_CONFIG (a condition used twice or
 * unknown, a value of unknown kind).
 */
IQDB_API IqdbStatus iqdb_filter_finish(IqdbFilterBuilder *builder, IqdbCondition root, IqdbFilter **filter_out,
									   IqdbError *err) IQDB_MUST_CHECK;

/* ---- options ----------------------------------------------------------------------------------------------------- */

/* Of all enumerations in this part the numbers are written to disk: never change one. */

/* What a vector is made of, `dim` elements, back to back, in the machine's order. */
typedef enum IqdbElementKind
{
	IQDB_ELEMENT_F32 = 0, /* float; 4 * dim bytes */
	IQDB_ELEMENT_F16 = 1, /* IEEE binary16; 2 * dim bytes */
	IQDB_ELEMENT_BIT = 2  /* the first in the highest bit of the first byte, unused bits zero; (dim + 7) / 8 bytes */
} IqdbElementKind;

#define IQDB_DIMENSION_MAX 16000      /* of F32 and F16 */
#define IQDB_DIMENSION_BITS_MAX 64000 /* of BIT */

/* The distance that is reported; smaller is nearer. */
typedef enum IqdbMetric
{
	IQDB_METRIC_COSINE = 0,  /* 1 - cosine of the angle; 1 where one vector is all zeros. F32, F16 */
	IQDB_METRIC_DOT = 1,     /* the inner product, negated. F32, F16 */
	IQDB_METRIC_L2 = 2,      /* Euclidean. F32, F16 */
	IQDB_METRIC_L1 = 3,      /* sum of differences. F32, F16 */
	IQDB_METRIC_HAMMING = 4, /* number of components whose bit patterns differ. F32, F16, BIT */
	IQDB_METRIC_JACCARD = 5  /* 1 - ones in common / ones of either. BIT */
} IqdbMetric;

typedef enum IqdbEngineKind
{
	IQDB_ENGINE_FLAT = 0, /* exact: one pass over all rows */
	IQDB_ENGINE_HNSW = 1, /* a graph */
	IQDB_ENGINE_IVF = 2   /* lists of near vectors */
} IqdbEngineKind;

typedef enum IqdbQuantization
{
	IQDB_QUANTIZATION_NONE = 0,
	IQDB_QUANTIZATION_SQ8 = 1, /* a byte a component */
	IQDB_QUANTIZATION_PQ = 2,  /* product codes; ivf */
	IQDB_QUANTIZATION_BQ = 3   /* signs; hnsw, ivf */
} IqdbQuantization;

/* As users write it; "unknown" for other numbers. */
IQDB_API const char *iqdb_quantization_name(uint32_t quantization);

/* Where full vectors lie while an index is in use. */
typedef enum IqdbVectors
{
	IQDB_VECTORS_AUTO = 0,   /* on disk where codes are far smaller (pq, bq), else in memory */
	IQDB_VECTORS_MEMORY = 1,
	IQDB_VECTORS_DISK = 2
} IqdbVectors;

/*
 * What a column of an index is: values that rows have beside their vectors, and that searches filter by. A value is an int64_t
 * to every function, or NULL. The numbers are written to disk: never change one.
 */
typedef enum IqdbColumnKind
{
	IQDB_COLUMN_INT1 = 1,  /* signed numbers of so many bytes, in their order */
	IQDB_COLUMN_INT2 = 2,
	IQDB_COLUMN_INT4 = 3,
	IQDB_COLUMN_INT8 = 4,
	IQDB_COLUMN_HASH = 5,  /* 64 bits of a hash: what is equal has equal ones; what has equal ones may still differ */
	IQDB_COLUMN_LABELS = 6 /* a set, by the union of its members' signatures: it may seem to have members it does not */
} IqdbColumnKind;

#define IQDB_COLUMNS_MAX 31

/*
 * A field of metadata whose values are kept in a column beside the rows' metadata: filters of such fields are answered by
 * columns, and read no row's metadata as far as columns decide. What filters mean is the same with and without.
 */
typedef struct IqdbField
{
	const char   *name;        /* any bytes, no NUL needed */
	size_t        name_length;
	IqdbValueKind kind;        /* BOOL, INT, FLOAT: columns decide all; STRING: what is equal, or listed */
} IqdbField;

#define IQDB_FIELDS_MAX IQDB_COLUMNS_MAX
#define IQDB_FIELDS_BYTES_MAX 280 /* of all names of a database, two bytes more for each */

/* What fixes an index's shape. Plain data of fixed width: it lies in the arena as it is. */
typedef struct IqdbIndexOptions
{
	uint32_t dimension;       /* 1 .. the element's maximum */
	uint32_t metric;          /* IqdbMetric */
	uint32_t engine;          /* IqdbEngineKind */
	uint32_t quantization;    /* IqdbQuantization */
	uint64_t seed;            /* hnsw, ivf */
	uint32_t m;               /* hnsw: 2 .. 128 */
	uint32_t ef_construction; /* hnsw: 2 * m .. 4000 */
	uint32_t ef_search;       /* hnsw: 1 .. 100000 */
	uint32_t lists;           /* ivf: 0 = automatic, .. 1000000 */
	uint32_t probes;          /* ivf: 0 = automatic, .. lists */
	uint32_t training_sample; /* ivf: >= 1 */
	uint32_t pq_subvectors;   /* pq: 0 = automatic, else a divisor of the dimension */
	uint32_t refine;          /* ivf with pq, bq: candidates re-ranked per wanted row; 0 = no more than wanted */
	uint32_t vectors;         /* IqdbVectors: a wish of the host, which may have no disk; no part of the shape */
	uint32_t element;         /* IqdbElementKind */
	uint8_t  column_count;    /* 0 .. IQDB_COLUMNS_MAX */
	uint8_t  columns[IQDB_COLUMNS_MAX]; /* IqdbColumnKind; 0 behind the last */
} IqdbIndexOptions;

/* Default options of an engine for vectors of floats; dimension and metric as given. */
IQDB_API IqdbIndexOptions iqdb_index_options_default(IqdbEngineKind engine, uint32_t dimension, IqdbMetric metric);

/* Makes them those of another element: where codes cannot stand for it, there are none. */
IQDB_API void iqdb_index_options_of_element(IqdbIndexOptions *options, IqdbElementKind element);

/* IQDB_ERR_CONFIG / IQDB_ERR_METRIC / IQDB_ERR_UNSUPPORTED naming the option, its value and its range. */
IQDB_API IqdbStatus iqdb_index_options_check(const IqdbIndexOptions *options, IqdbError *err) IQDB_MUST_CHECK;

/* "cosine", "dot", "l2", "l1", "hamming", "jaccard"; NULL for an unknown number. */
IQDB_API const char *iqdb_metric_name(IqdbMetric metric);

/* ---- the database ------------------------------------------------------------------------------------------------ */

/*
 * One index, in memory or in files. A database keeps rows - an id, a vector, optional metadata - and finds the nearest ones.
 * Its shape (element, dimension, metric) is fixed when it is made. Any number of threads may share a handle; every call but
 * iqdb_close() and iqdb_abandon() may run beside any other. A search sees the database as it is at one moment: no write
 * takes effect while it runs.
 *
 * Files. <path> is the snapshot, <path>.wal the log of what happened since, <path>.lock an empty file whose lock keeps a
 * second handle, in this process or another, away (IQDB_ERR_LOCKED). Where the options put vectors on disk, they lie beside
 * these while the database is open, in a file that has no name any more (<path>.vectors for an instant). Folders are not
 * made.
 *
 * Durability. A write is appended to the log, synced as the fsync policy says, then applied, then acknowledged. Under
 * IQDB_FSYNC_ALWAYS what was acknowledged survives loss of power; under PERIODIC up to an interval may be lost, under NEVER
 * what the operating system had not written; neither loses anything when only the program dies, and under all of them what
 * comes back is the state after some number of writes, in their order. Snapshots are always synced.
 *
 * A failed sync is final: the handle then refuses writes with IQDB_ERR_STATE, reads go on. Opening again recovers.
 */
typedef struct Iqdb Iqdb;

typedef enum IqdbFsync
{
	IQDB_FSYNC_ALWAYS = 0,   /* before a change is acknowledged */
	IQDB_FSYNC_PERIODIC = 1, /* by a timer */
	IQDB_FSYNC_NEVER = 2     /* left to the operating system */
} IqdbFsync;

typedef struct IqdbFsyncPolicy
{
	IqdbFsync mode;
	uint32_t  interval_ms; /* PERIODIC: longest time a written frame stays unsynced, less the timer's own step */
} IqdbFsyncPolicy;

/* The numbers are written to disk: never change one. */
typedef enum IqdbCompression
{
	IQDB_COMPRESSION_NONE = 0,
	IQDB_COMPRESSION_LZ4 = 1,
	IQDB_COMPRESSION_ZSTD = 2
} IqdbCompression;

/* Which answer goes first when the cache is full. */
typedef enum IqdbCachePolicy
{
	IQDB_CACHE_LRU = 0,  /* the least recently used */
	IQDB_CACHE_LFU = 1,  /* the least used; of equals, the least recently used */
	IQDB_CACHE_FIFO = 2, /* the first in */
	IQDB_CACHE_ARC = 3   /* adaptive: by whether answers are asked for once or again */
} IqdbCachePolicy;

#define IQDB_CACHE_CAPACITY_DEFAULT 1024
#define IQDB_CACHE_CAPACITY_MAX 100000000

typedef struct IqdbCacheConfig
{
	uint64_t        capacity; /* answers kept; 0 = none: every search is a miss */
	IqdbCachePolicy policy;
	uint64_t        ttl_ms;   /* an answer this old is a miss; 0 = never too old */
} IqdbCacheConfig;

/* Distance functions of one instruction set: see iqdb_kernels_named(). */
typedef struct IqdbKernels IqdbKernels;

/* How a search has found its rows. */
typedef enum IqdbSearchWay
{
	IQDB_SEARCH_OWN = 0,      /* by what the engine has for that: a graph, lists */
	IQDB_SEARCH_EXACT = 1,    /* by looking at all rows, or at all that pass the filter */
	IQDB_SEARCH_OWN_EXACT = 2 /* first the one, then the other */
} IqdbSearchWay;

/* What a search did. */
typedef struct IqdbSearchStats
{
	uint64_t scored;   /* distances computed, codes included */
	uint64_t reranked; /* full vectors read */
	uint64_t filtered; /* rows turned away by the filter, as far as it was asked */
	uint32_t way;      /* IqdbSearchWay */
} IqdbSearchStats;

typedef enum IqdbTraceKind
{
	IQDB_TRACE_OPEN = 0, /* files: recovery and all */
	IQDB_TRACE_UPSERT = 1,
	IQDB_TRACE_BATCH = 2,
	IQDB_TRACE_LOAD = 3,
	IQDB_TRACE_DELETE = 4,
	IQDB_TRACE_GET = 5,
	IQDB_TRACE_SEARCH = 6,
	IQDB_TRACE_SEARCH_BATCH = 7,
	IQDB_TRACE_OPTIMIZE = 8,
	IQDB_TRACE_CHECKPOINT = 9 /* by iqdb_flush, iqdb_close, opening, or a write that found the log long */
} IqdbTraceKind;

/* A call that has ended. Writes that fail for their arguments alone are not told of. */
typedef struct IqdbTraceEvent
{
	IqdbTraceKind          kind;
	IqdbStatus             status;
	uint64_t               nanoseconds; /* from its beginning, waiting for locks included */
	uint64_t               rows;        /* written, found, or there (OPEN, OPTIMIZE, CHECKPOINT); SEARCH_BATCH: queries */
	const IqdbSearchStats *search;      /* SEARCH that succeeded, from a cache too: what it did; else NULL */
} IqdbTraceEvent;

/*
 * Called by the thread that made the call, perhaps while the database is locked: it must not call the database. Several threads
 * may be in it.
 */
typedef void (*IqdbTrace)(void *arg, const IqdbTraceEvent *event);

typedef struct IqdbConfig
{
	/*
	 * When files are opened again, element, dimension and metric must be those of the files; engine, quantization and the
	 * engine's own options are taken from there, not from here.
	 */
	IqdbIndexOptions options; /* without columns: those come from fields */

	/*
	 * Fields of metadata that are asked often, in any order; copied. They are part of the shape: a database that has some can
	 * be opened with these or with none given (iqdb_fields() tells which), no others can be added.
	 */
	const IqdbField *fields;
	size_t           field_count;

	/*
	 * Bytes of memory the rows and their index may use, vectors on disk not counted; 0 = 64 GiB. More is IQDB_ERR_LIMIT. Files
	 * written under a limit can be opened under it: opening may use an eighth and 1 MiB more, which later writes may not.
	 */
	uint64_t        memory_max;
	IqdbFsyncPolicy fsync;             /* of log appends */
	IqdbCompression compression;       /* of snapshots written from now on */
	int             compression_level; /* zstd: 1 .. 22, 0 = default */
	uint64_t        checkpoint_bytes;  /* a log this long, and longer than the snapshot, is folded into one; 0 = never */
	bool            snapshot_only;     /* no log: what was written since iqdb_flush is lost unless iqdb_close succeeds */

	/*
	 * Threads for one search that looks at all rows: of a flat index, and with IqdbQuery.exact. The answer is the same; it
	 * comes sooner where there are many rows and idle processors. 0 = 1, the default; at most 64. Not for batches.
	 */
	unsigned search_threads;

	/* Remember answers until the next write. Off by default. */
	bool            use_cache;
	IqdbCacheConfig cache; /* default: 1024 answers, least recently used, no limit of age */

	/* NULL = the C library, POSIX files, the best of this CPU. What they point to is copied, but for the kernels. */
	const IqdbAllocator *allocator;
	const IqdbIo        *io;
	const IqdbKernels   *kernels;

	/* Asked now and then in long searches and saves, by any thread; NULL = never. true gives IQDB_ERR_CANCELLED. */
	IqdbCancel cancelled;
	void      *cancel_arg;

	/* Told of each call that has ended; NULL = never, and no clock is read then. */
	IqdbTrace trace;
	void     *trace_arg;
} IqdbConfig;

/* Defaults: fsync always, no compression, checkpoint at 64 MiB of log. */
IQDB_API IqdbConfig iqdb_config_default(IqdbEngineKind engine, uint32_t dimension, IqdbMetric metric);

/*
 * The kernels of that name, or NULL when unknown here or not runnable on this CPU: "scalar", "avx2", "avx512", "avx512bw" (that
 * without VNNI), "neon". Distances that a database reports may differ between two of them by rounding. iqdb_kernels_name:
 * of these, or for NULL of those that are chosen on this CPU.
 */
IQDB_API const IqdbKernels *iqdb_kernels_named(const char *name);
IQDB_API const char *iqdb_kernels_name(const IqdbKernels *kernels);

/* ---- opening and closing ----------------------------------------------------------------------------------------- */

/*
 * A database without files. Errors: CONFIG, METRIC, UNSUPPORTED (as iqdb_index_options_check), CONFIG (a field named twice,
 * or of kind NULL, or too many of them), NOMEM.
 */
IQDB_API IqdbStatus iqdb_open_in_memory(const IqdbConfig *config, Iqdb **db_out, IqdbError *err) IQDB_MUST_CHECK;

/*
 * Opens or makes the database called path: newest snapshot, then the log. A torn tail of the log is cut off before
 * anything is appended. Files left over by a crashed save are removed. *db_out is NULL on failure, and what was stored is
 * unchanged then but for the torn tail.
 * Errors: those of open_in_memory; CONFIG (element, dimension, metric or fields differ from the files', or the path is too
 * long), LOCKED, CORRUPT (file and offset), VERSION, UNSUPPORTED (compression or engine this build lacks), NOT_FOUND (no such
 * folder), LIMIT, NO_SPACE, IO.
 */
IQDB_API IqdbStatus iqdb_open(const char *path, const IqdbConfig *config, Iqdb **db_out, IqdbError *err) IQDB_MUST_CHECK;

/*
 * Checkpoint, then release. The handle is gone whatever is returned; when the checkpoint failed, the log still holds every
 * write. NULL is no error. No other call may be running.
 */
IQDB_API IqdbStatus iqdb_close(Iqdb *db, IqdbError *err);

/* Releases without a checkpoint: the log is replayed at the next opening. NULL is no error. */
IQDB_API void iqdb_abandon(Iqdb *db);

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/*
 * Insert or replace, metadata included. vector: dim finite components of the options' element (floats, unless said
 * otherwise). metadata: encoded; NULL and 0 = none. A replaced row counts as new: it goes to the end of its ties. On
 * failure nothing has changed.
 * Errors: DIMENSION, VECTOR, CONFIG (empty id), CORRUPT (metadata), LIMIT, NOMEM, NO_SPACE, IO, STATE.
 */
IQDB_API IqdbStatus iqdb_upsert(Iqdb *db, IqdbId id, const void *vector, size_t dim, const unsigned char *metadata,
								size_t metadata_length, IqdbError *err) IQDB_MUST_CHECK;

/* A row to be written. Everything is copied. */
typedef struct IqdbRow
{
	IqdbId               id;
	const void          *vector;   /* as for iqdb_upsert */
	const unsigned char *metadata; /* encoded; NULL = none */
	size_t               metadata_length;
} IqdbRow;

/*
 * Inserts or replaces many rows of dim components as one write: one frame of the log, one sync, one moment. All of them are
 * there afterwards, or on failure, after a crash too, none. In the order given: of several with one id the last wins. With
 * files, a batch has at most 256 MiB (IQDB_ERR_LIMIT). Searches wait for the moment in which all rows are shown, about a
 * millisecond for 10,000. Errors: those of iqdb_upsert.
 */
IQDB_API IqdbStatus iqdb_upsert_batch(Iqdb *db, const IqdbRow *rows, size_t count, size_t dim,
									  IqdbError *err) IQDB_MUST_CHECK;

/* What iqdb_load is at. done of total: rows. */
typedef enum IqdbLoadPhase
{
	IQDB_LOAD_STORING = 0, /* copied, logged */
	IQDB_LOAD_LINKING = 1  /* graph and lists are made; with ivf nothing is told between the beginning and the end */
} IqdbLoadPhase;

typedef struct IqdbLoadSettings
{
	unsigned threads; /* that link; 0 = 1 */

	/* Called by the thread that makes the call; false ends the loading with IQDB_ERR_CANCELLED. May be NULL. */
	bool (*progress)(void *arg, IqdbLoadPhase phase, uint64_t done, uint64_t total);
	void *progress_arg;
} IqdbLoadSettings;

/*
 * Loads many rows: stored in batches of some megabytes, each of which is a write as by iqdb_upsert_batch, then linked by
 * several threads. On failure or cancel the batches before stay, whole, and are found; what is not linked is found by exact
 * scan until iqdb_optimize. *stored_out (may be NULL): so many rows, from the first on, are in. settings NULL: one thread, no
 * progress. Errors: those of iqdb_upsert, CANCELLED.
 */
IQDB_API IqdbStatus iqdb_load(Iqdb *db, const IqdbRow *rows, size_t count, size_t dim, const IqdbLoadSettings *settings,
							  size_t *stored_out, IqdbError *err) IQDB_MUST_CHECK;

/* *deleted_out (may be NULL): was it there? Absent is no error. Errors: NO_SPACE, IO, STATE. */
IQDB_API IqdbStatus iqdb_delete(Iqdb *db, IqdbId id, bool *deleted_out, IqdbError *err) IQDB_MUST_CHECK;

/* Retrains, repairs, and makes what removed rows left behind usable again; beside searches, before the next write. */
IQDB_API IqdbStatus iqdb_optimize(Iqdb *db, IqdbError *err) IQDB_MUST_CHECK;

/* Folds the log into a new snapshot, if there is anything new. No-op in memory. Searches go on, writes wait. */
IQDB_API IqdbStatus iqdb_flush(Iqdb *db, IqdbError *err) IQDB_MUST_CHECK;

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* A row. Free it with iqdb_record_free. */
typedef struct IqdbRecord
{
	size_t               dim;
	const void          *vector;   /* as the options' element says */
	const unsigned char *metadata; /* encoded; NULL = none */
	size_t               metadata_length;
} IqdbRecord;

/* The row, or NULL when there is none. Errors: NOMEM. */
IQDB_API IqdbStatus iqdb_get(Iqdb *db, IqdbId id, IqdbRecord **record_out, IqdbError *err) IQDB_MUST_CHECK;
IQDB_API void iqdb_record_free(IqdbRecord *record);

IQDB_API uint64_t iqdb_len(const Iqdb *db);
IQDB_API bool iqdb_is_empty(const Iqdb *db);

typedef struct IqdbFound
{
	IqdbId               id;       /* a byte string points into the result */
	float                distance; /* smaller is nearer; may be negative under DOT */
	const unsigned char *metadata; /* encoded, in the result; NULL = none */
	size_t               metadata_length;
} IqdbFound;

/* Self-contained: outlives the handle if need be. May be shared with the cache and is never written to. */
typedef struct IqdbResult
{
	size_t           count;
	const IqdbFound *found; /* nearest first, ties in the order of insertion */
	IqdbSearchStats  stats;
} IqdbResult;

/*
 * The k nearest rows (all when there are fewer). k = 0 gives an empty result; the query is checked all the same.
 * Errors: DIMENSION, VECTOR, NOMEM, CANCELLED.
 */
IQDB_API IqdbStatus iqdb_search(Iqdb *db, const void *query, size_t dim, size_t k, IqdbResult **result_out,
								IqdbError *err) IQDB_MUST_CHECK;

/* The k nearest rows whose metadata matches; never fewer than k while there are k. A filter cannot be invalid: the
 * functions that make one refuse. NULL = every row. */
IQDB_API IqdbStatus iqdb_search_with(Iqdb *db, const void *query, size_t dim, size_t k, const IqdbFilter *filter,
									 IqdbResult **result_out, IqdbError *err) IQDB_MUST_CHECK;

/* Per-query settings. All zero but k is what iqdb_search does. */
typedef struct IqdbQuery
{
	size_t            k;
	const IqdbFilter *filter;
	uint32_t          ef;       /* hnsw: 0 = the index's */
	uint32_t          probes;   /* ivf: 0 = the index's */
	uint32_t          refine;   /* ivf with pq, bq: rows re-ranked per row wanted, .. 10000; 0 = the index's; 1 = fewest */
	uint64_t          max_rows; /* give up after scoring so many rows; 0 = never */
	bool              exact;    /* compare the query with every row that matches, whatever the engine; no cache */

	/* Asked now and then beside the configuration's; true gives IQDB_ERR_CANCELLED. NULL = never. */
	IqdbCancel cancelled;
	void      *cancel_arg;
} IqdbQuery;

IQDB_API IqdbStatus iqdb_search_query(Iqdb *db, const void *query, size_t dim, const IqdbQuery *settings,
									  IqdbResult **result_out, IqdbError *err) IQDB_MUST_CHECK;

/*
 * `count` queries of dim components one behind the other: results[i] belongs to query i, as iqdb_search would give it. Stops at
 * the first failure; all results are then NULL. results has room for count pointers.
 */
IQDB_API IqdbStatus iqdb_search_batch(Iqdb *db, const void *queries, size_t count, size_t dim, size_t k,
									  IqdbResult **results, IqdbError *err) IQDB_MUST_CHECK;
IQDB_API IqdbStatus iqdb_search_batch_with(Iqdb *db, const void *queries, size_t count, size_t dim, size_t k,
										   const IqdbFilter *filter, IqdbResult **results,
										   IqdbError *err) IQDB_MUST_CHECK;

/* NULL is no error. */
IQDB_API void iqdb_result_free(IqdbResult *result);

/* ---- asynchronous calls ------------------------------------------------------------------------------------------ */

/*
 * Calls that nobody waits for: a pool has a queue and a few threads. What is handed over is copied, one of the threads makes
 * the call, and a callback is told what came of it. A pool may serve many databases, a database may have calls in many
 * pools. Any thread may hand calls over. They begin in the order in which they came, and run beside each other: a call that
 * must follow another is handed over by that one's callback.
 *
 * A database is closed when none of its calls is left (iqdb_pool_wait).
 */
typedef struct IqdbPool IqdbPool;

/* One call: a handle for those who want to cancel it or wait for it. */
typedef struct IqdbCall IqdbCall;

typedef struct IqdbPoolConfig
{
	unsigned             threads;   /* 0 = 1; at most 256 */
	size_t               queue_max; /* so many calls wait at most, more are refused with IQDB_ERR_LIMIT; 0 = any number */
	const IqdbAllocator *allocator; /* NULL = the C library; copied; called by the pool's threads */
} IqdbPoolConfig;

/* What came of a call. */
typedef struct IqdbOutcome
{
	IqdbStatus       status;
	const IqdbError *error;   /* the detail of a failure, during the callback; NULL when the status is IQDB_OK */
	IqdbResult      *result;  /* of a search: the callback's own, to be freed by iqdb_result_free; else NULL */
	IqdbRecord      *record;  /* of iqdb_get_async: likewise, by iqdb_record_free; NULL when there is no such row */
	bool             deleted; /* of iqdb_delete_async */
	size_t           stored;  /* of iqdb_load_async: so many rows, from the first on, are in, whatever the status */
} IqdbOutcome;

/*
 * Called once for each call that was handed over, by a thread of the pool that holds no lock. It may hand over calls, and
 * should not take long: the thread does nothing else meanwhile. It must not wait for its pool or its call.
 */
typedef void (*IqdbDone)(void *arg, const IqdbOutcome *outcome);

/* Starts the threads. Errors: CONFIG (too many threads), NOMEM (or a thread cannot be started). */
IQDB_API IqdbStatus iqdb_pool_create(const IqdbPoolConfig *config, IqdbPool **pool_out, IqdbError *err) IQDB_MUST_CHECK;

/* Waits until every call that was handed over, by callbacks too, has been made and its callback has returned. */
IQDB_API void iqdb_pool_wait(IqdbPool *pool);

/* The same, and ends the threads. Nobody hands over calls any more but callbacks. NULL is no error. */
IQDB_API void iqdb_pool_destroy(IqdbPool *pool);

/*
 * The calls, as the functions without _async. done may be NULL: then nobody is told. call_out may be NULL; else it is to be
 * freed by iqdb_call_free. What lies in a filter, functions and their arguments, and the rows of iqdb_load_async with all they
 * point to, must live until the callback; everything else is copied. Errors, and then done is not called: DIMENSION, VECTOR,
 * CONFIG, CORRUPT (as the call itself would say of its arguments; rows to be loaded are looked at by the call alone), LIMIT
 * (the queue is full), NOMEM.
 */
IQDB_API IqdbStatus iqdb_upsert_async(IqdbPool *pool, Iqdb *db, const IqdbRow *row, size_t dim, IqdbDone done, void *arg,
									  IqdbCall **call_out, IqdbError *err) IQDB_MUST_CHECK;
IQDB_API IqdbStatus iqdb_upsert_batch_async(IqdbPool *pool, Iqdb *db, const IqdbRow *rows, size_t count, size_t dim,
											IqdbDone done, void *arg, IqdbCall **call_out, IqdbError *err) IQDB_MUST_CHECK;
IQDB_API IqdbStatus iqdb_load_async(IqdbPool *pool, Iqdb *db, const IqdbRow *rows, size_t count, size_t dim,
									const IqdbLoadSettings *settings, IqdbDone done, void *arg, IqdbCall **call_out,
									IqdbError *err) IQDB_MUST_CHECK;
IQDB_API IqdbStatus iqdb_delete_async(IqdbPool *pool, Iqdb *db, IqdbId id, IqdbDone done, void *arg, IqdbCall **call_out,
									  IqdbError *err) IQDB_MUST_CHECK;
IQDB_API IqdbStatus iqdb_get_async(IqdbPool *pool, Iqdb *db, IqdbId id, IqdbDone done, void *arg, IqdbCall **call_out,
								   IqdbError *err) IQDB_MUST_CHECK;
IQDB_API IqdbStatus iqdb_search_async(IqdbPool *pool, Iqdb *db, const void *query, size_t dim, const IqdbQuery *settings,
									  IqdbDone done, void *arg, IqdbCall **call_out, IqdbError *err) IQDB_MUST_CHECK;
IQDB_API IqdbStatus iqdb_optimize_async(IqdbPool *pool, Iqdb *db, IqdbDone done, void *arg, IqdbCall **call_out,
										IqdbError *err) IQDB_MUST_CHECK;
IQDB_API IqdbStatus iqdb_flush_async(IqdbPool *pool, Iqdb *db, IqdbDone done, void *arg, IqdbCall **call_out,
									 IqdbError *err) IQDB_MUST_CHECK;

/*
 * Asks for an end, and does not wait for it. A call that has not begun is never made, and a search that runs ends soon: their
 * callbacks are told IQDB_ERR_CANCELLED, when their turn comes. Loading ends where it next tells its progress, and keeps
 * what is stored; any other write that has begun is made. After the end: no-op.
 */
IQDB_API void iqdb_call_cancel(IqdbCall *call);

/* Waits until the callback has returned. */
IQDB_API void iqdb_call_wait(IqdbCall *call);

/* Lets go of the handle, at any time; the call goes on. A handle may outlive its pool. NULL is no error. */
IQDB_API void iqdb_call_free(IqdbCall *call);

/* ---- files of vectors -------------------------------------------------------------------------------------------- */

typedef enum IqdbFileFormat
{
	IQDB_FILE_AUTO = 0,  /* as the end of the name says */
	IQDB_FILE_FVECS = 1, /* each row: dimension, then so many floats, */
	IQDB_FILE_IVECS = 2, /* 32-bit integers, */
	IQDB_FILE_BVECS = 3, /* bytes */
	IQDB_FILE_FBIN = 4,  /* rows, dimension, then floats */
	IQDB_FILE_NPY = 5    /* an array of numpy's: two dimensions, in C's order, little-endian */
} IqdbFileFormat;

typedef enum IqdbFileNumber
{
	IQDB_NUMBER_F32 = 0,
	IQDB_NUMBER_F16 = 1,
	IQDB_NUMBER_F64 = 2,
	IQDB_NUMBER_U8 = 3, /* this one and those behind it are integers */
	IQDB_NUMBER_I8 = 4,
	IQDB_NUMBER_I32 = 5,
	IQDB_NUMBER_I64 = 6
} IqdbFileNumber;

typedef struct IqdbVectorFileInfo
{
	IqdbFileFormat format;
	IqdbFileNumber number; /* what the file holds */
	uint64_t       count;  /* rows */
	uint32_t       dim;    /* numbers of a row; 0 where there is no row */
} IqdbVectorFileInfo;

/* An open file. One thread at a time. */
typedef struct IqdbVectorFile IqdbVectorFile;

/*
 * Opens a file and compares its head with its length. io and allocator: NULL = POSIX files, the C library; copied. Errors:
 * CONFIG (form not known), CORRUPT (file, offset), UNSUPPORTED and VERSION (arrays of other kinds), NOT_FOUND, NOMEM, IO.
 */
IQDB_API IqdbStatus iqdb_vector_file_open(const char *path, IqdbFileFormat format, const IqdbIo *io,
										  const IqdbAllocator *allocator, IqdbVectorFile **file_out,
										  IqdbError *err) IQDB_MUST_CHECK;

IQDB_API IqdbVectorFileInfo iqdb_vector_file_info(const IqdbVectorFile *file);

/*
 * The rows first .. first + count, one behind the other: count * dim numbers, converted from whatever the file holds; what is
 * too large for a float becomes infinite. Errors: CONFIG (there are not so many rows), CORRUPT (a row of another dimension),
 * IO; some rows may be written then.
 */
IQDB_API IqdbStatus iqdb_vector_file_read(IqdbVectorFile *file, uint64_t first, size_t count, float *floats_out,
										  IqdbError *err) IQDB_MUST_CHECK;

/* The same of integers, as true neighbours are given. CONFIG: the file holds floats. */
IQDB_API IqdbStatus iqdb_vector_file_read_integers(IqdbVectorFile *file, uint64_t first, size_t count, int64_t *integers_out,
												   IqdbError *err) IQDB_MUST_CHECK;

/* NULL is no error. */
IQDB_API void iqdb_vector_file_close(IqdbVectorFile *file);

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

/*
 * Rows and results as JSON (RFC 8259, UTF-8, no NUL at the end), in no locale:
 *
 *   row     {"id":7,"vector":[1,-0.5],"metadata":{"year":2024,"price":3.0,"name":"x","sold":true,"note":null}}
 *   result  [{"id":"a","distance":0.25,"metadata":{}},...]
 *
 * An id is a number, a string, or {"bytes":"00ff"}, lower-case hex, which is how ids are written that are not UTF-8. Of bits
 * each is 0 or 1. Numbers are the shortest that read back as the same bits; a float of the metadata has a point or an exponent,
 * an integer has neither, so kinds survive. {} stands for no metadata. What is written is read back the same, but that an
 * encoded map without entries becomes none.
 *
 * The reader believes nothing. It takes members in any order, metadata may be absent, other members and one twice are refused;
 * of two entries of the metadata with one key the last wins. NaN, infinities, numbers out of range, halves of surrogate pairs,
 * and arrays or objects as values of the metadata are refused.
 */

/* Longer texts are not read. */
#define IQDB_JSON_BYTES_MAX ((size_t) 256 * 1024 * 1024)

/*
 * dim components of this element. *text_out is freed by iqdb_free with *length_out. Errors: CONFIG (element, dim), VECTOR,
 * CORRUPT (metadata), UNSUPPORTED (JSON has no form for a string or key that is not UTF-8, for NaN and infinities), NOMEM.
 */
IQDB_API IqdbStatus iqdb_row_json(const IqdbRow *row, IqdbElementKind element, size_t dim, const IqdbAllocator *allocator,
								  char **text_out, size_t *length_out, IqdbError *err) IQDB_MUST_CHECK;

/* The hits, nearest first; statistics are left out. Errors: UNSUPPORTED, as above, and of an infinite distance; NOMEM. */
IQDB_API IqdbStatus iqdb_result_json(const IqdbResult *result, const IqdbAllocator *allocator, char **text_out,
									 size_t *length_out, IqdbError *err) IQDB_MUST_CHECK;

/* A row that was read, as iqdb_upsert_batch takes it. */
typedef struct IqdbJsonRow
{
	IqdbRow row;
	size_t  dim;
} IqdbJsonRow;

/*
 * Reads a row with a vector of this element. Free it with iqdb_row_free. Errors: CORRUPT (with the offset in the text), LIMIT
 * (text or vector too long), CONFIG (element), NOMEM.
 */
IQDB_API IqdbStatus iqdb_row_from_json(const char *text, size_t length, IqdbElementKind element,
									   const IqdbAllocator *allocator, IqdbJsonRow **row_out,
									   IqdbError *err) IQDB_MUST_CHECK;

/* NULL is no error. */
IQDB_API void iqdb_row_free(IqdbJsonRow *row);

/*
 * Reads the hits of a result; its statistics are zero. Free it with iqdb_result_free. Errors: CORRUPT (with the offset in the
 * text), LIMIT, NOMEM.
 */
IQDB_API IqdbStatus iqdb_result_from_json(const char *text, size_t length, const IqdbAllocator *allocator,
										  IqdbResult **result_out, IqdbError *err) IQDB_MUST_CHECK;

/* ---- numbers and verification ------------------------------------------------------------------------------------ */

/* Engines fill in what they have. */
typedef struct IqdbEngineStats
{
	uint64_t unlinked;        /* rows that are found by exact scan only */
	uint64_t unrepaired;      /* removed rows an engine still holds */
	uint64_t unreachable;     /* hnsw: nodes out of reach when last checked or repaired: found by the scan of all rows */
	uint64_t twins;           /* hnsw: rows that share the node of an equal row */
	uint32_t levels;          /* hnsw */
	uint64_t level_count[16]; /* hnsw: nodes whose top level is i; the last entry collects the rest */
	uint32_t lists;           /* ivf */
	uint32_t probes;          /* ivf: lists that a search opens first if none are named */
	uint64_t list_min;
	uint64_t list_max;
	double   list_mean;
	uint32_t trained;         /* ivf: 1 when trained */
	uint64_t trained_rows;    /* ivf: rows there were when the lists were trained */
	uint64_t newcomers;       /* ivf: rows linked since, except by training anew */
	double   drift;           /* ivf: mean square distance of those to their centres, relative to the rows trained with */
	bool     outgrown;        /* ivf: the next VACUUM trains anew: grown, or drifted */
} IqdbEngineStats;

typedef struct IqdbIndexStats
{
	IqdbIndexOptions options;
	uint64_t         live;
	uint64_t         known;       /* ids without a vector: 0 in a database */
	uint64_t         dead;        /* removed, slot not reusable yet */
	uint64_t         free;
	uint64_t         memory;      /* bytes of the arena in use */
	uint64_t         vector_file; /* bytes of the file that vectors lie in; 0 = they are in memory */
	uint64_t         changes;
	IqdbEngineStats  engine;
} IqdbIndexStats;

typedef struct IqdbStats
{
	IqdbIndexStats index;
	uint64_t       position;          /* writes since the database was made */
	uint64_t       snapshot_position; /* writes the snapshot holds */
	uint64_t       log_bytes;         /* 0 in memory */
	uint64_t       log_synced_bytes;  /* of these, on stable storage for certain */
	uint64_t       snapshot_bytes;
	uint64_t       checkpoints;       /* by this handle */
	uint64_t       checkpoint_failures; /* of those that a write began: the write itself succeeded */
	bool           broken;            /* a sync failed: no more writes */
} IqdbStats;

IQDB_API void iqdb_stats(Iqdb *db, IqdbStats *stats_out);

/*
 * The least number of lists that hold the share `coverage` (0 .. 1) of all rows: as `probes` of a query, that share of the
 * rows is looked at, or more. Errors: CONFIG (the engine has no lists, coverage out of range), NOMEM.
 */
IQDB_API IqdbStatus iqdb_suggest_probes(Iqdb *db, double coverage, uint32_t *probes_out, IqdbError *err) IQDB_MUST_CHECK;

/*
 * How many rows each list holds, in no order: *lists_out lists there are (0 before they are trained), of which the first
 * `room` are written. Errors: CONFIG (the engine has no lists).
 */
IQDB_API IqdbStatus iqdb_list_sizes(Iqdb *db, uint64_t *sizes_out, uint32_t room, uint32_t *lists_out,
									IqdbError *err) IQDB_MUST_CHECK;

typedef struct IqdbCacheStats
{
	uint64_t hits;
	uint64_t misses;
	uint64_t evictions; /* for want of capacity; answers forgotten because the data changed are not counted */
	uint64_t len;       /* answers held, those too old included */
	uint64_t capacity;
	double   hit_rate;  /* hits of all look-ups; 0 when there were none */
} IqdbCacheStats;

/* false, and zeros, when the database has no cache. */
IQDB_API bool iqdb_cache_stats(Iqdb *db, IqdbCacheStats *stats_out);

/* Forgets the answers kept, not the counters. No-op without a cache. */
IQDB_API void iqdb_clear_cache(Iqdb *db);

/* How well and how fast queries are answered. Times are in microseconds, of one search at a time. */
typedef struct IqdbRecall
{
	uint64_t queries;
	uint64_t k;
	double   mean;     /* of recall: found rows that are no farther than the k-th nearest, of those there are; 1 is all */
	double   min;
	double   max;
	double   mean_us;
	double   min_us;
	double   max_us;
	double   p50_us;   /* half of the searches took no longer */
	double   p95_us;
	double   p99_us;
	double   per_second;
	double   exact_us;   /* mean of the exact searches */
	double   p1;         /* of recall: one query in a hundred finds no more */
	double   below_half; /* share of queries that found less than half */
	double   at_zero;    /* share of queries that found nothing */
} IqdbRecall;

/*
 * Answers `count` queries (one behind the other, dim components each) as the settings say, and exactly, and compares. Rows
 * as far as the k-th nearest count as found whichever of them they are. Takes two searches a query; the cache is passed by.
 * Errors: CONFIG (no query, or k is 0), those of a search.
 */
IQDB_API IqdbStatus iqdb_recall(Iqdb *db, const void *queries, size_t count, size_t dim, const IqdbQuery *settings,
								IqdbRecall *recall_out, IqdbError *err) IQDB_MUST_CHECK;

/* What is in use: after reopening, the options of the files. */
IQDB_API const IqdbIndexOptions *iqdb_options(const Iqdb *db);

/* The fields that have columns, by name: their number; *fields_out is as long as the handle. */
IQDB_API size_t iqdb_fields(const Iqdb *db, const IqdbField **fields_out);

/* Called by iqdb_check for each thing found wrong; text without row content. */
typedef void (*IqdbFinding)(void *arg, const char *what);

/* Every invariant of rows, columns and engine; one call of finding per breach. Writes wait. */
IQDB_API IqdbStatus iqdb_check(Iqdb *db, IqdbFinding finding, void *arg, IqdbError *err) IQDB_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
