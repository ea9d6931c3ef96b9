/*
 * test_persist.c - checksums, little-endian numbers, files, snapshots, logs: what they promise when nothing fails, and
 * what they say to bytes that lie. Failing calls are in fault/test_persist_fault.c, lost power in crash/.
 */
#define _DEFAULT_SOURCE

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/crc32c.h"
#include "core/base/endian.h"
#include "core/base/io_posix.h"
#include "core/base/rng.h"
#include "core/persist/log.h"
#include "core/persist/snapshot.h"
#include "core/persist/snapshot_format.h"
#include "harness/io_crash.h"

#if !defined(IQDB_NO_LZ4)
#include <lz4.h>
#endif
#if !defined(IQDB_NO_ZSTD)
#include <zstd.h>
#endif

#define SEED UINT64_C(20240612)

#define assert_ok(expression) assert_int_equal((expression), IQDB_OK)

/* A build may lack lz4 or zstd. */
static bool
build_has(int scheme)
{
	return iqdb_compression_check((IqdbCompression) scheme, 1, NULL) == IQDB_OK;
}

/* ---- base: checksums and numbers --------------------------------------------------------------------------------- */

static void
crc32c_gives_the_published_values(void **state)
{
	unsigned char bytes[32];

	(void) state;
	assert_int_equal(iqdb_crc32c(0, NULL, 0), 0);
	assert_int_equal(iqdb_crc32c(0, "123456789", 9), 0xE3069283);
	memset(bytes, 0, sizeof(bytes)); /* the four vectors of RFC 3720, B.4 */
	assert_int_equal(iqdb_crc32c(0, bytes, 32), 0x8A9136AA);
	memset(bytes, 0xFF, sizeof(bytes));
	assert_int_equal(iqdb_crc32c(0, bytes, 32), 0x62A8AB43);
	for (unsigned i = 0; i < 32; i++)
		bytes[i] = (unsigned char) i;
	assert_int_equal(iqdb_crc32c(0, bytes, 32), 0x46DD794E);
	for (unsigned i = 0; i < 32; i++)
		bytes[i] = (unsigned char) (31 - i);
	assert_int_equal(iqdb_crc32c(0, bytes, 32), 0x113FDB5C);
}

/* Bit by bit, from the polynomial alone. */
static uint32_t
slow_crc(uint32_t crc, const unsigned char *p, size_t length)
{
	crc = ~crc;
	for (size_t i = 0; i < length; i++)
	{
		crc ^= p[i];
		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78u : 0);
	}
	return ~crc;
}

static void
crc32c_tables_hold_for_every_byte(void **state)
{
	unsigned char bytes[8];

	(void) state;
	for (unsigned position = 0; position < 8; position++)
	{
		for (unsigned value = 0; value < 256; value++)
		{
			memset(bytes, 0, sizeof(bytes));
			bytes[position] = (unsigned char) value;
			assert_int_equal(iqdb_crc32c_portable(0, bytes, 8), slow_crc(0, bytes, 8));
			assert_int_equal(iqdb_crc32c(0, bytes, 8), slow_crc(0, bytes, 8));
		}
	}
}

static void
crc32c_agrees_with_itself_at_every_length_and_split(void **state)
{
	enum { SIZE = 20000 };
	static unsigned char bytes[SIZE + 16];
	IqdbRng              rng;

	(void) state;
	print_message("seed %llu\n", (unsigned long long) SEED);
	iqdb_rng_seed(&rng, SEED);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char) iqdb_rng_next(&rng);
	for (size_t length = 0; length < 300; length++)
		assert_int_equal(iqdb_crc32c(7, bytes + length % 16, length), slow_crc(7, bytes + length % 16, length));
	for (int i = 0; i < 300; i++)
	{
		const unsigned char *from = bytes + iqdb_rng_below(&rng, 16);
		size_t               length = iqdb_rng_below(&rng, SIZE);
		size_t               split = iqdb_rng_below(&rng, length + 1);
		uint32_t             start = (uint32_t) iqdb_rng_next(&rng);
		uint32_t             whole = iqdb_crc32c(start, from, length);

		assert_int_equal(whole, iqdb_crc32c_portable(start, from, length));
		assert_int_equal(whole, iqdb_crc32c(iqdb_crc32c(start, from, split), from + split, length - split));
	}
}

static void
numbers_are_little_endian_at_any_alignment(void **state)
{
	unsigned char bytes[16] = {0};
	float         floats[3] = {1.5f, -0.0f, INFINITY};
	float         back[3];
	uint32_t      words[2] = {1, 0xAABBCCDDu};
	uint32_t      words_back[2];
	float         nan_in = 0;
	float         nan_out;
	uint32_t      nan_bits = 0x7FC12345u;

	(void) state;
	iqdb_store_u16(bytes + 1, 0x1122);
	assert_memory_equal(bytes + 1, "\x22\x11", 2);
	iqdb_store_u32(bytes + 1, 0x11223344u);
	assert_memory_equal(bytes + 1, "\x44\x33\x22\x11", 4);
	iqdb_store_u64(bytes + 1, UINT64_C(0x1122334455667788));
	assert_memory_equal(bytes + 1, "\x88\x77\x66\x55\x44\x33\x22\x11", 8);
	assert_int_equal(iqdb_load_u16(bytes + 1), 0x7788);
	assert_int_equal(iqdb_load_u32(bytes + 1), 0x55667788);
	assert_true(iqdb_load_u64(bytes + 1) == UINT64_C(0x1122334455667788));
	iqdb_store_f32(bytes + 3, 1.0f);
	assert_memory_equal(bytes + 3, "\x00\x00\x80\x3f", 4);
	memcpy(&nan_in, &nan_bits, 4);
	iqdb_store_f32(bytes, nan_in);
	nan_out = iqdb_load_f32(bytes);
	assert_memory_equal(&nan_in, &nan_out, 4);
	iqdb_store_f32_array(bytes + 1, floats, 3);
	assert_true(iqdb_load_f32(bytes + 1) == 1.5f && isinf(iqdb_load_f32(bytes + 9)));
	iqdb_load_f32_array(back, bytes + 1, 3);
	assert_memory_equal(back, floats, sizeof(floats));
	iqdb_store_u32_array(bytes + 1, words, 2);
	assert_memory_equal(bytes + 1, "\x01\x00\x00\x00\xdd\xcc\xbb\xaa", 8);
	iqdb_load_u32_array(words_back, bytes + 1, 2);
	assert_memory_equal(words_back, words, sizeof(words));
}

/* ---- base: files ------------------------------------------------------------------------------------------------- */

typedef struct Folder
{
	char path[200];
	char file[220];
	char other[220];
} Folder;

static void
make_folder(Folder *folder)
{
	const char *base = getenv("TMPDIR");

	snprintf(folder->path, sizeof(folder->path), "%s/iqdb_persist_XXXXXX", base != NULL ? base : "/tmp");
	assert_non_null(mkdtemp(folder->path));
	snprintf(folder->file, sizeof(folder->file), "%s/a", folder->path);
	snprintf(folder->other, sizeof(folder->other), "%s/b", folder->path);
}

static void
remove_folder(Folder *folder)
{
	(void) unlink(folder->file);
	(void) unlink(folder->other);
	assert_int_equal(rmdir(folder->path), 0);
}

static bool
count_entry(void *arg, const char *name)
{
	int *count = arg;

	assert_true(strcmp(name, "a") == 0 || strcmp(name, "b") == 0);
	(*count)++;
	return true;
}

static void
files_read_write_truncate_rename_and_list(const IqdbIo *io, const char *folder, const char *path, const char *other)
{
	IqdbFile  file;
	IqdbError err;
	uint64_t  size;
	size_t    got;
	int       entries = 0;
	char      bytes[16];

	assert_int_equal(iqdb_file_open(io, path, 0, &file, &err), IQDB_ERR_NOT_FOUND);
	assert_int_equal(err.code, IQDB_ERR_NOT_FOUND);
	assert_int_equal(err.sys_errno, ENOENT);
	assert_false(iqdb_file_is_open(&file));
	assert_int_equal(iqdb_io_unlink(io, path, &err), IQDB_ERR_NOT_FOUND);
	assert_ok(iqdb_file_open(io, path, IQDB_IO_WRITE | IQDB_IO_CREATE | IQDB_IO_EXCLUSIVE, &file, &err));
	assert_ok(iqdb_file_write(&file, "0123456789", 10, 3, &err));
	assert_ok(iqdb_file_size(&file, &size, &err));
	assert_int_equal(size, 13);
	assert_ok(iqdb_file_read(&file, bytes, 16, 0, &got, &err));
	assert_int_equal(got, 13);
	assert_memory_equal(bytes, "\0\0\0" "0123456789", 13);
	assert_int_equal(iqdb_file_read_exact(&file, bytes, 16, 0, &err), IQDB_ERR_CORRUPT);
	assert_int_equal(err.offset, 13);
	assert_ok(iqdb_file_truncate(&file, 5, &err));
	assert_ok(iqdb_file_read(&file, bytes, 16, 4, &got, &err));
	assert_int_equal(got, 1);
	assert_ok(iqdb_file_read(&file, bytes, 16, 400, &got, &err));
	assert_int_equal(got, 0);
	assert_ok(iqdb_file_sync(&file, &err));
	assert_ok(iqdb_file_close(&file, &err));
	assert_ok(iqdb_file_close(&file, &err));
	assert_int_equal(iqdb_file_open(io, path, IQDB_IO_WRITE | IQDB_IO_CREATE | IQDB_IO_EXCLUSIVE, &file, &err),
					 IQDB_ERR_DUPLICATE);
	assert_ok(iqdb_file_open(io, path, 0, &file, &err));
	assert_int_equal(iqdb_file_write(&file, "x", 1, 0, &err), IQDB_ERR_IO);
	assert_ok(iqdb_file_close(&file, &err));
	assert_ok(iqdb_io_rename(io, path, other, &err));
	assert_ok(iqdb_io_sync_parent(io, other, &err));
	assert_ok(iqdb_file_open(io, path, IQDB_IO_WRITE | IQDB_IO_CREATE, &file, &err));
	assert_ok(iqdb_file_close(&file, &err));
	assert_ok(iqdb_io_list(io, folder, count_entry, &entries, &err));
	assert_int_equal(entries, 2);
	assert_ok(iqdb_io_unlink(io, path, &err));
	assert_ok(iqdb_io_unlink(io, other, &err));
}

static void
locks_exclude_another_open_of_the_file(const IqdbIo *io, const char *path)
{
	IqdbFile  a;
	IqdbFile  b;
	IqdbError err;

	assert_ok(iqdb_file_open(io, path, IQDB_IO_WRITE | IQDB_IO_CREATE, &a, &err));
	assert_ok(iqdb_file_open(io, path, IQDB_IO_WRITE | IQDB_IO_CREATE, &b, &err));
	assert_ok(iqdb_file_try_lock(&a, true, &err));
	assert_int_equal(iqdb_file_try_lock(&b, true, &err), IQDB_ERR_LOCKED);
	assert_int_equal(err.code, IQDB_ERR_LOCKED);
	assert_int_equal(iqdb_file_try_lock(&b, false, NULL), IQDB_ERR_LOCKED);
	assert_ok(iqdb_file_close(&a, &err));
	assert_ok(iqdb_file_try_lock(&b, false, &err));
	assert_ok(iqdb_file_open(io, path, IQDB_IO_WRITE, &a, &err));
	assert_ok(iqdb_file_try_lock(&a, false, &err));
	assert_ok(iqdb_file_close(&a, &err));
	assert_ok(iqdb_file_close(&b, &err));
	assert_ok(iqdb_io_unlink(io, path, &err));
}

static void
posix_files_do_what_the_interface_says(void **state)
{
	Folder folder;

	(void) state;
	make_folder(&folder);
	files_read_write_truncate_rename_and_list(&iqdb_io_posix, folder.path, folder.file, folder.other);
	locks_exclude_another_open_of_the_file(&iqdb_io_posix, folder.file);
	remove_folder(&folder);
}

