/*
 * vector_file.c - reading files of vectors in the forms that data sets come in: .fvecs, .ivecs, .bvecs, .fbin, .npy.
 *
 * Owns: the heads of these files, and how their numbers become floats or integers. Nothing in a file is believed: what its
 * head says is compared with its length before a row is read, and rows of .fvecs and its kin, each of which says its own
 * length, must all say the same.
 *
 *   .fvecs .ivecs .bvecs   each row: u32 dimension, then so many floats, int32 or bytes
 *   .fbin                  u32 rows, u32 dimension, then floats
 *   .npy                   "\x93NUMPY", version, length of the head, a head in Python's words, then numbers in C's order
 *
 * All of them little-endian.
 */
#include "core/base/endian.h"
#include "core/base/io_posix.h"
#include "core/base/mem.h"
#include "core/vec/half.h"

#include <stdio.h>
#include <string.h>

#define DIMENSION_MAX (UINT32_C(1) << 20)
#define NPY_MAGIC "\x93NUMPY"
#define NPY_MAGIC_SIZE 6
#define NPY_HEAD_MAX 4096

/* Rows are read through a buffer of about so many bytes, one row at least. */
#define BUFFER_SIZE ((size_t) 256 * 1024)

struct IqdbVectorFile
{
	IqdbAllocator      allocator;
	IqdbIo             io;
	IqdbFile           file;
	IqdbVectorFileInfo info;
	uint64_t           start;    /* of the first row */
	size_t             row_head; /* bytes in front of each row: 4 or 0 */
	size_t             row_size; /* head and numbers */
	size_t             number_size;
	unsigned char     *buffer;
	size_t             buffer_size;
	size_t             size;     /* of this allocation, the path behind it included */
	char               path[];
};

/* ---- forms ---- */

static const struct
{
	const char      *suffix;
	IqdbFileFormat   format;
	IqdbFileNumber   number;
} forms[] = {
	{".fvecs", IQDB_FILE_FVECS, IQDB_NUMBER_F32},
	{".ivecs", IQDB_FILE_IVECS, IQDB_NUMBER_I32},
	{".bvecs", IQDB_FILE_BVECS, IQDB_NUMBER_U8},
	{".fbin", IQDB_FILE_FBIN, IQDB_NUMBER_F32},
	{".npy", IQDB_FILE_NPY, IQDB_NUMBER_F32}, /* its head says what */
};

#define FORM_COUNT (sizeof(forms) / sizeof(forms[0]))

static const size_t number_sizes[] = {
	[IQDB_NUMBER_F32] = 4, [IQDB_NUMBER_F16] = 2, [IQDB_NUMBER_F64] = 8, [IQDB_NUMBER_U8] = 1,
	[IQDB_NUMBER_I8] = 1,  [IQDB_NUMBER_I32] = 4, [IQDB_NUMBER_I64] = 8,
};

static bool
ends_with(const char *path, const char *suffix)
{
	size_t length = strlen(path);
	size_t end = strlen(suffix);

	return length > end && memcmp(path + length - end, suffix, end) == 0;
}

static IqdbStatus
find_form(const char *path, IqdbFileFormat format, IqdbVectorFileInfo *info_out, IqdbError *err)
{
	for (size_t i = 0; i < FORM_COUNT; i++)
	{
		if (format == IQDB_FILE_AUTO ? !ends_with(path, forms[i].suffix) : forms[i].format != format)
			continue;
		info_out->format = forms[i].format;
		info_out->number = forms[i].number;
		return IQDB_OK;
	}
	return iqdb_fail(err, IQDB_ERR_CONFIG, "the form of the file is unknown: name it, or end its name in .fvecs, .ivecs, "
					 ".bvecs, .fbin or .npy");
}

/* The head says so many rows of this dimension from start on: is the file as long as that, neither shorter nor longer? */
static IqdbStatus
set_shape(IqdbVectorFile *file, uint64_t count, uint64_t dim, uint64_t start, uint64_t file_size, IqdbError *err)
{
	uint64_t bytes;

	if (dim > DIMENSION_MAX || (dim == 0 && count > 0))
		return iqdb_fail_corrupt(err, file->path, 0, "vectors of %llu numbers", (unsigned long long) dim);
	file->row_size = file->row_head + (size_t) dim * file->number_size;
	if (start > file_size || __builtin_mul_overflow(count, (uint64_t) file->row_size, &bytes) || bytes != file_size - start)
		return iqdb_fail_corrupt(err, file->path, file_size, "%llu rows of %llu numbers do not make up the file",
								 (unsigned long long) count, (unsigned long long) dim);
	file->start = start;
	file->info.count = count;
	file->info.dim = (uint32_t) dim;
	return IQDB_OK;
}

