/*
 * ivf_private.h - lists and models in the arena, and what the files of this folder share.
 *
 * README.md has the layout with its reasons, the locks, and the argument why a reader without locks sees no garbage. Who
 * owns what: ivf_arena.c the bytes in the arena, ivf_code.c how rows become codes, ivf_kernels.c the inner loops over
 * codes, ivf_coarse.c the way from a vector to its nearest lists, ivf_train.c how centres are found, ivf_fill.c the lists
 * of a new edition, ivf_build.c when it counts, and its repair, ivf_exact.c the scan of all rows, ivf_search.c one batch of
 * hits, ivf_stream.c their stream, ivf_persist.c a snapshot's bytes, ivf_check.c verification, ivf.c the contract.
 */
#ifndef IQDB_IVF_IVF_PRIVATE_H
#define IQDB_IVF_IVF_PRIVATE_H

#include "core/base/topk.h"
#include "core/ivf/ivf.h"
#include "core/quant/packed.h"
#include "core/quant/pq.h"

#define IQDBI_BLOCK_ROWS 32u
#define IQDBI_LISTS_MAX 1000000u

/* From so many lists on there is a level of coarser cells above them. */
#define IQDBI_ONE_LEVEL_LISTS 2048u

/* Regions of the arena. Of each but the last two there are two, one per edition: the number and the next. */
enum
{
	IQDBI_IVF_HOMES = 0,    /* per slot, where the row is */
	IQDBI_IVF_MODELS = 2,   /* centres and codebook */
	IQDBI_IVF_LISTS = 4,    /* IqdbiList */
	IQDBI_IVF_BLOCKS = 6,   /* rows of lists */
	IQDBI_IVF_LINKS = 8,    /* per block, the one behind it */
	IQDBI_IVF_WAITING = 10, /* IqdbiSpan: a bit per slot, for rows not linked yet */
	IQDBI_IVF_WORK = 11,    /* while an edition is filled: list per slot, slots by list */
	IQDBI_IVF_REGIONS = 12
};

/* ---- inner loops (ivf_kernels.c) --------------------------------------------------------------------------------- */

/* Keys of a block's rows from the sums of its codes: (offset + base) + scale * (weight * sum + shift). */
typedef struct IqdbiLine
{
	float base;
	float weight;
	float shift;
} IqdbiLine;

typedef struct IqdbiIvfKernels
{
	/* sums[i] = sum of tables[sub][nibble sub of row i]; 32 rows; tables: 2 * pairs times 16 bytes */
	void (*nibbles)(const uint8_t *codes, size_t pairs, const uint8_t *tables, int32_t *sums_out);

	/*
	 * Keys of 32 rows; returns the bits of those that are not above limit. scales NULL: all 1; offsets NULL: all 0. Keys
	 * of rows that do not exist are some numbers.
	 */
	uint32_t (*finish)(const int32_t *sums, const float *scales, const float *offsets, const IqdbiLine *line,
					   float limit, float *keys_out);

	/* Floats from their upper halves, 32 of them; those of rows that do not exist are some numbers. */
	void (*widen)(const uint16_t *halves, float *out);

	/* The largest |a[i] * factor - b[i]|, and these differences; b NULL = 0. */
	float (*residual)(const float *a, float factor, const float *b, size_t dim, float *out);

	/* out[i] = round(in[i] * inverse) + plus, as a byte; returns the sum and the sum of squares without plus. */
	void (*round)(const float *in, size_t dim, float inverse, int32_t plus, uint8_t *out, int32_t *sum_out,
				  int32_t *squares_out);
} IqdbiIvfKernels;

/* What runs beside a table of vec/kernels.h: the results are the same bit for bit. */
const IqdbiIvfKernels *iqdbi_ivf_kernels(const IqdbKernels *kernels);

/* ---- choosing the least of many (ivf_pick.c) --------------------------------------------------------------------- */

/* Keeps the `wanted` smallest (key, id) of what is pushed; memory for `room` entries is the owner's. */
typedef struct IqdbiPick
{
	uint64_t *entries; /* key as ordered bits << 32 | id */
	size_t    count;
	size_t    wanted;
	size_t    room;    /* > wanted */
	float     limit;   /* keys above cannot be kept */
	bool      doubles; /* some entries may be there twice: to be dropped before any is */
} IqdbiPick;

/* Entries that a pick of so many wants room for. */
static inline size_t
iqdbi_pick_room(size_t wanted)
{
	return wanted + wanted / 2 + 64;
}

/* In place, ascending. */
void iqdbi_sort_numbers(uint64_t *entries, size_t count);

void iqdbi_pick_start(IqdbiPick *pick, size_t wanted);
/* Drops all but the wanted ones. */
void iqdbi_pick_shrink(IqdbiPick *pick);
/* The same, in order. */
void iqdbi_pick_sort(IqdbiPick *pick);
/*
 * Of the entries from number `from` on takes the `count` smallest (all, if there are not so many), and moves those of them
 * whose keys are not above limit to the front, in no order. Returns how many those are.
 */
