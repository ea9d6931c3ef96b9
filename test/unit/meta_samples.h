/*
 * meta_samples.h - what the tests of metadata and of filters share: sample maps, and an allocator that can refuse.
 */
#ifndef IQDB_TEST_META_SAMPLES_H
#define IQDB_TEST_META_SAMPLES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "core/meta/metadata.h"

static const IqdbAllocator *const libc = &iqdb_allocator_libc;

/* ---- an allocator that counts, checks sizes, and can refuse ---- */

typedef struct Accounts
{
	size_t bytes;
	int    left; /* allocations still granted; negative = any number */
} Accounts;

static inline void *
accounted_resize(void *arg, void *pointer, size_t old_size, size_t new_size)
{
	Accounts *accounts = arg;
	size_t   *block = pointer != NULL ? (size_t *) ((char *) pointer - 16) : NULL;

	if (block != NULL)
		assert_int_equal(*block, old_size);
	else
		assert_int_equal(old_size, 0);
	if (new_size > 0 && accounts->left == 0)
		return NULL;
	if (new_size > 0 && accounts->left > 0)
		accounts->left--;
	accounts->bytes -= old_size;
	accounts->bytes += new_size;
	if (new_size == 0)
	{
		free(block);
		return NULL;
	}
	block = realloc(block, new_size + 16);
	assert_non_null(block);
	*block = new_size;
	return (char *) block + 16;
}

/* ---- values and maps ---- */

static inline IqdbValue
text_value(const char *text)
{
	return iqdb_value_string(text, (uint32_t) strlen(text));
}

static inline void
put(IqdbMetadataBuilder *builder, const char *key, IqdbValue value)
{
	assert_int_equal(iqdb_metadata_put(builder, key, strlen(key), &value, NULL), IQDB_OK);
}

typedef struct Encoded
{
	unsigned char *bytes;
	size_t         length;
} Encoded;

static inline Encoded
finish(IqdbMetadataBuilder *builder)
{
	Encoded map;

	assert_int_equal(iqdb_metadata_finish(builder, &map.bytes, &map.length, NULL), IQDB_OK);
	assert_int_equal(iqdb_metadata_validate(map.bytes, map.length, NULL), IQDB_OK);
	return map;
}

static inline void
release(Encoded map)
{
	iqdb_free(libc, map.bytes, map.length);
}

static inline Encoded
sample_metadata(void)
{
	IqdbMetadataBuilder builder;
	Encoded             map;

	iqdb_metadata_builder_init(&builder, libc);
	put(&builder, "active", iqdb_value_bool(true));
	put(&builder, "age", iqdb_value_int(30));
	put(&builder, "name", text_value("alice"));
	put(&builder, "nothing", iqdb_value_null());
	put(&builder, "odd", iqdb_value_float(NAN));
	put(&builder, "score", iqdb_value_float(2.5));
	map = finish(&builder);
	iqdb_metadata_builder_free(&builder);
	return map;
}

#endif