/* ---- heads ---- */

static IqdbStatus
read_vecs_head(IqdbVectorFile *file, uint64_t file_size, IqdbError *err)
{
	unsigned char head[4];
	uint32_t      dim;

	file->row_head = sizeof(head);
	if (file_size == 0)
		return IQDB_OK;
	IQDB_TRY(iqdb_file_read_exact(&file->file, head, sizeof(head), 0, err));
	dim = iqdb_load_u32(head);
	if (dim == 0 || dim > DIMENSION_MAX)
		return iqdb_fail_corrupt(err, file->path, 0, "vectors of %u numbers", dim);
	return set_shape(file, file_size / (sizeof(head) + dim * file->number_size), dim, 0, file_size, err);
}

static IqdbStatus
read_bin_head(IqdbVectorFile *file, uint64_t file_size, IqdbError *err)
{
	unsigned char head[8];

	IQDB_TRY(iqdb_file_read_exact(&file->file, head, sizeof(head), 0, err));
	return set_shape(file, iqdb_load_u32(head), iqdb_load_u32(head + 4), sizeof(head), file_size, err);
}

/* The text behind a key of the head, blanks left out; NULL when there is none. The text ends in a NUL. */
static const char *
npy_value(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	if (at == NULL)
		return NULL;
	at += strlen(key);
	at += strspn(at, " ");
	if (*at != ':')
		return NULL;
	at++;
	return at + strspn(at, " ");
}

/* A number of digits; *at is then behind it and what separates it from the next. */
static bool
npy_number(const char **at, uint64_t *value_out)
{
	const char *digit = *at;

	*value_out = 0;
	for (; *digit >= '0' && *digit <= '9'; digit++)
	{
		if (*value_out > UINT64_MAX / 16)
			return false;
		*value_out = *value_out * 10 + (uint64_t) (*digit - '0');
	}
	if (digit == *at)
		return false;
	digit += strspn(digit, " ");
	digit += *digit == ',';
	*at = digit + strspn(digit, " ");
	return true;
}

static bool
npy_kind(const char *descr, IqdbFileNumber *number_out)
{
	static const struct
	{
		const char    *descr;
		IqdbFileNumber number;
	} kinds[] = {
		{"'<f4'", IQDB_NUMBER_F32}, {"'<f2'", IQDB_NUMBER_F16}, {"'<f8'", IQDB_NUMBER_F64}, {"'|u1'", IQDB_NUMBER_U8},
		{"'|i1'", IQDB_NUMBER_I8},  {"'<i4'", IQDB_NUMBER_I32}, {"'<i8'", IQDB_NUMBER_I64},
	};

	for (size_t i = 0; descr != NULL && i < sizeof(kinds) / sizeof(kinds[0]); i++)
	{
		if (strncmp(descr, kinds[i].descr, strlen(kinds[i].descr)) != 0)
			continue;
		*number_out = kinds[i].number;
		return true;
	}
	return false;
}

static IqdbStatus
parse_npy_head(IqdbVectorFile *file, const char *text, uint64_t start, uint64_t file_size, IqdbError *err)
{
	const char *order = npy_value(text, "'fortran_order'");
	const char *shape = npy_value(text, "'shape'");
	uint64_t    count;
	uint64_t    dim;

	if (!npy_kind(npy_value(text, "'descr'"), &file->info.number))
		return iqdb_fail(err, IQDB_ERR_UNSUPPORTED,
						 "the array's numbers are none of f4, f2, f8, u1, i1, i4, i8, little-endian");
	if (order == NULL || strncmp(order, "False", 5) != 0)
		return iqdb_fail(err, IQDB_ERR_UNSUPPORTED, "the array is stored by columns");
	if (shape == NULL || *shape++ != '(' || !npy_number(&shape, &count) || !npy_number(&shape, &dim) || *shape != ')')
		return iqdb_fail(err, IQDB_ERR_UNSUPPORTED, "the array has not two dimensions");
	file->number_size = number_sizes[file->info.number];
	return set_shape(file, count, dim, start, file_size, err);
}

