/*
 * io.c - named files over the host's calls: errno in, status with file and action out.
 *
 * Owns: the mapping of errno values that callers tell apart (absent, already there, locked) to statuses. The rest is
 * iqdb_fail_io's. Does not own: any state.
 */
#include "core/base/io.h"

#include <errno.h>
#include <string.h>

/* iqdb_fail_io for an errno that callers tell apart: same record, another status. */
static IqdbStatus
fail_as(IqdbError *err, IqdbStatus status, int error, const char *path, const char *action)
{
	(void) iqdb_fail_io(err, error, path, action);
	if (err != NULL)
		err->code = status;
	return status;
}

IqdbStatus
iqdb_file_open(const IqdbIo *io, const char *path, unsigned flags, IqdbFile *file_out, IqdbError *err)
{
	intptr_t handle = 0;
	int      error;

	memset(file_out, 0, sizeof(*file_out));
	error = io->open(io->arg, path, flags, &handle);
	if (error == ENOENT)
		return fail_as(err, IQDB_ERR_NOT_FOUND, error, path, "open");
	if (error == EEXIST)
		return fail_as(err, IQDB_ERR_DUPLICATE, error, path, "create");
	if (error != 0)
		return iqdb_fail_io(err, error, path, "open");
	file_out->io = io;
	file_out->handle = handle;
	file_out->path = path;
	return IQDB_OK;
}

IqdbStatus
iqdb_file_close(IqdbFile *file, IqdbError *err)
{
	IqdbFile closing = *file;
	int      error;

	memset(file, 0, sizeof(*file));
	if (!iqdb_file_is_open(&closing))
		return IQDB_OK;
	error = closing.io->close(closing.io->arg, closing.handle);
	return error == 0 ? IQDB_OK : iqdb_fail_io(err, error, closing.path, "close");
}

IqdbStatus
iqdb_file_read(const IqdbFile *file, void *buffer, size_t size, uint64_t offset, size_t *read_out, IqdbError *err)
{
	int error;

	*read_out = 0;
	error = file->io->read(file->io->arg, file->handle, buffer, size, offset, read_out);
	return error == 0 ? IQDB_OK : iqdb_fail_io(err, error, file->path, "read");
}

IqdbStatus
iqdb_file_read_exact(const IqdbFile *file, void *buffer, size_t size, uint64_t offset, IqdbError *err)
{
	size_t got;

	IQDB_TRY(iqdb_file_read(file, buffer, size, offset, &got, err));
	if (got < size)
		return iqdb_fail_corrupt(err, file->path, offset + got, "file ends %zu bytes early", size - got);
	return IQDB_OK;
}

IqdbStatus
iqdb_file_write(const IqdbFile *file, const void *buffer, size_t size, uint64_t offset, IqdbError *err)
{
	int error;

	if (size == 0)
		return IQDB_OK;
	error = file->io->write(file->io->arg, file->handle, buffer, size, offset);
	return error == 0 ? IQDB_OK : iqdb_fail_io(err, error, file->path, "write");
}

IqdbStatus
iqdb_file_size(const IqdbFile *file, uint64_t *size_out, IqdbError *err)
{
	int error;

	*size_out = 0;
	error = file->io->size(file->io->arg, file->handle, size_out);
	return error == 0 ? IQDB_OK : iqdb_fail_io(err, error, file->path, "read size of");
}

IqdbStatus
iqdb_file_truncate(const IqdbFile *file, uint64_t size, IqdbError *err)
{
	int error = file->io->truncate(file->io->arg, file->handle, size);

	return error == 0 ? IQDB_OK : iqdb_fail_io(err, error, file->path, "truncate");
}

IqdbStatus
iqdb_file_sync(const IqdbFile *file, IqdbError *err)
{
	int error = file->io->sync(file->io->arg, file->handle);

	return error == 0 ? IQDB_OK : iqdb_fail_io(err, error, file->path, "sync");
}

IqdbStatus
iqdb_file_try_lock(const IqdbFile *file, bool exclusive, IqdbError *err)
{
	int error = file->io->try_lock(file->io->arg, file->handle, exclusive);

	if (error == 0)
		return IQDB_OK;
	if (error == EWOULDBLOCK || error == EAGAIN)
		return fail_as(err, IQDB_ERR_LOCKED, error, file->path, "lock");
	return iqdb_fail_io(err, error, file->path, "lock");
}

IqdbStatus
iqdb_io_rename(const IqdbIo *io, const char *from, const char *to, IqdbError *err)
{
	int error = io->rename(io->arg, from, to);

	return error == 0 ? IQDB_OK : iqdb_fail_io(err, error, to, "rename to");
}

IqdbStatus
iqdb_io_unlink(const IqdbIo *io, const char *path, IqdbError *err)
{
	int error = io->unlink(io->arg, path);

	if (error == 0)
		return IQDB_OK;
	if (error == ENOENT)
		return fail_as(err, IQDB_ERR_NOT_FOUND, error, path, "remove");
	return iqdb_fail_io(err, error, path, "remove");
}

IqdbStatus
iqdb_io_sync_parent(const IqdbIo *io, const char *path, IqdbError *err)
{
	char        folder[IQDB_IO_PATH_MAX];
	const char *slash = strrchr(path, '/');
	size_t      length = slash != NULL ? (size_t) (slash - path) : 0;
	int         error;

	if (length >= sizeof(folder))
		return iqdb_fail(err, IQDB_ERR_CONFIG, "path of %zu bytes is too long", strlen(path));
	if (slash == NULL)
		folder[length++] = '.';
	else if (length == 0)
		folder[length++] = '/';
	else
		memcpy(folder, path, length);
	folder[length] = '\0';
	error = io->sync_dir(io->arg, folder);
	return error == 0 ? IQDB_OK : iqdb_fail_io(err, error, path, "sync folder of");
}

IqdbStatus
iqdb_io_list(const IqdbIo *io, const char *folder, bool (*found)(void *found_arg, const char *name), void *found_arg,
			 IqdbError *err)
{
	int error = io->list(io->arg, folder, found, found_arg);

	return error == 0 ? IQDB_OK : iqdb_fail_io(err, error, folder, "list");
}
