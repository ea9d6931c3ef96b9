/*
 * fields.h - the fields of metadata that have columns: which they are, what rows have in them, and filters by them.
 *
 * A field has a name and a kind. Its column holds the value that a row has in the field, or NULL where the row has none or one
 * of another kind:
 *
 *   BOOL    one byte, 0 or 1
 *   INT     the number
 *   FLOAT   64 bits in the numbers' order: the two zeros are one, NaN is one value behind all others
 *   STRING  64 bits of a hash
 *
 * Columns follow from metadata and can be made again at any time; metadata has the last word.
 *
 * Bytes of a list of fields: count u8, then for each kind u8, length of the name u8, the name; names ascend strictly, as keys
 * of metadata do. These bytes, the hash and the values of columns are on disk: a change needs a new version of the formats
 * that hold them (handle_format.h).
 */
#ifndef IQDB_DB_FIELDS_H
#define IQDB_DB_FIELDS_H

#include "core/engine/row_filter.h"

#define IQDB_FIELDS_ENCODED_MAX (IQDB_FIELDS_BYTES_MAX + 1)

typedef struct IqdbFields
{
	uint32_t      count;
	uint32_t      length;                /* of the bytes; 0: there are no fields */
	uint16_t      at[IQDB_FIELDS_MAX];   /* where each field begins */
	unsigned char bytes[IQDB_FIELDS_ENCODED_MAX];
} IqdbFields;

/* In any order. IQDB_ERR_CONFIG: too many or too long, one twice, a kind that has no column. */
IqdbStatus iqdb_fields_make(const IqdbField *fields, size_t count, IqdbFields *fields_out, IqdbError *err) IQDB_MUST_CHECK;

/* Of bytes from a file; false: such bytes are never written. Of no fields there are no bytes. */
bool iqdb_fields_decode(const unsigned char *bytes, size_t length, IqdbFields *fields_out);

bool iqdb_fields_equal(const IqdbFields *a, const IqdbFields *b);

/* One of them; the name lies in fields. */
IqdbField iqdb_fields_get(const IqdbFields *fields, uint32_t number);

/* The number of the field with this name, or fields->count. */
uint32_t iqdb_fields_find(const IqdbFields *fields, const char *name, size_t name_length);

/* Gives the options a column per field, in their order. */
void iqdb_fields_set_columns(const IqdbFields *fields, IqdbIndexOptions *options);

/* What a column of this kind holds for a value of that kind. */
int64_t iqdb_field_value(const IqdbValue *value);

/* The columns of a row with this metadata, which is valid. */
void iqdb_fields_read(const IqdbFields *fields, const unsigned char *metadata, size_t metadata_length,
					  IqdbColumnValues *values_out);

/* ---- filters ---- */

/* Tests that a filter may become; where there are more, the rest is left to metadata. */
#define IQDB_FIELD_TESTS_MAX 64u
#define IQDB_FIELD_VALUES_MAX 1024u

/* A filter as rows are asked it, and what it points to. It must not be moved. */
typedef struct IqdbFieldsFilter
{
	IqdbRowFilter filter;
	uint32_t      test_count;
	uint32_t      value_count;
	IqdbTest      tests[IQDB_FIELD_TESTS_MAX];
	int64_t       values[IQDB_FIELD_VALUES_MAX];
} IqdbFieldsFilter;

/*
 * Makes a row filter that exactly those rows pass whose metadata match: by tests of columns that all of them pass, and by
 * their metadata, too, unless the tests decide alone. NULL when every row passes. filter must outlive the result.
 */
const IqdbRowFilter *iqdb_fields_filter(const IqdbFields *fields, const IqdbFilter *filter, IqdbFieldsFilter *filter_out);

#endif
