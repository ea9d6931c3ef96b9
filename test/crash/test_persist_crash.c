/*
 * test_persist_crash.c - snapshots and logs when the power goes, at every changing call, with many outcomes each.
 *
 * What was acknowledged must be there; what was never asked for must not; an old snapshot or the new one is there,
 * never none; frames taken back do not come back; and recovery itself may be cut off and tried again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/endian.h"
#include "core/base/rng.h"
#include "core/persist/log.h"
#include "core/persist/snapshot.h"
#include "harness/io_crash.h"

#define SEED UINT64_C(20240614)
#define SNAPSHOT_PATH "d/index.snap"
#define SNAPSHOT_TEMP "d/index.snap.tmp"
#define LOG_PATH "d/index.log"
#define LOG_TEMP "d/index.log.tmp"

#define assert_ok(expression) assert_int_equal((expression), IQDB_OK)

static const IqdbFsyncPolicy always = {IQDB_FSYNC_ALWAYS, 0};

/* ---- a snapshot of the numbers 1 .. count ------------------------------------------------------------------------ */

static IqdbStatus
save_numbers(const IqdbIo *io, uint64_t count, bool sync)
{
	IqdbSnapshotOptions options = {IQDB_COMPRESSION_NONE, 0, sync};
	IqdbSnapshotHeader  header = {.row_count = count};
	IqdbSnapshotWriter *writer;
	IqdbStatus          status = IQDB_OK;
	unsigned char       bytes[8];

	IQDB_TRY(iqdb_snapshot_writer_open(io, &iqdb_allocator_libc, SNAPSHOT_PATH, SNAPSHOT_TEMP, NULL, &options, &writer,
									   NULL));
	for (uint64_t i = 1; i <= count && status == IQDB_OK; i++)
	{
		iqdb_store_u64(bytes, i);
		/* sections of a few bytes each make several blocks, so several writes to lose */
		status = iqdb_snapshot_write(writer, (uint16_t) (1 + i / 40 % 3), bytes, sizeof(bytes), NULL);
	}
	if (status == IQDB_OK)
		return iqdb_snapshot_writer_commit(writer, &header, NULL);
	iqdb_snapshot_writer_abort(writer);
	return status;
}

static IqdbStatus
load_numbers(const IqdbIo *io, uint64_t *count_out)
{
	IqdbSnapshotReader  *reader;
	uint16_t             section;
	const unsigned char *bytes;
	size_t               length;
	IqdbStatus           status;
	uint64_t             next = 1;

	*count_out = 0;
	IQDB_TRY(iqdb_snapshot_reader_open(io, &iqdb_allocator_libc, SNAPSHOT_PATH, &reader, NULL));
	do
	{
		status = iqdb_snapshot_read_block(reader, &section, &bytes, &length, NULL);
		for (size_t at = 0; status == IQDB_OK && at < length; at += 8)
			assert_int_equal(iqdb_load_u64(bytes + at), next++);
	} while (status == IQDB_OK && section != IQDB_SNAPSHOT_SECTION_END);
	if (status == IQDB_OK)
		status = iqdb_snapshot_reader_finish(reader, NULL);
	if (status == IQDB_OK)
	{
		*count_out = iqdb_snapshot_reader_header(reader)->row_count;
		assert_int_equal(next, *count_out + 1);
	}
	iqdb_snapshot_reader_close(reader);
	return status;
}

static void
old_snapshot_or_the_new_one_is_there_never_none(void **state)
{
	uint64_t outcomes[2] = {0, 0};
	bool     done = false;

	(void) state;
	print_message("seed %llu\n", (unsigned long long) SEED);
	for (uint64_t cut = 0; !done; cut++)
	{
		IoCrash   *fs = io_crash_create();
		IqdbStatus status;

		assert_ok(save_numbers(io_crash_io(fs), 300, true));
		io_crash_power_cut_after(fs, cut);
		status = save_numbers(io_crash_io(fs), 500, true);
		done = status == IQDB_OK;
		assert_int_equal(done, !io_crash_is_down(fs));
		for (uint64_t seed = 0; seed < 100; seed++)
		{
			IoCrash *copy = io_crash_clone(fs);
			uint64_t count;

			io_crash_crash(copy, SEED + seed);
			assert_ok(load_numbers(io_crash_io(copy), &count));
			assert_true(count == 500 || (count == 300 && !done));
			outcomes[count == 500]++;
			io_crash_destroy(copy);
		}
		io_crash_destroy(fs);
	}
	/* the simulation does tell both stories */
	assert_true(outcomes[0] > 500 && outcomes[1] > 100);
}

