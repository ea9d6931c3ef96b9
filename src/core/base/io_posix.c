/*
 * io_posix.c - IqdbIo over POSIX system calls.
 *
 * Owns: restarts after EINTR, short reads and writes, close on exec. Does not own: any state; a handle is the
 * descriptor plus one, so that it is never 0.
 */
#define _DEFAULT_SOURCE /* flock */
#define _POSIX_C_SOURCE 200809L

#include "core/base/io_posix.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

/* Linux moves at most 0x7ffff000 bytes per call, and others fail above INT_MAX. */
#define CHUNK_MAX ((size_t) 1 << 30)

#define RETRY(result, call) \
	do \
	{ \
		(result) = (call); \
	} while ((result) < 0 && errno == EINTR)

static inline int
descriptor(intptr_t handle)
{
	return (int) (handle - 1);
}

/* Files of 64 bits whatever off_t is: an offset it cannot hold is an error, not another offset. */
static bool
fits_off_t(uint64_t offset, size_t size)
{
	uint64_t max = sizeof(off_t) >= 8 ? (uint64_t) INT64_MAX : (uint64_t) INT32_MAX;

	return offset <= max && size <= max - offset;
}

static int
posix_open(void *arg, const char *path, unsigned flags, intptr_t *handle_out)
{
	int         mode = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	int         fd;
	struct stat st;

	(void) arg;
	mode |= (flags & IQDB_IO_WRITE) ? O_RDWR : O_RDONLY;
	if (flags & IQDB_IO_CREATE)
		mode |= O_CREAT;
	if (flags & IQDB_IO_EXCLUSIVE)
		mode |= O_EXCL;
	/* whether the group may read it is the umask's to say: backups of some servers are taken by it */
	RETRY(fd, open(path, mode, S_IRUSR | S_IWUSR | S_IRGRP));
	if (fd < 0)
		return errno;
	/* something else may have the name, a pipe say: opening that must not wait, nor succeed */
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
	{
		(void) close(fd);
		return S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
	}
	*handle_out = (intptr_t) fd + 1;
	return 0;
}

static int
posix_close(void *arg, intptr_t handle)
{
	(void) arg;
	/* never repeated: after EINTR the descriptor is gone, and its number may be another thread's by now */
	if (close(descriptor(handle)) < 0 && errno != EINTR)
		return errno;
	return 0;
}

static int
posix_read(void *arg, intptr_t handle, void *buffer, size_t size, uint64_t offset, size_t *read_out)
{
	size_t done = 0;

	(void) arg;
	*read_out = 0;
	if (!fits_off_t(offset, size))
		return EOVERFLOW;
	while (done < size)
	{
		size_t  chunk = size - done < CHUNK_MAX ? size - done : CHUNK_MAX;
		ssize_t got;

		RETRY(got, pread(descriptor(handle), (char *) buffer + done, chunk, (off_t) (offset + done)));
		if (got < 0)
			return errno;
		if (got == 0)
			break;
		done += (size_t) got;
	}
	*read_out = done;
	return 0;
}

static int
posix_write(void *arg, intptr_t handle, const void *buffer, size_t size, uint64_t offset)
{
	size_t done = 0;

	(void) arg;
	if (!fits_off_t(offset, size))
		return EFBIG;
	while (done < size)
	{
		size_t  chunk = size - done < CHUNK_MAX ? size - done : CHUNK_MAX;
		ssize_t put;

		RETRY(put, pwrite(descriptor(handle), (const char *) buffer + done, chunk, (off_t) (offset + done)));
		if (put < 0)
			return errno;
		/* a disk that is full can show as a short write followed by one of nothing */
		if (put == 0)
			return ENOSPC;
		done += (size_t) put;
	}
	return 0;
}

static int
posix_size(void *arg, intptr_t handle, uint64_t *size_out)
{
	struct stat st;

	(void) arg;
	if (fstat(descriptor(handle), &st) < 0)
		return errno;
	*size_out = (uint64_t) st.st_size;
	return 0;
}

static int
posix_truncate(void *arg, intptr_t handle, uint64_t size)
{
	int result;

	(void) arg;
	if (!fits_off_t(size, 0))
		return EFBIG;
	RETRY(result, ftruncate(descriptor(handle), (off_t) size));
	return result < 0 ? errno : 0;
}

static int
posix_sync(void *arg, intptr_t handle)
{
	int result;

	(void) arg;
	RETRY(result, fdatasync(descriptor(handle)));
	return result < 0 ? errno : 0;
}

static int
posix_try_lock(void *arg, intptr_t handle, bool exclusive)
{
	int result;

	(void) arg;
	RETRY(result, flock(descriptor(handle), (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB));
	return result < 0 ? errno : 0;
}

static int
posix_rename(void *arg, const char *from, const char *to)
{
	(void) arg;
	return rename(from, to) < 0 ? errno : 0;
}

static int
posix_unlink(void *arg, const char *path)
{
	(void) arg;
	return unlink(path) < 0 ? errno : 0;
}

static int
posix_sync_dir(void *arg, const char *folder)
{
	int fd;
	int result;
	int error;

	(void) arg;
	RETRY(fd, open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	if (fd < 0)
		return errno;
	RETRY(result, fsync(fd));
	error = result < 0 ? errno : 0;
	(void) close(fd);
	/* file systems that cannot sync a folder say so like this; there is nothing more that could be done */
	return error == EINVAL || error == EBADF ? 0 : error;
}

static int
posix_list(void *arg, const char *folder, bool (*found)(void *found_arg, const char *name), void *found_arg)
{
	DIR           *dir = opendir(folder);
	struct dirent *entry;
	int            error = 0;

	(void) arg;
	if (dir == NULL)
		return errno;
	for (;;)
	{
		errno = 0;
		entry = readdir(dir);
		if (entry == NULL)
		{
			error = errno;
			break;
		}
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (!found(found_arg, entry->d_name))
			break;
	}
	(void) closedir(dir);
	return error;
}

const IqdbIo iqdb_io_posix = {
	.open = posix_open,
	.close = posix_close,
	.read = posix_read,
	.write = posix_write,
	.size = posix_size,
	.truncate = posix_truncate,
	.sync = posix_sync,
	.try_lock = posix_try_lock,
	.rename = posix_rename,
	.unlink = posix_unlink,
	.sync_dir = posix_sync_dir,
	.list = posix_list,
	.arg = NULL,
};
