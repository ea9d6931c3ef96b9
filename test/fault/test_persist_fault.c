/*
 * test_persist_fault.c - snapshots and logs when call number N fails, for every N: file calls (once, and from then on
 * for good), short writes, full disks, allocations.
 *
 * After each failure: a clean status, nothing leaked (memory by the sanitizer and by sizes, files by the count of open
 * handles), the old snapshot intact or the new one whole, and in a log exactly the frames that were not taken back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "core/base/rng.h"
#include "core/persist/log.h"
#include "core/persist/snapshot.h"
#include "harness/io_crash.h"
#include "harness/io_fault.h"

#define SEED UINT64_C(20240613)
#define SNAPSHOT_PATH "d/index.snap"
#define SNAPSHOT_TEMP "d/index.snap.tmp"
#define LOG_PATH "d/index.log"
#define LOG_TEMP "d/index.log.tmp"

#define assert_ok(expression) assert_int_equal((expression), IQDB_OK)

/* ---- an allocator that counts, checks sizes, and fails call N ---------------------------------------------------- */

typedef struct Memory
{
	uint64_t calls;
	uint64_t fail_at; /* 0 = never */
	bool     fired;
	size_t   live;    /* bytes handed out and not given back */
} Memory;

/* Room for the size in front, 16 bytes to keep the alignment. */
static void *
memory_resize(void *arg, void *pointer, size_t old_size, size_t new_size)
{
	Memory        *memory = arg;
	unsigned char *block = pointer != NULL ? (unsigned char *) pointer - 16 : NULL;
	size_t         size = 0;

	if (block != NULL)
	{
		memcpy(&size, block, sizeof(size));
		assert_int_equal(size, old_size);
	}
	if (new_size == 0)
	{
		memory->live -= size;
		free(block);
		return NULL;
	}
	if (++memory->calls == memory->fail_at)
	{
		memory->fired = true;
		return NULL;
	}
	block = realloc(block, new_size + 16);
	assert_non_null(block);
	memcpy(block, &new_size, sizeof(new_size));
	memory->live += new_size - size;
	return block + 16;
}

/* ---- workloads --------------------------------------------------------------------------------------------------- */

static unsigned char body[600000];

static void
fill_body(void)
{
	IqdbRng rng;

	iqdb_rng_seed(&rng, SEED);
	for (size_t i = 0; i < sizeof(body); i++)
		body[i] = i % 5000 < 1000 ? (unsigned char) iqdb_rng_next(&rng) : (unsigned char) (i / 700);
}

static IqdbStatus
save(const IqdbIo *io, const IqdbAllocator *allocator, IqdbCompression scheme, uint64_t rows, IqdbError *err)
{
	IqdbSnapshotOptions options = {scheme, 19, true};
	IqdbSnapshotHeader  header = {.row_count = rows};
	IqdbSnapshotWriter *writer;
	IqdbStatus          status;

	IQDB_TRY(iqdb_snapshot_writer_open(io, allocator, SNAPSHOT_PATH, SNAPSHOT_TEMP, &header, &options, &writer, err));
	status = iqdb_snapshot_write(writer, 1, body, sizeof(body), err);
	if (status == IQDB_OK)
		status = iqdb_snapshot_write(writer, 2, body, 1000, err);
	if (status == IQDB_OK)
		return iqdb_snapshot_writer_commit(writer, NULL, err);
	/* one failure is enough: nothing works on such a writer any more */
	assert_int_equal(iqdb_snapshot_write(writer, 2, body, 1, NULL), IQDB_ERR_STATE);
	iqdb_snapshot_writer_abort(writer);
	return status;
}

