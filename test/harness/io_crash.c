/*
 * io_crash.c - the file system that loses power: live state, durable state, and the list of changes between them.
 *
 * A file is an inode with its live bytes, the bytes of its last sync, and the writes and truncates since. Names map to
 * inodes in two tables, live and durable, with the list of changes of names since the last sync of their folder. A
 * crash takes the durable side and applies a part of both lists. Linear searches throughout: tests have a handful of
 * files.
 */
#define _POSIX_C_SOURCE 200809L

#include "io_crash.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR 512

typedef struct Bytes
{
	unsigned char *data;
	size_t         length;
	size_t         capacity;
} Bytes;

/* A change of a file since its last sync. */
typedef struct Change
{
	bool     truncate; /* to offset; else a write of data at offset */
	uint64_t offset;
	Bytes    data;
} Change;

typedef struct Inode
{
	Bytes   live;
	Bytes   durable;
	Change *changes;
	size_t  change_count;
	size_t  change_capacity;
} Inode;

typedef struct Name
{
	char *path;
	int   inode;
} Name;

typedef struct Names
{
	Name  *names;
	size_t count;
	size_t capacity;
} Names;

/* A change of names since the last sync of their folder: to names the inode, from (may be NULL) goes. */
typedef struct Link
{
	char *from;
	char *to; /* NULL: an unlink */
	int   inode;
} Link;

typedef struct Handle
{
	int  inode; /* -1 = closed */
	bool writable;
	int  lock;  /* 0 none, 1 shared, 2 exclusive */
} Handle;

struct IoCrash
{
	IqdbIo          io;
	pthread_mutex_t mutex;
	Inode          *inodes;
	size_t          inode_count;
	size_t          inode_capacity;
	Names           live;
	Names           durable;
	Link           *links;
	size_t          link_count;
	size_t          link_capacity;
	Handle         *handles;
	size_t          handle_count;
	size_t          handle_capacity;
	size_t          first_handle; /* handles below belong to a life before the last crash */
	uint64_t        changes;
	uint64_t        cut_at;       /* power goes in the call that would be this many + 1 */
	bool            down;
};

typedef enum Fate
{
	FATE_DROP_ALL,
	FATE_KEEP_ALL,
	FATE_IN_ORDER, /* a prefix of the changes, the last of them perhaps torn */
	FATE_ANY       /* each on its own */
} Fate;

/* ---- memory, random numbers -------------------------------------------------------------------------------------- */

static void *
must(void *pointer)
{
	if (pointer == NULL)
	{
		fprintf(stderr, "io_crash: out of memory\n");
		abort();
	}
	return pointer;
}

/* Room for one more element of an array. */
static void *
grow(void *array, size_t count, size_t *capacity, size_t element)
{
	if (count < *capacity)
		return array;
	*capacity = *capacity == 0 ? 8 : *capacity * 2;
	return must(realloc(array, *capacity * element));
}

static char *
copy_text(const char *text)
{
	return text == NULL ? NULL : must(strdup(text));
}

static void
bytes_resize(Bytes *bytes, size_t length)
{
	if (length > bytes->capacity)
	{
		bytes->capacity = length < 2 * bytes->capacity ? 2 * bytes->capacity : length;
		bytes->data = must(realloc(bytes->data, bytes->capacity));
	}
	if (length > bytes->length)
		memset(bytes->data + bytes->length, 0, length - bytes->length);
	bytes->length = length;
}

static void
bytes_write(Bytes *bytes, const void *data, size_t length, uint64_t offset)
{
	if (length == 0)
		return;
	if (bytes->length < offset + length)
		bytes_resize(bytes, (size_t) offset + length);
	memcpy(bytes->data + offset, data, length);
}

static void
bytes_copy(Bytes *target, const Bytes *source)
{
	bytes_resize(target, 0);
	bytes_write(target, source->data, source->length, 0);
}

static void
bytes_free(Bytes *bytes)
{
	free(bytes->data);
	memset(bytes, 0, sizeof(*bytes));
}

static uint64_t
draw(uint64_t *state)
{
	uint64_t z = (*state += 0x9E3779B97F4A7C15u);

	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
	return z ^ (z >> 31);
}

