/*
 * fields.c - a shop's goods by likeness, of one kind and within a price: fields of metadata with columns.
 */
#include <iqdb.h>
#include <stdio.h>
#include <stdlib.h>

#define GOODS 1000

/* A failure ends this program: its message names sizes and files, never the content of a row. */
static void
require(IqdbStatus status, const IqdbError *err)
{
	if (status == IQDB_OK)
		return;
	fprintf(stderr, "%s: %s\n", iqdb_status_name(status), err->message);
	exit(1);
}

static void
add_good(Iqdb *db, unsigned number)
{
	static const char *const kinds[] = {"chair", "table", "lamp", "shelf"};
	const float              vector[2] = {(float) (number % 37), (float) (number % 101)};
	IqdbValue                kind = iqdb_value_string(kinds[number % 4], 5 - (number % 4 == 2));
	IqdbValue                price = iqdb_value_float(10 + number % 90);
	IqdbMetadataBuilder      builder;
	unsigned char           *metadata;
	size_t                   length;
	IqdbError                err;

	iqdb_metadata_builder_init(&builder, NULL);
	require(iqdb_metadata_put(&builder, "kind", 4, &kind, &err), &err);
	require(iqdb_metadata_put(&builder, "price", 5, &price, &err), &err);
	require(iqdb_metadata_finish(&builder, &metadata, &length, &err), &err);
	require(iqdb_upsert(db, iqdb_id_u64(number), vector, 2, metadata, length, &err), &err);
	iqdb_free(NULL, metadata, length);
	iqdb_metadata_builder_free(&builder);
}

/* kind = "lamp" AND price < 30 */
static IqdbFilter *
cheap_lamps(void)
{
	IqdbFilterBuilder builder;
	IqdbValue         lamp = iqdb_value_string("lamp", 4);
	IqdbValue         most = iqdb_value_float(30);
	IqdbCondition     parts[2];
	IqdbFilter       *filter;
	IqdbError         err;

	iqdb_filter_builder_init(&builder, NULL);
	parts[0] = iqdb_filter_eq(&builder, "kind", 4, &lamp);
	parts[1] = iqdb_filter_lt(&builder, "price", 5, &most);
	require(iqdb_filter_finish(&builder, iqdb_filter_and(&builder, parts, 2), &filter, &err), &err);
	iqdb_filter_builder_free(&builder);
	return filter;
}

int
main(void)
{
	const IqdbField  fields[] = {{"kind", 4, IQDB_VALUE_STRING}, {"price", 5, IQDB_VALUE_FLOAT}};
	const float      query[2] = {18, 50};
	IqdbConfig       config = iqdb_config_default(IQDB_ENGINE_FLAT, 2, IQDB_METRIC_L2);
	IqdbFilter      *filter = cheap_lamps();
	const IqdbField *found;
	size_t           count;
	IqdbResult      *result;
	Iqdb            *db;
	IqdbError        err;

	config.fields = fields;
	config.field_count = 2;
	require(iqdb_open_in_memory(&config, &db, &err), &err);
	for (unsigned number = 0; number < GOODS; number++)
		add_good(db, number);

	count = iqdb_fields(db, &found);
	for (size_t i = 0; i < count; i++)
		printf("field %.*s\n", (int) found[i].name_length, found[i].name);
	require(iqdb_search_with(db, query, 2, 3, filter, &result, &err), &err);
	for (size_t i = 0; i < result->count; i++)
	{
		IqdbValue price;

		if (iqdb_metadata_lookup(result->found[i].metadata, result->found[i].metadata_length, "price", 5, &price))
			printf("lamp %u for %.0f at %.2f\n", (unsigned) result->found[i].id.number, price.as.real,
				   result->found[i].distance);
	}
	iqdb_result_free(result);
	iqdb_filter_free(NULL, filter);
	require(iqdb_close(db, &err), &err);
	return 0;
}