static IqdbStatus
load(const IqdbIo *io, const IqdbAllocator *allocator, uint64_t *rows_out, IqdbError *err)
{
	IqdbSnapshotReader *reader;
	IqdbSnapshotStream  stream;
	unsigned char       bytes[1000];
	IqdbStatus          status;

	*rows_out = 0;
	IQDB_TRY(iqdb_snapshot_reader_open(io, allocator, SNAPSHOT_PATH, &reader, err));
	iqdb_snapshot_stream_init(&stream, reader);
	status = iqdb_snapshot_stream_read(&stream, 2, bytes, sizeof(bytes), err);
	if (status == IQDB_OK)
		status = iqdb_snapshot_reader_finish(reader, err);
	if (status == IQDB_OK)
	{
		assert_memory_equal(bytes, body, sizeof(bytes));
		*rows_out = iqdb_snapshot_reader_header(reader)->row_count;
	}
	else
		assert_int_equal(iqdb_snapshot_reader_finish(reader, NULL), IQDB_ERR_STATE);
	iqdb_snapshot_reader_close(reader);
	return status;
}

/* The snapshot that is there, by its row count; 0 = none. */
static uint64_t
snapshot_there(IoCrash *fs)
{
	IqdbError err;
	uint64_t  rows;

	if (!io_crash_exists(fs, SNAPSHOT_PATH))
		return 0;
	assert_ok(load(io_crash_io(fs), &iqdb_allocator_libc, &rows, &err));
	return rows;
}

static IqdbStatus
expected_status(int error)
{
	return error == ENOSPC ? IQDB_ERR_NO_SPACE : IQDB_ERR_IO;
}

/* ---- snapshots --------------------------------------------------------------------------------------------------- */

/* Saves snapshot 2 over snapshot 1 with call number n failing. false when there are fewer calls. */
static bool
save_with_failing_call(IqdbCompression scheme, uint64_t n, int error, bool sticky)
{
	IoCrash   *fs = io_crash_create();
	IoFault    fault;
	IqdbError  err = {0};
	IqdbStatus status;
	uint64_t   rows;

	assert_ok(save(io_crash_io(fs), &iqdb_allocator_libc, IQDB_COMPRESSION_NONE, 1, &err));
	io_fault_init(&fault, io_crash_io(fs));
	io_fault_arm(&fault, IO_FAULT_ALL, n, error);
	fault.sticky = sticky;
	status = save(&fault.io, &iqdb_allocator_libc, scheme, 2, &err);
	rows = snapshot_there(fs);
	if (!fault.fired)
	{
		assert_ok(status);
		assert_int_equal(rows, 2);
	}
	else
	{
		assert_int_equal(status, expected_status(error));
		assert_int_equal(err.code, status);
		assert_int_equal(err.sys_errno, error);
		/* only the folder's sync comes after the new name */
		assert_int_equal(rows, fault.fired_kind == IO_FAULT_SYNC_DIR ? 2 : 1);
	}
	if (!sticky)
		assert_false(io_crash_exists(fs, SNAPSHOT_TEMP));
	assert_int_equal(io_crash_open_handles(fs), 0);
	io_crash_destroy(fs);
	return fault.fired;
}

static void
save_failure_leaves_original_file_intact(void **state)
{
	static const int errors[] = {EIO, ENOSPC};

	(void) state;
	for (int scheme = IQDB_COMPRESSION_NONE; scheme <= IQDB_COMPRESSION_LZ4; scheme++)
	{
		for (int e = 0; e < 2; e++)
		{
			for (int sticky = 0; sticky < 2; sticky++)
			{
				uint64_t n = 1;

				while (save_with_failing_call((IqdbCompression) scheme, n, errors[e], sticky != 0))
					n++;
				assert_true(n > 8); /* open, blocks, end, header, sync, close, rename, sync of the folder */
			}
		}
	}
}

static void
first_save_that_fails_leaves_no_file(void **state)
{
	(void) state;
	for (uint64_t n = 1;; n++)
	{
		IoCrash  *fs = io_crash_create();
		IoFault   fault;
		IqdbError err;

		io_fault_init(&fault, io_crash_io(fs));
		io_fault_arm(&fault, IO_FAULT_ALL, n, EIO);
		if (save(&fault.io, &iqdb_allocator_libc, IQDB_COMPRESSION_NONE, 2, &err) != IQDB_OK)
		{
			assert_int_equal(snapshot_there(fs), fault.fired_kind == IO_FAULT_SYNC_DIR ? 2 : 0);
			assert_false(io_crash_exists(fs, SNAPSHOT_TEMP));
		}
		io_crash_destroy(fs);
		if (!fault.fired)
			break;
	}
}

