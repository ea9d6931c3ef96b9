/*
 * ivf_block.c - an entry of a block: its slot, scale, offset and code, each at the place that the layout gives it.
 */
#include "core/ivf/ivf_block_private.h"

#include <string.h>

#include "core/base/carve.h"

/* What stands for zero in codes of a byte and of half a byte. */
#define BYTE_ZERO 128
#define HALF_ZERO 8

IqdbiBlockLayout
iqdbi_block_layout(IqdbiCoding coding, bool scales, bool offsets, bool short_scalars, size_t words)
{
	IqdbiBlockLayout layout = {.coding = coding, .words = words, .short_scalars = short_scalars};
	size_t           scalar = short_scalars ? sizeof(uint16_t) : sizeof(uint32_t);
	size_t           at = IQDBI_BLOCK_ROWS * sizeof(uint32_t);

	if (scales)
	{
		layout.scales_at = at;
		at += IQDBI_BLOCK_ROWS * scalar;
	}
	if (offsets)
	{
		layout.offsets_at = at;
		at += IQDBI_BLOCK_ROWS * scalar;
	}
	layout.codes_at = at;
	layout.size = iqdb_carve_round(at + words * (iqdbi_layout_scalar(&layout) ? 4 : 1) * IQDBI_BLOCK_ROWS);
	return layout;
}

size_t
iqdbi_code_size(const IqdbiBlockLayout *layout)
{
	switch (layout->coding)
	{
		case IQDBI_CODING_BYTES:
			return layout->words * 4;
		case IQDBI_CODING_HALVES:
			return layout->words * 8;
		case IQDBI_CODING_SIGNS:
			return (layout->words + 7) / 8 * 8;
		default:
			return layout->words * 2;
	}
}