size_t iqdbi_pick_front(IqdbiPick *pick, size_t from, size_t count, float limit);

static inline uint32_t
iqdbi_pick_bits(float key)
{
	union
	{
		float    value;
		uint32_t bits;
	} word = {.value = key + 0.0f};

	return word.bits & UINT32_C(0x80000000) ? ~word.bits : word.bits | UINT32_C(0x80000000);
}

static inline void
iqdbi_pick_push(IqdbiPick *pick, float key, uint32_t id)
{
	if (pick->count == pick->room)
		iqdbi_pick_shrink(pick);
	pick->entries[pick->count++] = (uint64_t) iqdbi_pick_bits(key) << 32 | id;
}

static inline float
iqdbi_pick_key(const IqdbiPick *pick, size_t i)
{
	union
	{
		uint32_t bits;
		float    value;
	} word = {.bits = (uint32_t) (pick->entries[i] >> 32)};

	word.bits = word.bits & UINT32_C(0x80000000) ? word.bits & UINT32_C(0x7fffffff) : ~word.bits;
	return word.value;
}

static inline uint32_t
iqdbi_pick_id(const IqdbiPick *pick, size_t i)
{
	return (uint32_t) pick->entries[i];
}

/* ---- in the arena ------------------------------------------------------------------------------------------------ */

/*
 * A home word says where a row is in one edition: a status, and the list of a linked row. It has 16 bits where the edition's
 * lists can be told apart by the rest of them, else 32.
 */
#define IQDBI_HOME_ABSENT 0u
#define IQDBI_HOME_PENDING 1u /* not in a list; it waits, or whoever fills the edition has it on his list of rows */
#define IQDBI_HOME_LINKING 2u /* somebody is linking it */
#define IQDBI_HOME_LINKED 3u
#define IQDBI_HOME_STATUS 3u
#define IQDBI_HOME_LIST_SHIFT 2
#define IQDBI_HOME_NARROW_LISTS (1u << (16 - IQDBI_HOME_LIST_SHIFT))

/* Rows not linked yet: a bit each, and their number so that those who look for them pass over the rest. */
#define IQDBI_SPAN_SLOTS 4096u

typedef struct IqdbiSpan
{
	_Atomic uint64_t waiting; /* not less than there are bits set */
	_Atomic uint64_t bits[IQDBI_SPAN_SLOTS / 64];
} IqdbiSpan;

typedef struct IqdbiList
{
	_Atomic uint32_t count; /* rows published */
	_Atomic uint32_t head;  /* first block, 0 = none */
	uint32_t         tail;  /* last block; guarded by busy */
	_Atomic uint32_t busy;  /* 1: a writer appends */
	_Atomic uint32_t dirty; /* 1: some row of it may be DEAD */
	_Atomic uint32_t moves; /* counts instants in which rows moved inside it */
	uint32_t         unused[2];
} IqdbiList;

/*
 * Drift: rows that are linked later and lie so much farther from their centres than those that were trained with, are a
 * sign that there are clusters without lists of their own. One row counts at most for so much.
 */
#define IQDBI_STRAIN_UNIT 1024u
#define IQDBI_STRAIN_MAX 1024.0f

/* One result of training. */
typedef struct IqdbiEdition
{
	uint32_t lists;
	uint32_t supers;        /* coarser cells above the lists; 1 = none */
	uint32_t coarse_blocks; /* blocks of packed centres */
	uint32_t super_blocks;  /* blocks of packed coarser centres, 0 with one level */
	uint32_t probes;        /* measured: lists that hold most near neighbours */
	float    radius2;       /* DOT: largest squared norm at training */
	float    spread;        /* mean distance (as the kernels sum it) of the rows to their centres at training; 0 = unknown */
	uint64_t rows;          /* at training */
} IqdbiEdition;

/* Blocks of one edition; guarded by ENGINE. */
typedef struct IqdbiPool
{
	uint32_t count; /* blocks ever used; block 0 is never given out */
	uint32_t free;  /* head of the free list, 0 = none */
	uint32_t free_count;
} IqdbiPool;

/* No list. */
#define IQDBI_NOWHERE UINT32_MAX

typedef enum IqdbiTaskKind
{
	IQDBI_TASK_ASSIGN, /* units of slots: find the list of each row */
	IQDBI_TASK_FILL    /* units of rows, by list: code and append */
} IqdbiTaskKind;

/*
 * Work on a new edition that several processes share. It is written by the one who fills the edition, while the task is
 * closed; it stands for whoever has claimed a unit.
 */
typedef struct IqdbiTask
{
	_Atomic uint64_t turn;   /* the task's number << 32 | units left; none left: closed */
	_Atomic uint32_t failed; /* IqdbStatus of a unit that failed */
	IqdbiTaskKind    kind;
	uint32_t         units;
	uint32_t         unit_size;
	uint32_t         edition;
	uint32_t         slots;   /* slots looked at: below this */
	uint64_t         horizon; /* rows of this sequence and later came after the start */
	double           sum;     /* of the distances of rows to their centres; under ENGINE */
	uint64_t         rows;
} IqdbiTask;

