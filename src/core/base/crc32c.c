/*
 * crc32c.c - CRC-32C by the CPU's instruction where it has one, by tables elsewhere.
 *
 * Owns: run-time dispatch (a look at the compiler's CPU model per call: no state of ours), the three-stream form for
 * long pieces, slicing by 8 (Kounavis, Berry 2005). Internally the register runs inverted, as the standard has it;
 * the public functions invert at both ends.
 */
#include "core/base/crc32c.h"

#include "core/base/crc32c_table.h"
#include "core/base/endian.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define HAVE_X86_CRC 1
#include <immintrin.h>
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#define HAVE_ARM_CRC 1
#include <arm_acle.h>
#endif

static uint32_t
run_tables(uint32_t state, const unsigned char *p, size_t length)
{
	const uint32_t (*table)[256] = iqdb_crc32c_table;

	for (; length >= 8; length -= 8, p += 8)
	{
		uint32_t low = state ^ iqdb_load_u32(p);
		uint32_t high = iqdb_load_u32(p + 4);

		state = table[7][low & 255] ^ table[6][(low >> 8) & 255] ^ table[5][(low >> 16) & 255] ^ table[4][low >> 24] ^
				table[3][high & 255] ^ table[2][(high >> 8) & 255] ^ table[1][(high >> 16) & 255] ^
				table[0][high >> 24];
	}
	for (; length > 0; length--, p++)
		state = (state >> 8) ^ table[0][(state ^ *p) & 255];
	return state;
}

#if defined(HAVE_X86_CRC)

__attribute__((target("sse4.2"))) static uint32_t
run_sse42(uint32_t state, const unsigned char *p, size_t length)
{
	uint64_t wide = state;

	for (; length >= 8; length -= 8, p += 8)
		wide = _mm_crc32_u64(wide, iqdb_load_u64(p));
	state = (uint32_t) wide;
	for (; length > 0; length--, p++)
		state = _mm_crc32_u8(state, *p);
	return state;
}

/*
 * The instruction takes three cycles and starts one per cycle, so three independent streams run at once and are joined:
 * the register after n more zero bytes is register * x^(8n) mod P. A carry-less product with x^(8n - 33) mod P, reduced
 * by the instruction itself (which multiplies by x^32; the reflected product is one bit short), is just that.
 */
#define STREAM_SIZE 1024
#define SHIFT_ONE_STREAM 0x170076FAu  /* x^(8 * 1024 - 33) mod P, reflected */
#define SHIFT_TWO_STREAMS 0xA51B6135u /* x^(8 * 2048 - 33) mod P, reflected */

__attribute__((target("sse4.2,pclmul"))) static uint64_t
shift_register(uint64_t state, uint32_t factor)
{
	__m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long) state), _mm_cvtsi32_si128((int) factor), 0);

	return _mm_crc32_u64(0, (uint64_t) _mm_cvtsi128_si64(product));
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t
run_three_streams(uint32_t state, const unsigned char *p, size_t length)
{
	uint64_t a = state;

	for (; length >= 3 * STREAM_SIZE; length -= 3 * STREAM_SIZE, p += 3 * STREAM_SIZE)
	{
		uint64_t b = 0;
		uint64_t c = 0;

		for (size_t i = 0; i < STREAM_SIZE; i += 8)
		{
			a = _mm_crc32_u64(a, iqdb_load_u64(p + i));
			b = _mm_crc32_u64(b, iqdb_load_u64(p + STREAM_SIZE + i));
			c = _mm_crc32_u64(c, iqdb_load_u64(p + 2 * STREAM_SIZE + i));
		}
		a = shift_register(a, SHIFT_TWO_STREAMS) ^ shift_register(b, SHIFT_ONE_STREAM) ^ c;
	}
	return run_sse42((uint32_t) a, p, length);
}

static uint32_t
run(uint32_t state, const unsigned char *p, size_t length)
{
	if (!__builtin_cpu_supports("sse4.2"))
		return run_tables(state, p, length);
	if (length < 3 * STREAM_SIZE || !__builtin_cpu_supports("pclmul"))
		return run_sse42(state, p, length);
	return run_three_streams(state, p, length);
}

#elif defined(HAVE_ARM_CRC)

static uint32_t
run(uint32_t state, const unsigned char *p, size_t length)
{
	for (; length >= 8; length -= 8, p += 8)
		state = __crc32cd(state, iqdb_load_u64(p));
	for (; length > 0; length--, p++)
		state = __crc32cb(state, *p);
	return state;
}

#else

static uint32_t
run(uint32_t state, const unsigned char *p, size_t length)
{
	return run_tables(state, p, length);
}

#endif

uint32_t
iqdb_crc32c(uint32_t crc, const void *data, size_t length)
{
	return length == 0 ? crc : ~run(~crc, data, length);
}

uint32_t
iqdb_crc32c_portable(uint32_t crc, const void *data, size_t length)
{
	return length == 0 ? crc : ~run_tables(~crc, data, length);
}
