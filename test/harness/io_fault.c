/*
 * io_fault.c - the failing IqdbIo: each call is counted, then passed on or failed.
 *
 * A failing close still closes, a failing open leaves no file open: what the code under test leaks is its own leak.
 */
#include "io_fault.h"

#include <string.h>

/* Counts a call; the errno value it must fail with, or 0. */
static int
count(IoFault *fault, IoFaultKind kind)
{
	fault->calls[kind]++;
	if ((fault->kinds & IO_FAULT_BIT(kind)) == 0)
		return 0;
	fault->counted++;
	if (fault->fail_at == 0 || fault->counted < fault->fail_at || (fault->counted > fault->fail_at && !fault->sticky))
		return 0;
	if (!fault->fired)
		fault->fired_kind = kind;
	fault->fired = true;
	return fault->error;
}

static int
fault_open(void *arg, const char *path, unsigned flags, intptr_t *handle_out)
{
	IoFault *fault = arg;
	int      error = count(fault, IO_FAULT_OPEN);

	return error != 0 ? error : fault->inner->open(fault->inner->arg, path, flags, handle_out);
}

static int
fault_close(void *arg, intptr_t handle)
{
	IoFault *fault = arg;
	int      error = count(fault, IO_FAULT_CLOSE);
	int      result = fault->inner->close(fault->inner->arg, handle);

	return error != 0 ? error : result;
}

static int
fault_read(void *arg, intptr_t handle, void *buffer, size_t size, uint64_t offset, size_t *read_out)
{
	IoFault *fault = arg;
	int      error = count(fault, IO_FAULT_READ);

	return error != 0 ? error : fault->inner->read(fault->inner->arg, handle, buffer, size, offset, read_out);
}

static int
fault_write(void *arg, intptr_t handle, const void *buffer, size_t size, uint64_t offset)
{
	IoFault *fault = arg;
	int      error = count(fault, IO_FAULT_WRITE);

	if (error != 0 && fault->short_write && size > 1)
		(void) fault->inner->write(fault->inner->arg, handle, buffer, size / 2, offset);
	return error != 0 ? error : fault->inner->write(fault->inner->arg, handle, buffer, size, offset);
}

static int
fault_size(void *arg, intptr_t handle, uint64_t *size_out)
{
	IoFault *fault = arg;
	int      error = count(fault, IO_FAULT_SIZE);

	return error != 0 ? error : fault->inner->size(fault->inner->arg, handle, size_out);
}

static int
fault_truncate(void *arg, intptr_t handle, uint64_t size)
{
	IoFault *fault = arg;
	int      error = count(fault, IO_FAULT_TRUNCATE);

	return error != 0 ? error : fault->inner->truncate(fault->inner->arg, handle, size);
}

static int
fault_sync(void *arg, intptr_t handle)
{
	IoFault *fault = arg;
	int      error = count(fault, IO_FAULT_SYNC);

	return error != 0 ? error : fault->inner->sync(fault->inner->arg, handle);
}

static int
fault_try_lock(void *arg, intptr_t handle, bool exclusive)
{
	IoFault *fault = arg;
	int      error = count(fault, IO_FAULT_LOCK);

	return error != 0 ? error : fault->inner->try_lock(fault->inner->arg, handle, exclusive);
}

static int
fault_rename(void *arg, const char *from, const char *to)
{
	IoFault *fault = arg;
	int      error = count(fault, IO_FAULT_RENAME);

	return error != 0 ? error : fault->inner->rename(fault->inner->arg, from, to);
}

static int
fault_unlink(void *arg, const char *path)
{
	IoFault *fault = arg;
	int      error = count(fault, IO_FAULT_UNLINK);

	return error != 0 ? error : fault->inner->unlink(fault->inner->arg, path);
}

static int
fault_sync_dir(void *arg, const char *folder)
{
	IoFault *fault = arg;
	int      error = count(fault, IO_FAULT_SYNC_DIR);

	return error != 0 ? error : fault->inner->sync_dir(fault->inner->arg, folder);
}

static int
fault_list(void *arg, const char *folder, bool (*found)(void *found_arg, const char *name), void *found_arg)
{
	IoFault *fault = arg;
	int      error = count(fault, IO_FAULT_LIST);

	return error != 0 ? error : fault->inner->list(fault->inner->arg, folder, found, found_arg);
}

void
io_fault_init(IoFault *fault, const IqdbIo *inner)
{
	memset(fault, 0, sizeof(*fault));
	fault->inner = inner;
	fault->short_write = true;
	fault->io = (IqdbIo){
		.open = fault_open,
		.close = fault_close,
		.read = fault_read,
		.write = fault_write,
		.size = fault_size,
		.truncate = fault_truncate,
		.sync = fault_sync,
		.try_lock = fault_try_lock,
		.rename = fault_rename,
		.unlink = fault_unlink,
		.sync_dir = fault_sync_dir,
		.list = fault_list,
		.arg = fault,
	};
}

void
io_fault_arm(IoFault *fault, uint32_t kinds, uint64_t fail_at, int error)
{
	fault->kinds = kinds;
	fault->fail_at = fail_at;
	fault->error = error;
	fault->counted = 0;
	fault->fired = false;
}

void
io_fault_disarm(IoFault *fault)
{
	fault->fail_at = 0;
}

const char *
io_fault_kind_name(IoFaultKind kind)
{
	static const char *const names[IO_FAULT_KIND_COUNT] = {
		"open", "close", "read", "write", "size", "truncate", "sync", "lock", "rename", "unlink", "sync_dir", "list",
	};

	return (unsigned) kind < IO_FAULT_KIND_COUNT ? names[kind] : "?";
}