typedef struct IqdbiIvfHeader
{
	uint32_t         layout;
	_Atomic uint32_t current;     /* 0 = not trained, else 1 + edition; changes under exclusive STRUCTURE */
	_Atomic uint64_t epoch;       /* counts editions */
	_Atomic uint32_t training;    /* 0, or 1 + edition being filled; changes under ROWS and ENGINE */
	_Atomic uint32_t maintaining; /* 1 while somebody trains or repairs */
	_Atomic uint32_t unrepaired;  /* removed rows whose slots are still held */
	_Atomic uint64_t newcomers;   /* rows linked one by one since the current edition was trained */
	_Atomic uint64_t strain;      /* their distances to their centres, in 1 / IQDBI_STRAIN_UNIT of its spread */
	_Atomic uint64_t not_before;  /* after a training that failed: no other by itself below so many rows */
	_Atomic uint32_t waiting;     /* rows not linked yet: not less than there are bits set */
	IqdbiPool        pools[2];
	IqdbiTask        task;
	IqdbiEdition     editions[2];
} IqdbiIvfHeader;

/* ---- a process's view -------------------------------------------------------------------------------------------- */

typedef enum IqdbiCoding
{
	IQDBI_CODING_NONE, /* blocks hold slots only */
	IQDBI_CODING_BYTES,
	IQDBI_CODING_HALVES, /* bytes of two dimensions */
	IQDBI_CODING_PRODUCT,
	IQDBI_CODING_SIGNS
} IqdbiCoding;

/*
 * Where things stand in a block: slots, scales and offsets where the coding has them, codes. Scales and offsets are
 * floats, or (short_scalars) their upper halves.
 */
typedef struct IqdbiBlockLayout
{
	IqdbiCoding coding;
	size_t      words;      /* BYTES: quads of dimensions, HALVES: octets; else pairs of nibbles */
	size_t      scales_at;  /* 0 = none */
	size_t      offsets_at; /* 0 = none */
	bool        short_scalars;
	size_t      codes_at;
	size_t      size;       /* a multiple of 64 */
} IqdbiBlockLayout;

typedef struct IqdbiIvf
{
	IqdbStore               *store;
	IqdbiIvfHeader          *header;
	const IqdbiIvfKernels   *kernels;
	const IqdbPackedKernels *packed;
	IqdbMetric               metric;
	size_t                   dim;
	size_t                   stride;
	bool                     coded_centres; /* L2, DOT, COSINE: centres are compared by codes first */
	IqdbSum                  sum;           /* in which rows are near to centres: L2, L1 or HAMMING */
	size_t                   work_dim;      /* of the space in which cells are cells: dim, DOT one more */
	size_t                   work_stride;
	IqdbiBlockLayout         rows;          /* blocks of lists */
	IqdbiBlockLayout         centres;       /* blocks of packed centres */
	IqdbPq                   pq;            /* shape; PRODUCT */
	size_t                   codebook;      /* floats */
	void                    *homes[2];      /* _Atomic uint16_t or _Atomic uint32_t */
	unsigned char           *blocks[2];
	_Atomic uint32_t        *links[2];
	IqdbiSpan               *spans;
} IqdbiIvf;

void iqdbi_ivf_view(IqdbiIvf *ivf_out, IqdbStore *store);

/* The parts that follow from the options alone. */
void iqdbi_ivf_shape(IqdbiIvf *ivf_out, const IqdbIndexOptions *options, size_t stride);

/* Pointers to what one edition learned; also used for models still in private memory. */
typedef struct IqdbiModel
{
	uint32_t       lists;
	uint32_t       supers;
	uint32_t       coarse_blocks;
	uint32_t       super_blocks;
	uint32_t       probes;
	float          radius2;
	float          spread;
	uint64_t       rows;
	float         *centres;       /* lists times work_stride */
	float         *mean;          /* work_stride: middle of the centres, what packed codes are relative to */
	float         *codebook;
	float         *super_centres; /* supers times work_stride */
	uint32_t      *super_lists;   /* supers + 1: lists of cell i are super_lists[i] .. super_lists[i + 1] - 1 */
	uint32_t      *super_starts;  /* supers + 1: the same for blocks */
	unsigned char *packed;        /* coarse_blocks */
	unsigned char *super_packed;  /* super_blocks */
} IqdbiModel;

/* Blocks that packed centres of these cells need, by cell; starts_out may be NULL. */
uint32_t iqdbi_model_blocks(const uint32_t *super_lists, uint32_t supers, uint32_t *starts_out);

/* Bytes of a model with these numbers (lists, supers, coarse_blocks, super_blocks), a multiple of 64; 0 = too many. */
size_t iqdbi_model_size(const IqdbiIvf *ivf, const IqdbiModel *model);