static void
unsynced_snapshot_is_whole_or_refused(void **state)
{
	uint64_t refused = 0;
	uint64_t loaded = 0;

	(void) state;
	for (uint64_t seed = 0; seed < 400; seed++)
	{
		IoCrash *fs = io_crash_create();
		uint64_t count;

		assert_ok(save_numbers(io_crash_io(fs), 300, true));
		assert_ok(save_numbers(io_crash_io(fs), 500, false));
		io_crash_crash(fs, SEED + seed);
		if (load_numbers(io_crash_io(fs), &count) == IQDB_OK)
		{
			assert_true(count == 300 || count == 500);
			loaded++;
		}
		else
			refused++;
		io_crash_destroy(fs);
	}
	assert_true(refused > 0 && loaded > 0);
}

/* ---- a log against a model --------------------------------------------------------------------------------------- */

#define FRAMES_MAX 600
#define STATES_MAX 100

/* The frames (their numbers, each used once) that a log may hold after a crash: a prefix of one of these states. */
typedef struct State
{
	uint32_t frames[FRAMES_MAX];
	size_t   count;
} State;

typedef struct Model
{
	State    states[STATES_MAX]; /* since the last sync; the last one is the present */
	size_t   state_count;
	size_t   durable;            /* frames that must be there */
	uint32_t next;
} Model;

static State *
present(Model *model)
{
	return &model->states[model->state_count - 1];
}

static void
model_start(Model *model)
{
	memset(model, 0, sizeof(*model));
	model->state_count = 1;
}

/* Everything in the present is on disk, and no earlier state can come back. */
static void
model_synced(Model *model)
{
	model->states[0] = *present(model);
	model->state_count = 1;
	model->durable = model->states[0].count;
}

static void
model_branch(Model *model, size_t count)
{
	assert_true(model->state_count < STATES_MAX);
	model->states[model->state_count] = *present(model);
	model->state_count++;
	present(model)->count = count;
	if (model->durable > count)
		model->durable = count;
}

static unsigned char body[4000];

static size_t
body_length(uint32_t number)
{
	return number % 7 == 0 ? number * 131 % sizeof(body) : number % 30;
}

typedef struct Found
{
	State state;
} Found;

static IqdbStatus
collect(void *arg, const IqdbLogFrame *frame, IqdbError *err)
{
	Found   *found = arg;
	uint32_t number = (uint32_t) frame->position;

	(void) err;
	assert_true(found->state.count < FRAMES_MAX);
	assert_int_equal(frame->length, body_length(number));
	assert_memory_equal(frame->body, body, frame->length);
	found->state.frames[found->state.count++] = number;
	return IQDB_OK;
}

/* What is in the log must be a prefix of a state that was, with everything that was acknowledged. */
static void
check_found(const Model *model, const State *found)
{
	bool right = false;

	assert_true(found->count >= model->durable);
	for (size_t i = 0; i < model->state_count && !right; i++)
	{
		const State *candidate = &model->states[i];

		right = found->count <= candidate->count &&
				memcmp(found->frames, candidate->frames, found->count * sizeof(found->frames[0])) == 0;
	}
	assert_true(right);
}

