/*
 * test_vector_file.c - files of vectors: each form and kind of number, rows in any order, and heads that lie.
 *
 * Files lie in a file system in memory (harness/io_crash.h).
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
#include "core/db/iqdb.h"
#include "harness/alloc_fault.h"
#include "harness/io_crash.h"

/* ---- files ---- */

typedef struct Bytes
{
	unsigned char at[64 * 1024];
	size_t        length;
} Bytes;

static void
add(Bytes *bytes, const void *from, size_t length)
{
	memcpy(bytes->at + bytes->length, from, length);
	bytes->length += length;
}

static void
add_u32(Bytes *bytes, uint32_t value)
{
	unsigned char four[4];

	iqdb_store_u32(four, value);
	add(bytes, four, 4);
}

static void
add_f32(Bytes *bytes, float value)
{
	unsigned char four[4];

	iqdb_store_f32(four, value);
	add(bytes, four, 4);
}

/* The head of an array of numpy's, as numpy writes it: filled with blanks to a multiple of 64 bytes. */
static void
add_npy_head(Bytes *bytes, int version, const char *dict)
{
	size_t        before = version > 1 ? 12 : 10;
	size_t        length = (before + strlen(dict) + 1 + 63) / 64 * 64 - before;
	unsigned char head[12] = "\x93NUMPY";

	head[6] = (unsigned char) version;
	iqdb_store_u32(head + 8, (uint32_t) length);
	add(bytes, head, before);
	memset(bytes->at + bytes->length, ' ', length);
	memcpy(bytes->at + bytes->length, dict, strlen(dict));
	bytes->at[bytes->length + length - 1] = '\n';
	bytes->length += length;
}

static void
write_file(IoCrash *fs, const char *name, const Bytes *bytes)
{
	const IqdbIo *io = io_crash_io(fs);
	intptr_t      handle;

	assert_int_equal(io->open(io->arg, name, IQDB_IO_WRITE | IQDB_IO_CREATE, &handle), 0);
	assert_int_equal(io->truncate(io->arg, handle, 0), 0);
	assert_int_equal(io->write(io->arg, handle, bytes->at, bytes->length, 0), 0);
	assert_int_equal(io->close(io->arg, handle), 0);
}

static IqdbStatus
open_bytes(IoCrash *fs, const char *name, const Bytes *bytes, IqdbVectorFile **file_out, IqdbError *err)
{
	write_file(fs, name, bytes);
	return iqdb_vector_file_open(name, IQDB_FILE_AUTO, io_crash_io(fs), NULL, file_out, err);
}

/* ---- forms ---- */

#define ROWS 700
#define DIM 9

/* The number at a place of the tests' files. */
static int
number_at(size_t row, size_t i)
{
	return (int) ((row * 7 + i * 3) % 120);
}

static void
must_hold_the_numbers(IqdbVectorFile *file)
{
	float  *floats = malloc(ROWS * DIM * sizeof(*floats));
	int64_t integers[2 * DIM];

	assert_non_null(floats);
	assert_int_equal(iqdb_vector_file_info(file).count, ROWS);
	assert_int_equal(iqdb_vector_file_info(file).dim, DIM);
	assert_int_equal(iqdb_vector_file_read(file, 0, ROWS, floats, NULL), IQDB_OK);
	for (size_t i = 0; i < ROWS * DIM; i++)
		assert_true(floats[i] == (float) number_at(i / DIM, i % DIM));
	/* from the middle, and the last */
	assert_int_equal(iqdb_vector_file_read(file, ROWS - 2, 2, floats, NULL), IQDB_OK);
	for (size_t i = 0; i < 2 * DIM; i++)
		assert_true(floats[i] == (float) number_at(ROWS - 2 + i / DIM, i % DIM));
	assert_int_equal(iqdb_vector_file_read(file, ROWS, 0, floats, NULL), IQDB_OK);
	assert_int_equal(iqdb_vector_file_read(file, ROWS - 1, 2, floats, NULL), IQDB_ERR_CONFIG);
	assert_int_equal(iqdb_vector_file_read(file, UINT64_MAX, 2, floats, NULL), IQDB_ERR_CONFIG);
	if (iqdb_vector_file_info(file).number <= IQDB_NUMBER_F64)
		assert_int_equal(iqdb_vector_file_read_integers(file, 0, 1, integers, NULL), IQDB_ERR_CONFIG);
	else
	{
		assert_int_equal(iqdb_vector_file_read_integers(file, 5, 2, integers, NULL), IQDB_OK);
		for (size_t i = 0; i < 2 * DIM; i++)
			assert_int_equal(integers[i], number_at(5 + i / DIM, i % DIM));
	}
	free(floats);
}