/* Sets the model's pointers into memory of that size, 64-byte aligned. */
void iqdbi_model_place(const IqdbiIvf *ivf, IqdbiModel *model, unsigned char *memory);

/* The model of an edition. The caller holds STRUCTURE, or is the one who maintains. */
void iqdbi_model_view(const IqdbiIvf *ivf, uint32_t edition, IqdbiModel *model_out);

static inline IqdbiList *
iqdbi_ivf_lists(const IqdbiIvf *ivf, uint32_t edition)
{
	return iqdb_store_engine_region(ivf->store, IQDBI_IVF_LISTS + edition);
}

static inline unsigned char *
iqdbi_ivf_block(const IqdbiIvf *ivf, uint32_t edition, uint32_t block)
{
	return ivf->blocks[edition] + (size_t) block * ivf->rows.size;
}

/* The block behind this one: in its list, or among those that are free; 0 = none. */
static inline uint32_t
iqdbi_block_next(const IqdbiIvf *ivf, uint32_t edition, uint32_t block)
{
	return atomic_load_explicit(&ivf->links[edition][block], memory_order_acquire);
}

static inline void
iqdbi_block_link(const IqdbiIvf *ivf, uint32_t edition, uint32_t block, uint32_t next)
{
	atomic_store_explicit(&ivf->links[edition][block], next, memory_order_release);
}

/* A block begins with its slots. */
static inline _Atomic uint32_t *
iqdbi_block_slots(unsigned char *block)
{
	return (_Atomic uint32_t *) (void *) block;
}

/* Not with short_scalars. */
static inline const float *
iqdbi_block_scales(const IqdbiBlockLayout *layout, const unsigned char *block)
{
	return layout->scales_at != 0 ? (const float *) (const void *) (block + layout->scales_at) : NULL;
}

static inline const float *
iqdbi_block_offsets(const IqdbiBlockLayout *layout, const unsigned char *block)
{
	return layout->offsets_at != 0 ? (const float *) (const void *) (block + layout->offsets_at) : NULL;
}

/* Codes of single components: of one byte, or half of one. */
static inline bool
iqdbi_layout_scalar(const IqdbiBlockLayout *layout)
{
	return layout->coding == IQDBI_CODING_BYTES || layout->coding == IQDBI_CODING_HALVES;
}

/*
 * Behind the lists of an edition stands one more: of rows that centres and codes cannot tell apart, because of numbers that
 * are too large or too small beside those of the others (iqdbi_row_is_far). It has no centre, its codes say nothing, and
 * every search ranks all of it by vectors. So one such row is no burden for the rest, and is found itself.
 */
static inline uint32_t
iqdbi_far_list(uint32_t lists)
{
	return lists;
}

/* Bytes of the lists of an edition, that one included. */
static inline uint64_t
iqdbi_lists_size(uint64_t lists)
{
	return (lists + 1) * sizeof(IqdbiList);
}

/* Bytes of a home word in an edition of so many lists. */
static inline uint32_t
iqdbi_home_size(uint32_t lists)
{
	return lists < IQDBI_HOME_NARROW_LISTS ? sizeof(uint16_t) : sizeof(uint32_t);
}

/* For an edition that counts (below): its number of lists does not change. */
static inline uint32_t
iqdbi_home(const IqdbiIvf *ivf, uint32_t edition, uint32_t slot)
{
	if (iqdbi_home_size(ivf->header->editions[edition].lists) == sizeof(uint16_t))
		return atomic_load_explicit((_Atomic uint16_t *) ivf->homes[edition] + slot, memory_order_acquire);
	return atomic_load_explicit((_Atomic uint32_t *) ivf->homes[edition] + slot, memory_order_acquire);
}

static inline uint32_t
iqdbi_home_status(uint32_t home)
{
	return home & IQDBI_HOME_STATUS;
}

static inline uint32_t
iqdbi_home_list(uint32_t home)
{
	return home >> IQDBI_HOME_LIST_SHIFT;
}

/* Whatever the word was; for those whom it belongs to at the moment. */
void iqdbi_home_set(const IqdbiIvf *ivf, uint32_t edition, uint32_t slot, uint32_t status, uint32_t list);
/* Changes the status, and forgets the list, when the status is `from`; false when it is not. */
bool iqdbi_home_change(const IqdbiIvf *ivf, uint32_t edition, uint32_t slot, uint32_t from, uint32_t to);

/* Room in one of the engine's regions; takes ROWS. */
IqdbStatus iqdbi_ivf_grow(const IqdbiIvf *ivf, uint32_t region, uint64_t bytes, IqdbError *err) IQDB_MUST_CHECK;

/* Room for what there is per slot: bits, and words of the editions that count. ROWS is held. */
IqdbStatus iqdbi_ivf_reserve(const IqdbiIvf *ivf, uint32_t slots, IqdbError *err) IQDB_MUST_CHECK;