static uint64_t
draw_below(uint64_t *state, uint64_t bound)
{
	return draw(state) % bound;
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

static int
names_find(const Names *names, const char *path)
{
	for (size_t i = 0; i < names->count; i++)
	{
		if (strcmp(names->names[i].path, path) == 0)
			return names->names[i].inode;
	}
	return -1;
}

static void
names_remove(Names *names, const char *path)
{
	for (size_t i = 0; i < names->count; i++)
	{
		if (strcmp(names->names[i].path, path) == 0)
		{
			free(names->names[i].path);
			names->names[i] = names->names[--names->count];
			return;
		}
	}
}

static void
names_set(Names *names, const char *path, int inode)
{
	names_remove(names, path);
	names->names = grow(names->names, names->count, &names->capacity, sizeof(Name));
	names->names[names->count].path = copy_text(path);
	names->names[names->count].inode = inode;
	names->count++;
}

static void
names_copy(Names *target, const Names *source)
{
	while (target->count > 0)
		names_remove(target, target->names[0].path);
	for (size_t i = 0; i < source->count; i++)
		names_set(target, source->names[i].path, source->names[i].inode);
}

static void
names_free(Names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->names[i].path);
	free(names->names);
	memset(names, 0, sizeof(*names));
}

static void
link_apply(Names *names, const Link *link)
{
	if (link->from != NULL)
		names_remove(names, link->from);
	if (link->to != NULL)
		names_set(names, link->to, link->inode);
}

static void
link_free(Link *link)
{
	free(link->from);
	free(link->to);
}

/* Is path directly in folder? "." is the folder of paths without a slash. */
static bool
in_folder(const char *path, const char *folder)
{
	const char *slash = strrchr(path, '/');
	size_t      length = strlen(folder);

	if (slash == NULL)
		return strcmp(folder, ".") == 0;
	if (slash == path)
		return strcmp(folder, "/") == 0;
	return (size_t) (slash - path) == length && memcmp(path, folder, length) == 0;
}

static bool
same_folder(const char *a, const char *b)
{
	const char *slash_a = strrchr(a, '/');
	const char *slash_b = strrchr(b, '/');
	size_t      length_a = slash_a != NULL ? (size_t) (slash_a - a) + 1 : 0;
	size_t      length_b = slash_b != NULL ? (size_t) (slash_b - b) + 1 : 0;

	return length_a == length_b && memcmp(a, b, length_a) == 0;
}