static void
the_crashing_file_system_does_what_the_interface_says(void **state)
{
	IoCrash *fs = io_crash_create();

	(void) state;
	files_read_write_truncate_rename_and_list(io_crash_io(fs), "d", "d/a", "d/b");
	files_read_write_truncate_rename_and_list(io_crash_io(fs), ".", "a", "b");
	locks_exclude_another_open_of_the_file(io_crash_io(fs), "d/a");
	assert_int_equal(io_crash_open_handles(fs), 0);
	io_crash_destroy(fs);
}

static void
folders_of_paths_are_found(void **state)
{
	char      path[2 * IQDB_IO_PATH_MAX];
	IqdbError err;

	(void) state;
	assert_ok(iqdb_io_sync_parent(&iqdb_io_posix, "name", &err));
	assert_ok(iqdb_io_sync_parent(&iqdb_io_posix, "/name", &err));
	assert_int_equal(iqdb_io_sync_parent(&iqdb_io_posix, "no/such/folder/name", &err), IQDB_ERR_IO);
	memset(path, 'x', sizeof(path));
	memcpy(path + sizeof(path) - 3, "/y", 3);
	assert_int_equal(iqdb_io_sync_parent(&iqdb_io_posix, path, &err), IQDB_ERR_CONFIG);
}

/* ---- snapshots: samples ------------------------------------------------------------------------------------------ */

#define SNAPSHOT_PATH "d/index.snap"
#define TEMP_PATH "d/index.snap.tmp"

/* Three sections, the last one taken up again after the first; scale 0 makes them a few dozen bytes each. */
typedef struct Sample
{
	unsigned char *bytes[4];
	size_t         length[4];
} Sample;

static const uint16_t sample_sections[4] = {1, 2, 900, 1};

static void
make_sample(Sample *sample, size_t scale, uint64_t seed)
{
	IqdbRng rng;

	iqdb_rng_seed(&rng, seed);
	sample->length[0] = 40 + scale;
	sample->length[1] = 70 + 3 * scale + scale / 2;
	sample->length[2] = 1;
	sample->length[3] = 33 + scale / 3;
	for (int i = 0; i < 4; i++)
	{
		sample->bytes[i] = malloc(sample->length[i]);
		/* runs of repeated bytes, and a stretch of noise: compressible, but not only */
		for (size_t k = 0; k < sample->length[i]; k++)
			sample->bytes[i][k] = (unsigned char) (i == 1 && k % 8192 > 6000 ? iqdb_rng_next(&rng) : k / 50);
	}
}

static void
free_sample(Sample *sample)
{
	for (int i = 0; i < 4; i++)
		free(sample->bytes[i]);
}

static IqdbSnapshotHeader
sample_header(void)
{
	IqdbSnapshotHeader header = {.flags = 5, .engine = 1, .metric = 2, .dimension = 384, .row_count = 77};

	header.identity_length = 11;
	memcpy(header.identity, "identity 12", 11);
	return header;
}

static void
write_sample(const IqdbIo *io, const char *path, const char *temp_path, const Sample *sample, IqdbCompression scheme,
			 size_t step)
{
	IqdbSnapshotOptions options = {scheme, 3, true};
	IqdbSnapshotHeader  header = sample_header();
	IqdbSnapshotWriter *writer;
	IqdbError           err;

	assert_ok(iqdb_snapshot_writer_open(io, &iqdb_allocator_libc, path, temp_path, &header, &options, &writer, &err));
	for (int i = 0; i < 4; i++)
	{
		for (size_t at = 0; at < sample->length[i];)
		{
			size_t part = sample->length[i] - at < step ? sample->length[i] - at : step;

			assert_ok(iqdb_snapshot_write(writer, sample_sections[i], sample->bytes[i] + at, part, &err));
			at += part;
		}
	}
	assert_ok(iqdb_snapshot_writer_commit(writer, NULL, &err));
}

/* Reads everything, comparing with the sample when there is one. */
static IqdbStatus
read_snapshot(const IqdbIo *io, const char *path, const Sample *sample, IqdbError *err)
{
	IqdbSnapshotReader  *reader;
	uint16_t             section;
	const unsigned char *bytes;
	size_t               length;
	int                  part = 0;
	size_t               at = 0;
	IqdbStatus           status;

	status = iqdb_snapshot_reader_open(io, &iqdb_allocator_libc, path, &reader, err);
	if (status != IQDB_OK)
	{
		assert_null(reader);
		return status;
	}
	for (;;)
	{
		status = iqdb_snapshot_read_block(reader, &section, &bytes, &length, err);
		if (status != IQDB_OK || section == IQDB_SNAPSHOT_SECTION_END)
			break;
		if (sample == NULL)
			continue;
		if (at == sample->length[part])
		{
			part++;
			at = 0;
		}
		assert_int_equal(section, sample_sections[part]);
		assert_true(length <= sample->length[part] - at);
		assert_memory_equal(bytes, sample->bytes[part] + at, length);
		at += length;
	}
	if (status == IQDB_OK && sample != NULL)
	{
		assert_int_equal(part, 3);
		assert_int_equal(at, sample->length[3]);
	}
	if (status == IQDB_OK)
		status = iqdb_snapshot_reader_finish(reader, err);
	else
		/* whoever goes on in spite of a failure must not be told that all is well */
		assert_int_equal(iqdb_snapshot_reader_finish(reader, NULL), IQDB_ERR_STATE);
	iqdb_snapshot_reader_close(reader);
	return status;
}

static unsigned char *
copy_file(IoCrash *fs, const char *path, size_t *length_out)
{
	const unsigned char *content = io_crash_content(fs, path, length_out);
	unsigned char       *copy = malloc(*length_out + 1);

	assert_non_null(content);
	memcpy(copy, content, *length_out);
	return copy;
}

/* A small snapshot's bytes. */
static unsigned char *
sample_file(IqdbCompression scheme, size_t scale, size_t *length_out)
{
	IoCrash       *fs = io_crash_create();
	Sample         sample;
	unsigned char *bytes;

	make_sample(&sample, scale, SEED);
	write_sample(io_crash_io(fs), SNAPSHOT_PATH, TEMP_PATH, &sample, scheme, 1000);
	bytes = copy_file(fs, SNAPSHOT_PATH, length_out);
	free_sample(&sample);
	io_crash_destroy(fs);
	return bytes;
}

/* What reading these bytes as a snapshot gives. */
static IqdbStatus
read_bytes(const unsigned char *bytes, size_t length, IqdbError *err)
{
	IoCrash   *fs = io_crash_create();
	IqdbStatus status;

	io_crash_put(fs, SNAPSHOT_PATH, bytes, length);
	status = read_snapshot(io_crash_io(fs), SNAPSHOT_PATH, NULL, err);
	assert_int_equal(io_crash_open_handles(fs), 0);
	io_crash_destroy(fs);
	return status;
}

static void
assert_rejected(const unsigned char *bytes, size_t length)
{
	IqdbError  err = {0};
	IqdbStatus status = read_bytes(bytes, length, &err);

	assert_true(status == IQDB_ERR_CORRUPT || status == IQDB_ERR_VERSION);
	assert_int_equal(err.code, status);
	assert_string_equal(err.file, SNAPSHOT_PATH);
	assert_true(err.offset <= length);
	assert_true(err.message[0] != '\0');
}

/* ---- snapshots: what they promise -------------------------------------------------------------------------------- */

static void
snapshot_round_trips(IqdbCompression scheme)
{
	static const size_t scales[] = {0, 1000, IQDB_SNAPSHOT_BLOCK_RAW - 40, IQDB_SNAPSHOT_BLOCK_RAW, 300000};
	IqdbError           err;

	for (size_t i = 0; i < sizeof(scales) / sizeof(scales[0]) && build_has(scheme); i++)
	{
		IoCrash           *fs = io_crash_create();
		Sample             sample;
		IqdbSnapshotHeader header;

		make_sample(&sample, scales[i], SEED + i);
		write_sample(io_crash_io(fs), SNAPSHOT_PATH, TEMP_PATH, &sample, scheme, 99991);
		assert_false(io_crash_exists(fs, TEMP_PATH));
		assert_ok(read_snapshot(io_crash_io(fs), SNAPSHOT_PATH, &sample, &err));
		assert_ok(iqdb_snapshot_read_header(io_crash_io(fs), SNAPSHOT_PATH, &header, &err));
		assert_int_equal(header.version, 1);
		assert_int_equal(header.flags, 5);
		assert_int_equal(header.engine, 1);
		assert_int_equal(header.metric, 2);
		assert_int_equal(header.dimension, 384);
		assert_int_equal(header.row_count, 77);
		assert_int_equal(header.identity_length, 11);
		assert_memory_equal(header.identity, "identity 12", 11);
		assert_int_equal(header.compression, scheme);
		assert_int_equal(header.run_count, 4);
		assert_int_equal(header.raw_bytes,
						 sample.length[0] + sample.length[1] + sample.length[2] + sample.length[3]);
		assert_int_equal(io_crash_open_handles(fs), 0);
		free_sample(&sample);
		io_crash_destroy(fs);
	}
}

static void
plain_snapshot_round_trips(void **state)
{
	(void) state;
	snapshot_round_trips(IQDB_COMPRESSION_NONE);
}

static void
lz4_snapshot_round_trips(void **state)
{
	(void) state;
	snapshot_round_trips(IQDB_COMPRESSION_LZ4);
}

static void
zstd_snapshot_round_trips(void **state)
{
	(void) state;
	snapshot_round_trips(IQDB_COMPRESSION_ZSTD);
}

static void
snapshot_with_no_section_round_trips(void **state)
{
	IqdbSnapshotOptions options = {IQDB_COMPRESSION_NONE, 0, false};
	IoCrash            *fs = io_crash_create();
	IqdbSnapshotHeader  header = sample_header();
	IqdbSnapshotWriter *writer;
	IqdbError           err;

	(void) state;
	assert_ok(iqdb_snapshot_writer_open(io_crash_io(fs), &iqdb_allocator_libc, SNAPSHOT_PATH, TEMP_PATH, NULL, &options,
										&writer, &err));
	assert_ok(iqdb_snapshot_write(writer, 4, NULL, 0, &err));
	assert_ok(iqdb_snapshot_writer_commit(writer, &header, &err));
	assert_ok(read_snapshot(io_crash_io(fs), SNAPSHOT_PATH, NULL, &err));
	io_crash_destroy(fs);
}

static void
commit_may_bring_the_final_header(void **state)
{
	IqdbSnapshotOptions options = {IQDB_COMPRESSION_NONE, 0, true};
	IoCrash            *fs = io_crash_create();
	IqdbSnapshotHeader  header = sample_header();
	IqdbSnapshotHeader  found;
	IqdbSnapshotWriter *writer;
	IqdbError           err;

	(void) state;
	assert_ok(iqdb_snapshot_writer_open(io_crash_io(fs), &iqdb_allocator_libc, SNAPSHOT_PATH, TEMP_PATH, &header,
										&options, &writer, &err));
	assert_ok(iqdb_snapshot_write(writer, 4, "abc", 3, &err));
	header.row_count = 99;
	header.identity_length = IQDB_IDENTITY_MAX;
	memset(header.identity, 'z', sizeof(header.identity));
	assert_ok(iqdb_snapshot_writer_commit(writer, &header, &err));
	assert_ok(iqdb_snapshot_read_header(io_crash_io(fs), SNAPSHOT_PATH, &found, &err));
	assert_int_equal(found.row_count, 99);
	assert_int_equal(found.identity_length, IQDB_IDENTITY_MAX);
	assert_memory_equal(found.identity, header.identity, IQDB_IDENTITY_MAX);
	assert_ok(read_snapshot(io_crash_io(fs), SNAPSHOT_PATH, NULL, &err));
	io_crash_destroy(fs);
}

static void
blocks_do_not_depend_on_how_writes_are_cut(void **state)
{
	static const size_t steps[] = {1013, 65536, IQDB_SNAPSHOT_BLOCK_RAW, 5000000};
	IoCrash            *fs = io_crash_create();
	Sample              sample;
	unsigned char      *first = NULL;
	size_t              first_length = 0;

	(void) state;
	make_sample(&sample, 300000, SEED);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
	{
		const unsigned char *content;
		size_t               length;

		write_sample(io_crash_io(fs), SNAPSHOT_PATH, TEMP_PATH, &sample,
					 build_has(IQDB_COMPRESSION_LZ4) ? IQDB_COMPRESSION_LZ4 : IQDB_COMPRESSION_NONE, steps[i]);
		content = io_crash_content(fs, SNAPSHOT_PATH, &length);
		if (first == NULL)
			first = copy_file(fs, SNAPSHOT_PATH, &first_length);
		assert_int_equal(length, first_length);
		assert_memory_equal(content, first, length);
	}
	free(first);
	free_sample(&sample);
	io_crash_destroy(fs);
}