/* Random work until the power goes or the steps are done. */
static void
work_on_log(IqdbLog *log, Model *model, IqdbRng *rng, int steps)
{
	uint64_t mark = iqdb_log_end(log);
	size_t   mark_count = present(model)->count;

	for (int i = 0; i < steps; i++)
	{
		IqdbStatus status = IQDB_OK;
		uint64_t   lot = iqdb_rng_below(rng, 10);

		if (lot == 0)
			status = iqdb_log_flush(log, NULL);
		else if (lot == 1)
		{
			status = iqdb_log_sync(log, 0, NULL);
			if (status == IQDB_OK)
				model_synced(model);
		}
		else if (lot == 2)
		{
			mark = iqdb_log_end(log);
			mark_count = present(model)->count;
		}
		else if (lot == 3)
		{
			model_branch(model, mark_count);
			status = iqdb_log_truncate_to(log, mark, NULL);
		}
		else
		{
			uint32_t number = model->next++;

			/* even when the call fails: its bytes may have been on their way */
			present(model)->frames[present(model)->count++] = number;
			status = iqdb_log_append(log, number, 0, 1, body, body_length(number), NULL);
		}
		if (status != IQDB_OK)
			return;
	}
}

/* Opens what the crash left, checks it, makes it the model's present. NULL when the power went again. */
static IqdbLog *
recover_log(IoCrash *fs, Model *model)
{
	IqdbLogHeader header = {.start_position = 1};
	static Found  found;
	IqdbLogScan   scan;
	IqdbLog      *log;
	IqdbStatus    status;

	memset(&found, 0, sizeof(found));
	status = iqdb_log_scan(io_crash_io(fs), &iqdb_allocator_libc, LOG_PATH, collect, &found, &scan, NULL);
	if (status == IQDB_ERR_IO)
		return NULL;
	assert_ok(status);
	check_found(model, &found.state);
	status = iqdb_log_open_append(io_crash_io(fs), &iqdb_allocator_libc, LOG_PATH, &scan, &header, always, &log, NULL);
	if (status == IQDB_ERR_IO)
		return NULL;
	assert_ok(status);
	/* the states of before are history, and what was found has been synced */
	model->states[0] = found.state;
	model->state_count = 1;
	model->durable = found.state.count;
	return log;
}

static void
acknowledged_frames_survive_and_others_do_not_come_back(void **state)
{
	static Model model;
	uint64_t     crashes = 0;
	uint64_t     lost = 0;

	(void) state;
	print_message("seed %llu\n", (unsigned long long) SEED);
	for (uint64_t seed = 0; seed < 600; seed++)
	{
		IoCrash      *fs = io_crash_create();
		IqdbLogHeader header = {.start_position = 1};
		IqdbLog      *log;
		IqdbRng       rng;

		iqdb_rng_seed(&rng, SEED + seed);
		model_start(&model);
		assert_ok(iqdb_log_create(io_crash_io(fs), &iqdb_allocator_libc, LOG_PATH, LOG_TEMP, &header, always, &log,
								  NULL));
		/* several lives, each ended by a power cut at some call, some of them during the recovery itself */
		for (int life = 0; life < 6; life++)
		{
			size_t before;

			if (log != NULL)
			{
				io_crash_power_cut_after(fs, iqdb_rng_below(&rng, 40));
				work_on_log(log, &model, &rng, 60);
				iqdb_log_close(log);
			}
			before = present(&model)->count;
			io_crash_crash(fs, iqdb_rng_next(&rng));
			crashes++;
			if (iqdb_rng_below(&rng, 3) == 0)
				io_crash_power_cut_after(fs, iqdb_rng_below(&rng, 3));
			log = recover_log(fs, &model);
			if (log != NULL)
			{
				io_crash_power_cut_after(fs, UINT64_MAX);
				lost += present(&model)->count < before;
			}
		}
		iqdb_log_close(log);
		io_crash_destroy(fs);
	}
	assert_true(crashes == 3600 && lost > 500);
}

