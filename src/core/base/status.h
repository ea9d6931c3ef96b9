/*
 * status.h - what a fallible core function returns, and how the detail of a failure travels.
 *
 * Owns: the status codes, the error record, the two macros of the error idiom. Every fallible function returns
 * IqdbStatus; the detail goes into a record of the caller's (which may be NULL). Nothing in the core jumps,
 * prints or exits: a host turns the status into its own kind of error after everything has been released.
 */
#ifndef IQDB_BASE_STATUS_H
#define IQDB_BASE_STATUS_H

#include <stddef.h>
#include <stdint.h>

typedef enum IqdbStatus
{
	IQDB_OK = 0,

	/* the caller asked for something that cannot be */
	IQDB_ERR_DIMENSION,   /* vector length differs from the index's */
	IQDB_ERR_VECTOR,      /* empty vector, NaN or infinity */
	IQDB_ERR_CONFIG,      /* option out of range, empty id, shape differs from the stored one */
	IQDB_ERR_METRIC,      /* metric unknown, or not possible with this engine or quantizer */
	IQDB_ERR_FILTER,      /* filter too deep, or an IN list too long */
	IQDB_ERR_NOT_FOUND,
	IQDB_ERR_DUPLICATE,
	IQDB_ERR_UNSUPPORTED, /* valid, but this build or engine cannot do it */
	IQDB_ERR_STATE,       /* the handle is closed or broken */

	/* the environment said no */
	IQDB_ERR_NOMEM,
	IQDB_ERR_LIMIT,       /* a limit set by the user is reached */
	IQDB_ERR_NO_SPACE,    /* disk, or the file system of the arena, is full */
	IQDB_ERR_IO,
	IQDB_ERR_LOCKED,      /* another process has the database open */
	IQDB_ERR_CANCELLED,

	/* bytes lie */
	IQDB_ERR_CORRUPT,
	IQDB_ERR_VERSION,

	IQDB_STATUS_COUNT
} IqdbStatus;

/* Detail of a failure. Messages carry sizes and names, never the content of a row. */
typedef struct IqdbError
{
	IqdbStatus code;
	int        sys_errno;   /* 0, or errno of the failed call */
	uint64_t   offset;      /* CORRUPT: byte offset in the file, else 0 */
	char       file[120];   /* file concerned, or "" */
	char       message[200];/* one sentence, lower case, no full stop */
} IqdbError;

#if defined(__GNUC__)
#define IQDB_MUST_CHECK __attribute__((warn_unused_result))
#define IQDB_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define IQDB_MUST_CHECK
#define IQDB_PRINTF(fmt, args)
#endif

/* Fills *err (ignored when NULL) and returns code, so that a failure is one line: return iqdb_fail(err, ...). */
IqdbStatus iqdb_fail(IqdbError *err, IqdbStatus code, const char *format, ...) IQDB_PRINTF(3, 4);

/* The same for a failed system call on a file: ENOSPC and EDQUOT become IQDB_ERR_NO_SPACE, ENOMEM IQDB_ERR_NOMEM. */
IqdbStatus iqdb_fail_io(IqdbError *err, int sys_errno, const char *file, const char *action);

/* Damage at a byte of a file: IQDB_ERR_CORRUPT with file and offset. */
IqdbStatus iqdb_fail_corrupt(IqdbError *err, const char *file, uint64_t offset, const char *format, ...)
	IQDB_PRINTF(4, 5);

/* The code's name in the sources' spelling without prefix, for example "DIMENSION". Never NULL. */
const char *iqdb_status_name(IqdbStatus code);

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