static void
compression_shrinks_a_compressible_snapshot(void **state)
{
	size_t plain;

	(void) state;
	free(sample_file(IQDB_COMPRESSION_NONE, 200000, &plain));
	for (int scheme = IQDB_COMPRESSION_LZ4; scheme <= IQDB_COMPRESSION_ZSTD; scheme++)
	{
		size_t compressed;

		if (!build_has(scheme))
			continue;
		free(sample_file((IqdbCompression) scheme, 200000, &compressed));
		assert_true(compressed < plain / 2);
	}
}

static void
noise_is_stored_as_it_is(void **state)
{
	static unsigned char noise[100000];
	static const IqdbCompression schemes[] = {IQDB_COMPRESSION_LZ4, IQDB_COMPRESSION_ZSTD};
	IqdbRng              rng;
	IqdbError            err;

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (unsigned char) iqdb_rng_next(&rng);
	for (int i = 0; i < 2; i++)
	{
		IqdbSnapshotOptions options = {schemes[i], 1, false};
		IoCrash            *fs = io_crash_create();
		IqdbSnapshotHeader  header = sample_header();
		IqdbSnapshotWriter *writer;
		size_t              length;

		if (!build_has(schemes[i]))
		{
			io_crash_destroy(fs);
			continue;
		}
		assert_ok(iqdb_snapshot_writer_open(io_crash_io(fs), &iqdb_allocator_libc, SNAPSHOT_PATH, TEMP_PATH, &header,
											&options, &writer, &err));
		assert_ok(iqdb_snapshot_write(writer, 4, noise, sizeof(noise), &err));
		assert_ok(iqdb_snapshot_writer_commit(writer, NULL, &err));
		(void) io_crash_content(fs, SNAPSHOT_PATH, &length);
		assert_int_equal(length, IQDB_SNAPSHOT_HEADER_SIZE + IQDB_SNAPSHOT_BLOCK_HEADER_SIZE + sizeof(noise) +
									 IQDB_SNAPSHOT_END_SIZE);
		assert_ok(read_snapshot(io_crash_io(fs), SNAPSHOT_PATH, NULL, &err));
		io_crash_destroy(fs);
	}
}

static void
zstd_rejects_bad_level(void **state)
{
	IoCrash            *fs = io_crash_create();
	IqdbSnapshotHeader  header = sample_header();
	IqdbSnapshotWriter *writer;
	IqdbError           err;
	static const int    bad[] = {INT32_MIN, -1, 0, 23, INT32_MAX};

	(void) state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]) && build_has(IQDB_COMPRESSION_ZSTD); i++)
	{
		IqdbSnapshotOptions options = {IQDB_COMPRESSION_ZSTD, bad[i], true};

		assert_int_equal(iqdb_snapshot_writer_open(io_crash_io(fs), &iqdb_allocator_libc, SNAPSHOT_PATH, TEMP_PATH,
												   &header, &options, &writer, &err),
						 IQDB_ERR_CONFIG);
		assert_null(writer);
		assert_false(io_crash_exists(fs, TEMP_PATH));
		assert_int_equal(iqdb_compression_check(IQDB_COMPRESSION_ZSTD, bad[i], NULL), IQDB_ERR_CONFIG);
		assert_ok(iqdb_compression_check(IQDB_COMPRESSION_NONE, bad[i], NULL));
		assert_ok(iqdb_compression_check(IQDB_COMPRESSION_ZSTD, 22, NULL));
	}
	assert_int_equal(iqdb_compression_check((IqdbCompression) 3, 1, NULL), IQDB_ERR_CONFIG);
	io_crash_destroy(fs);
}

static void
scheme_that_this_build_lacks_is_unsupported(void **state)
{
	IoCrash            *fs = io_crash_create();
	IqdbSnapshotHeader  header = sample_header();
	IqdbSnapshotWriter *writer;
	IqdbError           err;

	(void) state;
	for (int scheme = IQDB_COMPRESSION_LZ4; scheme <= IQDB_COMPRESSION_ZSTD; scheme++)
	{
		IqdbSnapshotOptions options = {(IqdbCompression) scheme, 1, true};

		if (build_has(scheme))
			continue;
		assert_int_equal(iqdb_snapshot_writer_open(io_crash_io(fs), &iqdb_allocator_libc, SNAPSHOT_PATH, TEMP_PATH,
												   &header, &options, &writer, &err),
						 IQDB_ERR_UNSUPPORTED);
		assert_null(writer);
	}
	io_crash_destroy(fs);
}

static void
writer_refuses_misuse_for_good(void **state)
{
	IqdbSnapshotOptions options = {IQDB_COMPRESSION_NONE, 0, true};
	IoCrash            *fs = io_crash_create();
	IqdbSnapshotHeader  header = sample_header();
	IqdbSnapshotWriter *writer;
	IqdbError           err;

	(void) state;
	assert_ok(iqdb_snapshot_writer_open(io_crash_io(fs), &iqdb_allocator_libc, SNAPSHOT_PATH, TEMP_PATH, &header,
										&options, &writer, &err));
	assert_int_equal(iqdb_snapshot_write(writer, IQDB_SNAPSHOT_SECTION_END, "x", 1, &err), IQDB_ERR_CONFIG);
	assert_int_equal(iqdb_snapshot_write(writer, 1, "x", 1, &err), IQDB_ERR_STATE);
	assert_int_equal(iqdb_snapshot_writer_commit(writer, NULL, &err), IQDB_ERR_STATE);
	assert_false(io_crash_exists(fs, TEMP_PATH));
	assert_false(io_crash_exists(fs, SNAPSHOT_PATH));

	header.identity_length = IQDB_IDENTITY_MAX + 1;
	assert_int_equal(iqdb_snapshot_writer_open(io_crash_io(fs), &iqdb_allocator_libc, SNAPSHOT_PATH, TEMP_PATH, &header,
											   &options, &writer, &err),
					 IQDB_ERR_CONFIG);
	assert_ok(iqdb_snapshot_writer_open(io_crash_io(fs), &iqdb_allocator_libc, SNAPSHOT_PATH, TEMP_PATH, NULL, &options,
										&writer, &err));
	assert_int_equal(iqdb_snapshot_writer_commit(writer, &header, &err), IQDB_ERR_CONFIG);
	assert_false(io_crash_exists(fs, TEMP_PATH));
	io_crash_destroy(fs);
}

static void
abort_removes_the_temporary_file_and_keeps_the_old(void **state)
{
	IqdbSnapshotOptions options = {IQDB_COMPRESSION_NONE, 0, true};
	IoCrash            *fs = io_crash_create();
	IqdbSnapshotHeader  header = sample_header();
	IqdbSnapshotWriter *writer;
	IqdbSnapshotWriter *second;
	IqdbError           err;
	Sample              sample;

	(void) state;
	make_sample(&sample, 10, SEED);
	write_sample(io_crash_io(fs), SNAPSHOT_PATH, TEMP_PATH, &sample, IQDB_COMPRESSION_NONE, 9);
	assert_ok(iqdb_snapshot_writer_open(io_crash_io(fs), &iqdb_allocator_libc, SNAPSHOT_PATH, TEMP_PATH, &header,
										&options, &writer, &err));
	assert_ok(iqdb_snapshot_write(writer, 1, "x", 1, &err));
	assert_int_equal(iqdb_snapshot_writer_open(io_crash_io(fs), &iqdb_allocator_libc, SNAPSHOT_PATH, TEMP_PATH, &header,
											   &options, &second, &err),
					 IQDB_ERR_DUPLICATE);
	assert_true(io_crash_exists(fs, TEMP_PATH));
	iqdb_snapshot_writer_abort(writer);
	iqdb_snapshot_writer_abort(NULL);
	assert_false(io_crash_exists(fs, TEMP_PATH));
	assert_ok(read_snapshot(io_crash_io(fs), SNAPSHOT_PATH, &sample, &err));
	free_sample(&sample);
	io_crash_destroy(fs);
}

static void
temporary_file_is_not_a_snapshot_before_commit(void **state)
{
	IqdbSnapshotOptions options = {IQDB_COMPRESSION_NONE, 0, true};
	IoCrash            *fs = io_crash_create();
	IqdbSnapshotHeader  header = sample_header();
	IqdbSnapshotWriter *writer;
	IqdbError           err;
	unsigned char      *block = calloc(1, IQDB_SNAPSHOT_BLOCK_RAW);
	size_t              length;

	(void) state;
	assert_ok(iqdb_snapshot_writer_open(io_crash_io(fs), &iqdb_allocator_libc, SNAPSHOT_PATH, TEMP_PATH, &header,
										&options, &writer, &err));
	assert_ok(iqdb_snapshot_write(writer, 1, block, IQDB_SNAPSHOT_BLOCK_RAW, &err));
	assert_non_null(io_crash_content(fs, TEMP_PATH, &length));
	assert_true(length > IQDB_SNAPSHOT_BLOCK_RAW);
	assert_int_equal(read_snapshot(io_crash_io(fs), TEMP_PATH, NULL, &err), IQDB_ERR_CORRUPT);
	iqdb_snapshot_writer_abort(writer);
	free(block);
	io_crash_destroy(fs);
}

/* ---- snapshots: bytes that lie ----------------------------------------------------------------------------------- */

static void
every_single_byte_flip_in_a_snapshot_is_rejected(void **state)
{
	(void) state;
	for (int scheme = IQDB_COMPRESSION_NONE; build_has(scheme) && scheme <= IQDB_COMPRESSION_ZSTD; scheme++)
	{
		size_t         length;
		size_t         scale = scheme == IQDB_COMPRESSION_NONE ? 0 : 150;
		unsigned char *bytes = sample_file((IqdbCompression) scheme, scale, &length);
		IqdbError      err;

		assert_ok(read_bytes(bytes, length, &err));
		for (size_t i = 0; i < length; i++)
		{
			static const unsigned char patterns[] = {0x01, 0x80, 0xFF};

			for (size_t k = 0; k < sizeof(patterns); k++)
			{
				bytes[i] ^= patterns[k];
				assert_rejected(bytes, length);
				bytes[i] ^= patterns[k];
			}
		}
		free(bytes);
	}
}

static void
every_truncation_of_a_snapshot_is_rejected(void **state)
{
	(void) state;
	for (int scheme = IQDB_COMPRESSION_NONE; build_has(scheme) && scheme <= IQDB_COMPRESSION_ZSTD; scheme++)
	{
		size_t         length;
		unsigned char *bytes = sample_file((IqdbCompression) scheme, 100, &length);

		for (size_t i = 0; i < length; i++)
			assert_rejected(bytes, i);
		bytes[length] = 0;
		assert_rejected(bytes, length + 1);
		free(bytes);
	}
}

static void
pseudo_random_garbage_is_never_a_valid_snapshot(void **state)
{
	static unsigned char bytes[4096];
	IqdbRng              rng;

	(void) state;
	print_message("seed %llu\n", (unsigned long long) SEED);
	iqdb_rng_seed(&rng, SEED);
	for (int i = 0; i < 500; i++)
	{
		size_t length = iqdb_rng_below(&rng, sizeof(bytes));

		for (size_t k = 0; k < length; k++)
			bytes[k] = (unsigned char) iqdb_rng_next(&rng);
		if (i % 2 == 0 && length > 12)
			memcpy(bytes, "IQDBSNAP\1\0\0\0", 12);
		assert_rejected(bytes, length);
	}
}