static void
creation_cut_off_leaves_the_old_log_the_new_one_or_a_blank(void **state)
{
	bool done = false;

	(void) state;
	for (uint64_t cut = 0; !done; cut++)
	{
		for (int replace = 0; replace < 2; replace++)
		{
			IoCrash      *fs = io_crash_create();
			IqdbLogHeader header = {.start_position = 1};
			IqdbLog      *log;
			IqdbLogScan   scan;

			if (replace)
			{
				assert_ok(iqdb_log_create(io_crash_io(fs), &iqdb_allocator_libc, LOG_PATH, NULL, &header, always, &log,
										  NULL));
				assert_ok(iqdb_log_append(log, 3, 0, 1, body, body_length(3), NULL));
				assert_ok(iqdb_log_sync(log, 0, NULL));
				iqdb_log_close(log);
			}
			header.start_position = 2;
			io_crash_power_cut_after(fs, cut);
			done = iqdb_log_create(io_crash_io(fs), &iqdb_allocator_libc, LOG_PATH, replace ? LOG_TEMP : NULL, &header,
								   always, &log, NULL) == IQDB_OK;
			iqdb_log_close(log);
			for (uint64_t seed = 0; seed < 100; seed++)
			{
				IoCrash   *copy = io_crash_clone(fs);
				IqdbStatus status;

				io_crash_crash(copy, SEED + seed);
				status = iqdb_log_scan(io_crash_io(copy), &iqdb_allocator_libc, LOG_PATH, NULL, NULL, &scan, NULL);
				if (replace)
				{
					assert_ok(status);
					assert_int_equal(scan.frames, scan.header.start_position == 1 ? 1 : 0);
				}
				else
					assert_true(status == IQDB_OK || status == IQDB_ERR_NOT_FOUND);
				if (done)
				{
					assert_ok(status);
					assert_int_equal(scan.header.start_position, 2);
				}
				/* whatever is there can be gone on with */
				if (status == IQDB_OK)
				{
					assert_ok(iqdb_log_open_append(io_crash_io(copy), &iqdb_allocator_libc, LOG_PATH, &scan, &header,
												   always, &log, NULL));
					iqdb_log_close(log);
				}
				io_crash_destroy(copy);
			}
			io_crash_destroy(fs);
		}
	}
}

/* ---- both together: a database of the numbers 1, 2, 3, ... ------------------------------------------------------- */

/*
 * The protocol of a host with one snapshot and one log: add = append and sync; checkpoint = save a snapshot that says
 * up to where, then replace the log by an empty one that starts there. Recovery = snapshot, then the frames beyond
 * it.
 */
typedef struct Numbers
{
	const IqdbIo *io;
	IqdbLog      *log;
	uint64_t      count; /* in memory */
} Numbers;

static IqdbStatus
replay_number(void *arg, const IqdbLogFrame *frame, IqdbError *err)
{
	Numbers *numbers = arg;

	(void) err;
	if (frame->position <= numbers->count)
		return IQDB_OK; /* the snapshot has it */
	assert_int_equal(frame->position, numbers->count + 1);
	numbers->count++;
	return IQDB_OK;
}

static IqdbStatus
numbers_checkpoint(Numbers *numbers)
{
	IqdbLogHeader header = {.start_position = numbers->count};
	IqdbLog      *log;

	IQDB_TRY(save_numbers(numbers->io, numbers->count, true));
	IQDB_TRY(iqdb_log_create(numbers->io, &iqdb_allocator_libc, LOG_PATH, LOG_TEMP, &header, always, &log, NULL));
	iqdb_log_close(numbers->log);
	numbers->log = log;
	return IQDB_OK;
}

static IqdbStatus
numbers_open(Numbers *numbers, const IqdbIo *io)
{
	IqdbLogScan scan;
	IqdbStatus  status;

	memset(numbers, 0, sizeof(*numbers));
	numbers->io = io;
	status = iqdb_io_unlink(io, SNAPSHOT_TEMP, NULL);
	if (status == IQDB_OK || status == IQDB_ERR_NOT_FOUND)
		status = iqdb_io_unlink(io, LOG_TEMP, NULL);
	if (status != IQDB_OK && status != IQDB_ERR_NOT_FOUND)
		return status;
	status = load_numbers(io, &numbers->count);
	if (status != IQDB_OK && status != IQDB_ERR_NOT_FOUND)
		return status;
	status = iqdb_log_scan(io, &iqdb_allocator_libc, LOG_PATH, replay_number, numbers, &scan, NULL);
	if (status == IQDB_ERR_NOT_FOUND || (status == IQDB_OK && scan.blank))
		return numbers_checkpoint(numbers);
	IQDB_TRY(status);
	return iqdb_log_open_append(io, &iqdb_allocator_libc, LOG_PATH, &scan, NULL, always, &numbers->log, NULL);
}

