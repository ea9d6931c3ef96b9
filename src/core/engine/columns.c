/*
 * columns.c - see columns.h.
 */
#include "core/engine/columns.h"

#include <string.h>

#include "core/base/endian.h"

/* Of each kind. */
static const struct
{
	uint8_t width;
	bool    lossy;
} kinds[] = {
	[IQDB_COLUMN_INT1] = {1, false}, [IQDB_COLUMN_INT2] = {2, false}, [IQDB_COLUMN_INT4] = {4, false},
	[IQDB_COLUMN_INT8] = {8, false}, [IQDB_COLUMN_HASH] = {8, true},  [IQDB_COLUMN_LABELS] = {8, true},
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

_Static_assert(IQDB_COLUMNS_MAX <= 31, "a row's NULL bits fit into 32");

uint32_t
iqdb_column_width(uint32_t kind)
{
	return kind < KINDS ? kinds[kind].width : 0;
}

bool
iqdb_column_is_lossy(uint32_t kind)
{
	return kind < KINDS && kinds[kind].lossy;
}

/* ---- layout ---- */

/* Values and NULL bits are a multiple of 64 bytes, whatever the width. */
void
iqdb_columns_layout(const IqdbIndexOptions *options, IqdbColumnLayout *layout_out)
{
	memset(layout_out, 0, sizeof(*layout_out));
	layout_out->count = options->column_count;
	layout_out->encoded_bytes = (uint32_t) iqdb_columns_encoded_bytes(options);
	for (uint32_t i = 0; i < options->column_count && i < IQDB_COLUMNS_MAX; i++)
	{
		uint32_t width = iqdb_column_width(options->columns[i]);

		layout_out->at[i] = layout_out->block_bytes;
		layout_out->width[i] = (uint8_t) width;
		layout_out->block_bytes += IQDB_COLUMN_BLOCK * width + IQDB_COLUMN_BLOCK / 8;
	}
}

uint64_t
iqdb_columns_region_bytes(const IqdbIndexOptions *options, uint64_t slots)
{
	IqdbColumnLayout layout;

	if (options->column_count == 0)
		return 0;
	iqdb_columns_layout(options, &layout);
	return (slots + IQDB_COLUMN_BLOCK - 1) / IQDB_COLUMN_BLOCK * layout.block_bytes;
}

uint64_t
iqdb_columns_bytes_per_row(const IqdbIndexOptions *options)
{
	IqdbColumnLayout layout;

	if (options->column_count == 0)
		return 0;
	iqdb_columns_layout(options, &layout);
	return (layout.block_bytes + IQDB_COLUMN_BLOCK - 1) / IQDB_COLUMN_BLOCK;
}

/* ---- values ---- */

/* Columns are tested as a whole, rows that are being written included: what is read of those means nothing. */
#define SCANS_COLUMNS __attribute__((no_sanitize_thread))

SCANS_COLUMNS int64_t
iqdb_column_load(const unsigned char *at, uint32_t width)
{
	int8_t  one;
	int16_t two;
	int32_t four;
	int64_t eight;

	switch (width)
	{
		case 1:
			memcpy(&one, at, sizeof(one));
			return one;
		case 2:
			memcpy(&two, at, sizeof(two));
			return two;
		case 4:
			memcpy(&four, at, sizeof(four));
			return four;
		default:
			memcpy(&eight, at, sizeof(eight));
			return eight;
	}
}

static void
store_value(unsigned char *at, uint32_t width, int64_t value)
{
	int8_t  one = (int8_t) value;
	int16_t two = (int16_t) value;
	int32_t four = (int32_t) value;

	switch (width)
	{
		case 1:
			memcpy(at, &one, sizeof(one));
			break;
		case 2:
			memcpy(at, &two, sizeof(two));
			break;
		case 4:
			memcpy(at, &four, sizeof(four));
			break;
		default:
			memcpy(at, &value, sizeof(value));
			break;
	}
}

SCANS_COLUMNS bool
iqdb_column_get(const IqdbColumnLayout *layout, const unsigned char *region, uint32_t column, uint32_t slot,
				int64_t *value_out)
{
	const uint64_t *nulls = iqdb_column_nulls(layout, region, column, slot);
	uint32_t        bit = slot % IQDB_COLUMN_BLOCK;

	*value_out = iqdb_column_load(iqdb_column_values(layout, region, column, slot), layout->width[column]);
	return (__atomic_load_n(&nulls[bit / 64], __ATOMIC_RELAXED) >> bit % 64 & 1) == 0;
}

/* One loop per width, so that the processor reads as many values at a time as it can. */
#define GATHER(type) \
	for (uint32_t i = 0; i < count; i++) \
	{ \
		type value; \
\
		memcpy(&value, values + (size_t) (slots[i] / IQDB_COLUMN_BLOCK) * layout->block_bytes + \
						   (size_t) (slots[i] % IQDB_COLUMN_BLOCK) * sizeof(value), sizeof(value)); \
		values_out[i] = value; \
	}

/* NULL has the value 0, so that only rows with that are asked for the bit. */
SCANS_COLUMNS uint64_t
iqdb_column_gather(const IqdbColumnKernels *kernels, const IqdbColumnLayout *layout, const unsigned char *region,
				   uint32_t column, const uint32_t *slots, uint32_t count, int64_t *values_out)
{
	const unsigned char *values = region + layout->at[column];
	uint64_t             zero = 0;
	uint64_t             nulls = 0;

	switch (layout->width[column])
	{
		case 1:
			GATHER(int8_t)
			break;
		case 2:
			GATHER(int16_t)
			break;
		case 4:
			GATHER(int32_t)
			break;
		default:
			GATHER(int64_t)
			break;
	}
	kernels->between_8(values_out, count, 0, 0, &zero);
	for (; zero != 0; zero &= zero - 1)
	{
		uint32_t        slot = slots[__builtin_ctzll(zero)];
		uint32_t        bit = slot % IQDB_COLUMN_BLOCK;
		const uint64_t *word = iqdb_column_nulls(layout, region, column, slot) + bit / 64;

		if ((__atomic_load_n(word, __ATOMIC_RELAXED) >> bit % 64 & 1) != 0)
			nulls |= zero & -zero;
	}
	return nulls;
}

/* Rows share the words of their NULL bits, and are written at the same time. */
void
iqdb_columns_set(const IqdbColumnLayout *layout, unsigned char *region, uint32_t slot, const IqdbColumnValues *values)
{
	uint32_t bit = slot % IQDB_COLUMN_BLOCK;
	uint64_t mask = UINT64_C(1) << bit % 64;

	for (uint32_t i = 0; i < layout->count; i++)
	{
		uint64_t *nulls = iqdb_column_nulls(layout, region, i, slot) + bit / 64;
		bool      is_null = values == NULL || (values->nulls >> i & 1) != 0;

		store_value((unsigned char *) (uintptr_t) iqdb_column_values(layout, region, i, slot), layout->width[i],
					is_null ? 0 : values->values[i]);
		if (is_null)
			__atomic_fetch_or(nulls, mask, __ATOMIC_RELAXED);
		else if ((__atomic_load_n(nulls, __ATOMIC_RELAXED) & mask) != 0)
			__atomic_fetch_and(nulls, ~mask, __ATOMIC_RELAXED);
	}
}

void
iqdb_columns_get(const IqdbColumnLayout *layout, const unsigned char *region, uint32_t slot, IqdbColumnValues *values_out)
{
	values_out->nulls = 0;
	for (uint32_t i = 0; i < layout->count; i++)
	{
		if (!iqdb_column_get(layout, region, i, slot, &values_out->values[i]))
			values_out->nulls |= UINT32_C(1) << i;
	}
}

IqdbStatus
iqdb_columns_check(const IqdbIndexOptions *options, const IqdbColumnValues *values, IqdbError *err)
{
	for (uint32_t i = 0; values != NULL && i < options->column_count; i++)
	{
		uint32_t width = iqdb_column_width(options->columns[i]);
		int64_t  limit = width < 8 ? (INT64_C(1) << (8 * width - 1)) - 1 : INT64_MAX;

		if ((values->nulls >> i & 1) == 0 && (values->values[i] > limit || values->values[i] < -limit - 1))
			return iqdb_fail(err, IQDB_ERR_CONFIG, "value %lld of column %u does not fit into %u bytes",
							 (long long) values->values[i], i + 1, width);
	}
	return IQDB_OK;
}

/* ---- files ---- */

static size_t
null_bytes(const IqdbIndexOptions *options)
{
	return ((size_t) options->column_count + 7) / 8;
}

size_t
iqdb_columns_encoded_bytes(const IqdbIndexOptions *options)
{
	size_t bytes = null_bytes(options);

	for (uint32_t i = 0; i < options->column_count; i++)
		bytes += iqdb_column_width(options->columns[i]);
	return bytes;
}

static void
put_number(unsigned char *at, uint32_t width, uint64_t value)
{
	switch (width)
	{
		case 1:
			*at = (unsigned char) value;
			break;
		case 2:
			iqdb_store_u16(at, (uint16_t) value);
			break;
		case 4:
			iqdb_store_u32(at, (uint32_t) value);
			break;
		default:
			iqdb_store_u64(at, value);
			break;
	}
}

void
iqdb_columns_encode(const IqdbIndexOptions *options, const IqdbColumnValues *values, unsigned char *bytes_out)
{
	unsigned char *at = bytes_out + null_bytes(options);

	memset(bytes_out, 0, null_bytes(options));
	for (uint32_t i = 0; i < options->column_count; i++)
	{
		uint32_t width = iqdb_column_width(options->columns[i]);
		bool     is_null = values == NULL || (values->nulls >> i & 1) != 0;
		uint64_t value = is_null ? 0 : (uint64_t) values->values[i];

		if (is_null)
			bytes_out[i / 8] |= (unsigned char) (1u << i % 8);
		put_number(at, width, value);
		at += width;
	}
}

/* The width's upper bit is the sign. */
static int64_t
sign_extended(uint64_t value, uint32_t width)
{
	uint64_t sign = UINT64_C(1) << (8 * width - 1);

	return (int64_t) ((value ^ sign) - sign);
}

bool
iqdb_columns_decode(const IqdbIndexOptions *options, const unsigned char *bytes, IqdbColumnValues *values_out)
{
	const unsigned char *at = bytes + null_bytes(options);

	values_out->nulls = 0;
	for (size_t i = 0; i < null_bytes(options); i++)
		values_out->nulls |= (uint32_t) bytes[i] << 8 * i;
	if (values_out->nulls >> options->column_count != 0)
		return false;
	for (uint32_t i = 0; i < options->column_count; i++)
	{
		uint32_t width = iqdb_column_width(options->columns[i]);
		uint64_t value = 0;

		for (uint32_t byte = 0; byte < width; byte++)
			value |= (uint64_t) *at++ << 8 * byte;
		values_out->values[i] = sign_extended(value, width);
		if ((values_out->nulls >> i & 1) != 0 && value != 0)
			return false;
	}
	return true;
}