/* Gives the memory of one of the engine's regions back; nobody reads it any more. Takes ROWS. */
void iqdbi_ivf_release(const IqdbiIvf *ivf, uint32_t region);

/* What an edition has in the arena goes back to the system; nobody reads it any more. Takes ENGINE and ROWS. */
void iqdbi_edition_drop(const IqdbiIvf *ivf, uint32_t edition);

/*
 * Rows not linked yet. An edition counts when it is current or being filled; a row waits from the moment it is put until it
 * is linked in every one that counts. While none counts no row waits: all are scanned.
 *
 * A slot is held while its row waits or is in a list of an edition that counts. Whoever takes away the last of these lets go
 * of it, under STRUCTURE or ROWS, so that it cannot be another row's in between; that two let go of it does no harm then.
 */
static inline bool
iqdbi_row_waits(const IqdbiIvf *ivf, uint32_t slot)
{
	return (atomic_load_explicit(&ivf->spans[slot / IQDBI_SPAN_SLOTS].bits[slot % IQDBI_SPAN_SLOTS / 64],
								 memory_order_acquire) >> slot % 64 & 1) != 0;
}

/* Makes a LIVE row wait where any edition counts, its words PENDING. ROWS is held. */
void iqdbi_row_wait(const IqdbiIvf *ivf, uint32_t slot);

/* The first row from this slot on, below `slots`, that waits; `slots` when there is none. No lock. */
uint32_t iqdbi_row_waiting(const IqdbiIvf *ivf, uint32_t slot, uint32_t slots);

/*
 * Ends the wait of a row that need not wait any more: LINKED wherever it has to be, or DEAD. true: it is DEAD and nothing
 * holds its slot, which the caller lets go of. STRUCTURE or ROWS is held; takes ENGINE.
 */
bool iqdbi_row_settle(const IqdbiIvf *ivf, uint32_t slot);

/* The same for all rows that wait, and lets go of slots. Takes STRUCTURE shared in stretches, ENGINE, ROWS. */
void iqdbi_rows_settle(const IqdbiIvf *ivf);

/* Lets go of slots that nothing holds. STRUCTURE is held; takes ROWS. */
void iqdbi_slots_release(const IqdbiIvf *ivf, const uint32_t *slots, uint32_t count);

/* A block of an edition with nothing behind it. Takes ENGINE, and ROWS where regions must grow. */
IqdbStatus iqdbi_block_take(const IqdbiIvf *ivf, uint32_t edition, uint32_t *block_out, IqdbError *err) IQDB_MUST_CHECK;
/* Gives linked blocks back; no reader can reach them. Takes ENGINE. */
void iqdbi_blocks_give(const IqdbiIvf *ivf, uint32_t edition, uint32_t first, uint32_t last, uint32_t count);

/* ---- codes (ivf_code.c) ------------------------------------------------------------------------------------------ */

/* Bytes of a code before it is packed. */
size_t iqdbi_code_size(const IqdbiBlockLayout *layout);

/* One row or centre, coded. */
typedef struct IqdbiCode
{
	uint8_t *bytes;
	float   *floats; /* scratch: twice work_stride */
	float   *unit;   /* the same, once */
	float    scale;
	float    offset;
	bool     lost; /* the code says nothing of the row, which belongs into the list without a centre */
} IqdbiCode;

/* Scratch for coding and for looking for lists; one allocation. */
typedef struct IqdbiScratch
{
	const IqdbiIvf *ivf;
	void           *memory;
	size_t          size;
	float          *work; /* IQDBI_COARSE_ROWS times work_stride: vectors in the space of cells */
	IqdbiCode       code;
	int8_t         *query; /* byte codes of the vectors that look for lists */
	uint32_t       *ids;   /* nearest lists after iqdbi_coarse_nearest */
	float          *keys;
	IqdbiPick       pick;
	IqdbiPick       super_pick;
	uint32_t        wanted_max;
} IqdbiScratch;

/* For models of at most so many cells above the lists, and at most wanted_max nearest lists. */
IqdbStatus iqdbi_scratch_init(IqdbiScratch *scratch, const IqdbiIvf *ivf, uint32_t supers_max, uint32_t wanted_max,
							  IqdbError *err) IQDB_MUST_CHECK;
void iqdbi_scratch_free(IqdbiScratch *scratch);

/* May the row be a member of no list with a centre? radius2: of the model, or infinite for none. */
bool iqdbi_row_is_far(const IqdbiIvf *ivf, float radius2, uint32_t slot, float norm2);
/* The same of a row whose distance to the nearest centre is known: are codes relative to that centre too coarse for it? */
bool iqdbi_row_is_fine(const IqdbiIvf *ivf, float norm2, float key);

/* Into the space of cells: COSINE scales to length one, DOT adds a component. out: work_stride floats. */
void iqdbi_work_vector(const IqdbiIvf *ivf, float radius2, const float *vector, float norm2, float *out);
/* The same for a query: for DOT the additional component is 0. */
void iqdbi_work_query(const IqdbiIvf *ivf, const float *vector, float norm2, float *out);

