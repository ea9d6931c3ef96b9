/*
 * ivf_block_private.h - a block of 32 rows or centres: where slots, scales, offsets and codes stand in it, and how one
 * entry is written, moved and read (ivf_block.c).
 */
#ifndef IQDB_IVF_IVF_BLOCK_PRIVATE_H
#define IQDB_IVF_IVF_BLOCK_PRIVATE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "core/ivf/ivf_kernels_private.h"
#include "core/quant/packed.h"

typedef enum IqdbiCoding
{
	IQDBI_CODING_NONE, /* blocks hold slots only */
	IQDBI_CODING_BYTES,
	IQDBI_CODING_HALVES, /* bytes of two dimensions */
	IQDBI_CODING_PRODUCT, /* a byte for each nibble */
	IQDBI_CODING_SIGNS    /* a bit string, in words of 64 bits */
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

/* The layout of blocks of a coding whose codes have so many words. */
IqdbiBlockLayout iqdbi_block_layout(IqdbiCoding coding, bool scales, bool offsets, bool short_scalars, size_t words);

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

/* Bytes of a code before it is packed. */
size_t iqdbi_code_size(const IqdbiBlockLayout *layout);

/* One row or centre, coded. */
typedef struct IqdbiCode
{
	uint8_t *bytes;
	float   *floats; /* scratch: twice code_stride */
	float   *unit;   /* scratch: work_stride */
	float    scale;
	float    offset;
	bool     lost; /* the code says nothing of the row, which belongs into the list without a centre */
} IqdbiCode;

/* The nearest float whose lower half is zero, of two the even one. Infinities and NaNs are returned unchanged. */
float iqdbi_code_shorten(float value);

/* Writes a code to a place of a block; not yet visible to anyone. */
void iqdbi_block_put(const IqdbiBlockLayout *layout, unsigned char *block, uint32_t place, uint32_t slot,
					 const IqdbiCode *code);
/* Moves an entry; the caller excludes readers. */
void iqdbi_block_move(const IqdbiBlockLayout *layout, unsigned char *to, uint32_t to_place, unsigned char *from,
					  uint32_t from_place);
/* Does the entry hold exactly this code? */
bool iqdbi_block_holds(const IqdbiBlockLayout *layout, unsigned char *block, uint32_t place, const IqdbiCode *code);

/* Sums of a block of scalar codes (BYTES, HALVES); those of rows from count on are some numbers. */
void iqdbi_scalar_sums(const IqdbPackedKernels *packed, const IqdbiBlockLayout *layout, const unsigned char *block,
					   uint32_t count, const int8_t *query, int32_t start, int32_t *sums_out);
/* What stands for zero in scalar codes. */
int32_t iqdbi_scalar_zero(const IqdbiBlockLayout *layout);

#endif