static IqdbStatus
numbers_add(Numbers *numbers)
{
	uint64_t number = numbers->count + 1;

	IQDB_TRY(iqdb_log_append(numbers->log, number, 0, 1, body, body_length((uint32_t) number), NULL));
	IQDB_TRY(iqdb_log_sync(numbers->log, 0, NULL));
	numbers->count = number;
	return IQDB_OK;
}

static void
checkpoints_and_recovery_keep_every_acknowledged_change(void **state)
{
	(void) state;
	print_message("seed %llu\n", (unsigned long long) SEED);
	for (uint64_t seed = 0; seed < 400; seed++)
	{
		IoCrash *fs = io_crash_create();
		Numbers  numbers;
		IqdbRng  rng;
		uint64_t acknowledged = 0;
		uint64_t attempted = 0;

		iqdb_rng_seed(&rng, SEED + seed);
		for (int life = 0; life < 8; life++)
		{
			IqdbStatus status;

			io_crash_power_cut_after(fs, iqdb_rng_below(&rng, 60));
			status = numbers_open(&numbers, io_crash_io(fs));
			assert_true(status == IQDB_OK || io_crash_is_down(fs));
			if (status == IQDB_OK)
			{
				assert_true(numbers.count >= acknowledged && numbers.count <= attempted);
				acknowledged = numbers.count;
			}
			while (status == IQDB_OK)
			{
				if (iqdb_rng_below(&rng, 12) == 0)
					status = numbers_checkpoint(&numbers);
				else
				{
					attempted = numbers.count + 1;
					status = numbers_add(&numbers);
					acknowledged = numbers.count;
				}
			}
			iqdb_log_close(numbers.log);
			io_crash_crash(fs, iqdb_rng_next(&rng));
		}
		assert_ok(numbers_open(&numbers, io_crash_io(fs)));
		assert_true(numbers.count >= acknowledged && numbers.count <= attempted);
		iqdb_log_close(numbers.log);
		assert_int_equal(io_crash_open_handles(fs), 0);
		io_crash_destroy(fs);
	}
}

/* ---- the simulation itself --------------------------------------------------------------------------------------- */

static IqdbFile
open_file(IoCrash *fs, const char *path)
{
	IqdbFile file;

	assert_ok(iqdb_file_open(io_crash_io(fs), path, IQDB_IO_WRITE | IQDB_IO_CREATE, &file, NULL));
	return file;
}

static void
crash_loses_what_is_not_synced_and_only_that(void **state)
{
	IoCrash             *fs = io_crash_create();
	IqdbFile             a = open_file(fs, "d/a");
	IqdbFile             b = open_file(fs, "d/b");
	const unsigned char *content;
	size_t               length;

	(void) state;
	assert_ok(iqdb_file_write(&a, "first", 5, 0, NULL));
	assert_ok(iqdb_file_sync(&a, NULL));
	assert_ok(iqdb_io_sync_parent(io_crash_io(fs), "d/a", NULL));
	assert_ok(iqdb_file_write(&a, "second", 6, 0, NULL));
	assert_ok(iqdb_file_write(&b, "other", 5, 0, NULL));
	content = io_crash_content(fs, "d/a", &length);
	assert_memory_equal(content, "second", 6);
	io_crash_crash_dropping_all(fs);
	content = io_crash_content(fs, "d/a", &length);
	assert_int_equal(length, 5);
	assert_memory_equal(content, "first", 5);
	assert_true(io_crash_exists(fs, "d/b"));
	assert_non_null(io_crash_content(fs, "d/b", &length));
	assert_int_equal(length, 0);
	/* handles of before are dead; closing them is no error */
	assert_int_equal(iqdb_file_write(&a, "x", 1, 0, NULL), IQDB_ERR_IO);
	assert_ok(iqdb_file_close(&a, NULL));
	assert_ok(iqdb_file_close(&b, NULL));

	/* a name needs its folder's sync, not the file's */
	a = open_file(fs, "d/c");
	assert_ok(iqdb_file_write(&a, "third", 5, 0, NULL));
	assert_ok(iqdb_file_sync(&a, NULL));
	io_crash_crash_dropping_all(fs);
	assert_false(io_crash_exists(fs, "d/c"));
	assert_ok(iqdb_io_rename(io_crash_io(fs), "d/a", "d/b", NULL));
	io_crash_crash_dropping_all(fs);
	assert_true(io_crash_exists(fs, "d/a"));
	assert_ok(iqdb_io_rename(io_crash_io(fs), "d/a", "d/b", NULL));
	assert_ok(iqdb_io_unlink(io_crash_io(fs), "d/b", NULL));
	io_crash_crash_keeping_all(fs);
	assert_false(io_crash_exists(fs, "d/a") || io_crash_exists(fs, "d/b"));
	io_crash_destroy(fs);
}