static void
each_form_is_read(void **state)
{
	static const char *const names[] = {"a.fvecs", "a.ivecs", "a.bvecs", "a.fbin"};
	IoCrash                 *fs = io_crash_create();
	static Bytes             bytes;
	IqdbVectorFile          *file;

	for (int form = 0; form < 4; form++)
	{
		bytes.length = 0;
		if (form == 3)
		{
			add_u32(&bytes, ROWS);
			add_u32(&bytes, DIM);
		}
		for (size_t row = 0; row < ROWS; row++)
		{
			if (form < 3)
				add_u32(&bytes, DIM);
			for (size_t i = 0; i < DIM; i++)
			{
				unsigned char byte = (unsigned char) number_at(row, i);

				if (form == 0 || form == 3)
					add_f32(&bytes, (float) number_at(row, i));
				else if (form == 1)
					add_u32(&bytes, (uint32_t) number_at(row, i));
				else
					add(&bytes, &byte, 1);
			}
		}
		assert_int_equal(open_bytes(fs, names[form], &bytes, &file, NULL), IQDB_OK);
		assert_int_equal(iqdb_vector_file_info(file).format, IQDB_FILE_FVECS + form);
		must_hold_the_numbers(file);
		iqdb_vector_file_close(file);
	}
	assert_int_equal(io_crash_open_handles(fs), 0);
	io_crash_destroy(fs);
}

/* A number in the kind's bytes; all that the tests use are the same number in each. */
static void
add_number(Bytes *bytes, int kind, int number)
{
	unsigned char eight[8] = {0};
	double        wide = number;
	uint64_t      bits;

	memcpy(&bits, &wide, sizeof(bits));
	if (kind == 0)
		iqdb_store_f32(eight, (float) number);
	else if (kind == 1) /* exact for whole numbers below 2048 */
		iqdb_store_u16(eight, (uint16_t) (number == 0 ? 0 : ((bits >> 52) - 1023 + 15) << 10 | ((bits >> 42) & 1023)));
	else
		iqdb_store_u64(eight, kind == 2 ? bits : (uint64_t) (int64_t) number);
	add(bytes, eight, (const size_t[]){4, 2, 8, 1, 1, 4, 8}[kind]);
}

static void
each_kind_of_array_is_read(void **state)
{
	static const char *const kinds[] = {"<f4", "<f2", "<f8", "|u1", "|i1", "<i4", "<i8"};
	IoCrash                 *fs = io_crash_create();
	static Bytes             bytes;
	IqdbVectorFile          *file;

	for (int kind = 0; kind < 7; kind++)
	{
		char dict[200];

		snprintf(dict, sizeof(dict), "{'descr': '%s', 'fortran_order': False, 'shape': (%d, %d), }", kinds[kind], ROWS, DIM);
		bytes.length = 0;
		add_npy_head(&bytes, 1 + kind % 3, dict);
		for (size_t i = 0; i < ROWS * DIM; i++)
			add_number(&bytes, kind, number_at(i / DIM, i % DIM));
		assert_int_equal(open_bytes(fs, "a.npy", &bytes, &file, NULL), IQDB_OK);
		assert_int_equal(iqdb_vector_file_info(file).number, kind);
		must_hold_the_numbers(file);
		iqdb_vector_file_close(file);
	}
	io_crash_destroy(fs);
}

