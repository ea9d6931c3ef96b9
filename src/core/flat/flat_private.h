/*
 * flat_private.h - what the files of this folder share: codes in the arena, and the scan.
 *
 * Who owns what: flat_code.c the codes (quantization sq8), flat_scan.c one pass over the rows, flat.c the stream and the
 * contract. README.md has the reasons.
 */
#ifndef IQDB_FLAT_FLAT_PRIVATE_H
#define IQDB_FLAT_FLAT_PRIVATE_H

#include "core/base/topk.h"
#include "core/flat/flat.h"
#include "core/quant/sq8_bound.h"

/* Rows scored by one call of a kernel, and rows whose codes have the same centre. */
#define IQDBI_FLAT_BLOCK_ROWS 256u

/* ---- codes (flat_code.c) ----------------------------------------------------------------------------------------- */

enum
{
	IQDBI_FLAT_CODES = 0, /* bytes, slot by slot */
	IQDBI_FLAT_GROUPS,    /* packed coarse codes of 16 slots */
	IQDBI_FLAT_ROWS,      /* IqdbBoundRows per group */
	IQDBI_FLAT_HOMES,     /* per block of slots: which centre, 0 or 1 */
	IQDBI_FLAT_CENTRES,   /* two vectors */
	IQDBI_FLAT_REGIONS
};

/*
 * In the engine's page. current, versions and lengths change under STRUCTURE and ROWS exclusive, as does the home of a
 * block that has rows.
 */
typedef struct IqdbiFlatHeader
{
	uint32_t         current;     /* centre of blocks to come */
	uint32_t         versions[2]; /* how often a centre was written */
	float            lengths[2];
	_Atomic uint32_t busy;        /* someone moves the rows to another centre */
	_Atomic uint32_t centred;     /* there was a centre made of rows */
} IqdbiFlatHeader;

/* A process's view. */
typedef struct IqdbiFlatCodes
{
	IqdbStore       *store;
	IqdbiFlatHeader *header;
	uint8_t         *codes;
	uint8_t         *groups;
	IqdbBoundRows   *rows;
	_Atomic uint8_t *homes;
	float           *centres;
	IqdbBoundKernels kernels;
	IqdbMetric       metric;
	size_t           dim;
	size_t           octets;
	size_t           code_bytes; /* from one code to the next */
	size_t           group_bytes;
} IqdbiFlatCodes;

/* false: the index has no codes. */
bool iqdbi_flat_codes_view(IqdbiFlatCodes *codes_out, IqdbStore *store);

static inline uint32_t
iqdbi_flat_home(const IqdbiFlatCodes *codes, uint32_t slot)
{
	return atomic_load_explicit(&codes->homes[slot / IQDBI_FLAT_BLOCK_ROWS], memory_order_relaxed);
}

static inline IqdbBoundCentre
iqdbi_flat_centre(const IqdbiFlatCodes *codes, uint32_t home)
{
	return (IqdbBoundCentre){.vector = codes->centres + home * codes->dim, .length = codes->header->lengths[home]};
}

/* The engine's functions of the same names (engine.h); all do nothing where there are no codes. */
void iqdbi_flat_codes_reserves(const IqdbIndexOptions *options, uint64_t slots_max, uint64_t *reserves_out);
uint64_t iqdbi_flat_codes_bytes_per_row(const IqdbIndexOptions *options);
IqdbStatus iqdbi_flat_codes_format(IqdbStore *store, IqdbError *err) IQDB_MUST_CHECK;
IqdbStatus iqdbi_flat_codes_reserve(IqdbStore *store, uint32_t slot_count, IqdbError *err) IQDB_MUST_CHECK;
void iqdbi_flat_codes_prepare(IqdbStore *store, uint32_t slot);
IqdbStatus iqdbi_flat_codes_check(IqdbStore *store, IqdbFinding finding, void *arg, IqdbError *err) IQDB_MUST_CHECK;

/*
 * Makes the mean of the rows the centre and codes all rows anew, block by block; readers and writers wait for one block.
 * Nothing happens where it would not pay, unless all codes are to be written (after a load). Polls cancel; what is left
 * undone is right as it is, and done by the next call.
 */
IqdbStatus iqdbi_flat_codes_centre(IqdbStore *store, bool all, IqdbError *err) IQDB_MUST_CHECK;

/* The same at the moment when there are rows enough for the first time. */
IqdbStatus iqdbi_flat_codes_grown(IqdbStore *store, IqdbError *err) IQDB_MUST_CHECK;

/* ---- a stream and its passes (flat_scan.c) ----------------------------------------------------------------------- */

typedef struct IqdbiFlatCursor
{
	IqdbCursor     base;
	IqdbTopK       top;        /* the current batch; sorted when the scan is done */
	size_t         at;         /* next candidate to hand out */
	IqdbCandidate  bound;      /* last candidate of the batch before */
	bool           bounded;
	bool           started;
	bool           exhausted;  /* nothing stands behind the current batch */

	/* the query against each centre */
	int8_t        *query_codes; /* two times iqdb_bound_query_bytes; NULL: no codes */
	IqdbBoundQuery queries[2];
	uint32_t       versions[2]; /* of the centre it was made for; 0 = none yet */
	bool           possible[2];
} IqdbiFlatCursor;

/* So many cursors are scanned for together at most. */
#define IQDBI_FLAT_TOGETHER 16u

/*
 * One pass for 1 .. IQDBI_FLAT_TOGETHER cursors of one store over all rows, or those of the slots that the parameters of all of
 * them name: the best top.capacity of those that stand behind each cursor's bound. Errors: CANCELLED, NOMEM.
 */
IqdbStatus iqdbi_flat_scan(IqdbiFlatCursor *const *cursors, size_t count, IqdbError *err) IQDB_MUST_CHECK;

#endif
