/*
 * ivf_arena_private.h - what the engine has in the arena, and a process's view of it (ivf_arena.c, ivf_shape.c).
 *
 * README.md has the layout with its reasons, the locks, and the argument why a reader without locks sees no garbage.
 */
#ifndef IQDB_IVF_IVF_ARENA_PRIVATE_H
#define IQDB_IVF_IVF_ARENA_PRIVATE_H

#include <stdatomic.h>

#include "core/engine/engine.h"
#include "core/ivf/ivf_block_private.h"
#include "core/quant/pq.h"
#include "core/quant/signs.h"

#define IQDBI_LISTS_MAX 1000000u

/* From so many lists on there is a level of coarser cells above them. */
#define IQDBI_ONE_LEVEL_LISTS 2048u

/*
 * Numbers of the engine's regions of the arena. All but the last two are there twice, once per edition: edition 0 has the
 * number given here, edition 1 the next one.
 */
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

/*
 * Rows that wait to be linked have a bit each. Slots are divided into spans; the number of bits in a span lets a reader
 * pass over spans in which no row waits.
 */
#define IQDBI_SPAN_SLOTS 4096u

typedef struct IqdbiSpan
{
	_Atomic uint64_t waiting; /* bits set; while one is being set or cleared, one more */
	_Atomic uint64_t bits[IQDBI_SPAN_SLOTS / 64];
} IqdbiSpan;

typedef struct IqdbiList
{
	_Atomic uint32_t count; /* rows published */
	_Atomic uint32_t head;  /* first block, 0 = none */
	uint32_t         tail;  /* last block; guarded by busy */
	_Atomic uint32_t busy;  /* spin lock (engine/spin.h) of the process that appends a row */
	_Atomic uint32_t dirty; /* 1: some row of the list may be DEAD, and cleaning is to look */
	_Atomic uint32_t moves; /* how often cleaning has moved rows inside the list */
	uint32_t         unused[2];
} IqdbiList;

/*
 * Drift: when rows that are linked later lie much farther from their centres than the rows of the training did, there are
 * clusters without lists of their own. The strain of a row is its distance in units of the training's mean distance
 * (spread); it is summed in fixed point, STRAIN_UNIT to 1, and one row counts for STRAIN_MAX at most.
 */
#define IQDBI_STRAIN_UNIT 1024u
#define IQDBI_STRAIN_MAX 1024.0f

/* The figures of one result of training. */
typedef struct IqdbiFigures
{
	uint32_t lists;
	uint32_t supers;        /* coarser cells above the lists; 1 = none */
	uint32_t coarse_blocks; /* blocks of packed centres */
	uint32_t super_blocks;  /* blocks of packed coarser centres, 0 with one level */
	uint32_t probes;        /* measured: lists that hold most near neighbours */
	float    radius2;       /* LIFTED: the squared length that all rows are brought to */
	float    spread;        /* mean distance, as kernels sum it, of rows to their centres at training; 0 = unknown */
	uint64_t rows;          /* at training */
} IqdbiFigures;

/* Blocks of one edition; guarded by ENGINE. */
typedef struct IqdbiPool
{
	uint32_t count; /* blocks ever used; block 0 is never given out */
	uint32_t free;  /* head of the free list, 0 = none */
	uint32_t free_count;
} IqdbiPool;

typedef enum IqdbiTaskKind
{
	IQDBI_TASK_ASSIGN, /* units of slots: find the list of each row */
	IQDBI_TASK_FILL    /* units of rows, by list: code and append */
} IqdbiTaskKind;

/*
 * Work on a new edition that several processes share. The process that fills the edition writes it while the task is
 * closed; it does not change while any process works at a unit that it has claimed.
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
	_Atomic uint64_t epoch;       /* how often an edition has become current; changes with `current` */
	_Atomic uint32_t training;    /* 0, or 1 + edition being filled; changes under ROWS and ENGINE */
	_Atomic uint32_t maintaining; /* 1 while a process trains or cleans: there is one at most */
	_Atomic uint32_t unrepaired;  /* removed rows whose slots are not released yet */
	_Atomic uint64_t newcomers;   /* rows linked one by one since the current edition was trained */
	_Atomic uint64_t strain;      /* their distances to their centres, in 1 / IQDBI_STRAIN_UNIT of its spread */
	_Atomic uint64_t not_before;  /* after a training that failed: rows from which on the next one begins by itself */
	_Atomic uint32_t waiting;     /* rows that wait: the sum of those of all spans */
	IqdbiPool        pools[2];
	IqdbiTask        task;
	IqdbiFigures     editions[2];
} IqdbiIvfHeader;

typedef struct IqdbiIvf
{
	IqdbStore               *store;
	IqdbiIvfHeader          *header;
	const IqdbiIvfKernels   *kernels;
	const IqdbPackedKernels *packed;
	const IqdbSignsKernels  *signs;
	size_t                   dim;
	IqdbSpace                space;         /* in which cells are cells */
	IqdbSum                  sum;           /* in which rows are near to centres: GRID that of the metric, else L2 */
	bool                     coded_centres; /* all but GRID: centres are compared by codes first */
	size_t                   work_dim;      /* of the space: dim, LIFTED one more */
	size_t                   work_stride;   /* floats from one vector of the space to the next */
	size_t                   work_bytes;    /* the same in bytes */
	size_t                   code_stride;   /* floats of a vector that is being coded: a multiple of 64 */
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
void iqdbi_ivf_shape(IqdbiIvf *ivf_out, const IqdbIndexOptions *options);

static inline IqdbiList *
iqdbi_ivf_lists(const IqdbiIvf *ivf, uint32_t edition)
{
	return iqdb_store_engine_region(ivf->store, IQDBI_IVF_LISTS + edition);
}

/*
 * An edition has one list more than it has centres, the far list: of rows that centres and codes cannot tell apart, because
 * their numbers are too large or too small beside those of the other rows (iqdbi_row_is_far). It has no centre, its codes
 * say nothing, and every search ranks all of it by vectors. So such a row does not spoil the centres of the others, and is
 * found itself.
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

/* Makes room in one of the engine's regions. Takes ROWS. */
IqdbStatus iqdbi_ivf_grow(const IqdbiIvf *ivf, uint32_t region, uint64_t bytes, IqdbError *err) IQDB_MUST_CHECK;

/* Makes room for what there is per slot: bits, and home words in the editions that count. The caller holds ROWS. */
IqdbStatus iqdbi_ivf_reserve(const IqdbiIvf *ivf, uint32_t slots, IqdbError *err) IQDB_MUST_CHECK;

/* Gives the memory of one of the engine's regions back, which no process reads any more. Takes ROWS. */
void iqdbi_ivf_release(const IqdbiIvf *ivf, uint32_t region);

/* Gives back all memory of an edition, which no process reads any more. Takes ENGINE and ROWS. */
void iqdbi_edition_drop(const IqdbiIvf *ivf, uint32_t edition);
/* The editions that count, as 1 + edition; 0 = none. */
typedef struct IqdbiCounting
{
	uint32_t current;
	uint32_t training;
} IqdbiCounting;

/* They do not change while the caller holds ROWS or ENGINE. */
static inline IqdbiCounting
iqdbi_counting(const IqdbiIvf *ivf)
{
	return (IqdbiCounting){.current = atomic_load_explicit(&ivf->header->current, memory_order_acquire),
					  .training = atomic_load_explicit(&ivf->header->training, memory_order_acquire)};
}

#endif
