/*
 * io.h - files as the core sees them: a table of calls the host lends, and named files on top of it.
 *
 * Owns: the small functions that turn the errno values of an IqdbIo (public/iqdb.h), which a program, a server, a test or
 * io_posix.c fills in, into statuses naming file and action. Does not own: buffers, formats, retries, policy. Tests put their
 * own tables here: one that fails call number N, one that loses power.
 *
 * A failed sync is final: the kernel may have dropped the pages it could not write, so a second sync that succeeds
 * proves nothing. Whoever gets an error from iqdb_file_sync must treat what was written since the last sync as lost.
 */
#ifndef IQDB_BASE_IO_H
#define IQDB_BASE_IO_H

#include "core/base/status.h"

/* Longest path a core function takes apart (folder of a file). */
#define IQDB_IO_PATH_MAX 1024

/* An open file with the name its errors carry. All zero = not open. Copying it does not open it again. */
typedef struct IqdbFile
{
	const IqdbIo *io;
	intptr_t      handle;
	const char   *path; /* the caller's; must outlive the file */
} IqdbFile;

static inline bool
iqdb_file_is_open(const IqdbFile *file)
{
	return file->handle != 0;
}

/* *file_out is set on entry. Errors: NOT_FOUND (no such file), DUPLICATE (exclusive, and it is there), NO_SPACE, IO. */
IqdbStatus iqdb_file_open(const IqdbIo *io, const char *path, unsigned flags, IqdbFile *file_out,
						  IqdbError *err) IQDB_MUST_CHECK;

/* Closes and clears *file; a file that is not open is no error. An error means that a late write failed. */
IqdbStatus iqdb_file_close(IqdbFile *file, IqdbError *err);

/* Up to size bytes at offset; *read_out < size only at the end of the file. */
IqdbStatus iqdb_file_read(const IqdbFile *file, void *buffer, size_t size, uint64_t offset, size_t *read_out,
						  IqdbError *err) IQDB_MUST_CHECK;

/* Exactly size bytes at offset; IQDB_ERR_CORRUPT, with the offset where the file ends, when there are fewer. */
IqdbStatus iqdb_file_read_exact(const IqdbFile *file, void *buffer, size_t size, uint64_t offset,
								IqdbError *err) IQDB_MUST_CHECK;

/* All of it or an error. */
IqdbStatus iqdb_file_write(const IqdbFile *file, const void *buffer, size_t size, uint64_t offset,
						   IqdbError *err) IQDB_MUST_CHECK;

IqdbStatus iqdb_file_size(const IqdbFile *file, uint64_t *size_out, IqdbError *err) IQDB_MUST_CHECK;
IqdbStatus iqdb_file_truncate(const IqdbFile *file, uint64_t size, IqdbError *err) IQDB_MUST_CHECK;
IqdbStatus iqdb_file_sync(const IqdbFile *file, IqdbError *err) IQDB_MUST_CHECK;

/* IQDB_ERR_LOCKED when another open of the file, in this process or another, holds it. */
IqdbStatus iqdb_file_try_lock(const IqdbFile *file, bool exclusive, IqdbError *err) IQDB_MUST_CHECK;

IqdbStatus iqdb_io_rename(const IqdbIo *io, const char *from, const char *to, IqdbError *err) IQDB_MUST_CHECK;

/* IQDB_ERR_NOT_FOUND when there is no such file, which most callers let pass. */
IqdbStatus iqdb_io_unlink(const IqdbIo *io, const char *path, IqdbError *err) IQDB_MUST_CHECK;

/* Syncs the folder that holds path ("." when path has no slash). IQDB_ERR_CONFIG: path longer than IQDB_IO_PATH_MAX. */
IqdbStatus iqdb_io_sync_parent(const IqdbIo *io, const char *path, IqdbError *err) IQDB_MUST_CHECK;

IqdbStatus iqdb_io_list(const IqdbIo *io, const char *folder, bool (*found)(void *found_arg, const char *name),
						void *found_arg, IqdbError *err) IQDB_MUST_CHECK;

#endif
