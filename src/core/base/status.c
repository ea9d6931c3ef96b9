/*
 * status.c - filling the error record.
 *
 * Owns: the text of status names and the formatting of messages. Does not own: any state; the record is the caller's.
 */
#include "core/base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const status_names[IQDB_STATUS_COUNT] = {
	[IQDB_OK] = "OK",
	[IQDB_ERR_DIMENSION] = "DIMENSION",
	[IQDB_ERR_VECTOR] = "VECTOR",
	[IQDB_ERR_CONFIG] = "CONFIG",
	[IQDB_ERR_METRIC] = "METRIC",
	[IQDB_ERR_FILTER] = "FILTER",
	[IQDB_ERR_NOT_FOUND] = "NOT_FOUND",
	[IQDB_ERR_DUPLICATE] = "DUPLICATE",
	[IQDB_ERR_UNSUPPORTED] = "UNSUPPORTED",
	[IQDB_ERR_STATE] = "STATE",
	[IQDB_ERR_NOMEM] = "NOMEM",
	[IQDB_ERR_LIMIT] = "LIMIT",
	[IQDB_ERR_NO_SPACE] = "NO_SPACE",
	[IQDB_ERR_IO] = "IO",
	[IQDB_ERR_LOCKED] = "LOCKED",
	[IQDB_ERR_CANCELLED] = "CANCELLED",
	[IQDB_ERR_CORRUPT] = "CORRUPT",
	[IQDB_ERR_VERSION] = "VERSION",
};

const char *
iqdb_status_name(IqdbStatus code)
{
	/* through unsigned: a negative or unknown number must not index the table */
	if ((unsigned) code >= IQDB_STATUS_COUNT || status_names[code] == NULL)
		return "UNKNOWN";
	return status_names[code];
}

/* Copies as much of the text as fits; names of files keep their end, which tells more than their start. */
static void
copy_file_name(char *target, size_t size, const char *name)
{
	size_t length = name != NULL ? strlen(name) : 0;

	if (length >= size)
	{
		name += length - (size - 1);
		length = size - 1;
	}
	if (length > 0)
		memcpy(target, name, length);
	target[length] = '\0';
}

static void
fill(IqdbError *err, IqdbStatus code, const char *file, const char *format, va_list args)
{
	memset(err, 0, sizeof(*err));
	err->code = code;
	copy_file_name(err->file, sizeof(err->file), file);
	if (vsnprintf(err->message, sizeof(err->message), format, args) < 0)
		err->message[0] = '\0';
}

IqdbStatus
iqdb_fail(IqdbError *err, IqdbStatus code, const char *format, ...)
{
	va_list args;

	if (err == NULL)
		return code;
	va_start(args, format);
	fill(err, code, NULL, format, args);
	va_end(args);
	return code;
}

IqdbStatus
iqdb_fail_corrupt(IqdbError *err, const char *file, uint64_t offset, const char *format, ...)
{
	va_list args;

	if (err == NULL)
		return IQDB_ERR_CORRUPT;
	va_start(args, format);
	fill(err, IQDB_ERR_CORRUPT, file, format, args);
	va_end(args);
	err->offset = offset;
	return IQDB_ERR_CORRUPT;
}

static IqdbStatus
status_of_errno(int sys_errno)
{
	switch (sys_errno)
	{
		case ENOSPC:
		case EFBIG:
#ifdef EDQUOT
		case EDQUOT:
#endif
			return IQDB_ERR_NO_SPACE;
		case ENOMEM:
			return IQDB_ERR_NOMEM;
		default:
			return IQDB_ERR_IO;
	}
}

IqdbStatus
iqdb_fail_io(IqdbError *err, int sys_errno, const char *file, const char *action)
{
	IqdbStatus code = status_of_errno(sys_errno);

	/* the system's text of the number is left to the host: strerror is neither thread-safe nor locale-free */
	iqdb_fail(err, code, "could not %s", action);
	if (err != NULL)
	{
		err->sys_errno = sys_errno;
		copy_file_name(err->file, sizeof(err->file), file);
	}
	return code;
}