/* Makes header and end block agree with each other and the size again, after a test has changed blocks by hand. */
static void
seal(unsigned char *bytes, size_t length, uint64_t blocks, uint64_t raw_bytes, uint32_t runs)
{
	unsigned char *end = bytes + length - IQDB_SNAPSHOT_END_SIZE;
	uint32_t       chain = 0;
	uint32_t       crc;

	iqdb_store_u64(bytes + IQDB_SNAPSHOT_AT_BLOCK_COUNT, blocks);
	iqdb_store_u64(bytes + IQDB_SNAPSHOT_AT_RAW_BYTES, raw_bytes);
	iqdb_store_u64(bytes + IQDB_SNAPSHOT_AT_FILE_SIZE, length);
	iqdb_store_u32(bytes + IQDB_SNAPSHOT_AT_RUN_COUNT, runs);
	iqdb_store_u32(bytes + IQDB_SNAPSHOT_AT_HEADER_CRC, iqdb_crc32c(0, bytes, IQDB_SNAPSHOT_AT_HEADER_CRC));
	for (size_t at = IQDB_SNAPSHOT_HEADER_SIZE; at + IQDB_SNAPSHOT_END_SIZE < length;)
	{
		size_t stored = iqdb_load_u32(bytes + at + IQDB_SNAPSHOT_BLOCK_AT_STORED_LENGTH);

		crc = iqdb_crc32c(0, bytes + at, IQDB_SNAPSHOT_BLOCK_AT_CRC);
		crc = iqdb_crc32c(crc, bytes + at + IQDB_SNAPSHOT_BLOCK_HEADER_SIZE, stored);
		iqdb_store_u32(bytes + at + IQDB_SNAPSHOT_BLOCK_AT_CRC, crc);
		chain = iqdb_crc32c(chain, bytes + at, IQDB_SNAPSHOT_BLOCK_HEADER_SIZE);
		at += IQDB_SNAPSHOT_BLOCK_HEADER_SIZE + stored;
	}
	memset(end, 0, IQDB_SNAPSHOT_END_SIZE);
	iqdb_store_u32(end + IQDB_SNAPSHOT_BLOCK_AT_RAW_LENGTH, 24);
	iqdb_store_u32(end + IQDB_SNAPSHOT_BLOCK_AT_STORED_LENGTH, 24);
	iqdb_store_u64(end + IQDB_SNAPSHOT_END_AT_BLOCK_COUNT, blocks);
	iqdb_store_u64(end + IQDB_SNAPSHOT_END_AT_RAW_BYTES, raw_bytes);
	iqdb_store_u32(end + IQDB_SNAPSHOT_END_AT_CHAIN_CRC, chain);
	memcpy(end + IQDB_SNAPSHOT_END_AT_HEADER_CRC, bytes + IQDB_SNAPSHOT_AT_HEADER_CRC, 4);
	crc = iqdb_crc32c(0, end, IQDB_SNAPSHOT_BLOCK_AT_CRC);
	crc = iqdb_crc32c(crc, end + IQDB_SNAPSHOT_BLOCK_HEADER_SIZE, 24);
	iqdb_store_u32(end + IQDB_SNAPSHOT_BLOCK_AT_CRC, crc);
}

/* A snapshot of one block, sealed: only the block itself can be wrong. */
static unsigned char *
one_block_file(uint16_t section, uint8_t scheme, uint64_t raw_length, const void *stored, size_t stored_length,
			   size_t *length_out)
{
	size_t             length =
		IQDB_SNAPSHOT_HEADER_SIZE + IQDB_SNAPSHOT_BLOCK_HEADER_SIZE + stored_length + IQDB_SNAPSHOT_END_SIZE;
	unsigned char     *bytes = calloc(1, length);
	unsigned char     *block = bytes + IQDB_SNAPSHOT_HEADER_SIZE;

	memcpy(bytes, "IQDBSNAP\1\0\0\0\0\2\0\0", 16);
	iqdb_store_u16(block, section);
	block[IQDB_SNAPSHOT_BLOCK_AT_SCHEME] = scheme;
	iqdb_store_u32(block + IQDB_SNAPSHOT_BLOCK_AT_RAW_LENGTH, (uint32_t) raw_length);
	iqdb_store_u32(block + IQDB_SNAPSHOT_BLOCK_AT_STORED_LENGTH, (uint32_t) stored_length);
	memcpy(block + IQDB_SNAPSHOT_BLOCK_HEADER_SIZE, stored, stored_length);
	seal(bytes, length, 1, raw_length, 1);
	*length_out = length;
	return bytes;
}

static void
one_block(uint16_t section, uint8_t scheme, uint64_t raw_length, const void *stored, size_t stored_length,
		  IqdbStatus expected)
{
	size_t         length;
	unsigned char *bytes = one_block_file(section, scheme, raw_length, stored, stored_length, &length);
	IqdbError      err;

	assert_int_equal(read_bytes(bytes, length, &err), expected);
	free(bytes);
}

static void
blocks_that_contradict_themselves_are_rejected(void **state)
{
	(void) state;
	one_block(1, 0, 3, "abc", 3, IQDB_OK);
	one_block(1, 0, 4, "abc", 3, IQDB_ERR_CORRUPT);
	one_block(1, 0, 2, "abc", 3, IQDB_ERR_CORRUPT);
	one_block(1, 0, 0, "", 0, IQDB_ERR_CORRUPT);
	one_block(1, 3, 3, "abc", 3, IQDB_ERR_CORRUPT);
	one_block(1, 255, 300, "abc", 3, IQDB_ERR_CORRUPT);
	one_block(1, IQDB_COMPRESSION_LZ4, 3, "abc", 3, IQDB_ERR_CORRUPT);
	for (int scheme = IQDB_COMPRESSION_LZ4; scheme <= IQDB_COMPRESSION_ZSTD; scheme++)
		one_block(1, (uint8_t) scheme, 300, "abc", 3, build_has(scheme) ? IQDB_ERR_CORRUPT : IQDB_ERR_UNSUPPORTED);
	one_block(0, 0, 24, "aaaaaaaabbbbbbbbccccdddd", 24, IQDB_ERR_CORRUPT);
	one_block(1, IQDB_COMPRESSION_LZ4, 0xFFFFFFFF, "abc", 3, IQDB_ERR_CORRUPT);
	one_block(1, IQDB_COMPRESSION_LZ4, IQDB_SNAPSHOT_BLOCK_RAW_MAX + 1, "abc", 3, IQDB_ERR_CORRUPT);
}

/* An allocator that refuses what a bomb would want. */
static void *
frugal_resize(void *arg, void *pointer, size_t old_size, size_t new_size)
{
	size_t *most = arg;

	if (new_size > *most)
		*most = new_size;
	return iqdb_allocator_libc.resize(NULL, pointer, old_size, new_size);
}

static void
decompression_bomb_claim_is_rejected(void **state)
{
#if !defined(IQDB_NO_ZSTD)
	size_t         huge = 64 * 1024 * 1024;
	void          *zeros = calloc(1, huge);
	size_t         capacity = ZSTD_compressBound(huge);
	void          *bomb = malloc(capacity);
	size_t         bomb_length = ZSTD_compress(bomb, capacity, zeros, huge, 3);
	size_t         most = 0;
	IqdbAllocator  allocator = {frugal_resize, &most};
	IoCrash       *fs = io_crash_create();
	unsigned char *bytes;
	size_t         length;

	assert_false(ZSTD_isError(bomb_length));
	/* the frame holds more than the block says; the block may say no more than its limit */
	one_block(1, IQDB_COMPRESSION_ZSTD, IQDB_SNAPSHOT_BLOCK_RAW_MAX, bomb, bomb_length, IQDB_ERR_CORRUPT);
	one_block(1, IQDB_COMPRESSION_ZSTD, huge, bomb, bomb_length, IQDB_ERR_CORRUPT);
	bytes = one_block_file(1, IQDB_COMPRESSION_ZSTD, IQDB_SNAPSHOT_BLOCK_RAW_MAX, bomb, bomb_length, &length);
	io_crash_put(fs, SNAPSHOT_PATH, bytes, length);
	{
		IqdbSnapshotReader *reader;

		assert_ok(iqdb_snapshot_reader_open(io_crash_io(fs), &allocator, SNAPSHOT_PATH, &reader, NULL));
		assert_int_equal(iqdb_snapshot_reader_finish(reader, NULL), IQDB_ERR_CORRUPT);
		iqdb_snapshot_reader_close(reader);
	}
	assert_true(most <= IQDB_SNAPSHOT_BLOCK_RAW_MAX);
	free(bytes);
	free(bomb);
	free(zeros);
	io_crash_destroy(fs);
#endif
	(void) state;
}

static void
blocks_that_inflate_to_less_or_more_are_rejected(void **state)
{
	static const char zeros[5000];
	char              stored[5000];
	size_t            length;

	(void) state;
	(void) zeros;
	(void) stored;
	(void) length;
#if !defined(IQDB_NO_ZSTD)
	length = ZSTD_compress(stored, sizeof(stored), zeros, 4000, 3);
	one_block(1, IQDB_COMPRESSION_ZSTD, 4000, stored, length, IQDB_OK);
	one_block(1, IQDB_COMPRESSION_ZSTD, 4001, stored, length, IQDB_ERR_CORRUPT);
	one_block(1, IQDB_COMPRESSION_ZSTD, 3999, stored, length, IQDB_ERR_CORRUPT);
	one_block(1, IQDB_COMPRESSION_ZSTD, 4000, stored, length - 1, IQDB_ERR_CORRUPT);
#endif
#if !defined(IQDB_NO_LZ4)
	length = (size_t) LZ4_compress_default(zeros, stored, 4000, sizeof(stored));
	one_block(1, IQDB_COMPRESSION_LZ4, 4000, stored, length, IQDB_OK);
	one_block(1, IQDB_COMPRESSION_LZ4, 4001, stored, length, IQDB_ERR_CORRUPT);
	one_block(1, IQDB_COMPRESSION_LZ4, 3999, stored, length, IQDB_ERR_CORRUPT);
	one_block(1, IQDB_COMPRESSION_LZ4, 4000, stored, length - 1, IQDB_ERR_CORRUPT);
#endif
}

static void
unused_byte_of_a_block_must_be_zero(void **state)
{
	size_t         length;
	unsigned char *bytes = one_block_file(1, 0, 3, "abc", 3, &length);

	(void) state;
	bytes[IQDB_SNAPSHOT_HEADER_SIZE + IQDB_SNAPSHOT_BLOCK_AT_ZERO] = 1;
	seal(bytes, length, 1, 3, 1);
	assert_rejected(bytes, length);
	free(bytes);
}

static void
header_counts_that_cannot_be_are_rejected(void **state)
{
	size_t         length;
	unsigned char *bytes = one_block_file(1, 0, 3, "abc", 3, &length);
	IqdbError      err;

	(void) state;
	assert_ok(read_bytes(bytes, length, &err));
	seal(bytes, length, 1, UINT64_MAX, 1);
	assert_rejected(bytes, length);
	seal(bytes, length, UINT64_MAX, 3, 1);
	assert_rejected(bytes, length);
	seal(bytes, length, 2, 3, 1);
	assert_rejected(bytes, length);
	seal(bytes, length, 1, 4, 1);
	assert_rejected(bytes, length);
	seal(bytes, length, 1, 2, 1);
	assert_rejected(bytes, length);
	seal(bytes, length, 1, 3, 0);
	assert_rejected(bytes, length);
	seal(bytes, length, 1, 3, 2);
	assert_rejected(bytes, length);
	bytes[100] = 1; /* a reserved byte, under a good checksum */
	seal(bytes, length, 1, 3, 1);
	assert_rejected(bytes, length);
	bytes[100] = 0;
	bytes[IQDB_SNAPSHOT_AT_IDENTITY + 5] = 1; /* behind an identity of no bytes */
	seal(bytes, length, 1, 3, 1);
	assert_rejected(bytes, length);
	bytes[IQDB_SNAPSHOT_AT_IDENTITY + 5] = 0;
	seal(bytes, length, 1, 3, 1);
	assert_ok(read_bytes(bytes, length, &err));
	free(bytes);
}