static void
crash_shows_every_kind_of_tear(void **state)
{
	bool dropped = false;
	bool kept = false;
	bool prefix = false;
	bool sectors = false;
	bool grown = false;

	(void) state;
	for (uint64_t seed = 0; seed < 300; seed++)
	{
		IoCrash             *fs = io_crash_create();
		IqdbFile             file = open_file(fs, "a");
		unsigned char        bytes[2048];
		const unsigned char *content;
		size_t               length;
		size_t               ones = 0;

		memset(bytes, 1, sizeof(bytes));
		assert_ok(iqdb_io_sync_parent(io_crash_io(fs), "a", NULL));
		assert_ok(iqdb_file_write(&file, bytes, sizeof(bytes), 0, NULL));
		io_crash_crash(fs, seed);
		content = io_crash_content(fs, "a", &length);
		for (size_t i = 0; i < length; i++)
			ones += content[i];
		dropped |= length == 0;
		kept |= ones == 2048;
		prefix |= ones == length && length % 512 != 0;
		sectors |= ones % 512 == 0 && ones > 0 && ones < 2048 && content[0] == 0;
		grown |= length == 2048 && ones == 0;
		io_crash_destroy(fs);
	}
	assert_true(dropped && kept && prefix && sectors && grown);
}

static void
power_cut_stops_everything_until_the_crash(void **state)
{
	IoCrash  *fs = io_crash_create();
	IqdbFile  file = open_file(fs, "a");
	IqdbFile  again;
	uint64_t  before = io_crash_changes(fs);
	char      byte;
	size_t    got;

	(void) state;
	io_crash_power_cut_after(fs, 2);
	assert_ok(iqdb_file_write(&file, "x", 1, 0, NULL));
	assert_ok(iqdb_file_sync(&file, NULL));
	assert_false(io_crash_is_down(fs));
	assert_int_equal(iqdb_file_sync(&file, NULL), IQDB_ERR_IO);
	assert_true(io_crash_is_down(fs));
	assert_int_equal(io_crash_changes(fs), before + 3);
	assert_int_equal(iqdb_file_read(&file, &byte, 1, 0, &got, NULL), IQDB_ERR_IO);
	assert_int_equal(iqdb_file_open(io_crash_io(fs), "a", 0, &again, NULL), IQDB_ERR_IO);
	io_crash_crash(fs, 1);
	assert_ok(iqdb_file_open(io_crash_io(fs), "a", 0, &again, NULL));
	assert_ok(iqdb_file_close(&again, NULL));
	io_crash_destroy(fs);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crash_loses_what_is_not_synced_and_only_that),
		cmocka_unit_test(crash_shows_every_kind_of_tear),
		cmocka_unit_test(power_cut_stops_everything_until_the_crash),
		cmocka_unit_test(old_snapshot_or_the_new_one_is_there_never_none),
		cmocka_unit_test(unsynced_snapshot_is_whole_or_refused),
		cmocka_unit_test(acknowledged_frames_survive_and_others_do_not_come_back),
		cmocka_unit_test(creation_cut_off_leaves_the_old_log_the_new_one_or_a_blank),
		cmocka_unit_test(checkpoints_and_recovery_keep_every_acknowledged_change),
	};

	for (size_t i = 0; i < sizeof(body); i++)
		body[i] = (unsigned char) (i * 37 + i / 256);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
