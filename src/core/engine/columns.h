/*
 * columns.h - values of fixed width that rows have beside their vectors, for searches to filter by.
 *
 * Which columns an index has is part of its shape (IqdbIndexOptions.columns). Region COLUMNS holds them in blocks of
 * IQDB_COLUMN_BLOCK slots: of each block first all values of column 0, each in its width, then a bit per slot that says
 * NULL, then the same of column 1, and so on. So a filter on one column reads nothing but that column, a new row touches one
 * block, and the region grows like any other. A row takes 9 bytes of a wide column at most.
 *
 * A row's values are written before its state says LIVE and stay until its slot is freed. Values of slots that are not
 * LIVE mean nothing; they may be read, and may be written meanwhile.
 */
#ifndef IQDB_ENGINE_COLUMNS_H
#define IQDB_ENGINE_COLUMNS_H

#include "core/base/status.h"
#include "core/vec/kernels.h"

#define IQDB_COLUMN_BLOCK 1024u

/* One row's values; an entry whose bit is set in nulls is NULL, and its value 0. */
typedef struct IqdbColumnValues
{
	uint32_t nulls; /* bit 1 << i of column i */
	int64_t  values[IQDB_COLUMNS_MAX];
} IqdbColumnValues;

/* Where columns lie in a block. Follows from the options, and lies in the store's header. */
typedef struct IqdbColumnLayout
{
	uint32_t count;
	uint32_t block_bytes;
	uint32_t encoded_bytes;           /* of a row in files, see iqdb_columns_encode() */
	uint32_t at[IQDB_COLUMNS_MAX];    /* bytes from the block's beginning to the column's values; the NULL bits follow them */
	uint8_t  width[IQDB_COLUMNS_MAX]; /* bytes of a value: 1, 2, 4, 8 */
	uint8_t  padding;
} IqdbColumnLayout;

/* Bytes of a value of this kind (IqdbColumnKind) in memory and in files; 0: there is no such kind. */
uint32_t iqdb_column_width(uint32_t kind);

/* Are its tests no more than a hint, so that a row which passes may still fail the condition that is meant? */
bool iqdb_column_is_lossy(uint32_t kind);

/* Unused bytes are zero, so that two layouts can be compared as they are. */
void iqdb_columns_layout(const IqdbIndexOptions *options, IqdbColumnLayout *layout_out);

/* Bytes of region COLUMNS for slots below `slots`; and about what a row takes of it. */
uint64_t iqdb_columns_region_bytes(const IqdbIndexOptions *options, uint64_t slots);
uint64_t iqdb_columns_bytes_per_row(const IqdbIndexOptions *options);

/* The values of a column from this slot on, to the end of its block. */
static inline const unsigned char *
iqdb_column_values(const IqdbColumnLayout *layout, const unsigned char *region, uint32_t column, uint32_t slot)
{
	return region + (size_t) (slot / IQDB_COLUMN_BLOCK) * layout->block_bytes + layout->at[column] +
		   (size_t) (slot % IQDB_COLUMN_BLOCK) * layout->width[column];
}

/* The NULL bits of a column for the block of this slot: bit slot % IQDB_COLUMN_BLOCK, in words of 64. */
static inline uint64_t *
iqdb_column_nulls(const IqdbColumnLayout *layout, const unsigned char *region, uint32_t column, uint32_t slot)
{
	return (uint64_t *) (uintptr_t) (region + (size_t) (slot / IQDB_COLUMN_BLOCK) * layout->block_bytes + layout->at[column] +
									 (size_t) IQDB_COLUMN_BLOCK * layout->width[column]);
}

/* The value of this width that stands here. */
int64_t iqdb_column_load(const unsigned char *at, uint32_t width);

/* A value; false: it is NULL. */
bool iqdb_column_get(const IqdbColumnLayout *layout, const unsigned char *region, uint32_t column, uint32_t slot,
					 int64_t *value_out);

/*
 * The values of a column of `count` rows that lie anywhere, 64 at most, side by side; returns a bit for each that is NULL. What
 * it gives for slots that are being written means nothing.
 */
uint64_t iqdb_column_gather(const IqdbColumnKernels *kernels, const IqdbColumnLayout *layout, const unsigned char *region,
							uint32_t column, const uint32_t *slots, uint32_t count, int64_t *values_out);

/* Writes a row's values, NULL for all where values is NULL. Rows of one block may be written at the same time. */
void iqdb_columns_set(const IqdbColumnLayout *layout, unsigned char *region, uint32_t slot, const IqdbColumnValues *values);

/* Reads a row's values. */
void iqdb_columns_get(const IqdbColumnLayout *layout, const unsigned char *region, uint32_t slot,
					  IqdbColumnValues *values_out);

/*
 * IQDB_ERR_CONFIG naming the column whose value is outside its kind's range, IQDB_OK where all fit. Call it for what comes from
 * outside, before it is stored.
 */
IqdbStatus iqdb_columns_check(const IqdbIndexOptions *options, const IqdbColumnValues *values, IqdbError *err) IQDB_MUST_CHECK;

/*
 * A row's values in files: a bit per column that says NULL, in as many bytes as are needed, then each column's value in its
 * width, little-endian, 0 for NULL. The length is the same for all rows of an index; 0 where it has no columns.
 */
size_t iqdb_columns_encoded_bytes(const IqdbIndexOptions *options);
void   iqdb_columns_encode(const IqdbIndexOptions *options, const IqdbColumnValues *values, unsigned char *bytes_out);

/* false: such bytes are never written. */
bool iqdb_columns_decode(const IqdbIndexOptions *options, const unsigned char *bytes, IqdbColumnValues *values_out);

#endif