static void
blocks_swapped_doubled_or_borrowed_are_rejected(void **state)
{
	Sample         sample;
	size_t         length;
	unsigned char *bytes = sample_file(IQDB_COMPRESSION_NONE, 0, &length);
	unsigned char *other = malloc(length);
	unsigned char *at = other + IQDB_SNAPSHOT_HEADER_SIZE;
	unsigned char  block[56];
	unsigned char *donor;
	size_t         donor_length;
	IoCrash       *fs = io_crash_create();

	(void) state;
	/* sections 1 (40 bytes) and 2 (70 bytes) change places: each block is whole, the order is not */
	memcpy(other, bytes, length);
	memcpy(block, at, 56);
	memmove(at, at + 56, 86);
	memcpy(at + 86, block, 56);
	assert_rejected(other, length);

	/* same shape, other rows: one block of that file in this one */
	make_sample(&sample, 0, SEED);
	sample.bytes[0][0] ^= 1;
	write_sample(io_crash_io(fs), SNAPSHOT_PATH, TEMP_PATH, &sample, IQDB_COMPRESSION_NONE, 100);
	donor = copy_file(fs, SNAPSHOT_PATH, &donor_length);
	assert_int_equal(donor_length, length);
	memcpy(other, bytes, length);
	memcpy(at, donor + IQDB_SNAPSHOT_HEADER_SIZE, 56);
	assert_rejected(other, length);

	/* the header of one, the body of the other */
	memcpy(other, bytes, length);
	other[IQDB_SNAPSHOT_AT_IDENTITY] ^= 1;
	iqdb_store_u32(other + IQDB_SNAPSHOT_AT_HEADER_CRC, iqdb_crc32c(0, other, IQDB_SNAPSHOT_AT_HEADER_CRC));
	assert_rejected(other, length);
	free(donor);
	free(other);
	free(bytes);
	free_sample(&sample);
	io_crash_destroy(fs);
}

static void
wrong_magic_and_wrong_version_are_told_apart(void **state)
{
	size_t         length;
	unsigned char *bytes = sample_file(IQDB_COMPRESSION_NONE, 0, &length);
	IqdbError      err;

	(void) state;
	iqdb_store_u32(bytes + IQDB_SNAPSHOT_AT_VERSION, 2);
	assert_int_equal(read_bytes(bytes, length, &err), IQDB_ERR_VERSION);
	assert_int_equal(err.code, IQDB_ERR_VERSION);
	bytes[0] = 'X';
	assert_int_equal(read_bytes(bytes, length, &err), IQDB_ERR_CORRUPT);
	assert_int_equal(err.offset, 0);
	assert_int_equal(read_bytes((const unsigned char *) "#!/bin/sh\n", 10, &err), IQDB_ERR_CORRUPT);
	assert_int_equal(read_bytes((const unsigned char *) "", 0, &err), IQDB_ERR_CORRUPT);
	free(bytes);
}

static void
missing_snapshot_is_not_found(void **state)
{
	IoCrash            *fs = io_crash_create();
	IqdbSnapshotHeader  header;
	IqdbSnapshotReader *reader;
	IqdbError           err;

	(void) state;
	assert_int_equal(iqdb_snapshot_read_header(io_crash_io(fs), SNAPSHOT_PATH, &header, &err), IQDB_ERR_NOT_FOUND);
	assert_int_equal(
		iqdb_snapshot_reader_open(io_crash_io(fs), &iqdb_allocator_libc, SNAPSHOT_PATH, &reader, &err),
		IQDB_ERR_NOT_FOUND);
	iqdb_snapshot_reader_close(NULL);
	io_crash_destroy(fs);
}

/* ---- snapshots: streams ------------------------------------------------------------------------------------------ */

static IqdbSnapshotReader *
open_sample(IoCrash *fs, Sample *sample, size_t scale)
{
	IqdbSnapshotReader *reader;

	make_sample(sample, scale, SEED);
	write_sample(io_crash_io(fs), SNAPSHOT_PATH, TEMP_PATH, sample,
				 build_has(IQDB_COMPRESSION_LZ4) ? IQDB_COMPRESSION_LZ4 : IQDB_COMPRESSION_NONE, 77777);
	assert_ok(iqdb_snapshot_reader_open(io_crash_io(fs), &iqdb_allocator_libc, SNAPSHOT_PATH, &reader, NULL));
	return reader;
}

static void
stream_hands_out_exact_bytes_across_blocks(void **state)
{
	IoCrash            *fs = io_crash_create();
	Sample              sample;
	IqdbSnapshotReader *reader = open_sample(fs, &sample, 400000);
	IqdbSnapshotStream  stream;
	IqdbError           err;
	IqdbRng             rng;
	uint16_t            section;
	unsigned char      *bytes = malloc(300000);

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	iqdb_snapshot_stream_init(&stream, reader);
	assert_int_equal(iqdb_snapshot_stream_remaining(&stream), iqdb_snapshot_reader_header(reader)->raw_bytes);
	for (int i = 0; i < 4; i++)
	{
		for (size_t at = 0; at < sample.length[i];)
		{
			size_t part = iqdb_rng_below(&rng, 300000);

			if (part > sample.length[i] - at)
				part = sample.length[i] - at;
			assert_ok(iqdb_snapshot_stream_read(&stream, sample_sections[i], bytes, part, &err));
			assert_memory_equal(bytes, sample.bytes[i] + at, part);
			at += part;
			assert_ok(iqdb_snapshot_stream_peek(&stream, &section, &err));
			assert_int_equal(section, at < sample.length[i] ? sample_sections[i] : i < 3 ? sample_sections[i + 1] : 0);
		}
	}
	assert_int_equal(iqdb_snapshot_stream_remaining(&stream), 0);
	assert_ok(iqdb_snapshot_stream_read(&stream, 1, bytes, 0, &err));
	assert_ok(iqdb_snapshot_reader_finish(reader, &err));
	iqdb_snapshot_reader_close(reader);
	free(bytes);
	free_sample(&sample);
	io_crash_destroy(fs);
}

static void
stream_skips_sections_nobody_asks_for(void **state)
{
	IoCrash            *fs = io_crash_create();
	Sample              sample;
	IqdbSnapshotReader *reader = open_sample(fs, &sample, 1000);
	IqdbSnapshotStream  stream;
	IqdbError           err;
	unsigned char       bytes[8];

	(void) state;
	iqdb_snapshot_stream_init(&stream, reader);
	assert_ok(iqdb_snapshot_stream_read(&stream, 1, bytes, 8, &err));
	assert_memory_equal(bytes, sample.bytes[0], 8);
	assert_ok(iqdb_snapshot_stream_read(&stream, 900, bytes, 1, &err));
	assert_int_equal(bytes[0], sample.bytes[2][0]);
	assert_ok(iqdb_snapshot_reader_finish(reader, &err));
	iqdb_snapshot_reader_close(reader);
	free_sample(&sample);
	io_crash_destroy(fs);
}

static void
stream_beyond_its_section_is_corrupt(void **state)
{
	unsigned char bytes[2000];

	(void) state;
	for (int i = 0; i < 4; i++)
	{
		IoCrash            *fs = io_crash_create();
		Sample              sample;
		IqdbSnapshotReader *reader = open_sample(fs, &sample, 1000);
		IqdbSnapshotStream  stream;
		IqdbError           err;

		iqdb_snapshot_stream_init(&stream, reader);
		if (i == 0) /* section 1 has 1040 bytes here, and comes again later: that is another run */
			assert_int_equal(iqdb_snapshot_stream_read(&stream, 1, bytes, 1041, &err), IQDB_ERR_CORRUPT);
		else if (i == 1)
		{
			assert_ok(iqdb_snapshot_stream_read(&stream, 1, bytes, 1040, &err));
			assert_int_equal(iqdb_snapshot_stream_read(&stream, 1, bytes, 1, &err), IQDB_ERR_CORRUPT);
		}
		else if (i == 2)
			assert_int_equal(iqdb_snapshot_stream_read(&stream, 3, bytes, 1, &err), IQDB_ERR_CORRUPT);
		else
		{
			assert_ok(iqdb_snapshot_stream_read(&stream, 900, bytes, 1, &err));
			assert_int_equal(iqdb_snapshot_stream_read(&stream, 900, bytes, 1, &err), IQDB_ERR_CORRUPT);
		}
		assert_string_equal(err.file, SNAPSHOT_PATH);
		assert_int_equal(iqdb_snapshot_stream_read(&stream, 1, bytes, 1, &err), IQDB_ERR_STATE);
		assert_int_equal(iqdb_snapshot_reader_finish(reader, &err), IQDB_ERR_STATE);
		iqdb_snapshot_reader_close(reader);
		free_sample(&sample);
		io_crash_destroy(fs);
	}
}

/* ---- logs: samples ----------------------------------------------------------------------------------------------- */

#define LOG_PATH "d/index.log"
#define LOG_TEMP_PATH "d/index.log.tmp"

static const IqdbFsyncPolicy always = {IQDB_FSYNC_ALWAYS, 0};

static IqdbLogHeader
log_header(void)
{
	IqdbLogHeader header = {.start_position = 1000, .start_hash = 77, .identity_length = 5};

	memcpy(header.identity, "log 1", 5);
	return header;
}

/* Body of the frame with this position: its length and bytes follow from the number. */
static size_t
frame_body(uint64_t number, unsigned char *bytes, size_t capacity)
{
	size_t length = (size_t) (number * 37 % 90);

	assert_true(length <= capacity);
	for (size_t i = 0; i < length; i++)
		bytes[i] = (unsigned char) (number * 31 + i);
	return length;
}

static void
append_frames(IqdbLog *log, uint64_t from, uint64_t to)
{
	unsigned char body[128];
	IqdbError     err;

	for (uint64_t i = from; i < to; i++)
	{
		size_t length = frame_body(i, body, sizeof(body));

		assert_ok(iqdb_log_append(log, i, i * 3, (uint8_t) i, body, length, &err));
	}
}

/* Expects frames from, from + 1, ... and counts them. */
typedef struct Expectation
{
	uint64_t next;
} Expectation;

static IqdbStatus
expect_frame(void *arg, const IqdbLogFrame *frame, IqdbError *err)
{
	Expectation  *expectation = arg;
	unsigned char body[128];
	size_t        length = frame_body(expectation->next, body, sizeof(body));

	(void) err;
	assert_int_equal(frame->position, expectation->next);
	assert_int_equal(frame->hash, expectation->next * 3);
	assert_int_equal(frame->type, (uint8_t) expectation->next);
	assert_int_equal(frame->length, length);
	assert_memory_equal(frame->body, body, length);
	assert_int_equal(frame->end - frame->offset, iqdb_log_frame_size(length));
	expectation->next++;
	return IQDB_OK;
}

/* Scans; frames must be 0, 1, 2, ...; returns how many. */
static uint64_t
scan_frames(const IqdbIo *io, const char *path, IqdbLogScan *scan)
{
	Expectation expectation = {0};
	IqdbError   err;

	assert_ok(iqdb_log_scan(io, &iqdb_allocator_libc, path, expect_frame, &expectation, scan, &err));
	assert_int_equal(scan->frames, expectation.next);
	return expectation.next;
}

static IqdbLog *
create_log(IoCrash *fs, uint64_t frames)
{
	IqdbLogHeader header = log_header();
	IqdbLog      *log;
	IqdbError     err;

	assert_ok(iqdb_log_create(io_crash_io(fs), &iqdb_allocator_libc, LOG_PATH, LOG_TEMP_PATH, &header, always, &log,
							  &err));
	append_frames(log, 0, frames);
	assert_ok(iqdb_log_sync(log, 0, &err));
	return log;
}

static IqdbLog *
reopen_log(IoCrash *fs, const IqdbLogScan *scan)
{
	IqdbLogHeader header = log_header();
	IqdbLog      *log;
	IqdbError     err;

	assert_ok(
		iqdb_log_open_append(io_crash_io(fs), &iqdb_allocator_libc, LOG_PATH, scan, &header, always, &log, &err));
	return log;
}

/* ---- logs: what they promise ------------------------------------------------------------------------------------- */

