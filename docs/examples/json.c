/*
 * json.c - rows from lines of JSON, and the hits of a search as JSON, read back.
 */
#include <iqdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A failure ends this program; of a text that cannot be read the offset says where. */
static void
require(IqdbStatus status, const IqdbError *err)
{
	if (status == IQDB_OK)
		return;
	fprintf(stderr, "%s: %s\n", iqdb_status_name(status), err->message);
	exit(1);
}

static void
add(Iqdb *db, const char *line)
{
	IqdbJsonRow *row;
	IqdbError    err;

	require(iqdb_row_from_json(line, strlen(line), IQDB_ELEMENT_F32, NULL, &row, &err), &err);
	require(iqdb_upsert_batch(db, &row->row, 1, row->dim, &err), &err);
	iqdb_row_free(row);
}

static void
show_row(Iqdb *db, IqdbId id)
{
	IqdbRecord *record;
	IqdbRow     row = {.id = id};
	IqdbError   err;
	size_t      length;
	char       *text;

	require(iqdb_get(db, id, &record, &err), &err);
	row.vector = record->vector;
	row.metadata = record->metadata;
	row.metadata_length = record->metadata_length;
	require(iqdb_row_json(&row, IQDB_ELEMENT_F32, record->dim, NULL, &text, &length, &err), &err);
	printf("%.*s\n", (int) length, text);
	iqdb_free(NULL, text, length);
	iqdb_record_free(record);
}

int
main(void)
{
	const char *const lines[] = {"{\"id\": 1, \"vector\": [0, 0.5], \"metadata\": {\"name\": \"caf\\u00e9\", \"price\": 2.50}}",
								 "{\"id\": \"b\", \"vector\": [3, 4]}"};
	const char       *wrong = "{\"id\": 2, \"vector\": [1, NaN]}";
	const float       query[2] = {0, 0};
	IqdbConfig        config = iqdb_config_default(IQDB_ENGINE_FLAT, 2, IQDB_METRIC_L2);
	IqdbJsonRow      *row;
	IqdbResult       *result;
	IqdbResult       *again;
	Iqdb             *db;
	IqdbError         err;
	size_t            length;
	char             *text;

	require(iqdb_open_in_memory(&config, &db, &err), &err);
	add(db, lines[0]);
	add(db, lines[1]);
	show_row(db, iqdb_id_u64(1));

	require(iqdb_search(db, query, 2, 2, &result, &err), &err);
	require(iqdb_result_json(result, NULL, &text, &length, &err), &err);
	printf("%.*s\n", (int) length, text);
	require(iqdb_result_from_json(text, length, NULL, &again, &err), &err);
	printf("%u hits read back\n", (unsigned) again->count);
	iqdb_result_free(again);
	iqdb_free(NULL, text, length);
	iqdb_result_free(result);

	if (iqdb_row_from_json(wrong, strlen(wrong), IQDB_ELEMENT_F32, NULL, &row, &err) != IQDB_OK)
		printf("%s at byte %u\n", iqdb_status_name(err.code), (unsigned) err.offset);
	require(iqdb_close(db, &err), &err);
	return 0;
}
