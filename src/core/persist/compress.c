/*
 * compress.c - one block through lz4 or zstd, with the host's memory.
 *
 * Owns: which schemes this build has, level checks, the libraries' contexts. Does not own: formats (each block is a
 * plain lz4 block or zstd frame) and limits (the caller has capped both lengths).
 *
 * A build without a library defines IQDB_NO_LZ4 or IQDB_NO_ZSTD: files that need it are then IQDB_ERR_UNSUPPORTED.
 *
 * zstd takes its memory through ZSTD_customMem, which the library calls experimental; the functions are exported by
 * every shared libzstd since 1.3. It frees without a size, so each of its pieces carries one in front.
 */
#include "core/persist/persist_private.h"

#include <string.h>

#if !defined(IQDB_NO_LZ4)
#include <lz4.h>
#endif

#if !defined(IQDB_NO_ZSTD)
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>
#include <zstd_errors.h>
#endif

IqdbStatus
iqdb_compression_check(IqdbCompression compression, int level, IqdbError *err)
{
	(void) level;
	switch (compression)
	{
		case IQDB_COMPRESSION_NONE:
			return IQDB_OK;
		case IQDB_COMPRESSION_LZ4:
#if defined(IQDB_NO_LZ4)
			return iqdb_fail(err, IQDB_ERR_UNSUPPORTED, "this build has no lz4");
#else
			return IQDB_OK;
#endif
		case IQDB_COMPRESSION_ZSTD:
#if defined(IQDB_NO_ZSTD)
			return iqdb_fail(err, IQDB_ERR_UNSUPPORTED, "this build has no zstd");
#else
			if (level < 1 || level > IQDB_ZSTD_LEVEL_MAX)
				return iqdb_fail(err, IQDB_ERR_CONFIG, "zstd level %d is not between 1 and %d", level,
								 IQDB_ZSTD_LEVEL_MAX);
			return IQDB_OK;
#endif
	}
	return iqdb_fail(err, IQDB_ERR_CONFIG, "unknown compression %d", (int) compression);
}

void
iqdbi_codec_init(IqdbiCodec *codec, const IqdbAllocator *allocator, IqdbCompression scheme, int level)
{
	memset(codec, 0, sizeof(*codec));
	codec->allocator = allocator;
	codec->scheme = scheme;
	codec->level = level;
}

void
iqdbi_codec_destroy(IqdbiCodec *codec)
{
	(void) codec;
#if !defined(IQDB_NO_LZ4)
	iqdb_free(codec->allocator, codec->lz4_state, (size_t) LZ4_sizeofState());
	codec->lz4_state = NULL;
#endif
#if !defined(IQDB_NO_ZSTD)
	ZSTD_freeCCtx(codec->zstd_compressor);
	ZSTD_freeDCtx(codec->zstd_decompressor);
	codec->zstd_compressor = NULL;
	codec->zstd_decompressor = NULL;
#endif
}

/* ---- lz4 --------------------------------------------------------------------------------------------------------- */

#if !defined(IQDB_NO_LZ4)

static IqdbStatus
lz4_compress(IqdbiCodec *codec, const void *raw, size_t raw_length, void *stored, size_t capacity, size_t *stored_out,
			 IqdbError *err)
{
	int written;

	if (codec->lz4_state == NULL)
	{
		codec->lz4_state = iqdb_alloc(codec->allocator, (size_t) LZ4_sizeofState());
		if (codec->lz4_state == NULL)
			return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for lz4");
	}
	/* 0 means that the result does not fit; the lengths fit an int, as blocks are capped */
	written = LZ4_compress_fast_extState(codec->lz4_state, raw, stored, (int) raw_length, (int) capacity, 1);
	*stored_out = written > 0 ? (size_t) written : 0;
	return IQDB_OK;
}

#endif

/* ---- zstd -------------------------------------------------------------------------------------------------------- */

#if !defined(IQDB_NO_ZSTD)

/* Room for the size in front of a piece; keeps the allocator's alignment. */
#define SIZE_PREFIX ((size_t) 16)

static void *
zstd_memory_get(void *opaque, size_t size)
{
	const IqdbAllocator *allocator = opaque;
	size_t               total;
	unsigned char       *piece;

	if (!iqdb_add_size(size, SIZE_PREFIX, &total))
		return NULL;
	piece = iqdb_alloc(allocator, total);
	if (piece == NULL)
		return NULL;
	memcpy(piece, &total, sizeof(total));
	return piece + SIZE_PREFIX;
}