static void
every_failing_read_fails_the_load(void **state)
{
	IoCrash  *fs = io_crash_create();
	IqdbError err;
	uint64_t  n;

	(void) state;
	assert_ok(save(io_crash_io(fs), &iqdb_allocator_libc, IQDB_COMPRESSION_ZSTD, 1, &err));
	for (n = 1;; n++)
	{
		IoFault    fault;
		IqdbStatus status;
		uint64_t   rows;

		io_fault_init(&fault, io_crash_io(fs));
		/* a close after reading has nothing to lose */
		io_fault_arm(&fault, IO_FAULT_ALL & ~IO_FAULT_BIT(IO_FAULT_CLOSE), n, EIO);
		status = load(&fault.io, &iqdb_allocator_libc, &rows, &err);
		assert_int_equal(io_crash_open_handles(fs), 0);
		if (!fault.fired)
		{
			assert_ok(status);
			break;
		}
		assert_int_equal(status, IQDB_ERR_IO);
	}
	assert_true(n > 8);
	for (n = 1; n <= 3; n++)
	{
		IqdbSnapshotHeader header;
		IoFault            fault;

		io_fault_init(&fault, io_crash_io(fs));
		io_fault_arm(&fault, IO_FAULT_ALL, n, EIO);
		assert_int_equal(iqdb_snapshot_read_header(&fault.io, SNAPSHOT_PATH, &header, &err), IQDB_ERR_IO);
		assert_int_equal(io_crash_open_handles(fs), 0);
	}
	io_crash_destroy(fs);
}

static void
every_failing_allocation_fails_save_and_load_cleanly(void **state)
{
	(void) state;
	for (int scheme = IQDB_COMPRESSION_NONE; scheme <= IQDB_COMPRESSION_ZSTD; scheme++)
	{
		for (uint64_t n = 1;; n++)
		{
			IoCrash      *fs = io_crash_create();
			Memory        memory = {.fail_at = n};
			IqdbAllocator allocator = {memory_resize, &memory};
			IqdbError     err;
			IqdbStatus    status;
			uint64_t      rows;

			assert_ok(save(io_crash_io(fs), &iqdb_allocator_libc, (IqdbCompression) scheme, 1, &err));
			status = save(io_crash_io(fs), &allocator, (IqdbCompression) scheme, 2, &err);
			assert_int_equal(memory.live, 0);
			if (memory.fired)
			{
				assert_int_equal(status, IQDB_ERR_NOMEM);
				assert_int_equal(snapshot_there(fs), 1);
				assert_false(io_crash_exists(fs, SNAPSHOT_TEMP));
			}
			else
				status = load(io_crash_io(fs), &allocator, &rows, &err);
			assert_int_equal(status, memory.fired ? IQDB_ERR_NOMEM : IQDB_OK);
			assert_int_equal(memory.live, 0);
			assert_int_equal(io_crash_open_handles(fs), 0);
			io_crash_destroy(fs);
			if (!memory.fired)
			{
				assert_true(n > 3);
				break;
			}
		}
	}
}

/* ---- logs -------------------------------------------------------------------------------------------------------- */

static const IqdbFsyncPolicy always = {IQDB_FSYNC_ALWAYS, 0};

/* What the log should hold: the numbers of its frames, each number used once. */
typedef struct Model
{
	uint32_t frames[4000];
	size_t   count;
	size_t   durable; /* so many were acknowledged by a sync and not taken back */
	uint32_t next;
} Model;

static IqdbStatus
append_one(IqdbLog *log, Model *model, IqdbRng *rng, IqdbError *err)
{
	uint32_t   number = model->next++;
	size_t     length = (size_t) iqdb_rng_below(rng, 40) == 0 ? (size_t) iqdb_rng_below(rng, 300000) : number % 50;
	IqdbStatus status = iqdb_log_append(log, number, length, 1, body, length, err);

	if (status == IQDB_OK)
		model->frames[model->count++] = number;
	return status;
}