/* Has the vector no direction? Only the zero vector under COSINE has none. */
bool iqdbi_has_no_direction(const IqdbiIvf *ivf, const float *vector, float norm2);

/* PRODUCT: are codes those of the difference to the list's centre? Else (L1) of the row itself. */
static inline bool
iqdbi_codes_residuals(const IqdbiIvf *ivf)
{
	return ivf->metric != IQDB_METRIC_L1;
}

/* The nearest float whose lower half is zero, of two the even one; what is no finite number stays what it is. */
float iqdbi_code_shorten(float value);

/* Codes the row as a member of the list. */
void iqdbi_code_row(const IqdbiIvf *ivf, const IqdbiModel *model, uint32_t list, uint32_t slot, IqdbiCode *code);
/* Codes a centre around the model's mean. */
void iqdbi_code_centre(const IqdbiIvf *ivf, const IqdbiModel *model, const float *centre, IqdbiCode *code);

/* Writes a code to a place of a block; not yet visible to anyone. */
void iqdbi_block_put(const IqdbiBlockLayout *layout, unsigned char *block, uint32_t place, uint32_t slot,
					 const IqdbiCode *code);
/* Moves an entry; the caller excludes readers. */
void iqdbi_block_move(const IqdbiBlockLayout *layout, unsigned char *to, uint32_t to_place, unsigned char *from,
					  uint32_t from_place);
/* Does the entry hold exactly this code? */
bool iqdbi_block_holds(const IqdbiBlockLayout *layout, unsigned char *block, uint32_t place, const IqdbiCode *code);
/* Decodes an entry of a list into dim floats (not SIGNS), as the space of cells has it. */
void iqdbi_block_decode(const IqdbiIvf *ivf, const IqdbiModel *model, uint32_t list, unsigned char *block,
						uint32_t place, float *out);

/* Sums of a block of scalar codes (BYTES, HALVES); those of rows from count on are some numbers. */
void iqdbi_scalar_sums(const IqdbiIvf *ivf, const IqdbiBlockLayout *layout, const unsigned char *block, uint32_t count,
					   const int8_t *query, int32_t start, int32_t *sums_out);
/* What stands for zero in scalar codes. */
int32_t iqdbi_scalar_zero(const IqdbiBlockLayout *layout);

/* Deviations of their error that bounds of SIGNS lie below the estimates: one in 80 is not below the true key. */
#define IQDBI_SIGNS_BOUND 2.25f

/* A query made ready for one model. */
typedef struct IqdbiQuery
{
	const IqdbiIvf   *ivf;
	const IqdbiModel *model;
	const float      *vector;      /* the caller's query, dim floats */
	const float      *work;        /* in the space of cells */
	float             norm2;
	int8_t           *bytes;       /* BYTES, HALVES: code relative to the list at hand (DOT: to nothing) */
	uint8_t          *tables;      /* PRODUCT, SIGNS */
	float            *floats;      /* scratch */
	int32_t           start;       /* of the sums of byte codes */
	float             signs_shift; /* SIGNS: the line's for estimates; the line has that for bounds */
	IqdbiLine         line;        /* for the list at hand */
} IqdbiQuery;

/* Bytes of memory a query needs for bytes, tables and floats together, 64-byte aligned. */
size_t iqdbi_query_size(const IqdbiIvf *ivf);
void iqdbi_query_start(IqdbiQuery *query, const IqdbiIvf *ivf, const IqdbiModel *model, const float *vector,
					   const float *work, float norm2, unsigned char *memory);
/* Makes ready for the rows of a list: key of a row = finish(line). */
void iqdbi_query_list(IqdbiQuery *query, uint32_t list);
/* Keys of the first `count` rows of a block, as iqdbi_ivf_kernels.finish; of SIGNS, lower bounds of them. */
uint32_t iqdbi_query_block(const IqdbiQuery *query, const unsigned char *block, uint32_t count, float limit,
						   float *keys_out);

/* ---- nearest lists (ivf_coarse.c) -------------------------------------------------------------------------------- */

/* Lists compared exactly when so many are wanted. */
static inline size_t
iqdbi_coarse_candidates(size_t wanted)
{
	return wanted + wanted / 4 + 4;
}

/*
 * How a long search of lists lets others in, of a caller who holds STRUCTURE: step() after so many bytes were read; leave()
 * and enter() around work on private memory. false: to be given up, the caller knows why.
 */
typedef struct IqdbiPause
{
	bool (*step)(void *arg, size_t bytes);
	void (*leave)(void *arg);
	bool (*enter)(void *arg);
	void *arg;
} IqdbiPause;

/* Packs the model's centres (and those of the cells above); the other fields are set. */
void iqdbi_model_pack(const IqdbiIvf *ivf, IqdbiModel *model, IqdbiCode *code);