static IqdbStatus
read_npy_head(IqdbVectorFile *file, uint64_t file_size, IqdbError *err)
{
	unsigned char head[12];
	char          text[NPY_HEAD_MAX + 1];
	size_t        length;
	size_t        start = NPY_MAGIC_SIZE + 2 + 2;

	IQDB_TRY(iqdb_file_read_exact(&file->file, head, start, 0, err));
	if (memcmp(head, NPY_MAGIC, NPY_MAGIC_SIZE) != 0)
		return iqdb_fail_corrupt(err, file->path, 0, "no array of numpy");
	length = iqdb_load_u16(head + NPY_MAGIC_SIZE + 2);
	/* from version 2 on the length has four bytes */
	if (head[NPY_MAGIC_SIZE] > 1)
	{
		start += 2;
		IQDB_TRY(iqdb_file_read_exact(&file->file, head, start, 0, err));
		length = iqdb_load_u32(head + NPY_MAGIC_SIZE + 2);
	}
	if (head[NPY_MAGIC_SIZE] == 0 || head[NPY_MAGIC_SIZE] > 3)
		return iqdb_fail(err, IQDB_ERR_VERSION, "arrays of numpy's version %d are not known", head[NPY_MAGIC_SIZE]);
	if (length > NPY_HEAD_MAX)
		return iqdb_fail_corrupt(err, file->path, start, "a head of %zu bytes", length);
	IQDB_TRY(iqdb_file_read_exact(&file->file, text, length, start, err));
	text[length] = '\0';
	return parse_npy_head(file, text, start + length, file_size, err);
}

static IqdbStatus
read_head(IqdbVectorFile *file, IqdbError *err)
{
	uint64_t file_size;

	IQDB_TRY(iqdb_file_size(&file->file, &file_size, err));
	file->number_size = number_sizes[file->info.number];
	switch (file->info.format)
	{
		case IQDB_FILE_FBIN:
			return read_bin_head(file, file_size, err);
		case IQDB_FILE_NPY:
			return read_npy_head(file, file_size, err);
		default:
			return read_vecs_head(file, file_size, err);
	}
}

/* ---- opening ---- */

void
iqdb_vector_file_close(IqdbVectorFile *file)
{
	IqdbAllocator allocator;
	IqdbStatus    ignored;

	if (file == NULL)
		return;
	allocator = file->allocator;
	/* nothing was written that could be lost */
	ignored = iqdb_file_close(&file->file, NULL);
	(void) ignored;
	iqdb_free(&allocator, file->buffer, file->buffer_size);
	iqdb_free(&allocator, file, file->size);
}