typedef struct Comparison
{
	const Model *model;
	size_t       count;
} Comparison;

static IqdbStatus
compare_frame(void *arg, const IqdbLogFrame *frame, IqdbError *err)
{
	Comparison *comparison = arg;

	(void) err;
	assert_true(comparison->count < comparison->model->count);
	assert_int_equal(frame->position, comparison->model->frames[comparison->count]);
	assert_int_equal(frame->length, frame->hash);
	assert_memory_equal(frame->body, body, frame->length);
	comparison->count++;
	return IQDB_OK;
}

/* The frames in the file are the first ones of the model; returns how many. */
static size_t
compare_log(IoCrash *fs, const Model *model)
{
	Comparison  comparison = {model, 0};
	IqdbLogScan scan;

	assert_ok(
		iqdb_log_scan(io_crash_io(fs), &iqdb_allocator_libc, LOG_PATH, compare_frame, &comparison, &scan, NULL));
	return comparison.count;
}

/* Random appends, flushes, syncs and cuts; goes on after failures as long as the log lets it. false: it is broken. */
static bool
work_on_log(IqdbLog *log, Model *model, IqdbRng *rng, int steps)
{
	uint64_t mark = iqdb_log_end(log);
	size_t   mark_count = model->count;

	for (int i = 0; i < steps; i++)
	{
		IqdbError  err;
		IqdbStatus status = IQDB_OK;

		switch (iqdb_rng_below(rng, 8))
		{
			case 0:
				status = iqdb_log_flush(log, &err);
				break;
			case 1:
				status = iqdb_log_sync(log, 0, &err);
				if (status == IQDB_OK)
					model->durable = model->count;
				break;
			case 2:
				mark = iqdb_log_end(log);
				mark_count = model->count;
				break;
			case 3:
				status = iqdb_log_truncate_to(log, mark, &err);
				if (status == IQDB_ERR_STATE)
					return false;
				/* even when the cut failed: those frames do not count any more */
				model->count = mark_count;
				if (model->durable > mark_count)
					model->durable = mark_count;
				break;
			default:
				status = append_one(log, model, rng, &err);
				break;
		}
		if (status == IQDB_ERR_STATE)
			return false;
		assert_true(status == IQDB_OK || status == IQDB_ERR_IO || status == IQDB_ERR_NO_SPACE);
	}
	return true;
}

static void
log_survives_every_failing_call(int error, uint64_t seed)
{
	for (uint64_t n = 1;; n++)
	{
		static Model  model;
		IoCrash      *fs = io_crash_create();
		IqdbLogHeader header = {.start_position = 7};
		IoFault       fault;
		IqdbLog      *log;
		IqdbRng       rng;
		size_t        found;

		memset(&model, 0, sizeof(model));
		iqdb_rng_seed(&rng, seed);
		io_fault_init(&fault, io_crash_io(fs));
		assert_ok(iqdb_log_create(&fault.io, &iqdb_allocator_libc, LOG_PATH, NULL, &header, always, &log, NULL));
		io_fault_arm(&fault, IO_FAULT_ALL, n, error);
		if (work_on_log(log, &model, &rng, 300))
		{
			io_fault_disarm(&fault);
			if (!fault.fired || fault.fired_kind != IO_FAULT_SYNC)
			{
				assert_ok(iqdb_log_sync(log, 0, NULL));
				assert_int_equal(compare_log(fs, &model), model.count);
			}
		}
		else
			/* a log breaks by a failed sync only, and then for good */
			assert_int_equal(fault.fired_kind, IO_FAULT_SYNC);
		if (fault.fired && fault.fired_kind == IO_FAULT_SYNC)
		{
			io_fault_disarm(&fault);
			assert_int_equal(iqdb_log_append(log, 1, 0, 1, NULL, 0, NULL), IQDB_ERR_STATE);
			assert_int_equal(iqdb_log_flush(log, NULL), IQDB_ERR_STATE);
			assert_int_equal(iqdb_log_sync(log, 0, NULL), IQDB_ERR_STATE);
			assert_int_equal(iqdb_log_truncate_to(log, iqdb_log_end(log), NULL), IQDB_ERR_STATE);
			assert_false(iqdb_log_sync_due(log, UINT64_MAX));
			found = compare_log(fs, &model);
			assert_true(found >= model.durable);
		}
		iqdb_log_close(log);
		assert_int_equal(io_crash_open_handles(fs), 0);
		io_crash_destroy(fs);
		if (!fault.fired)
			break;
	}
}

