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

/* The figures of one result of training. */
typedef struct IqdbiFigures
{
	uint32_t lists;
	uint32_t supers;        /* coarser cells above the lists; 1 = none */
	uint32_t coarse_blocks; /* blocks of packed centres */
	uint32_t super_blocks;  /* blocks of packed coarser centres, 0 with one level */
	uint32_t probes;        /* measured: lists that hold most near neighbours */
	float    radius2;       /* DOT: largest squared norm at training */
	float    spread;        /* mean distance (as the kernels sum it) of the rows to their centres at training; 0 = unknown */
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

/* Room in one of the engine's regions; takes ROWS. */
IqdbStatus iqdbi_ivf_grow(const IqdbiIvf *ivf, uint32_t region, uint64_t bytes, IqdbError *err) IQDB_MUST_CHECK;

/* Room for what there is per slot: bits, and words of the editions that count. ROWS is held. */
IqdbStatus iqdbi_ivf_reserve(const IqdbiIvf *ivf, uint32_t slots, IqdbError *err) IQDB_MUST_CHECK;

/* Gives the memory of one of the engine's regions back; nobody reads it any more. Takes ROWS. */
void iqdbi_ivf_release(const IqdbiIvf *ivf, uint32_t region);

/* What an edition has in the arena goes back to the system; nobody reads it any more. Takes ENGINE and ROWS. */
void iqdbi_edition_drop(const IqdbiIvf *ivf, uint32_t edition);
/* The editions that count, as 1 + edition; 0 = none. */
typedef struct IqdbiCounting
{
	uint32_t current;
	uint32_t training;
} IqdbiCounting;

/* Who holds ROWS or ENGINE knows that it stays so. */
static inline IqdbiCounting
iqdbi_counting(const IqdbiIvf *ivf)
{
	return (IqdbiCounting){.current = atomic_load_explicit(&ivf->header->current, memory_order_acquire),
					  .training = atomic_load_explicit(&ivf->header->training, memory_order_acquire)};
}

#endif