static void
log_round_trips(void **state)
{
	IoCrash      *fs = io_crash_create();
	IqdbLog      *log = create_log(fs, 3000);
	IqdbLogScan   scan;
	IqdbLogHeader header;
	bool          blank;

	(void) state;
	assert_false(io_crash_exists(fs, LOG_TEMP_PATH));
	assert_int_equal(scan_frames(io_crash_io(fs), LOG_PATH, &scan), 3000);
	assert_false(scan.torn || scan.blank);
	assert_int_equal(scan.valid_end, scan.file_size);
	assert_int_equal(scan.valid_end, iqdb_log_end(log));
	assert_int_equal(iqdb_log_synced_end(log), iqdb_log_end(log));
	assert_int_equal(scan.header.start_position, 1000);
	assert_int_equal(scan.header.start_hash, 77);
	assert_int_equal(scan.header.identity_length, 5);
	assert_memory_equal(scan.header.identity, "log 1", 5);
	assert_ok(iqdb_log_read_header(io_crash_io(fs), LOG_PATH, &header, &blank, NULL));
	assert_false(blank);
	assert_int_equal(iqdb_log_seed(&header), scan.seed);
	iqdb_log_close(log);
	log = reopen_log(fs, &scan);
	append_frames(log, 3000, 3010);
	assert_ok(iqdb_log_flush(log, NULL));
	assert_int_equal(scan_frames(io_crash_io(fs), LOG_PATH, &scan), 3010);
	iqdb_log_close(log);
	iqdb_log_close(NULL);
	assert_int_equal(io_crash_open_handles(fs), 0);
	io_crash_destroy(fs);
}

static void
frames_encoded_by_hand_are_the_same_bytes(void **state)
{
	IoCrash             *fs = io_crash_create();
	IqdbLog             *log = create_log(fs, 0);
	IqdbLogHeader        header = log_header();
	unsigned char        bytes[IQDB_LOG_HEADER_SIZE];
	unsigned char        frame[200];
	IqdbLogPiece         pieces[4] = {{"ab", 2}, {NULL, 0}, {"cdefg", 5}, {"h", 1}};
	IqdbLogFrame         decoded;
	const unsigned char *content;
	size_t               length;
	size_t               file_length;

	(void) state;
	assert_ok(iqdb_log_append_v(log, 9, 8, 7, pieces, 4, NULL));
	assert_ok(iqdb_log_flush(log, NULL));
	assert_ok(iqdb_log_encode_header(&header, bytes, NULL));
	assert_ok(iqdb_log_encode_frame(iqdb_log_seed(&header), frame, sizeof(frame), 9, 8, 7, pieces, 4, &length, NULL));
	assert_int_equal(length, iqdb_log_frame_size(8));
	content = io_crash_content(fs, LOG_PATH, &file_length);
	assert_int_equal(file_length, sizeof(bytes) + length);
	assert_memory_equal(content, bytes, sizeof(bytes));
	assert_memory_equal(content + sizeof(bytes), frame, length);
	assert_true(iqdb_log_decode_frame(iqdb_log_seed(&header), frame, length, &decoded));
	assert_memory_equal(decoded.body, "abcdefgh", 8);
	assert_int_equal(decoded.end, length);
	for (size_t i = 0; i < length; i++)
	{
		assert_false(iqdb_log_decode_frame(iqdb_log_seed(&header), frame, i, &decoded));
		assert_int_equal(iqdb_log_encode_frame(1, frame, i, 9, 8, 7, pieces, 4, &file_length, NULL), IQDB_ERR_CONFIG);
		assert_int_equal(file_length, 0);
	}
	iqdb_log_close(log);
	io_crash_destroy(fs);
}

static void
entries_that_are_too_long_are_refused_before_a_byte_is_read(void **state)
{
	IoCrash      *fs = io_crash_create();
	IqdbLog      *log = create_log(fs, 2);
	IqdbLogPiece  pieces[2] = {{"x", 1}, {NULL, IQDB_LOG_BODY_MAX}};
	IqdbLogPiece  wrap[2] = {{NULL, SIZE_MAX}, {NULL, 2}};
	IqdbLogHeader header = log_header();
	unsigned char bytes[IQDB_LOG_HEADER_SIZE];
	IqdbLogScan   scan;
	size_t        length;

	(void) state;
	assert_int_equal(iqdb_log_append_v(log, 2, 6, 2, pieces, 2, NULL), IQDB_ERR_LIMIT);
	assert_int_equal(iqdb_log_append_v(log, 2, 6, 2, wrap, 2, NULL), IQDB_ERR_LIMIT);
	assert_int_equal(iqdb_log_append(log, 2, 6, 2, NULL, (size_t) IQDB_LOG_BODY_MAX + 1, NULL), IQDB_ERR_LIMIT);
	assert_int_equal(iqdb_log_encode_frame(0, bytes, sizeof(bytes), 0, 0, 0, wrap, 2, &length, NULL), IQDB_ERR_LIMIT);
	assert_int_equal(iqdb_log_frame_size(SIZE_MAX), 0);
	assert_int_equal(iqdb_log_frame_size(IQDB_LOG_BODY_MAX), (size_t) IQDB_LOG_BODY_MAX + 25);
	header.identity_length = IQDB_IDENTITY_MAX + 1;
	assert_int_equal(iqdb_log_encode_header(&header, bytes, NULL), IQDB_ERR_CONFIG);
	append_frames(log, 2, 5);
	assert_ok(iqdb_log_flush(log, NULL));
	assert_int_equal(scan_frames(io_crash_io(fs), LOG_PATH, &scan), 5);
	iqdb_log_close(log);
	io_crash_destroy(fs);
}

typedef struct LargeExpectation
{
	const unsigned char *bytes;
	size_t               lengths[8];
	size_t               count;
} LargeExpectation;

static IqdbStatus
expect_large(void *arg, const IqdbLogFrame *frame, IqdbError *err)
{
	LargeExpectation *expectation = arg;

	(void) err;
	assert_int_equal(frame->length, expectation->lengths[expectation->count]);
	assert_memory_equal(frame->body, expectation->bytes, frame->length);
	expectation->count++;
	return IQDB_OK;
}

/* Around the sizes of the write buffer (64 KiB) and the read window (256 KiB). */
static void
large_entries_pass_through_small_buffers(void **state)
{
	static const size_t lengths[8] = {65535, 65536 - 25, 65536, 3, 262144 - 25, 262144, 1000000, 0};
	IoCrash            *fs = io_crash_create();
	IqdbLog            *log = create_log(fs, 0);
	LargeExpectation    expectation = {0};
	unsigned char      *bytes = malloc(1000000);
	unsigned char      *copy;
	size_t              length;
	IqdbLogScan         scan;
	IqdbRng             rng;

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	for (size_t i = 0; i < 1000000; i++)
		bytes[i] = (unsigned char) iqdb_rng_next(&rng);
	for (int i = 0; i < 8; i++)
	{
		IqdbLogPiece pieces[3] = {{bytes, lengths[i] / 3}, {NULL, 0}, {NULL, 0}};

		pieces[1] = (IqdbLogPiece){bytes + pieces[0].length, lengths[i] / 2};
		pieces[2] = (IqdbLogPiece){bytes + pieces[0].length + pieces[1].length,
								   lengths[i] - pieces[0].length - pieces[1].length};
		assert_ok(iqdb_log_append_v(log, 1, 1, 1, pieces, 3, NULL));
	}
	assert_ok(iqdb_log_flush(log, NULL));
	expectation.bytes = bytes;
	memcpy(expectation.lengths, lengths, sizeof(lengths));
	assert_ok(iqdb_log_scan(io_crash_io(fs), &iqdb_allocator_libc, LOG_PATH, expect_large, &expectation, &scan, NULL));
	assert_int_equal(expectation.count, 8);
	assert_false(scan.torn);

	/* a byte of the large one changed: the scan ends before it, and has not asked for its size in memory */
	copy = copy_file(fs, LOG_PATH, &length);
	copy[length - 500] ^= 1;
	io_crash_put(fs, LOG_PATH, copy, length);
	expectation.count = 0;
	{
		size_t        most = 0;
		IqdbAllocator allocator = {frugal_resize, &most};

		assert_ok(iqdb_log_scan(io_crash_io(fs), &allocator, LOG_PATH, expect_large, &expectation, &scan, NULL));
		assert_true(most < 300000);
	}
	assert_int_equal(expectation.count, 6);
	assert_true(scan.torn);
	iqdb_log_close(log);
	free(copy);
	free(bytes);
	io_crash_destroy(fs);
}

/* ---- logs: torn and damaged -------------------------------------------------------------------------------------- */

static unsigned char *
log_file(uint64_t frames, size_t *length_out)
{
	IoCrash       *fs = io_crash_create();
	IqdbLog       *log = create_log(fs, frames);
	unsigned char *bytes = copy_file(fs, LOG_PATH, length_out);

	iqdb_log_close(log);
	io_crash_destroy(fs);
	return bytes;
}

/* Scans these bytes; a success has a prefix of the frames. *frames_out = how many. */
static IqdbStatus
scan_bytes(const unsigned char *bytes, size_t length, IqdbLogScan *scan)
{
	IoCrash    *fs = io_crash_create();
	Expectation expectation = {0};
	IqdbError   err = {0};
	IqdbStatus  status;

	io_crash_put(fs, LOG_PATH, bytes, length);
	status = iqdb_log_scan(io_crash_io(fs), &iqdb_allocator_libc, LOG_PATH, expect_frame, &expectation, scan, &err);
	if (status == IQDB_OK)
		assert_int_equal(scan->torn, scan->valid_end < length);
	else
		assert_string_equal(err.file, LOG_PATH);
	assert_int_equal(io_crash_open_handles(fs), 0);
	io_crash_destroy(fs);
	return status;
}

static void
every_truncation_of_a_log_recovers_cleanly(void **state)
{
	size_t         length;
	unsigned char *bytes = log_file(12, &length);

	(void) state;
	for (size_t cut = 0; cut <= length; cut++)
	{
		IoCrash    *fs = io_crash_create();
		IqdbLog    *log;
		IqdbLogScan scan;
		uint64_t    frames;

		io_crash_put(fs, LOG_PATH, bytes, cut);
		frames = scan_frames(io_crash_io(fs), LOG_PATH, &scan);
		assert_int_equal(scan.blank, cut < IQDB_LOG_HEADER_SIZE);
		assert_int_equal(scan.torn, scan.valid_end < cut);
		log = reopen_log(fs, &scan);
		append_frames(log, frames, frames + 3);
		assert_ok(iqdb_log_sync(log, 0, NULL));
		iqdb_log_close(log);
		/* what was synced after the recovery is still there after the next crash */
		io_crash_crash_dropping_all(fs);
		assert_int_equal(scan_frames(io_crash_io(fs), LOG_PATH, &scan), frames + 3);
		assert_false(scan.torn || scan.blank);
		io_crash_destroy(fs);
	}
	free(bytes);
}

static void
every_single_byte_flip_in_a_log_is_handled(void **state)
{
	size_t         length;
	unsigned char *bytes = log_file(12, &length);
	IqdbLogScan    scan;

	(void) state;
	for (size_t i = 0; i < length; i++)
	{
		for (unsigned pattern = 1; pattern < 256; pattern = pattern * 2 + 1)
		{
			IqdbStatus status;

			bytes[i] ^= (unsigned char) pattern;
			status = scan_bytes(bytes, length, &scan);
			if (i < IQDB_LOG_HEADER_SIZE)
				assert_true(status == IQDB_ERR_CORRUPT || status == IQDB_ERR_VERSION);
			else
			{
				assert_ok(status);
				assert_true(scan.torn && scan.frames < 12 && scan.valid_end <= i);
			}
			bytes[i] ^= (unsigned char) pattern;
		}
	}
	free(bytes);
}

static void
pseudo_random_garbage_as_a_log_is_handled(void **state)
{
	static unsigned char bytes[4096];
	size_t               length;
	unsigned char       *good = log_file(0, &length);
	IqdbRng              rng;
	IqdbLogScan          scan;

	(void) state;
	print_message("seed %llu\n", (unsigned long long) SEED);
	iqdb_rng_seed(&rng, SEED);
	for (int i = 0; i < 500; i++)
	{
		size_t size = iqdb_rng_below(&rng, sizeof(bytes));

		for (size_t k = 0; k < size; k++)
			bytes[k] = (unsigned char) iqdb_rng_next(&rng);
		if (i % 2 == 0 && size >= length)
		{
			memcpy(bytes, good, length);
			assert_ok(scan_bytes(bytes, size, &scan));
			assert_int_equal(scan.frames, 0);
		}
		else if (size > 0)
			assert_int_equal(scan_bytes(bytes, size, &scan), IQDB_ERR_CORRUPT);
	}
	free(good);
}