static void
every_failing_call_leaves_a_log_that_is_right_or_broken(void **state)
{
	(void) state;
	print_message("seed %llu\n", (unsigned long long) SEED);
	for (uint64_t i = 0; i < 4; i++)
		log_survives_every_failing_call(i % 2 == 0 ? EIO : ENOSPC, SEED + i);
}

static void
full_disk_is_survived_once_there_is_room(void **state)
{
	IoCrash      *fs = io_crash_create();
	IqdbLogHeader header = {.start_position = 7};
	static Model  model;
	IoFault       fault;
	IqdbLog      *log;
	IqdbRng       rng;
	uint64_t      mark;

	(void) state;
	memset(&model, 0, sizeof(model));
	iqdb_rng_seed(&rng, SEED);
	io_fault_init(&fault, io_crash_io(fs));
	assert_ok(iqdb_log_create(&fault.io, &iqdb_allocator_libc, LOG_PATH, NULL, &header, always, &log, NULL));
	for (int round = 0; round < 5; round++)
	{
		assert_ok(append_one(log, &model, &rng, NULL));
		assert_ok(iqdb_log_sync(log, 0, NULL));
		mark = iqdb_log_end(log);
		io_fault_arm(&fault, IO_FAULT_BIT(IO_FAULT_WRITE), 1, ENOSPC);
		fault.sticky = true;
		/* the entry that does not fit is refused, and taken back although cutting needs no room */
		assert_ok(iqdb_log_append(log, 1, 5, 1, body, 5, NULL));
		assert_int_equal(iqdb_log_sync(log, 0, NULL), IQDB_ERR_NO_SPACE);
		assert_int_equal(iqdb_log_sync(log, 0, NULL), IQDB_ERR_NO_SPACE);
		assert_ok(iqdb_log_truncate_to(log, mark, NULL));
		assert_int_equal(iqdb_log_append(log, 1, 200000, 1, body, 200000, NULL), IQDB_ERR_NO_SPACE);
		assert_int_equal(iqdb_log_end(log), mark);
		io_fault_disarm(&fault);
	}
	assert_ok(iqdb_log_sync(log, 0, NULL));
	assert_int_equal(compare_log(fs, &model), model.count);
	iqdb_log_close(log);
	io_crash_destroy(fs);
}