/* ---- what cannot be ---- */

static void
must_refuse(IoCrash *fs, const char *name, const Bytes *bytes, IqdbStatus expected)
{
	IqdbVectorFile *file = (IqdbVectorFile *) fs;
	IqdbError       err;

	assert_int_equal(open_bytes(fs, name, bytes, &file, &err), expected);
	assert_null(file);
	if (expected == IQDB_ERR_CORRUPT)
		assert_string_equal(err.file, name);
}

static void
files_that_lie_are_refused(void **state)
{
	static const char *const bad[] = {
		"{'descr': '>f4', 'fortran_order': False, 'shape': (1, 2), }",
		"{'descr': '<f4', 'fortran_order': True, 'shape': (1, 2), }",
		"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }",
		"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 1), }",
		"{'descr': '<f4', 'fortran_order': False}", "{'shape': (1, 2)}", "",
		"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999, 2), }"};
	IoCrash        *fs = io_crash_create();
	static Bytes    bytes;
	IqdbVectorFile *file;
	float           row[2];
	IqdbError       err;

	/* no row is no fault, half a row is */
	bytes.length = 0;
	assert_int_equal(open_bytes(fs, "e.fvecs", &bytes, &file, NULL), IQDB_OK);
	assert_int_equal(iqdb_vector_file_info(file).count, 0);
	assert_int_equal(iqdb_vector_file_read(file, 0, 0, row, NULL), IQDB_OK);
	iqdb_vector_file_close(file);
	must_refuse(fs, "e.fbin", &bytes, IQDB_ERR_CORRUPT);
	must_refuse(fs, "e.npy", &bytes, IQDB_ERR_CORRUPT);
	must_refuse(fs, "e.csv", &bytes, IQDB_ERR_CONFIG);
	add_u32(&bytes, 2);
	add_f32(&bytes, 1);
	must_refuse(fs, "a.fvecs", &bytes, IQDB_ERR_CORRUPT);
	bytes.length = 0;
	add_u32(&bytes, UINT32_MAX);
	must_refuse(fs, "a.fvecs", &bytes, IQDB_ERR_CORRUPT);
	bytes.length = 0;
	add_u32(&bytes, 0);
	must_refuse(fs, "a.ivecs", &bytes, IQDB_ERR_CORRUPT);
	bytes.length = 0;
	add_u32(&bytes, UINT32_MAX);
	add_u32(&bytes, UINT32_MAX);
	must_refuse(fs, "a.fbin", &bytes, IQDB_ERR_CORRUPT);

	/* a row of another length, of the same file size */
	bytes.length = 0;
	for (uint32_t dim = 2; dim < 4; dim++)
	{
		add_u32(&bytes, dim);
		add_f32(&bytes, 1);
		add_f32(&bytes, 2);
	}
	assert_int_equal(open_bytes(fs, "b.fvecs", &bytes, &file, NULL), IQDB_OK);
	assert_int_equal(iqdb_vector_file_read(file, 0, 1, row, NULL), IQDB_OK);
	assert_int_equal(iqdb_vector_file_read(file, 1, 1, row, &err), IQDB_ERR_CORRUPT);
	assert_int_equal(err.offset, 12);
	iqdb_vector_file_close(file);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		bytes.length = 0;
		add_npy_head(&bytes, 1, bad[i]);
		add_f32(&bytes, 1);
		add_f32(&bytes, 2);
		must_refuse(fs, "a.npy", &bytes, IQDB_ERR_UNSUPPORTED);
	}
	bytes.length = 0;
	add_npy_head(&bytes, 4, "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 2), }");
	must_refuse(fs, "a.npy", &bytes, IQDB_ERR_VERSION);
	bytes.at[0] = 'x';
	must_refuse(fs, "a.npy", &bytes, IQDB_ERR_CORRUPT);
	assert_int_equal(iqdb_vector_file_open("none.npy", IQDB_FILE_AUTO, io_crash_io(fs), NULL, &file, NULL),
					 IQDB_ERR_NOT_FOUND);
	assert_int_equal(io_crash_open_handles(fs), 0);
	io_crash_destroy(fs);
}