static void
zeros_are_no_frames(void **state)
{
	size_t         length;
	unsigned char *bytes = log_file(3, &length);
	unsigned char *longer = calloc(1, length + 10000);
	IqdbLogScan    scan;

	(void) state;
	memcpy(longer, bytes, length);
	assert_ok(scan_bytes(longer, length + 10000, &scan));
	assert_int_equal(scan.frames, 3);
	assert_int_equal(scan.valid_end, length);
	memset(longer, 0, length);
	assert_ok(scan_bytes(longer, length + 10000, &scan));
	assert_true(scan.blank);
	/* but a header of zeros before bytes that are not: somebody's data lost its header */
	longer[length + 9999] = 1;
	assert_int_equal(scan_bytes(longer, length + 10000, &scan), IQDB_ERR_CORRUPT);
	free(longer);
	free(bytes);
}

static void
short_file_that_is_no_log_is_left_alone(void **state)
{
	unsigned char bytes[600] = "a note to myself";
	IqdbLogScan   scan;

	(void) state;
	assert_int_equal(scan_bytes(bytes, 16, &scan), IQDB_ERR_CORRUPT);
	assert_int_equal(scan_bytes(bytes, 512, &scan), IQDB_ERR_CORRUPT);
	assert_int_equal(scan_bytes((const unsigned char *) "IQDB_LOB", 8, &scan), IQDB_ERR_CORRUPT);
	/* a later version's, even if it has no frames */
	memset(bytes, 0, sizeof(bytes));
	memcpy(bytes, "IQDB_LOG\2\0\0\0", 12);
	assert_int_equal(scan_bytes(bytes, 12, &scan), IQDB_ERR_VERSION);
	assert_int_equal(scan_bytes(bytes, 512, &scan), IQDB_ERR_VERSION);
	assert_int_equal(scan_bytes(bytes, 600, &scan), IQDB_ERR_VERSION);
}

static void
frames_of_another_log_are_not_frames_here(void **state)
{
	size_t         length;
	unsigned char *bytes = log_file(5, &length);
	IqdbLogHeader  header = log_header();
	IqdbLogScan    scan;

	(void) state;
	header.start_position++;
	assert_ok(iqdb_log_encode_header(&header, bytes, NULL));
	assert_ok(scan_bytes(bytes, length, &scan));
	assert_int_equal(scan.frames, 0);
	assert_true(scan.torn);
	free(bytes);
}

static void
host_may_accept_fewer_frames_than_are_valid(void **state)
{
	IoCrash    *fs = io_crash_create();
	IqdbLog    *log = create_log(fs, 4);
	uint64_t    mark = iqdb_log_end(log);
	IqdbLogScan scan;
	IqdbError   err;

	(void) state;
	append_frames(log, 4, 9);
	assert_ok(iqdb_log_sync(log, 0, NULL));
	iqdb_log_close(log);
	assert_int_equal(scan_frames(io_crash_io(fs), LOG_PATH, &scan), 9);
	scan.valid_end = mark;
	log = reopen_log(fs, &scan);
	assert_int_equal(iqdb_log_end(log), mark);
	io_crash_crash_dropping_all(fs);
	iqdb_log_close(log);
	assert_int_equal(scan_frames(io_crash_io(fs), LOG_PATH, &scan), 4);

	/* an end that cannot be, and a log that is another by now */
	scan.valid_end = scan.file_size + 1;
	assert_int_equal(iqdb_log_open_append(io_crash_io(fs), &iqdb_allocator_libc, LOG_PATH, &scan, NULL, always, &log,
										  &err),
					 IQDB_ERR_CONFIG);
	scan.valid_end = 4;
	assert_int_equal(iqdb_log_open_append(io_crash_io(fs), &iqdb_allocator_libc, LOG_PATH, &scan, NULL, always, &log,
										  &err),
					 IQDB_ERR_CONFIG);
	scan.valid_end = mark;
	scan.seed++;
	assert_int_equal(iqdb_log_open_append(io_crash_io(fs), &iqdb_allocator_libc, LOG_PATH, &scan, NULL, always, &log,
										  &err),
					 IQDB_ERR_STATE);
	assert_null(log);
	assert_int_equal(scan_frames(io_crash_io(fs), LOG_PATH, &scan), 4);
	io_crash_destroy(fs);
}

static IqdbStatus
refuse_third(void *arg, const IqdbLogFrame *frame, IqdbError *err)
{
	(void) arg;
	return frame->position == 2 ? iqdb_fail(err, IQDB_ERR_CANCELLED, "enough") : IQDB_OK;
}

static void
visitor_ends_the_scan_with_its_status(void **state)
{
	IoCrash    *fs = io_crash_create();
	IqdbLog    *log = create_log(fs, 4);
	IqdbLogScan scan;

	(void) state;
	assert_int_equal(iqdb_log_scan(io_crash_io(fs), &iqdb_allocator_libc, LOG_PATH, refuse_third, NULL, &scan, NULL),
					 IQDB_ERR_CANCELLED);
	assert_int_equal(scan.frames, 2);
	assert_ok(iqdb_log_scan(io_crash_io(fs), &iqdb_allocator_libc, LOG_PATH, NULL, NULL, &scan, NULL));
	assert_int_equal(scan.frames, 4);
	assert_int_equal(iqdb_log_scan(io_crash_io(fs), &iqdb_allocator_libc, "d/none", NULL, NULL, &scan, NULL),
					 IQDB_ERR_NOT_FOUND);
	iqdb_log_close(log);
	io_crash_destroy(fs);
}

static void
continued_appends_after_recovery_persist(void **state)
{
	size_t         length;
	unsigned char *bytes = log_file(6, &length);
	unsigned char *torn = malloc(length + 13);
	IoCrash       *fs = io_crash_create();
	IqdbLog       *log;
	IqdbLogScan    scan;
	uint64_t       frames = 6;

	(void) state;
	/* junk behind the frames; recovery, appends, crash without a clean close; again; again */
	memcpy(torn, bytes, length);
	memset(torn + length, 0xAB, 13);
	io_crash_put(fs, LOG_PATH, torn, length + 13);
	for (int round = 0; round < 3; round++)
	{
		assert_int_equal(scan_frames(io_crash_io(fs), LOG_PATH, &scan), frames);
		log = reopen_log(fs, &scan);
		append_frames(log, frames, frames + 2);
		assert_ok(iqdb_log_sync(log, 0, NULL));
		frames += 2;
		append_frames(log, frames, frames + 1);
		assert_ok(iqdb_log_flush(log, NULL));
		io_crash_crash_dropping_all(fs);
		iqdb_log_close(log);
	}
	assert_int_equal(scan_frames(io_crash_io(fs), LOG_PATH, &scan), frames);
	free(torn);
	free(bytes);
	io_crash_destroy(fs);
}

static void
frames_found_at_open_are_on_disk_when_it_returns(void **state)
{
	IoCrash    *fs = io_crash_create();
	IqdbLog    *log = create_log(fs, 2);
	IqdbLogScan scan;

	(void) state;
	/* a process is killed after a write that it did not sync: the next one finds the frames, and may show them */
	append_frames(log, 2, 4);
	assert_ok(iqdb_log_flush(log, NULL));
	iqdb_log_close(log);
	assert_int_equal(scan_frames(io_crash_io(fs), LOG_PATH, &scan), 4);
	log = reopen_log(fs, &scan);
	assert_int_equal(iqdb_log_synced_end(log), iqdb_log_end(log));
	io_crash_crash_dropping_all(fs);
	assert_int_equal(scan_frames(io_crash_io(fs), LOG_PATH, &scan), 4);
	iqdb_log_close(log);
	io_crash_destroy(fs);
}

/* ---- logs: marks, sync, creation --------------------------------------------------------------------------------- */

static void
truncate_to_takes_back_frames_in_buffer_and_file(void **state)
{
	IoCrash    *fs = io_crash_create();
	IqdbLog    *log = create_log(fs, 2);
	uint64_t    marks[3];
	IqdbLogScan scan;

	(void) state;
	marks[0] = iqdb_log_end(log);
	append_frames(log, 2, 4);
	assert_ok(iqdb_log_flush(log, NULL));
	marks[1] = iqdb_log_end(log);
	append_frames(log, 90, 92);
	assert_ok(iqdb_log_truncate_to(log, marks[1], NULL)); /* buffer only */
	append_frames(log, 4, 6);
	marks[2] = iqdb_log_end(log);
	append_frames(log, 80, 99);
	assert_ok(iqdb_log_flush(log, NULL));
	append_frames(log, 80, 83);
	assert_ok(iqdb_log_truncate_to(log, marks[2], NULL)); /* both */
	append_frames(log, 6, 8);
	assert_ok(iqdb_log_sync(log, 0, NULL));
	assert_int_equal(scan_frames(io_crash_io(fs), LOG_PATH, &scan), 8);
	assert_false(scan.torn);
	assert_ok(iqdb_log_truncate_to(log, marks[0], NULL)); /* synced frames */
	assert_int_equal(iqdb_log_synced_end(log), marks[0]);
	io_crash_crash_dropping_all(fs);
	assert_int_equal(scan_frames(io_crash_io(fs), LOG_PATH, &scan), 2);
	assert_int_equal(iqdb_log_truncate_to(log, marks[0] + 1, NULL), IQDB_ERR_CONFIG);
	assert_int_equal(iqdb_log_truncate_to(log, 511, NULL), IQDB_ERR_CONFIG);
	iqdb_log_close(log);
	io_crash_destroy(fs);
}

static void
sync_is_due_as_the_policy_says(void **state)
{
	static const IqdbFsyncPolicy periodic = {IQDB_FSYNC_PERIODIC, 100};
	static const IqdbFsyncPolicy never = {IQDB_FSYNC_NEVER, 0};
	IqdbLogHeader                header = log_header();
	IoCrash                     *fs = io_crash_create();
	IqdbLog                     *log;

	(void) state;
	log = create_log(fs, 0);
	assert_false(iqdb_log_sync_due(log, 5));
	append_frames(log, 0, 1);
	assert_true(iqdb_log_sync_due(log, 5));
	assert_ok(iqdb_log_sync(log, 5, NULL));
	assert_false(iqdb_log_sync_due(log, 50000));
	iqdb_log_close(log);

	assert_ok(iqdb_log_create(io_crash_io(fs), &iqdb_allocator_libc, "d/p", NULL, &header, periodic, &log, NULL));
	append_frames(log, 0, 1);
	assert_ok(iqdb_log_sync(log, 1000, NULL));
	assert_false(iqdb_log_sync_due(log, 9999));
	append_frames(log, 1, 2);
	assert_false(iqdb_log_sync_due(log, 1099));
	assert_true(iqdb_log_sync_due(log, 1100));
	assert_true(iqdb_log_sync_due(log, 10)); /* the clock was set back */
	iqdb_log_close(log);

	assert_ok(iqdb_log_create(io_crash_io(fs), &iqdb_allocator_libc, "d/n", NULL, &header, never, &log, NULL));
	append_frames(log, 0, 1);
	assert_false(iqdb_log_sync_due(log, UINT64_MAX));
	iqdb_log_close(log);
	io_crash_destroy(fs);
}

