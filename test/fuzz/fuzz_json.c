/*
 * fuzz_json.c - any bytes as the JSON of a row and of a result.
 *
 * Properties: no read outside the buffer (an exact-size heap copy, so the address sanitizer sees a single byte too far), no
 * leak, a fault has an offset inside the text, and what is accepted is written as a text that reads back and is written as
 * the same bytes again. The first byte chooses the element.
 */
#include "core/base/mem.h"
#include "core/vec/element.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool condition, const char *what)
{
	if (!condition)
	{
		fprintf(stderr, "fuzz_json: violated: %s\n", what);
		abort();
	}
}

static void
check_failure(IqdbStatus status, const IqdbError *err, size_t length)
{
	require(status == IQDB_ERR_CORRUPT || status == IQDB_ERR_LIMIT, "a fault of the text");
	require(err->code == status && err->offset <= length, "the fault lies inside the text");
}

static void
check_row(const char *text, size_t length, IqdbElementKind kind)
{
	IqdbJsonRow *row;
	IqdbJsonRow *again;
	IqdbError    err;
	IqdbStatus   status = iqdb_row_from_json(text, length, kind, NULL, &row, &err);
	char        *written;
	char        *rewritten;
	size_t       written_length;
	size_t       rewritten_length;

	if (status != IQDB_OK)
	{
		check_failure(status, &err, length);
		return;
	}
	require(iqdb_row_json(&row->row, kind, row->dim, NULL, &written, &written_length, NULL) == IQDB_OK, "a row is written");
	require(iqdb_row_from_json(written, written_length, kind, NULL, &again, NULL) == IQDB_OK, "and read");
	require(iqdb_id_equal(again->row.id, row->row.id) && again->dim == row->dim, "with its id and dimension");
	require(memcmp(again->row.vector, row->row.vector, iqdb_element_bytes(iqdb_element((uint32_t) kind), row->dim)) == 0,
			"to the same bits");
	require(iqdb_row_json(&again->row, kind, again->dim, NULL, &rewritten, &rewritten_length, NULL) == IQDB_OK, "again");
	require(rewritten_length == written_length && memcmp(rewritten, written, written_length) == 0, "as the same bytes");
	iqdb_free(NULL, rewritten, rewritten_length);
	iqdb_free(NULL, written, written_length);
	iqdb_row_free(again);
	iqdb_row_free(row);
}

static void
check_result(const char *text, size_t length)
{
	IqdbResult *result;
	IqdbResult *again;
	IqdbError   err;
	IqdbStatus  status = iqdb_result_from_json(text, length, NULL, &result, &err);
	char       *written;
	size_t      written_length;

	if (status != IQDB_OK)
	{
		check_failure(status, &err, length);
		return;
	}
	require(iqdb_result_json(result, NULL, &written, &written_length, NULL) == IQDB_OK, "a result is written");
	require(iqdb_result_from_json(written, written_length, NULL, &again, NULL) == IQDB_OK, "and read");
	require(again->count == result->count, "with all its hits");
	for (size_t i = 0; i < result->count; i++)
	{
		const IqdbFound *a = &result->found[i];
		const IqdbFound *b = &again->found[i];

		require(iqdb_id_equal(a->id, b->id) && memcmp(&a->distance, &b->distance, sizeof(float)) == 0, "hits are equal");
		require(a->metadata_length == b->metadata_length, "their metadata are");
		require(a->metadata_length == 0 || memcmp(a->metadata, b->metadata, a->metadata_length) == 0, "to the byte");
	}
	iqdb_free(NULL, written, written_length);
	iqdb_result_free(again);
	iqdb_result_free(result);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (size == 0)
		return 0;
	text = malloc(size > 1 ? size - 1 : 1);
	require(text != NULL, "memory");
	memcpy(text, data + 1, size - 1);
	check_row(text, size - 1, (IqdbElementKind) (data[0] % IQDB_ELEMENT_COUNT));
	check_result(text, size - 1);
	free(text);
	return 0;
}
