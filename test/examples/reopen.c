/*
 * reopen.c - a database in files: written, left without a goodbye, opened again, closed properly.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/db/iqdb.h"

/* Opens path, says what is there, adds a row. */
static IqdbStatus
visit(const char *path, uint64_t number, bool proper, IqdbError *err)
{
	const float vector[2] = {(float) number, 1.0f};
	const float query[2] = {2.9f, 1.0f};
	IqdbConfig config = iqdb_config_default(IQDB_ENGINE_FLAT, 2, IQDB_METRIC_L2);
	IqdbResult *result = NULL;
	Iqdb *db = NULL;
	IqdbStatus status;

	IQDB_TRY_OUT(iqdb_open(path, &config, &db, err));
	printf("%llu rows found", (unsigned long long) iqdb_len(db));
	IQDB_TRY_OUT(iqdb_search(db, query, 2, 1, &result, err));
	if (result->count > 0)
		printf(", the nearest is %llu", (unsigned long long) result->found[0].id.number);
	printf("\n");
	IQDB_TRY_OUT(iqdb_upsert(db, iqdb_id_u64(number), vector, 2, NULL, 0, err));
out:
	iqdb_result_free(result);
	if (status == IQDB_OK && proper)
		return iqdb_close(db, err);
	iqdb_abandon(db);
	return status;
}

int
main(void)
{
	const char *folder = getenv("TMPDIR");
	char path[1024];
	IqdbError err = {0};

	snprintf(path, sizeof(path), "%s/reopen.iqdb", folder != NULL ? folder : "/tmp");
	for (uint64_t number = 1; number <= 4; number++)
	{
		if (visit(path, number, number % 2 == 0, &err) != IQDB_OK)
		{
			printf("%s: %s\n", iqdb_status_name(err.code), err.message);
			return 1;
		}
	}
	return 0;
}
