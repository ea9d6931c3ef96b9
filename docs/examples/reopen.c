/*
 * reopen.c - a database in files: written, left without a goodbye, opened again, closed properly.
 */
#include <iqdb.h>
#include <stdio.h>
#include <stdlib.h>

/* A failure ends this program: its message names sizes and files, never the content of a row. */
static void
require(IqdbStatus status, const IqdbError *err)
{
	if (status == IQDB_OK)
		return;
	fprintf(stderr, "%s: %s\n", iqdb_status_name(status), err->message);
	exit(1);
}

/* Opens path, says what is there, adds a row. */
static void
visit(const char *path, uint64_t number, bool proper)
{
	const float vector[2] = {(float) number, 1.0f};
	const float query[2] = {2.9f, 1.0f};
	IqdbConfig  config = iqdb_config_default(IQDB_ENGINE_FLAT, 2, IQDB_METRIC_L2);
	IqdbResult *result;
	Iqdb       *db;
	IqdbError   err;

	require(iqdb_open(path, &config, &db, &err), &err);
	printf("%llu rows found", (unsigned long long) iqdb_len(db));
	require(iqdb_search(db, query, 2, 1, &result, &err), &err);
	if (result->count > 0)
		printf(", the nearest is %llu", (unsigned long long) result->found[0].id.number);
	printf("\n");
	iqdb_result_free(result);
	require(iqdb_upsert(db, iqdb_id_u64(number), vector, 2, NULL, 0, &err), &err);
	if (proper)
		require(iqdb_close(db, &err), &err);
	else
		iqdb_abandon(db);
}

int
main(void)
{
	const char *folder = getenv("TMPDIR");
	char        path[1024];

	snprintf(path, sizeof(path), "%s/reopen.iqdb", folder != NULL ? folder : "/tmp");
	for (uint64_t number = 1; number <= 4; number++)
		visit(path, number, number % 2 == 0);
	return 0;
}
