/*
 * pg_fail.c - see pg_fail.h. Empty but in builds for tests.
 */
#include "postgres.h"

#include "access/xact.h"

#include "pg/pg_compat.h"
#include "pg/pg_fail.h"

#ifdef IQDB_FAIL_POINTS

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/guc.h"

#define NAME_SIZE 64
#define SLEEP_SECONDS_MAX 120

typedef enum Action
{
	CRASH,
	DOWN,
	RAISE,
	SLEEP
} Action;

bool		iqdb_fail_point_armed;
IqdbStatus	iqdb_fail_point_status = IQDB_ERR_IO;

static char *setting;
static char armed_name[NAME_SIZE];
static Action armed_action;
static int	skip;

static bool
parse(const char *text, char *name, Action *action, IqdbStatus *status, int *times)
{
	static const char *const words[] = {"crash", "down", "error", "sleep"};
	char		word[16];
	int			fields;
	int			number;

	*status = IQDB_ERR_IO;
	*times = 0;
	fields = sscanf(text, "%63[^:]:%15[^:]:%d", name, word, times);
	if (fields < 2)
		return false;
	if (sscanf(word, "status%d", &number) == 1)
	{
		*action = RAISE;
		*status = (IqdbStatus) number;
		return true;
	}
	for (int i = 0; i < (int) lengthof(words); i++)
		if (strcmp(word, words[i]) == 0)
		{
			*action = (Action) i;
			return true;
		}
	return false;
}

static bool
check_setting(char **value, void **extra, GucSource source)
{
	char		name[NAME_SIZE];
	Action		action;
	IqdbStatus	status;
	int			times;

	return (*value)[0] == '\0' || parse(*value, name, &action, &status, &times);
}

static void
assign_setting(const char *value, void *extra)
{
	iqdb_fail_point_armed = value != NULL && value[0] != '\0' &&
		parse(value, armed_name, &armed_action, &iqdb_fail_point_status, &skip);
}

void
iqdb_pg_define_fail_points(void)
{
	DefineCustomStringVariable("iqdb.fail_point", "Makes a test fail at a place: name:action[:skip].", NULL, &setting, "",
							   PGC_SUSET, GUC_NOT_IN_SAMPLE | iqdb_pg_setting_flags(), check_setting, assign_setting, NULL);
}

/* Until somebody removes the file; whoever waits for this place waits for the file to appear. */
static void
wait_for_removal(const char *name)
{
	char		path[MAXPGPATH];
	struct stat st;
	int			fd;

	snprintf(path, sizeof(path), "fail_point.%s", name);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd >= 0)
		close(fd);
	for (int i = 0; i < SLEEP_SECONDS_MAX * 100 && stat(path, &st) == 0; i++)
		pg_usleep(10000);
}

bool
iqdb_pg_fail_point(const char *name, bool may_raise)
{
	if (strcmp(name, armed_name) != 0 || skip-- > 0)
		return false;
	iqdb_fail_point_armed = false;
	ereport(LOG, (errmsg("iqdb: fail point \"%s\"", name), errhidestmt(true)));
	switch (armed_action)
	{
		case CRASH:
			(void) kill(MyProcPid, SIGKILL);
			break;
		case DOWN:
			(void) kill(PostmasterPid, SIGKILL);
			(void) kill(MyProcPid, SIGKILL);
			break;
		case RAISE:
			if (may_raise)
				ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("fail point \"%s\"", name)));
			return true;
		case SLEEP:
			wait_for_removal(name);
			break;
	}
	return false;
}

static Oid
toast_in_heap(Relation table)
{
	return HEAP_TABLE_AM_OID;
}

/* A table access method that works as heap does, and is another one. */
PG_FUNCTION_INFO_V1(iqdb_other_heap_handler);
Datum
iqdb_other_heap_handler(PG_FUNCTION_ARGS)
{
	static TableAmRoutine routine;

	routine = *GetHeapamTableAmRoutine();
	routine.relation_toast_am = toast_in_heap;
	PG_RETURN_POINTER(&routine);
}

#else

/* a file must hold something */
extern int	iqdb_pg_no_fail_points;

#endif
