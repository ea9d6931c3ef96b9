/*
 * pg_fail.h - fail points: named places where a test can make the server crash, wait, or fail.
 *
 * They exist only in builds with -DIQDB_FAIL_POINTS; in every other build they are nothing at all. The setting
 *
 *     iqdb.fail_point = 'name:action[:skip]'
 *
 * arms one of them in the sessions that it reaches. Action is
 *
 *     crash   this process is killed, and the server restarts all of them
 *     down    the postmaster is killed, and this process with it
 *     error   an error is raised, or returned where none may be raised
 *     statusN the core's status number N is returned where none may be raised, else an error is raised
 *     sleep   a file fail_point.<name> appears in the data directory; this process goes on when somebody has removed it
 *
 * and happens when the place has been passed `skip` times. Where a content lock or an own lock is held, an error is
 * cleaned up as any other error there would be.
 */
#ifndef IQDB_PG_FAIL_H
#define IQDB_PG_FAIL_H

#ifdef IQDB_FAIL_POINTS

#include "core/base/status.h"

/* Is anything armed in this process? */
extern bool iqdb_fail_point_armed;

/* The status that a failing callback of the core returns. */
extern IqdbStatus iqdb_fail_point_status;

/* Defines the setting. Called once, from iqdb_pg_define_settings. */
extern void iqdb_pg_define_fail_points(void);

/* Does what is armed for this place. true if the caller is to fail, which only happens when may_raise is false. */
extern bool iqdb_pg_fail_point(const char *name, bool may_raise);

/* A place where an error may be raised. */
#define IQDB_PG_FAIL_POINT(name) \
	do \
	{ \
		if (unlikely(iqdb_fail_point_armed)) \
			(void) iqdb_pg_fail_point(name, true); \
	} while (0)

/* A place where nothing may be raised: the end of a transaction. */
#define IQDB_PG_FAIL_POINT_QUIET(name) \
	do \
	{ \
		if (unlikely(iqdb_fail_point_armed)) \
			(void) iqdb_pg_fail_point(name, false); \
	} while (0)

/* A place inside a callback of the core, which returns its failure. */
#define IQDB_PG_FAIL_RETURN(name, error) \
	do \
	{ \
		if (unlikely(iqdb_fail_point_armed) && iqdb_pg_fail_point(name, false)) \
			return iqdb_fail(error, iqdb_fail_point_status, "fail point %s", name); \
	} while (0)

#else

#define iqdb_pg_define_fail_points() ((void) 0)
#define IQDB_PG_FAIL_POINT(name) ((void) 0)
#define IQDB_PG_FAIL_POINT_QUIET(name) ((void) 0)
#define IQDB_PG_FAIL_RETURN(name, error) ((void) 0)

#endif
#endif