static IqdbStatus
open_parts(IqdbVectorFile *file, IqdbFileFormat format, IqdbError *err)
{
	IQDB_TRY(find_form(file->path, format, &file->info, err));
	IQDB_TRY(iqdb_file_open(&file->io, file->path, 0, &file->file, err));
	IQDB_TRY(read_head(file, err));
	if (file->row_size == 0)
		return IQDB_OK;
	file->buffer_size = file->row_size < BUFFER_SIZE ? BUFFER_SIZE / file->row_size * file->row_size : file->row_size;
	file->buffer = iqdb_alloc(&file->allocator, file->buffer_size);
	if (file->buffer == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for rows of a file");
	return IQDB_OK;
}

IqdbStatus
iqdb_vector_file_open(const char *path, IqdbFileFormat format, const IqdbIo *io, const IqdbAllocator *allocator,
					  IqdbVectorFile **file_out, IqdbError *err)
{
	const IqdbAllocator *memory = allocator != NULL ? allocator : &iqdb_allocator_libc;
	size_t               size = sizeof(IqdbVectorFile) + strlen(path) + 1;
	IqdbVectorFile      *file = iqdb_alloc_zero(memory, size);
	IqdbStatus           status;

	*file_out = NULL;
	if (file == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a file");
	file->allocator = *memory;
	file->io = io != NULL ? *io : iqdb_io_posix;
	file->size = size;
	memcpy(file->path, path, strlen(path) + 1);
	status = open_parts(file, format, err);
	if (status != IQDB_OK)
	{
		iqdb_vector_file_close(file);
		return status;
	}
	*file_out = file;
	return IQDB_OK;
}

IqdbVectorFileInfo
iqdb_vector_file_info(const IqdbVectorFile *file)
{
	return file->info;
}

/* ---- rows ---- */

static double
load_f64(const unsigned char *bytes)
{
	uint64_t bits = iqdb_load_u64(bytes);
	double   value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

static void
to_floats(const IqdbVectorFile *file, const unsigned char *numbers, float *floats)
{
	for (uint32_t i = 0; i < file->info.dim; i++, numbers += file->number_size)
	{
		switch (file->info.number)
		{
			case IQDB_NUMBER_F32:
				floats[i] = iqdb_load_f32(numbers);
				break;
			case IQDB_NUMBER_F16:
				floats[i] = iqdb_half_widen(iqdb_load_u16(numbers));
				break;
			case IQDB_NUMBER_F64:
				floats[i] = (float) load_f64(numbers);
				break;
			case IQDB_NUMBER_U8:
				floats[i] = (float) numbers[0];
				break;
			case IQDB_NUMBER_I8:
				floats[i] = (float) (int8_t) numbers[0];
				break;
			case IQDB_NUMBER_I32:
				floats[i] = (float) (int32_t) iqdb_load_u32(numbers);
				break;
			case IQDB_NUMBER_I64:
				floats[i] = (float) (int64_t) iqdb_load_u64(numbers);
				break;
		}
	}
}

static void
to_integers(const IqdbVectorFile *file, const unsigned char *numbers, int64_t *integers)
{
	for (uint32_t i = 0; i < file->info.dim; i++, numbers += file->number_size)
	{
		switch (file->info.number)
		{
			case IQDB_NUMBER_U8:
				integers[i] = numbers[0];
				break;
			case IQDB_NUMBER_I8:
				integers[i] = (int8_t) numbers[0];
				break;
			case IQDB_NUMBER_I32:
				integers[i] = (int32_t) iqdb_load_u32(numbers);
				break;
			case IQDB_NUMBER_I64:
				integers[i] = (int64_t) iqdb_load_u64(numbers);
				break;
			default:
				integers[i] = 0;
				break;
		}
	}
}

/* The rows of one buffer, as floats or as integers; the other is NULL. */
static IqdbStatus
convert_rows(const IqdbVectorFile *file, uint64_t first, size_t count, float *floats, int64_t *integers, IqdbError *err)
{
	for (size_t i = 0; i < count; i++)
	{
		const unsigned char *row = file->buffer + i * file->row_size;

		if (file->row_head > 0 && iqdb_load_u32(row) != file->info.dim)
			return iqdb_fail_corrupt(err, file->path, file->start + (first + i) * file->row_size,
									 "a vector of %u numbers among those of %u", iqdb_load_u32(row), file->info.dim);
		if (floats != NULL)
			to_floats(file, row + file->row_head, floats + i * file->info.dim);
		else
			to_integers(file, row + file->row_head, integers + i * file->info.dim);
	}
	return IQDB_OK;
}

static IqdbStatus
read_rows(IqdbVectorFile *file, uint64_t first, size_t count, float *floats, int64_t *integers, IqdbError *err)
{
	if (first > file->info.count || count > file->info.count - first)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "the file has %llu rows, none with number %llu",
						 (unsigned long long) file->info.count, (unsigned long long) first + count);
	while (count > 0)
	{
		size_t some = file->buffer_size / file->row_size < count ? file->buffer_size / file->row_size : count;

		IQDB_TRY(iqdb_file_read_exact(&file->file, file->buffer, some * file->row_size, file->start + first * file->row_size,
									  err));
		IQDB_TRY(convert_rows(file, first, some, floats, integers, err));
		first += some;
		count -= some;
		if (floats != NULL)
			floats += some * file->info.dim;
		else
			integers += some * file->info.dim;
	}
	return IQDB_OK;
}

IqdbStatus
iqdb_vector_file_read(IqdbVectorFile *file, uint64_t first, size_t count, float *floats_out, IqdbError *err)
{
	return read_rows(file, first, count, floats_out, NULL, err);
}

IqdbStatus
iqdb_vector_file_read_integers(IqdbVectorFile *file, uint64_t first, size_t count, int64_t *integers_out, IqdbError *err)
{
	if (file->info.number <= IQDB_NUMBER_F64)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "the file holds floats, not integers");
	return read_rows(file, first, count, NULL, integers_out, err);
}