/* Bytes at random, and good files with a few bytes changed: refused or read, never more than there is. */
static void
garbled_files_do_no_harm(void **state)
{
	static const char *const names[] = {"a.fvecs", "a.ivecs", "a.bvecs", "a.fbin", "a.npy"};
	IoCrash                 *fs = io_crash_create();
	static Bytes             bytes;
	size_t                   opened = 0;
	IqdbRng                  rng;

	iqdb_rng_seed(&rng, 77);
	for (int round = 0; round < 3000; round++)
	{
		int             form = round % 5;
		IqdbVectorFile *file;

		bytes.length = 0;
		if (form == 4)
			add_npy_head(&bytes, 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }");
		if (form == 3)
			add_u32(&bytes, 3);
		for (int row = 0; row < 3; row++)
		{
			if (form < 3 || (form == 3 && row == 0))
				add_u32(&bytes, 2);
			add_f32(&bytes, 1);
			add_f32(&bytes, 2);
		}
		for (uint64_t changes = iqdb_rng_below(&rng, 3); changes > 0; changes--)
			bytes.at[iqdb_rng_below(&rng, bytes.length)] = (unsigned char) iqdb_rng_below(&rng, 256);
		if (iqdb_rng_below(&rng, 8) == 0)
			bytes.length = iqdb_rng_below(&rng, bytes.length);
		if (open_bytes(fs, names[form], &bytes, &file, NULL) != IQDB_OK)
			continue;
		opened++;
		for (uint64_t row = 0; row < iqdb_vector_file_info(file).count; row++)
		{
			float     *floats = malloc(iqdb_vector_file_info(file).dim * sizeof(float) + 1);
			IqdbStatus status = iqdb_vector_file_read(file, row, 1, floats, NULL);

			assert_true(status == IQDB_OK || status == IQDB_ERR_CORRUPT);
			free(floats);
		}
		iqdb_vector_file_close(file);
	}
	assert_true(opened > 500);
	io_crash_destroy(fs);
}

static void
without_memory_nothing_stays_open(void **state)
{
	IoCrash        *fs = io_crash_create();
	static Bytes    bytes;
	AllocFault      allocs;
	IqdbVectorFile *file;

	add_u32(&bytes, 1);
	add_f32(&bytes, 1);
	write_file(fs, "a", &bytes);
	alloc_fault_init(&allocs);
	for (uint64_t n = 1; n <= 2; n++)
	{
		alloc_fault_arm(&allocs, n);
		assert_int_equal(iqdb_vector_file_open("a", IQDB_FILE_FVECS, io_crash_io(fs), &allocs.allocator, &file, NULL),
						 IQDB_ERR_NOMEM);
		assert_null(file);
		assert_int_equal(allocs.blocks, 0);
	}
	alloc_fault_arm(&allocs, 0);
	assert_int_equal(iqdb_vector_file_open("a", IQDB_FILE_FVECS, io_crash_io(fs), &allocs.allocator, &file, NULL), IQDB_OK);
	iqdb_vector_file_close(file);
	iqdb_vector_file_close(NULL);
	assert_int_equal(allocs.blocks, 0);
	assert_int_equal(io_crash_open_handles(fs), 0);
	io_crash_destroy(fs);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_form_is_read),
		cmocka_unit_test(each_kind_of_array_is_read),
		cmocka_unit_test(files_that_lie_are_refused),
		cmocka_unit_test(garbled_files_do_no_harm),
		cmocka_unit_test(without_memory_nothing_stays_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