/* Creates over an old log, or opens a torn one; the call that fails must leave the old frames. */
static bool
make_log_with_failing_call(uint64_t n, bool create)
{
	static Model  model;
	IoCrash      *fs = io_crash_create();
	IqdbLogHeader header = {.start_position = 7};
	IoFault       fault;
	IqdbLog      *log;
	IqdbLogScan   scan;
	IqdbRng       rng;
	IqdbStatus    status;
	IqdbError     err;

	memset(&model, 0, sizeof(model));
	iqdb_rng_seed(&rng, SEED);
	assert_ok(iqdb_log_create(io_crash_io(fs), &iqdb_allocator_libc, LOG_PATH, NULL, &header, always, &log, NULL));
	for (int i = 0; i < 50; i++)
		assert_ok(append_one(log, &model, &rng, NULL));
	assert_ok(iqdb_log_sync(log, 0, NULL));
	iqdb_log_close(log);
	if (!create)
	{
		IqdbFile file;

		assert_ok(iqdb_file_open(io_crash_io(fs), LOG_PATH, IQDB_IO_WRITE, &file, NULL));
		assert_ok(iqdb_file_truncate(&file, 1000, NULL));
		assert_ok(iqdb_file_close(&file, NULL));
		model.count = compare_log(fs, &model);
	}
	io_fault_init(&fault, io_crash_io(fs));
	io_fault_arm(&fault, IO_FAULT_ALL & ~(create ? 0 : IO_FAULT_BIT(IO_FAULT_CLOSE)), n, EIO);
	if (create)
		status = iqdb_log_create(&fault.io, &iqdb_allocator_libc, LOG_PATH, LOG_TEMP, &header, always, &log, &err);
	else
	{
		log = NULL;
		status = iqdb_log_scan(&fault.io, &iqdb_allocator_libc, LOG_PATH, NULL, NULL, &scan, &err);
		if (status == IQDB_OK)
			status = iqdb_log_open_append(&fault.io, &iqdb_allocator_libc, LOG_PATH, &scan, NULL, always, &log, &err);
	}
	if (!fault.fired)
		assert_ok(status);
	else
	{
		assert_int_equal(status, IQDB_ERR_IO);
		assert_null(log);
	}
	if (create && (!fault.fired || fault.fired_kind == IO_FAULT_SYNC_DIR))
		model.count = 0;
	assert_int_equal(compare_log(fs, &model), model.count);
	assert_false(io_crash_exists(fs, LOG_TEMP));
	iqdb_log_close(log);
	assert_int_equal(io_crash_open_handles(fs), 0);
	io_crash_destroy(fs);
	return fault.fired;
}

static void
every_failing_call_in_making_or_opening_a_log_keeps_the_old_frames(void **state)
{
	(void) state;
	for (int create = 0; create < 2; create++)
	{
		uint64_t n = 1;

		while (make_log_with_failing_call(n, create != 0))
			n++;
		assert_true(n > 5);
	}
}

static void
every_failing_allocation_fails_a_log_cleanly(void **state)
{
	IqdbLogHeader header = {.start_position = 7};
	uint64_t      n;

	(void) state;
	for (n = 1;; n++)
	{
		IoCrash      *fs = io_crash_create();
		Memory        memory = {.fail_at = n};
		IqdbAllocator allocator = {memory_resize, &memory};
		IqdbLog      *log;
		IqdbLogScan   scan;
		IqdbStatus    status;

		status = iqdb_log_create(io_crash_io(fs), &allocator, LOG_PATH, LOG_TEMP, &header, always, &log, NULL);
		if (status == IQDB_OK)
		{
			/* larger than the read window: the scan has to ask for more */
			assert_ok(iqdb_log_append(log, 1, 600000, 1, body, sizeof(body), NULL));
			assert_ok(iqdb_log_sync(log, 0, NULL));
			iqdb_log_close(log);
			status = iqdb_log_scan(io_crash_io(fs), &allocator, LOG_PATH, NULL, NULL, &scan, NULL);
		}
		else
			assert_false(io_crash_exists(fs, LOG_PATH));
		if (status == IQDB_OK)
		{
			assert_int_equal(scan.frames, 1);
			status = iqdb_log_open_append(io_crash_io(fs), &allocator, LOG_PATH, &scan, NULL, always, &log, NULL);
			iqdb_log_close(log);
		}
		assert_int_equal(status, memory.fired ? IQDB_ERR_NOMEM : IQDB_OK);
		assert_int_equal(memory.live, 0);
		assert_int_equal(io_crash_open_handles(fs), 0);
		io_crash_destroy(fs);
		if (!memory.fired)
			break;
	}
	assert_int_equal(n, 7);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(save_failure_leaves_original_file_intact),
		cmocka_unit_test(first_save_that_fails_leaves_no_file),
		cmocka_unit_test(every_failing_read_fails_the_load),
		cmocka_unit_test(every_failing_allocation_fails_save_and_load_cleanly),
		cmocka_unit_test(every_failing_call_leaves_a_log_that_is_right_or_broken),
		cmocka_unit_test(full_disk_is_survived_once_there_is_room),
		cmocka_unit_test(every_failing_call_in_making_or_opening_a_log_keeps_the_old_frames),
		cmocka_unit_test(every_failing_allocation_fails_a_log_cleanly),
	};

	fill_body();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