/*
 * The `wanted` lists nearest to a vector in the space of cells, nearest first, in scratch->ids; fewer when there are fewer.
 * With a second level the answer is approximate unless all lists are wanted. Returns how many; 0 when it was given up (pause
 * may be NULL).
 */
uint32_t iqdbi_coarse_nearest(IqdbiScratch *scratch, const IqdbiModel *model, const float *work, uint32_t wanted,
							  const IqdbiPause *pause);

/* The list for a row (in the space of cells), and its distance to the centre (NULL: not asked for). */
uint32_t iqdbi_coarse_assign(IqdbiScratch *scratch, const IqdbiModel *model, const float *work, float *key_out);

/* Rows that are looked up at once. */
#define IQDBI_COARSE_ROWS IQDB_PACKED_QUERIES

/*
 * The same for up to IQDBI_COARSE_ROWS rows, work_stride floats apart, in a fraction of the time where centres are packed on
 * one level. exactly: as iqdbi_coarse_assign does; else (with packed centres) by the estimated distances alone.
 */
void iqdbi_coarse_assign_rows(IqdbiScratch *scratch, const IqdbiModel *model, const float *works, size_t rows,
							  bool exactly, uint32_t *lists_out, float *keys_out);

/* ---- training (ivf_train.c) -------------------------------------------------------------------------------------- */

/* A model in private memory. */
typedef struct IqdbiTrained
{
	IqdbiModel     model;
	unsigned char *memory; /* from iqdb_alloc, with 64 bytes more than the model needs */
	size_t         size;
} IqdbiTrained;

/* Learns a model from a sample of the LIVE rows; no rows, no model (lists 0). Takes STRUCTURE shared in stretches. */
IqdbStatus iqdbi_ivf_train(const IqdbiIvf *ivf, uint32_t lists, IqdbiTrained *trained_out,
						   IqdbError *err) IQDB_MUST_CHECK;
void iqdbi_trained_free(const IqdbiIvf *ivf, IqdbiTrained *trained);

/* ---- editions (ivf_build.c) -------------------------------------------------------------------------------------- */

/* Only one at a time; false when somebody else is at it. */
bool iqdbi_maintain_begin(const IqdbiIvf *ivf);
void iqdbi_maintain_end(const IqdbiIvf *ivf);

/* Trains with all rows and puts the result in place. The caller maintains. Too few rows: nothing happens. */
IqdbStatus iqdbi_ivf_retrain(const IqdbiIvf *ivf, IqdbError *err) IQDB_MUST_CHECK;
/*
 * Makes edition 0, whose numbers and centres stand in the arena, current, with the rows in the lists that where names
 * (one number per slot, or IQDBI_NOWHERE; `slots` of them). Nothing was current before, and nobody else is there.
 */
IqdbStatus iqdbi_ivf_adopt(const IqdbiIvf *ivf, const uint32_t *where, uint32_t slots, IqdbError *err) IQDB_MUST_CHECK;

/* Takes DEAD rows out of the lists and lets their slots go. The caller maintains. */
IqdbStatus iqdbi_ivf_vacuum(const IqdbiIvf *ivf, IqdbError *err) IQDB_MUST_CHECK;

/* Appends a coded row; the caller made it LINKING and holds STRUCTURE shared, or works on an edition not in use. */
IqdbStatus iqdbi_list_append(const IqdbiIvf *ivf, uint32_t edition, uint32_t list, uint32_t slot,
							 const IqdbiCode *code, IqdbError *err) IQDB_MUST_CHECK;
/* Makes the row LINKED there, and the list dirty if the row has died meanwhile. */
void iqdbi_row_linked(const IqdbiIvf *ivf, uint32_t edition, uint32_t list, uint32_t slot);

/* ---- filling (ivf_fill.c) ---------------------------------------------------------------------------------------- */

/* Bytes of region WORK for so many slots and lists. */
uint64_t iqdbi_fill_bytes(uint64_t slots, uint64_t lists);

/*
 * Puts the rows of slots below `slots` and sequences below horizon, whose home words are PENDING, into the lists of an
 * edition that does not count yet: those that where names (a number per slot), or (NULL) those of the nearest centres.
 * The caller maintains; others may assist. Takes STRUCTURE, ROWS, ENGINE. Errors: IQDB_ERR_NOMEM, IQDB_ERR_LIMIT,
 * IQDB_ERR_CANCELLED; rows may have been put then, and nobody works at it any more.
 */
IqdbStatus iqdbi_fill_edition(const IqdbiIvf *ivf, uint32_t edition, uint32_t slots, uint64_t horizon,
							  const uint32_t *where, IqdbError *err) IQDB_MUST_CHECK;

/* assist() of the contract. */
IqdbStatus iqdbi_ivf_assist(IqdbStore *store, bool *worked_out, IqdbError *err) IQDB_MUST_CHECK;

/* ---- how many lists to probe (ivf_probes.c) ---------------------------------------------------------------------- */