static void
zstd_memory_put(void *opaque, void *address)
{
	const IqdbAllocator *allocator = opaque;
	unsigned char       *piece = address;
	size_t               total;

	if (piece == NULL)
		return;
	piece -= SIZE_PREFIX;
	memcpy(&total, piece, sizeof(total));
	iqdb_free(allocator, piece, total);
}

static ZSTD_customMem
zstd_memory(const IqdbAllocator *allocator)
{
	ZSTD_customMem memory = {zstd_memory_get, zstd_memory_put, NULL};

	memcpy(&memory.opaque, &allocator, sizeof(allocator)); /* its argument is not const */
	return memory;
}

static IqdbStatus
zstd_compress(IqdbiCodec *codec, const void *raw, size_t raw_length, void *stored, size_t capacity, size_t *stored_out,
			  IqdbError *err)
{
	size_t result;

	if (codec->zstd_compressor == NULL)
	{
		codec->zstd_compressor = ZSTD_createCCtx_advanced(zstd_memory(codec->allocator));
		if (codec->zstd_compressor == NULL)
			return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for zstd");
	}
	result = ZSTD_compressCCtx(codec->zstd_compressor, stored, capacity, raw, raw_length, codec->level);
	if (!ZSTD_isError(result))
	{
		*stored_out = result;
		return IQDB_OK;
	}
	switch (ZSTD_getErrorCode(result))
	{
		case ZSTD_error_dstSize_tooSmall:
			return IQDB_OK;
		case ZSTD_error_memory_allocation:
			return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for zstd");
		default:
			return iqdb_fail(err, IQDB_ERR_STATE, "zstd failed: %s", ZSTD_getErrorName(result));
	}
}

static IqdbStatus
zstd_decompress(IqdbiCodec *codec, const void *stored, size_t stored_length, void *raw, size_t raw_length,
				bool *exact_out, IqdbError *err)
{
	size_t result;

	if (codec->zstd_decompressor == NULL)
	{
		codec->zstd_decompressor = ZSTD_createDCtx_advanced(zstd_memory(codec->allocator));
		if (codec->zstd_decompressor == NULL)
			return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for zstd");
	}
	/* writes no byte beyond raw_length, whatever the frame claims, and needs no window of its own */
	result = ZSTD_decompressDCtx(codec->zstd_decompressor, raw, raw_length, stored, stored_length);
	if (ZSTD_isError(result) && ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for zstd");
	*exact_out = !ZSTD_isError(result) && result == raw_length;
	return IQDB_OK;
}

#endif

/* ---- both -------------------------------------------------------------------------------------------------------- */

IqdbStatus
iqdbi_codec_compress(IqdbiCodec *codec, const void *raw, size_t raw_length, void *stored, size_t capacity,
					 size_t *stored_out, IqdbError *err)
{
	*stored_out = 0;
	if (capacity == 0 || codec->scheme == IQDB_COMPRESSION_NONE)
		return IQDB_OK;
#if !defined(IQDB_NO_LZ4)
	if (codec->scheme == IQDB_COMPRESSION_LZ4)
		return lz4_compress(codec, raw, raw_length, stored, capacity, stored_out, err);
#endif
#if !defined(IQDB_NO_ZSTD)
	if (codec->scheme == IQDB_COMPRESSION_ZSTD)
		return zstd_compress(codec, raw, raw_length, stored, capacity, stored_out, err);
#endif
	(void) raw;
	(void) raw_length;
	(void) stored;
	return iqdb_compression_check(codec->scheme, codec->level, err);
}

IqdbStatus
iqdbi_codec_decompress(IqdbiCodec *codec, uint8_t scheme, const void *stored, size_t stored_length, void *raw,
					   size_t raw_length, bool *exact_out, IqdbError *err)
{
	*exact_out = false;
#if !defined(IQDB_NO_LZ4)
	if (scheme == IQDB_COMPRESSION_LZ4)
	{
		int written = LZ4_decompress_safe(stored, raw, (int) stored_length, (int) raw_length);

		*exact_out = written >= 0 && (size_t) written == raw_length;
		return IQDB_OK;
	}
#endif
#if !defined(IQDB_NO_ZSTD)
	if (scheme == IQDB_COMPRESSION_ZSTD)
		return zstd_decompress(codec, stored, stored_length, raw, raw_length, exact_out, err);
#endif
	(void) codec;
	(void) stored;
	(void) stored_length;
	(void) raw;
	(void) raw_length;
	return iqdb_compression_check((IqdbCompression) scheme, 1, err);
}