static void
sync_in_steps_covers_what_was_there_at_its_start(void **state)
{
	IoCrash    *fs = io_crash_create();
	IqdbLog    *log = create_log(fs, 1);
	IqdbLogSync ticket;
	IqdbLogSync second;
	uint64_t    mark;
	IqdbLogScan scan;

	(void) state;
	append_frames(log, 1, 3);
	assert_ok(iqdb_log_sync_start(log, &ticket, NULL));
	mark = iqdb_log_end(log);
	assert_int_equal(iqdb_log_sync_start(log, &second, NULL), IQDB_ERR_STATE);
	assert_ok(iqdb_log_sync_run(&ticket, NULL));
	append_frames(log, 3, 5);
	assert_ok(iqdb_log_flush(log, NULL));
	assert_ok(iqdb_log_sync_done(log, &ticket, IQDB_OK, 7));
	assert_int_equal(iqdb_log_synced_end(log), mark);
	assert_true(iqdb_log_sync_due(log, 7));

	/* while a ticket is out, nothing that is written can be taken back */
	assert_ok(iqdb_log_sync_start(log, &ticket, NULL));
	assert_ok(iqdb_log_sync_run(&ticket, NULL));
	assert_int_equal(iqdb_log_truncate_to(log, mark, NULL), IQDB_ERR_STATE);
	assert_ok(iqdb_log_sync_done(log, &ticket, IQDB_OK, 8));
	assert_ok(iqdb_log_truncate_to(log, mark, NULL));
	assert_int_equal(iqdb_log_synced_end(log), mark);
	assert_int_equal(scan_frames(io_crash_io(fs), LOG_PATH, &scan), 3);

	/* what run() says is final */
	append_frames(log, 3, 4);
	assert_ok(iqdb_log_sync_start(log, &ticket, NULL));
	assert_int_equal(iqdb_log_sync_done(log, &ticket, IQDB_ERR_IO, 9), IQDB_ERR_IO);
	assert_int_equal(iqdb_log_append(log, 4, 12, 4, "x", 1, NULL), IQDB_ERR_STATE);
	iqdb_log_close(log);
	io_crash_destroy(fs);
}

static void
creating_a_log_replaces_or_refuses(void **state)
{
	IoCrash      *fs = io_crash_create();
	IqdbLog      *old = create_log(fs, 5);
	IqdbLog      *log;
	IqdbLogHeader header = log_header();
	IqdbLogScan   scan;
	IqdbError     err;

	(void) state;
	assert_int_equal(
		iqdb_log_create(io_crash_io(fs), &iqdb_allocator_libc, LOG_PATH, NULL, &header, always, &log, &err),
		IQDB_ERR_DUPLICATE);
	assert_null(log);
	assert_int_equal(scan_frames(io_crash_io(fs), LOG_PATH, &scan), 5);
	header.start_position = 2000;
	assert_ok(iqdb_log_create(io_crash_io(fs), &iqdb_allocator_libc, LOG_PATH, LOG_TEMP_PATH, &header, always, &log,
							  &err));
	io_crash_crash_dropping_all(fs);
	assert_int_equal(scan_frames(io_crash_io(fs), LOG_PATH, &scan), 0);
	assert_int_equal(scan.header.start_position, 2000);
	assert_false(io_crash_exists(fs, LOG_TEMP_PATH));
	iqdb_log_close(old);
	iqdb_log_close(log);
	header.identity_length = 1000;
	assert_int_equal(
		iqdb_log_create(io_crash_io(fs), &iqdb_allocator_libc, "d/x", NULL, &header, always, &log, &err),
		IQDB_ERR_CONFIG);
	assert_false(io_crash_exists(fs, "d/x"));
	io_crash_destroy(fs);
}

/* ---- fixtures ---------------------------------------------------------------------------------------------------- */

/*
 * Files of every released format version stay readable for ever. The ones of the current version must also be what is
 * written today, as far as the compressors of other libraries allow. With IQDB_WRITE_FIXTURES set the files are made
 * anew: only right for a version that was never released.
 */
static const char *const snapshot_fixtures[3] = {
	"test/fixtures/snapshot-v1-none.iqdb",
	"test/fixtures/snapshot-v1-lz4.iqdb",
	"test/fixtures/snapshot-v1-zstd.iqdb",
};
static const char *const log_fixture = "test/fixtures/log-v1.iqdb";

static unsigned char *
read_fixture(const char *path, size_t *length_out)
{
	unsigned char *bytes = malloc(1 << 20);
	FILE          *file = fopen(path, "rb");

	assert_non_null(file);
	*length_out = fread(bytes, 1, 1 << 20, file);
	fclose(file);
	return bytes;
}

static void
write_fixture(const char *path, const unsigned char *bytes, size_t length)
{
	FILE *file;

	if (getenv("IQDB_WRITE_FIXTURES") == NULL)
		return;
	file = fopen(path, "wb");
	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, length, file), length);
	assert_int_equal(fclose(file), 0);
}

static void
snapshots_of_version_1_still_load(void **state)
{
	Sample sample;

	(void) state;
	make_sample(&sample, 3000, SEED);
	for (int scheme = 0; scheme < 3; scheme++)
	{
		IqdbSnapshotHeader header;
		IqdbError          err;
		unsigned char     *fixture;
		unsigned char     *today;
		size_t             fixture_length;
		size_t             today_length;

		if (!build_has(scheme))
		{
			assert_int_equal(read_snapshot(&iqdb_io_posix, snapshot_fixtures[scheme], NULL, &err),
							 IQDB_ERR_UNSUPPORTED);
			continue;
		}
		today = sample_file((IqdbCompression) scheme, 3000, &today_length);
		write_fixture(snapshot_fixtures[scheme], today, today_length);
		assert_ok(read_snapshot(&iqdb_io_posix, snapshot_fixtures[scheme], &sample, &err));
		assert_ok(iqdb_snapshot_read_header(&iqdb_io_posix, snapshot_fixtures[scheme], &header, &err));
		assert_int_equal(header.version, 1);
		assert_int_equal(header.row_count, 77);
		fixture = read_fixture(snapshot_fixtures[scheme], &fixture_length);
		if (scheme == IQDB_COMPRESSION_NONE)
		{
			assert_int_equal(fixture_length, today_length);
			assert_memory_equal(fixture, today, today_length);
		}
		free(fixture);
		free(today);
	}
	free_sample(&sample);
}

static void
logs_of_version_1_still_load(void **state)
{
	IqdbLogScan    scan;
	unsigned char *fixture;
	unsigned char *today;
	size_t         fixture_length;
	size_t         today_length;

	(void) state;
	today = log_file(20, &today_length);
	write_fixture(log_fixture, today, today_length);
	assert_int_equal(scan_frames(&iqdb_io_posix, log_fixture, &scan), 20);
	assert_false(scan.torn || scan.blank);
	fixture = read_fixture(log_fixture, &fixture_length);
	assert_int_equal(fixture_length, today_length);
	assert_memory_equal(fixture, today, today_length);
	free(fixture);
	free(today);
}

/* ---- on a real disk ---------------------------------------------------------------------------------------------- */

static void
snapshot_and_log_work_on_posix_files(void **state)
{
	Folder        folder;
	Sample        sample;
	IqdbLog      *log;
	IqdbLogHeader header = log_header();
	IqdbLogScan   scan;
	IqdbError     err;

	(void) state;
	make_folder(&folder);
	make_sample(&sample, 300000, SEED);
	write_sample(&iqdb_io_posix, folder.file, folder.other, &sample,
				 build_has(IQDB_COMPRESSION_ZSTD) ? IQDB_COMPRESSION_ZSTD : IQDB_COMPRESSION_NONE, 50000);
	assert_ok(read_snapshot(&iqdb_io_posix, folder.file, &sample, &err));
	assert_int_equal(access(folder.other, F_OK), -1);
	assert_ok(iqdb_log_create(&iqdb_io_posix, &iqdb_allocator_libc, folder.other, NULL, &header, always, &log, &err));
	append_frames(log, 0, 2000);
	assert_ok(iqdb_log_sync(log, 1, &err));
	append_frames(log, 2000, 2001);
	iqdb_log_close(log);
	assert_int_equal(scan_frames(&iqdb_io_posix, folder.other, &scan), 2000);
	assert_int_equal(truncate(folder.other, (off_t) scan.valid_end - 1), 0);
	assert_int_equal(scan_frames(&iqdb_io_posix, folder.other, &scan), 1999);
	assert_true(scan.torn);
	assert_ok(iqdb_log_open_append(&iqdb_io_posix, &iqdb_allocator_libc, folder.other, &scan, NULL, always, &log,
								   &err));
	append_frames(log, 1999, 2005);
	assert_ok(iqdb_log_sync(log, 2, &err));
	iqdb_log_close(log);
	assert_int_equal(scan_frames(&iqdb_io_posix, folder.other, &scan), 2005);
	free_sample(&sample);
	remove_folder(&folder);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crc32c_gives_the_published_values),
		cmocka_unit_test(crc32c_tables_hold_for_every_byte),
		cmocka_unit_test(crc32c_agrees_with_itself_at_every_length_and_split),
		cmocka_unit_test(numbers_are_little_endian_at_any_alignment),
		cmocka_unit_test(posix_files_do_what_the_interface_says),
		cmocka_unit_test(the_crashing_file_system_does_what_the_interface_says),
		cmocka_unit_test(folders_of_paths_are_found),
		cmocka_unit_test(plain_snapshot_round_trips),
		cmocka_unit_test(lz4_snapshot_round_trips),
		cmocka_unit_test(zstd_snapshot_round_trips),
		cmocka_unit_test(snapshot_with_no_section_round_trips),
		cmocka_unit_test(commit_may_bring_the_final_header),
		cmocka_unit_test(blocks_do_not_depend_on_how_writes_are_cut),
		cmocka_unit_test(compression_shrinks_a_compressible_snapshot),
		cmocka_unit_test(noise_is_stored_as_it_is),
		cmocka_unit_test(zstd_rejects_bad_level),
		cmocka_unit_test(scheme_that_this_build_lacks_is_unsupported),
		cmocka_unit_test(writer_refuses_misuse_for_good),
		cmocka_unit_test(abort_removes_the_temporary_file_and_keeps_the_old),
		cmocka_unit_test(temporary_file_is_not_a_snapshot_before_commit),
		cmocka_unit_test(every_single_byte_flip_in_a_snapshot_is_rejected),
		cmocka_unit_test(every_truncation_of_a_snapshot_is_rejected),
		cmocka_unit_test(pseudo_random_garbage_is_never_a_valid_snapshot),
		cmocka_unit_test(blocks_that_contradict_themselves_are_rejected),
		cmocka_unit_test(decompression_bomb_claim_is_rejected),
		cmocka_unit_test(blocks_that_inflate_to_less_or_more_are_rejected),
		cmocka_unit_test(unused_byte_of_a_block_must_be_zero),
		cmocka_unit_test(header_counts_that_cannot_be_are_rejected),
		cmocka_unit_test(blocks_swapped_doubled_or_borrowed_are_rejected),
		cmocka_unit_test(wrong_magic_and_wrong_version_are_told_apart),
		cmocka_unit_test(missing_snapshot_is_not_found),
		cmocka_unit_test(stream_hands_out_exact_bytes_across_blocks),
		cmocka_unit_test(stream_skips_sections_nobody_asks_for),
		cmocka_unit_test(stream_beyond_its_section_is_corrupt),
		cmocka_unit_test(log_round_trips),
		cmocka_unit_test(frames_encoded_by_hand_are_the_same_bytes),
		cmocka_unit_test(entries_that_are_too_long_are_refused_before_a_byte_is_read),
		cmocka_unit_test(large_entries_pass_through_small_buffers),
		cmocka_unit_test(every_truncation_of_a_log_recovers_cleanly),
		cmocka_unit_test(every_single_byte_flip_in_a_log_is_handled),
		cmocka_unit_test(pseudo_random_garbage_as_a_log_is_handled),
		cmocka_unit_test(zeros_are_no_frames),
		cmocka_unit_test(short_file_that_is_no_log_is_left_alone),
		cmocka_unit_test(frames_of_another_log_are_not_frames_here),
		cmocka_unit_test(host_may_accept_fewer_frames_than_are_valid),
		cmocka_unit_test(visitor_ends_the_scan_with_its_status),
		cmocka_unit_test(continued_appends_after_recovery_persist),
		cmocka_unit_test(frames_found_at_open_are_on_disk_when_it_returns),
		cmocka_unit_test(truncate_to_takes_back_frames_in_buffer_and_file),
		cmocka_unit_test(sync_is_due_as_the_policy_says),
		cmocka_unit_test(sync_in_steps_covers_what_was_there_at_its_start),
		cmocka_unit_test(creating_a_log_replaces_or_refuses),
		cmocka_unit_test(snapshots_of_version_1_still_load),
		cmocka_unit_test(logs_of_version_1_still_load),
		cmocka_unit_test(snapshot_and_log_work_on_posix_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