static void
record_link(IoCrash *fs, const char *from, const char *to, int inode)
{
	Link link = {copy_text(from), copy_text(to), inode};

	fs->links = grow(fs->links, fs->link_count, &fs->link_capacity, sizeof(Link));
	fs->links[fs->link_count++] = link;
	link_apply(&fs->live, &link);
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static int
new_inode(IoCrash *fs)
{
	fs->inodes = grow(fs->inodes, fs->inode_count, &fs->inode_capacity, sizeof(Inode));
	memset(&fs->inodes[fs->inode_count], 0, sizeof(Inode));
	return (int) fs->inode_count++;
}

static void
change_apply(Bytes *bytes, const Change *change)
{
	if (change->truncate)
		bytes_resize(bytes, (size_t) change->offset);
	else
		bytes_write(bytes, change->data.data, change->data.length, change->offset);
}

static void
record_change(Inode *inode, bool truncate, uint64_t offset, const void *data, size_t length)
{
	Change *change;

	inode->changes = grow(inode->changes, inode->change_count, &inode->change_capacity, sizeof(Change));
	change = &inode->changes[inode->change_count++];
	memset(change, 0, sizeof(*change));
	change->truncate = truncate;
	change->offset = offset;
	bytes_write(&change->data, data, length, 0);
	change_apply(&inode->live, change);
}

static void
forget_changes(Inode *inode)
{
	for (size_t i = 0; i < inode->change_count; i++)
		bytes_free(&inode->changes[i].data);
	inode->change_count = 0;
}

static void
inode_sync(Inode *inode)
{
	for (size_t i = 0; i < inode->change_count; i++)
		change_apply(&inode->durable, &inode->changes[i]);
	forget_changes(inode);
}

/* NULL when the handle is not open in this life. */
static Handle *
get_handle(IoCrash *fs, intptr_t handle)
{
	size_t number = (size_t) handle - 1;

	if (handle <= 0 || number < fs->first_handle || number >= fs->handle_count || fs->handles[number].inode < 0)
		return NULL;
	return &fs->handles[number];
}

/*
 * Counts a changing call. EIO when the power is gone, or goes now; in the latter case *record_out says so: the change
 * is to be recorded, as it may have reached the disk all the same.
 */
static int
changing(IoCrash *fs, bool *record_out)
{
	*record_out = false;
	if (fs->down)
		return EIO;
	*record_out = true;
	if (fs->changes >= fs->cut_at)
		fs->down = true;
	fs->changes++;
	return fs->down ? EIO : 0;
}

/* ---- the calls --------------------------------------------------------------------------------------------------- */

static int
open_locked(IoCrash *fs, const char *path, unsigned flags, intptr_t *handle_out)
{
	int    inode = names_find(&fs->live, path);
	Handle handle = {-1, (flags & IQDB_IO_WRITE) != 0, 0};

	if (fs->down)
		return EIO;
	if (inode >= 0 && (flags & IQDB_IO_CREATE) && (flags & IQDB_IO_EXCLUSIVE))
		return EEXIST;
	if (inode < 0)
	{
		bool record;
		int  error;

		if ((flags & IQDB_IO_CREATE) == 0)
			return ENOENT;
		error = changing(fs, &record);
		inode = new_inode(fs);
		record_link(fs, NULL, path, inode);
		if (error != 0)
			return error;
	}
	handle.inode = inode;
	fs->handles = grow(fs->handles, fs->handle_count, &fs->handle_capacity, sizeof(Handle));
	fs->handles[fs->handle_count++] = handle;
	*handle_out = (intptr_t) fs->handle_count;
	return 0;
}

static int
crash_open(void *arg, const char *path, unsigned flags, intptr_t *handle_out)
{
	IoCrash *fs = arg;
	int      error;

	pthread_mutex_lock(&fs->mutex);
	error = open_locked(fs, path, flags, handle_out);
	pthread_mutex_unlock(&fs->mutex);
	return error;
}

static int
crash_close(void *arg, intptr_t number)
{
	IoCrash *fs = arg;
	Handle  *handle;
	int      error = 0;

	pthread_mutex_lock(&fs->mutex);
	handle = get_handle(fs, number);
	if (handle == NULL)
		error = (size_t) number - 1 < fs->first_handle ? 0 : EBADF;
	else
		handle->inode = -1;
	pthread_mutex_unlock(&fs->mutex);
	return error;
}

static int
crash_read(void *arg, intptr_t number, void *buffer, size_t size, uint64_t offset, size_t *read_out)
{
	IoCrash *fs = arg;
	Handle  *handle;
	int      error = 0;

	*read_out = 0;
	pthread_mutex_lock(&fs->mutex);
	handle = get_handle(fs, number);
	if (handle == NULL || fs->down)
		error = handle == NULL ? EBADF : EIO;
	else
	{
		const Bytes *bytes = &fs->inodes[handle->inode].live;

		if (offset < bytes->length)
			*read_out = bytes->length - (size_t) offset < size ? bytes->length - (size_t) offset : size;
		if (*read_out > 0)
			memcpy(buffer, bytes->data + offset, *read_out);
	}
	pthread_mutex_unlock(&fs->mutex);
	return error;
}

/* Write and truncate. */
static int
change_file(IoCrash *fs, intptr_t number, bool truncate, const void *data, size_t size, uint64_t offset)
{
	Handle *handle;
	bool    record = false;
	int     error;

	pthread_mutex_lock(&fs->mutex);
	handle = get_handle(fs, number);
	if (handle == NULL || !handle->writable)
		error = EBADF;
	else
		error = changing(fs, &record);
	if (record)
		record_change(&fs->inodes[handle->inode], truncate, offset, data, size);
	pthread_mutex_unlock(&fs->mutex);
	return error;
}

static int
crash_write(void *arg, intptr_t number, const void *buffer, size_t size, uint64_t offset)
{
	return change_file(arg, number, false, buffer, size, offset);
}

static int
crash_truncate(void *arg, intptr_t number, uint64_t size)
{
	return change_file(arg, number, true, NULL, 0, size);
}

static int
crash_size(void *arg, intptr_t number, uint64_t *size_out)
{
	IoCrash *fs = arg;
	Handle  *handle;
	int      error = 0;

	pthread_mutex_lock(&fs->mutex);
	handle = get_handle(fs, number);
	if (handle == NULL || fs->down)
		error = handle == NULL ? EBADF : EIO;
	else
		*size_out = fs->inodes[handle->inode].live.length;
	pthread_mutex_unlock(&fs->mutex);
	return error;
}

static int
crash_sync(void *arg, intptr_t number)
{
	IoCrash *fs = arg;
	Handle  *handle;
	bool     record;
	int      error;

	pthread_mutex_lock(&fs->mutex);
	handle = get_handle(fs, number);
	error = handle == NULL ? EBADF : changing(fs, &record);
	if (error == 0)
		inode_sync(&fs->inodes[handle->inode]);
	pthread_mutex_unlock(&fs->mutex);
	return error;
}

static int
crash_try_lock(void *arg, intptr_t number, bool exclusive)
{
	IoCrash *fs = arg;
	Handle  *handle;
	int      error = 0;

	pthread_mutex_lock(&fs->mutex);
	handle = get_handle(fs, number);
	if (handle == NULL || fs->down)
		error = handle == NULL ? EBADF : EIO;
	for (size_t i = fs->first_handle; error == 0 && i < fs->handle_count; i++)
	{
		const Handle *other = &fs->handles[i];

		if (other != handle && other->inode == handle->inode && (exclusive ? other->lock != 0 : other->lock == 2))
			error = EWOULDBLOCK;
	}
	if (error == 0)
		handle->lock = exclusive ? 2 : 1;
	pthread_mutex_unlock(&fs->mutex);
	return error;
}

static int
crash_rename(void *arg, const char *from, const char *to)
{
	IoCrash *fs = arg;
	bool     record = false;
	int      inode;
	int      error;

	pthread_mutex_lock(&fs->mutex);
	inode = names_find(&fs->live, from);
	if (inode < 0)
		error = fs->down ? EIO : ENOENT;
	else if (!same_folder(from, to))
		error = EXDEV;
	else
		error = changing(fs, &record);
	if (record)
		record_link(fs, from, to, inode);
	pthread_mutex_unlock(&fs->mutex);
	return error;
}

static int
crash_unlink(void *arg, const char *path)
{
	IoCrash *fs = arg;
	bool     record = false;
	int      error;

	pthread_mutex_lock(&fs->mutex);
	if (names_find(&fs->live, path) < 0)
		error = fs->down ? EIO : ENOENT;
	else
		error = changing(fs, &record);
	if (record)
		record_link(fs, path, NULL, -1);
	pthread_mutex_unlock(&fs->mutex);
	return error;
}

static int
crash_sync_dir(void *arg, const char *folder)
{
	IoCrash *fs = arg;
	size_t   kept = 0;
	bool     record;
	int      error;

	pthread_mutex_lock(&fs->mutex);
	error = changing(fs, &record);
	for (size_t i = 0; error == 0 && i < fs->link_count; i++)
	{
		Link *link = &fs->links[i];

		if (!in_folder(link->to != NULL ? link->to : link->from, folder))
		{
			fs->links[kept++] = *link;
			continue;
		}
		link_apply(&fs->durable, link);
		link_free(link);
	}
	if (error == 0)
		fs->link_count = kept;
	pthread_mutex_unlock(&fs->mutex);
	return error;
}

/* The names are copied first: found() may call back into the file system. */
static int
crash_list(void *arg, const char *folder, bool (*found)(void *found_arg, const char *name), void *found_arg)
{
	IoCrash *fs = arg;
	Names    names = {0};
	bool     more = true;
	bool     down;

	pthread_mutex_lock(&fs->mutex);
	down = fs->down;
	names_copy(&names, &fs->live);
	pthread_mutex_unlock(&fs->mutex);
	for (size_t i = 0; i < names.count && more && !down; i++)
	{
		const char *slash = strrchr(names.names[i].path, '/');

		if (in_folder(names.names[i].path, folder))
			more = found(found_arg, slash != NULL ? slash + 1 : names.names[i].path);
	}
	names_free(&names);
	return down ? EIO : 0;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

IoCrash *
io_crash_create(void)
{
	IoCrash *fs = must(calloc(1, sizeof(*fs)));

	pthread_mutex_init(&fs->mutex, NULL);
	fs->cut_at = UINT64_MAX;
	fs->io = (IqdbIo){
		.open = crash_open,
		.close = crash_close,
		.read = crash_read,
		.write = crash_write,
		.size = crash_size,
		.truncate = crash_truncate,
		.sync = crash_sync,
		.try_lock = crash_try_lock,
		.rename = crash_rename,
		.unlink = crash_unlink,
		.sync_dir = crash_sync_dir,
		.list = crash_list,
		.arg = fs,
	};
	return fs;
}

void
io_crash_destroy(IoCrash *fs)
{
	if (fs == NULL)
		return;
	for (size_t i = 0; i < fs->inode_count; i++)
	{
		forget_changes(&fs->inodes[i]);
		free(fs->inodes[i].changes);
		bytes_free(&fs->inodes[i].live);
		bytes_free(&fs->inodes[i].durable);
	}
	for (size_t i = 0; i < fs->link_count; i++)
		link_free(&fs->links[i]);
	names_free(&fs->live);
	names_free(&fs->durable);
	free(fs->inodes);
	free(fs->links);
	free(fs->handles);
	pthread_mutex_destroy(&fs->mutex);
	free(fs);
}

const IqdbIo *
io_crash_io(IoCrash *fs)
{
	return &fs->io;
}

IoCrash *
io_crash_clone(const IoCrash *source)
{
	IoCrash *fs = io_crash_create();

	for (size_t i = 0; i < source->inode_count; i++)
	{
		const Inode *from = &source->inodes[i];
		Inode       *to;

		(void) new_inode(fs);
		to = &fs->inodes[i];
		bytes_copy(&to->durable, &from->durable);
		bytes_copy(&to->live, &from->durable);
		for (size_t k = 0; k < from->change_count; k++)
			record_change(to, from->changes[k].truncate, from->changes[k].offset, from->changes[k].data.data,
						  from->changes[k].data.length);
	}
	names_copy(&fs->durable, &source->durable);
	names_copy(&fs->live, &source->durable);
	for (size_t i = 0; i < source->link_count; i++)
		record_link(fs, source->links[i].from, source->links[i].to, source->links[i].inode);
	fs->changes = source->changes;
	fs->cut_at = source->cut_at;
	fs->down = source->down;
	return fs;
}

void
io_crash_power_cut_after(IoCrash *fs, uint64_t changes)
{
	fs->cut_at = changes > UINT64_MAX - fs->changes ? UINT64_MAX : fs->changes + changes;
}

uint64_t
io_crash_changes(const IoCrash *fs)
{
	return fs->changes;
}

bool
io_crash_is_down(const IoCrash *fs)
{
	return fs->down;
}

size_t
io_crash_open_handles(const IoCrash *fs)
{
	size_t count = 0;

	for (size_t i = fs->first_handle; i < fs->handle_count; i++)
		count += fs->handles[i].inode >= 0;
	return count;
}

/* ---- crash ------------------------------------------------------------------------------------------------------- */

/* Some of a write's bytes: a prefix, or some of the sectors it covers. */
static void
apply_torn(Bytes *bytes, const Change *change, uint64_t *random)
{
	size_t length = change->data.length;

	if (length == 0)
		return;
	if (draw_below(random, 2) == 0)
	{
		bytes_write(bytes, change->data.data, (size_t) draw_below(random, length), change->offset);
		return;
	}
	for (size_t at = 0; at < length;)
	{
		size_t part = SECTOR - (size_t) ((change->offset + at) % SECTOR);

		if (part > length - at)
			part = length - at;
		if (draw_below(random, 2) == 0)
			bytes_write(bytes, change->data.data + at, part, change->offset + at);
		at += part;
	}
}

/* The file may have grown although the bytes did not arrive. */
static void
apply_growth(Bytes *bytes, const Change *change, uint64_t *random)
{
	size_t end = (size_t) change->offset + change->data.length;

	if (!change->truncate && bytes->length < end && draw_below(random, 4) == 0)
		bytes_resize(bytes, end);
}

static void
crash_inode(Inode *inode, Fate fate, uint64_t *random)
{
	size_t whole = fate == FATE_IN_ORDER ? (size_t) draw_below(random, inode->change_count + 1) : inode->change_count;

	for (size_t i = 0; i < inode->change_count && fate != FATE_DROP_ALL; i++)
	{
		const Change *change = &inode->changes[i];
		uint64_t      lot = fate == FATE_ANY ? draw_below(random, 3) : (i < whole ? 0 : 1);

		if (fate == FATE_IN_ORDER && i == whole && !change->truncate)
			lot = 2;
		if (fate == FATE_KEEP_ALL || lot == 0)
			change_apply(&inode->durable, change);
		else if (lot == 2 && !change->truncate)
			apply_torn(&inode->durable, change, random);
		if (fate == FATE_ANY && lot != 0)
			apply_growth(&inode->durable, change, random);
	}
	forget_changes(inode);
	bytes_copy(&inode->live, &inode->durable);
}

static void
crash_with(IoCrash *fs, Fate fate, uint64_t *random)
{
	size_t whole = fate == FATE_IN_ORDER ? (size_t) draw_below(random, fs->link_count + 1) : fs->link_count;

	pthread_mutex_lock(&fs->mutex);
	for (size_t i = 0; i < fs->inode_count; i++)
		crash_inode(&fs->inodes[i], fate, random);
	for (size_t i = 0; i < fs->link_count; i++)
	{
		if (fate == FATE_KEEP_ALL || (fate == FATE_IN_ORDER && i < whole) ||
			(fate == FATE_ANY && draw_below(random, 2) == 0))
			link_apply(&fs->durable, &fs->links[i]);
		link_free(&fs->links[i]);
	}
	fs->link_count = 0;
	names_copy(&fs->live, &fs->durable);
	fs->first_handle = fs->handle_count;
	fs->down = false;
	fs->cut_at = UINT64_MAX;
	pthread_mutex_unlock(&fs->mutex);
}

void
io_crash_crash(IoCrash *fs, uint64_t seed)
{
	static const Fate fates[8] = {FATE_DROP_ALL, FATE_KEEP_ALL, FATE_IN_ORDER, FATE_IN_ORDER,
								  FATE_ANY,      FATE_ANY,      FATE_ANY,      FATE_ANY};
	uint64_t          random = seed;
	Fate              fate = fates[draw_below(&random, 8)];

	crash_with(fs, fate, &random);
}

void
io_crash_crash_dropping_all(IoCrash *fs)
{
	uint64_t random = 0;

	crash_with(fs, FATE_DROP_ALL, &random);
}

void
io_crash_crash_keeping_all(IoCrash *fs)
{
	uint64_t random = 0;

	crash_with(fs, FATE_KEEP_ALL, &random);
}

/* ---- from outside ------------------------------------------------------------------------------------------------ */

bool
io_crash_exists(const IoCrash *fs, const char *path)
{
	return names_find(&fs->live, path) >= 0;
}

const unsigned char *
io_crash_content(const IoCrash *fs, const char *path, size_t *length_out)
{
	int inode = names_find(&fs->live, path);

	*length_out = inode < 0 ? 0 : fs->inodes[inode].live.length;
	if (inode < 0)
		return NULL;
	return *length_out > 0 ? fs->inodes[inode].live.data : (const unsigned char *) "";
}

void
io_crash_put(IoCrash *fs, const char *path, const void *bytes, size_t length)
{
	Inode *inode;
	int    number;

	pthread_mutex_lock(&fs->mutex);
	number = new_inode(fs);
	inode = &fs->inodes[number];
	bytes_write(&inode->live, bytes, length, 0);
	bytes_write(&inode->durable, bytes, length, 0);
	names_set(&fs->live, path, number);
	names_set(&fs->durable, path, number);
	pthread_mutex_unlock(&fs->mutex);
}