float
iqdbi_code_shorten(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	if ((bits & UINT32_C(0x7f800000)) == UINT32_C(0x7f800000))
		return value;
	bits += UINT32_C(0x7fff) + (bits >> 16 & 1);
	bits &= UINT32_C(0xffff0000);
	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* Four bytes of a row that stand together. */
static size_t
quad_at(const IqdbiBlockLayout *layout, size_t place, size_t quad)
{
	return layout->codes_at + ((place / 16) * layout->words + quad) * 64 + place % 16 * 4;
}

/* Those four bytes of a code. */
static uint32_t
packed_quad(const IqdbiBlockLayout *layout, const uint8_t *bytes, size_t quad)
{
	uint32_t low;
	uint32_t high;

	if (layout->coding == IQDBI_CODING_BYTES)
	{
		memcpy(&low, bytes + 4 * quad, 4);
		return low;
	}
	memcpy(&low, bytes + 8 * quad, 4);
	memcpy(&high, bytes + 8 * quad + 4, 4);
	return low | high << 4;
}

/* Two nibbles of a code. */
static uint8_t
packed_pair(const IqdbiBlockLayout *layout, const uint8_t *bytes, size_t pair)
{
	uint64_t word;

	if (layout->coding == IQDBI_CODING_SIGNS)
	{
		memcpy(&word, bytes + pair / 8 * 8, sizeof(word));
		return (uint8_t) (word >> pair % 8 * 8);
	}
	return (uint8_t) (bytes[2 * pair] | bytes[2 * pair + 1] << 4);
}

/* One of the scales or offsets that begin at `at`; 0 = there are none. */
static void
put_scalar(const IqdbiBlockLayout *layout, unsigned char *block, size_t at, uint32_t place, float value)
{
	uint32_t bits;

	if (at == 0)
		return;
	memcpy(&bits, &value, sizeof(bits));
	if (layout->short_scalars)
		((uint16_t *) (void *) (block + at))[place] = (uint16_t) (bits >> 16);
	else
		((uint32_t *) (void *) (block + at))[place] = bits;
}

static float
get_scalar(const IqdbiBlockLayout *layout, const unsigned char *block, size_t at, uint32_t place)
{
	uint32_t bits = 0;
	float    value;

	if (at != 0 && layout->short_scalars)
		bits = (uint32_t) ((const uint16_t *) (const void *) (block + at))[place] << 16;
	else if (at != 0)
		bits = ((const uint32_t *) (const void *) (block + at))[place];
	memcpy(&value, &bits, sizeof(value));
	return value;
}

void
iqdbi_block_put(const IqdbiBlockLayout *layout, unsigned char *block, uint32_t place, uint32_t slot,
				const IqdbiCode *code)
{
	atomic_store_explicit(&iqdbi_block_slots(block)[place], slot, memory_order_relaxed);
	put_scalar(layout, block, layout->scales_at, place, code->scale);
	put_scalar(layout, block, layout->offsets_at, place, code->offset);
	for (size_t word = 0; word < layout->words; word++)
	{
		if (iqdbi_layout_scalar(layout))
		{
			uint32_t four = packed_quad(layout, code->bytes, word);

			memcpy(block + quad_at(layout, place, word), &four, 4);
		}
		else
			block[layout->codes_at + word * IQDBI_BLOCK_ROWS + place] = packed_pair(layout, code->bytes, word);
	}
}

void
iqdbi_block_move(const IqdbiBlockLayout *layout, unsigned char *to, uint32_t to_place, unsigned char *from,
				 uint32_t from_place)
{
	uint32_t slot = atomic_load_explicit(&iqdbi_block_slots(from)[from_place], memory_order_relaxed);
	float    scale = get_scalar(layout, from, layout->scales_at, from_place);
	float    offset = get_scalar(layout, from, layout->offsets_at, from_place);

	atomic_store_explicit(&iqdbi_block_slots(to)[to_place], slot, memory_order_relaxed);
	put_scalar(layout, to, layout->scales_at, to_place, scale);
	put_scalar(layout, to, layout->offsets_at, to_place, offset);
	if (iqdbi_layout_scalar(layout))
	{
		for (size_t quad = 0; quad < layout->words; quad++)
			memmove(to + quad_at(layout, to_place, quad), from + quad_at(layout, from_place, quad), 4);
		return;
	}
	for (size_t pair = 0; pair < layout->words; pair++)
		to[layout->codes_at + pair * IQDBI_BLOCK_ROWS + to_place] =
			from[layout->codes_at + pair * IQDBI_BLOCK_ROWS + from_place];
}

bool
iqdbi_block_holds(const IqdbiBlockLayout *layout, unsigned char *block, uint32_t place, const IqdbiCode *code)
{
	float scale = get_scalar(layout, block, layout->scales_at, place);
	float offset = get_scalar(layout, block, layout->offsets_at, place);

	if ((layout->scales_at != 0 && memcmp(&scale, &code->scale, sizeof(scale)) != 0) ||
		(layout->offsets_at != 0 && memcmp(&offset, &code->offset, sizeof(offset)) != 0))
		return false;
	for (size_t word = 0; word < layout->words; word++)
	{
		if (iqdbi_layout_scalar(layout))
		{
			uint32_t four = packed_quad(layout, code->bytes, word);

			if (memcmp(block + quad_at(layout, place, word), &four, 4) != 0)
				return false;
		}
		else if (block[layout->codes_at + word * IQDBI_BLOCK_ROWS + place] != packed_pair(layout, code->bytes, word))
			return false;
	}
	return true;
}

int32_t
iqdbi_scalar_zero(const IqdbiBlockLayout *layout)
{
	return layout->coding == IQDBI_CODING_HALVES ? HALF_ZERO : BYTE_ZERO;
}

void
iqdbi_scalar_sums(const IqdbPackedKernels *packed, const IqdbiBlockLayout *layout, const unsigned char *block,
				  uint32_t count, const int8_t *query, int32_t start, int32_t *sums_out)
{
	const unsigned char *codes = block + layout->codes_at;
	size_t               groups = count > 16 ? 2 : 1;

	if (groups == 1)
		memset(sums_out + 16, 0, 16 * sizeof(*sums_out));
	if (layout->coding == IQDBI_CODING_HALVES)
		packed->dot_halves(codes, layout->words, groups, query, start, sums_out);
	else
		packed->dot(codes, layout->words, groups, query, start, sums_out);
}
