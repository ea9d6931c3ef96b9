/*
 * status.h - what a fallible core function returns, and how the detail of a failure travels.
 *
 * Owns: how an error record is filled, and the two macros of the error idiom; the codes and the record itself are public
 * (public/iqdb.h). Every fallible function returns IqdbStatus; the detail goes into a record of the caller's (which may be
 * NULL). Nothing in the core jumps, prints or exits: a host turns the status into its own kind of error after everything has
 * been released.
 */
#ifndef IQDB_BASE_STATUS_H
#define IQDB_BASE_STATUS_H

#include "core/public/iqdb.h"

#if defined(__GNUC__)
#define IQDB_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define IQDB_PRINTF(fmt, args)
#endif

/* Fills *err (ignored when NULL) and returns code, so that a failure is one line: return iqdb_fail(err, ...). */
IqdbStatus iqdb_fail(IqdbError *err, IqdbStatus code, const char *format, ...) IQDB_PRINTF(3, 4);

/* The same for a failed system call on a file: ENOSPC and EDQUOT become IQDB_ERR_NO_SPACE, ENOMEM IQDB_ERR_NOMEM. */
IqdbStatus iqdb_fail_io(IqdbError *err, int sys_errno, const char *file, const char *action);

/* Damage at a byte of a file: IQDB_ERR_CORRUPT with file and offset. */
IqdbStatus iqdb_fail_corrupt(IqdbError *err, const char *file, uint64_t offset, const char *format, ...)
	IQDB_PRINTF(4, 5);

/* Returns from the calling function when the expression fails. */
#define IQDB_TRY(expression) \
	do \
	{ \
		IqdbStatus iqdb_try_status = (expression); \
		if (iqdb_try_status != IQDB_OK) \
			return iqdb_try_status; \
	} while (0)

/* Goes to the label out with the failure in the local variable status. */
#define IQDB_TRY_OUT(expression) \
	do \
	{ \
		status = (expression); \
		if (status != IQDB_OK) \
			goto out; \
	} while (0)

#endif