/* Sets the probes of an edition whose lists are filled with rows of slots below `slots`. Takes STRUCTURE in stretches. */
IqdbStatus iqdbi_ivf_measure_probes(const IqdbiIvf *ivf, uint32_t edition, uint32_t slots,
									IqdbError *err) IQDB_MUST_CHECK;

/* ---- scanning all rows (ivf_exact.c) ----------------------------------------------------------------------------- */

/* One pass over slots: the best of top->capacity rows. */
typedef struct IqdbiExact
{
	const IqdbStore     *store;
	const float         *query;
	float                query_norm2;
	const IqdbFilter    *filter;  /* NULL = none */
	const unsigned char *seen;    /* bit per slot: passed over; NULL = none */
	uint32_t             first;   /* slots looked at: from this on, */
	uint32_t             slots;   /* and below this */
	const IqdbCandidate *bound;   /* only rows behind it; NULL = all */
	uint64_t             max_rows;
	IqdbSearchStats     *stats;
	IqdbTopK            *top;
} IqdbiExact;

/* Takes STRUCTURE shared in stretches. true in *gave_up_out: max_rows was reached. Errors: NOMEM, CANCELLED. */
IqdbStatus iqdbi_exact_pass(const IqdbiExact *exact, bool *gave_up_out, IqdbError *err) IQDB_MUST_CHECK;

static inline bool
iqdbi_seen(const unsigned char *seen, uint32_t slot)
{
	return seen != NULL && (seen[slot / 8] >> (slot % 8) & 1) != 0;
}

/* ---- the stream of hits (ivf_search.c, ivf_stream.c), a snapshot (ivf_persist.c), verification (ivf_check.c) ------- */

typedef struct IqdbiIvfCursor
{
	IqdbCursor     base;
	IqdbTopK       top;        /* the current batch; sorted when it is complete */
	size_t         at;         /* next row to hand out */
	size_t         wanted;     /* rows the batch keeps */
	size_t         ready;      /* rows that may be handed out before those that wait are ranked */
	IqdbCandidate *waiting;    /* chosen by codes, not ranked yet; NULL = none */
	size_t         waiting_count;
	size_t         waiting_room;
	size_t         goal;       /* rows handed out in all when this batch is, */
	size_t         given;      /* by the batches before it, */
	size_t         hand;       /* and from this one, beginning with its first row */
	uint32_t       probes;     /* lists it looks into at least; 0 = not known yet */
	bool           named;      /* by the caller or the index: no more lists than needed */
	bool           opened_all; /* there was no list that it did not look into */
	bool           started;
	bool           exact;      /* the rest comes from scans of all rows */
	bool           exhausted;  /* nothing stands behind the current batch */
	bool           bounded;
	IqdbCandidate  bound;      /* last row of the batch before, when that was exact too */
	unsigned char *seen;       /* bit per slot: handed out by an earlier batch; NULL = none was */
	uint32_t       seen_slots;
} IqdbiIvfCursor;

/* Rows whose exact keys are computed by one call. */
#define IQDBI_EXACT_ROWS 256u

/* Rows handed out at least from the lists that were opened first. */
#define IQDBI_GOAL_LEAST 12u

/* Rows the caller will probably take, or as many as one takes who does not say. */
size_t iqdbi_rows_expected(const IqdbiIvfCursor *cursor);
/* Of these, rows that are ranked so well at first that they can be handed out. */
size_t iqdbi_rows_at_first(const IqdbiIvfCursor *cursor);
/* Rows kept by their codes for so many to be handed out; all of them, or fewer, are ranked by their vectors. */
size_t iqdbi_rows_to_rank(const IqdbiIvfCursor *cursor, size_t expected);
/* Has it scored as many rows as the caller allows? */
bool iqdbi_gave_up(const IqdbiIvfCursor *cursor);
/*
 * One batch into cursor->top, in no order, and what was put off into cursor->waiting; cursor->exact: the lists would all be
 * opened, or there are none, and nothing was done. true in *stale_out: another edition came between, to be tried again.
 * Takes STRUCTURE shared in stretches. Errors: NOMEM, CANCELLED.
 */
IqdbStatus iqdbi_batch_probe(IqdbiIvfCursor *cursor, bool *stale_out, IqdbError *err) IQDB_MUST_CHECK;

IqdbStatus iqdbi_ivf_cursor_start(IqdbCursor *cursor, IqdbError *err);
IqdbStatus iqdbi_ivf_cursor_next(IqdbCursor *cursor, IqdbHit *hits, size_t capacity, size_t *count_out,
								 IqdbError *err);
void iqdbi_ivf_cursor_end(IqdbCursor *cursor);

IqdbStatus iqdbi_ivf_save(IqdbStore *store, IqdbSink *sink, IqdbError *err);
IqdbStatus iqdbi_ivf_load(IqdbStore *store, IqdbSource *source, IqdbError *err);

IqdbStatus iqdbi_ivf_check(IqdbStore *store, IqdbFinding finding, void *arg, IqdbError *err);

#endif
