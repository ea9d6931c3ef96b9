/*
 * packed.c - see packed.h: plain C, AVX2, AVX-512 with VNNI, NEON.
 *
 * Owns: sums over packed codes. Does not own: how floats become codes, and what the sums mean (the users).
 *
 * Groups may be written while they are summed (packed.h): hence no_sanitize_thread.
 */
#include "core/quant/packed.h"

#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define PACKED_X86 1
#define AVX2 __attribute__((target("avx2")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#elif defined(__aarch64__) && defined(__GNUC__)
#include <arm_neon.h>
#define PACKED_NEON 1
#endif

#define GROUP_ROWS IQDB_PACKED_ROWS
#define QUAD_BYTES IQDB_PACKED_QUAD_BYTES

#define SCANS_BLOCKS __attribute__((no_sanitize_thread))

/* One query after the other: two groups stay in the first cache meanwhile. */
#define DEFINE_DOT_MANY(isa) \
	static void \
	dot_many_##isa(const uint8_t *codes, size_t quads, const int8_t *queries, const int32_t *starts, int32_t *sums_out) \
	{ \
		for (size_t i = 0; i < IQDB_PACKED_QUERIES; i++) \
			dot_##isa(codes, quads, 2, queries + 4 * quads * i, starts[i], sums_out + 2 * GROUP_ROWS * i); \
	}

/* Four dimensions of 16 rows. */
SCANS_BLOCKS static inline void
add_quad_plain(const uint8_t *codes, const int8_t *query, int32_t *sums)
{
	int32_t q0 = query[0];
	int32_t q1 = query[1];
	int32_t q2 = query[2];
	int32_t q3 = query[3];

	for (size_t row = 0; row < GROUP_ROWS; row++)
		sums[row] += codes[4 * row] * q0 + codes[4 * row + 1] * q1 + codes[4 * row + 2] * q2 + codes[4 * row + 3] * q3;
}

SCANS_BLOCKS static void
dot_plain(const uint8_t *codes, size_t quads, size_t groups, const int8_t *query, int32_t start, int32_t *sums_out)
{
	for (size_t group = 0; group < groups; group++)
	{
		int32_t *sums = sums_out + group * GROUP_ROWS;

		for (size_t row = 0; row < GROUP_ROWS; row++)
			sums[row] = start;
		for (size_t quad = 0; quad < quads; quad++, codes += QUAD_BYTES)
			add_quad_plain(codes, query + 4 * quad, sums);
	}
}

SCANS_BLOCKS static void
dot_halves_plain(const uint8_t *codes, size_t octets, size_t groups, const int8_t *query, int32_t start, int32_t *sums_out)
{
	for (size_t group = 0; group < groups; group++)
	{
		int32_t *sums = sums_out + group * GROUP_ROWS;

		for (size_t row = 0; row < GROUP_ROWS; row++)
			sums[row] = start;
		for (size_t octet = 0; octet < octets; octet++, codes += QUAD_BYTES)
		{
			uint8_t low[QUAD_BYTES];
			uint8_t high[QUAD_BYTES];

			for (size_t i = 0; i < QUAD_BYTES; i++)
			{
				low[i] = codes[i] & 15;
				high[i] = codes[i] >> 4;
			}
			add_quad_plain(low, query + 8 * octet, sums);
			add_quad_plain(high, query + 8 * octet + 4, sums);
		}
	}
}

DEFINE_DOT_MANY(plain)

static const IqdbPackedKernels kernels_plain = {
	.dot = dot_plain, .dot_many = dot_many_plain, .dot_halves = dot_halves_plain};

#ifdef PACKED_X86

/* ---- AVX2 ---- */

/* Eight rows of one quad: bytes 0 and 2, then 1 and 3, as words times the query's words. */
AVX2 static inline __m256i
add_quad(__m256i sums, __m256i codes, __m256i query_even, __m256i query_odd)
{
	__m256i low = _mm256_set1_epi16(0x00ff);

	sums = _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_and_si256(codes, low), query_even));
	return _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_srli_epi16(codes, 8), query_odd));
}

/* Four bytes of a query, for every four bytes of a code: the even ones and the odd ones as words. */
AVX2 static inline void
broadcast_words(const int8_t *query, __m256i *even_out, __m256i *odd_out)
{
	int32_t four;
	__m256i both;

	memcpy(&four, query, sizeof(four));
	both = _mm256_set1_epi32(four);
	*even_out = _mm256_srai_epi16(_mm256_slli_epi16(both, 8), 8);
	*odd_out = _mm256_srai_epi16(both, 8);
}

AVX2 SCANS_BLOCKS static void
dot_avx2(const uint8_t *codes, size_t quads, size_t groups, const int8_t *query, int32_t start, int32_t *sums_out)
{
	for (size_t group = 0; group < groups; group++)
	{
		__m256i first = _mm256_set1_epi32(start);
		__m256i second = first;

		for (size_t quad = 0; quad < quads; quad++, codes += QUAD_BYTES)
		{
			__m256i even;
			__m256i odd;

			broadcast_words(query + 4 * quad, &even, &odd);
			first = add_quad(first, _mm256_loadu_si256((const __m256i *) (const void *) codes), even, odd);
			second = add_quad(second, _mm256_loadu_si256((const __m256i *) (const void *) (codes + 32)), even, odd);
		}
		_mm256_storeu_si256((__m256i *) (void *) (sums_out + group * GROUP_ROWS), first);
		_mm256_storeu_si256((__m256i *) (void *) (sums_out + group * GROUP_ROWS + 8), second);
	}
}

/* Eight rows of one octet. Sums of two products of four and eight bits fit sixteen. */
AVX2 static inline __m256i
add_octet(__m256i sums, __m256i codes, __m256i query_low, __m256i query_high)
{
	__m256i mask = _mm256_set1_epi8(15);
	__m256i low = _mm256_maddubs_epi16(_mm256_and_si256(codes, mask), query_low);
	__m256i high = _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(codes, 4), mask), query_high);

	return _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_add_epi16(low, high), _mm256_set1_epi16(1)));
}

AVX2 SCANS_BLOCKS static void
dot_halves_avx2(const uint8_t *codes, size_t octets, size_t groups, const int8_t *query, int32_t start, int32_t *sums_out)
{
	for (size_t group = 0; group < groups; group++)
	{
		__m256i first = _mm256_set1_epi32(start);
		__m256i second = first;

		for (size_t octet = 0; octet < octets; octet++, codes += QUAD_BYTES)
		{
			int32_t four[2];
			__m256i low;
			__m256i high;

			memcpy(four, query + 8 * octet, sizeof(four));
			low = _mm256_set1_epi32(four[0]);
			high = _mm256_set1_epi32(four[1]);
			first = add_octet(first, _mm256_loadu_si256((const __m256i *) (const void *) codes), low, high);
			second = add_octet(second, _mm256_loadu_si256((const __m256i *) (const void *) (codes + 32)), low, high);
		}
		_mm256_storeu_si256((__m256i *) (void *) (sums_out + group * GROUP_ROWS), first);
		_mm256_storeu_si256((__m256i *) (void *) (sums_out + group * GROUP_ROWS + 8), second);
	}
}

DEFINE_DOT_MANY(avx2)

static const IqdbPackedKernels kernels_avx2 = {
	.dot = dot_avx2, .dot_many = dot_many_avx2, .dot_halves = dot_halves_avx2};

/* ---- AVX-512 ---- */

AVX512 static inline __m512i
broadcast_quad(const int8_t *query)
{
	int32_t four;

	memcpy(&four, query, sizeof(four));
	return _mm512_set1_epi32(four);
}

/* Two groups share the query's loads; two sums per group hide the latency of the instruction. */
AVX512 SCANS_BLOCKS static inline void
dot_two_groups(const uint8_t *codes, size_t quads, const int8_t *query, int32_t start, int32_t *sums_out)
{
	const uint8_t *other = codes + quads * QUAD_BYTES;
	__m512i        a0 = _mm512_set1_epi32(start);
	__m512i        b0 = a0;
	__m512i        a1 = _mm512_setzero_si512();
	__m512i        b1 = a1;
	size_t         quad;

	for (quad = 0; quad + 2 <= quads; quad += 2)
	{
		__m512i q0 = broadcast_quad(query + 4 * quad);
		__m512i q1 = broadcast_quad(query + 4 * quad + 4);

		a0 = _mm512_dpbusd_epi32(a0, _mm512_loadu_si512(codes + quad * QUAD_BYTES), q0);
		b0 = _mm512_dpbusd_epi32(b0, _mm512_loadu_si512(other + quad * QUAD_BYTES), q0);
		a1 = _mm512_dpbusd_epi32(a1, _mm512_loadu_si512(codes + (quad + 1) * QUAD_BYTES), q1);
		b1 = _mm512_dpbusd_epi32(b1, _mm512_loadu_si512(other + (quad + 1) * QUAD_BYTES), q1);
	}
	if (quad < quads)
	{
		__m512i q0 = broadcast_quad(query + 4 * quad);

		a0 = _mm512_dpbusd_epi32(a0, _mm512_loadu_si512(codes + quad * QUAD_BYTES), q0);
		b0 = _mm512_dpbusd_epi32(b0, _mm512_loadu_si512(other + quad * QUAD_BYTES), q0);
	}
	_mm512_storeu_si512(sums_out, _mm512_add_epi32(a0, a1));
	_mm512_storeu_si512(sums_out + GROUP_ROWS, _mm512_add_epi32(b0, b1));
}

AVX512 SCANS_BLOCKS static inline void
dot_one_group(const uint8_t *codes, size_t quads, const int8_t *query, int32_t start, int32_t *sums_out)
{
	__m512i a0 = _mm512_set1_epi32(start);
	__m512i a1 = _mm512_setzero_si512();
	size_t  quad;

	for (quad = 0; quad + 2 <= quads; quad += 2)
	{
		a0 = _mm512_dpbusd_epi32(a0, _mm512_loadu_si512(codes + quad * QUAD_BYTES), broadcast_quad(query + 4 * quad));
		a1 = _mm512_dpbusd_epi32(a1, _mm512_loadu_si512(codes + (quad + 1) * QUAD_BYTES),
								 broadcast_quad(query + 4 * quad + 4));
	}
	if (quad < quads)
		a0 = _mm512_dpbusd_epi32(a0, _mm512_loadu_si512(codes + quad * QUAD_BYTES), broadcast_quad(query + 4 * quad));
	_mm512_storeu_si512(sums_out, _mm512_add_epi32(a0, a1));
}

AVX512 SCANS_BLOCKS static void
dot_avx512(const uint8_t *codes, size_t quads, size_t groups, const int8_t *query, int32_t start, int32_t *sums_out)
{
	for (; groups >= 2; groups -= 2, codes += 2 * quads * QUAD_BYTES, sums_out += 2 * GROUP_ROWS)
		dot_two_groups(codes, quads, query, start, sums_out);
	if (groups > 0)
		dot_one_group(codes, quads, query, start, sums_out);
}

/* Sixteen sums in registers: so many multiplications for ten loads. */
AVX512 SCANS_BLOCKS static void
dot_many_avx512(const uint8_t *codes, size_t quads, const int8_t *queries, const int32_t *starts, int32_t *sums_out)
{
	const uint8_t *other = codes + quads * QUAD_BYTES;
	__m512i        a[IQDB_PACKED_QUERIES];
	__m512i        b[IQDB_PACKED_QUERIES];

#pragma GCC unroll 8
	for (size_t i = 0; i < IQDB_PACKED_QUERIES; i++)
		a[i] = b[i] = _mm512_set1_epi32(starts[i]);
	for (size_t quad = 0; quad < quads; quad++)
	{
		__m512i code_a = _mm512_loadu_si512(codes + quad * QUAD_BYTES);
		__m512i code_b = _mm512_loadu_si512(other + quad * QUAD_BYTES);

#pragma GCC unroll 8
		for (size_t i = 0; i < IQDB_PACKED_QUERIES; i++)
		{
			__m512i query = broadcast_quad(queries + 4 * (quads * i + quad));

			a[i] = _mm512_dpbusd_epi32(a[i], code_a, query);
			b[i] = _mm512_dpbusd_epi32(b[i], code_b, query);
		}
	}
#pragma GCC unroll 8
	for (size_t i = 0; i < IQDB_PACKED_QUERIES; i++)
	{
		_mm512_storeu_si512(sums_out + 2 * GROUP_ROWS * i, a[i]);
		_mm512_storeu_si512(sums_out + 2 * GROUP_ROWS * i + GROUP_ROWS, b[i]);
	}
}

/* One or two groups. Low and high halves have a sum each. */
AVX512 SCANS_BLOCKS static inline void
dot_halves_of(const uint8_t *codes, size_t octets, bool two, const int8_t *query, int32_t start, int32_t *sums_out)
{
	const uint8_t *other = codes + octets * QUAD_BYTES;
	__m512i        mask = _mm512_set1_epi8(15);
	__m512i        a0 = _mm512_set1_epi32(start);
	__m512i        b0 = a0;
	__m512i        a1 = _mm512_setzero_si512();
	__m512i        b1 = a1;

	for (size_t octet = 0; octet < octets; octet++)
	{
		__m512i low = broadcast_quad(query + 8 * octet);
		__m512i high = broadcast_quad(query + 8 * octet + 4);
		__m512i code = _mm512_loadu_si512(codes + octet * QUAD_BYTES);

		a0 = _mm512_dpbusd_epi32(a0, _mm512_and_si512(code, mask), low);
		a1 = _mm512_dpbusd_epi32(a1, _mm512_and_si512(_mm512_srli_epi16(code, 4), mask), high);
		if (two)
		{
			code = _mm512_loadu_si512(other + octet * QUAD_BYTES);
			b0 = _mm512_dpbusd_epi32(b0, _mm512_and_si512(code, mask), low);
			b1 = _mm512_dpbusd_epi32(b1, _mm512_and_si512(_mm512_srli_epi16(code, 4), mask), high);
		}
	}
	_mm512_storeu_si512(sums_out, _mm512_add_epi32(a0, a1));
	if (two)
		_mm512_storeu_si512(sums_out + GROUP_ROWS, _mm512_add_epi32(b0, b1));
}

AVX512 SCANS_BLOCKS static void
dot_halves_avx512(const uint8_t *codes, size_t octets, size_t groups, const int8_t *query, int32_t start,
				  int32_t *sums_out)
{
	for (; groups >= 2; groups -= 2, codes += 2 * octets * QUAD_BYTES, sums_out += 2 * GROUP_ROWS)
		dot_halves_of(codes, octets, true, query, start, sums_out);
	if (groups > 0)
		dot_halves_of(codes, octets, false, query, start, sums_out);
}

static const IqdbPackedKernels kernels_avx512 = {
	.dot = dot_avx512, .dot_many = dot_many_avx512, .dot_halves = dot_halves_avx512};

#endif

#ifdef PACKED_NEON

/* Sixteen products of four dimensions of four rows, added up by row. */
SCANS_BLOCKS static inline int32x4_t
add_products(int32x4_t sums, uint8x16_t codes, int8x16_t weights)
{
	int8x16_t code = vreinterpretq_s8_u8(codes);
	int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(code), vget_low_s8(weights)));
	int32x4_t high = vpaddlq_s16(vmull_s8(vget_high_s8(code), vget_high_s8(weights)));

	return vaddq_s32(sums, vpaddq_s32(low, high));
}

/* Signed bytes are multiplied: codes less 128, which the start makes good. */
SCANS_BLOCKS static void
dot_neon(const uint8_t *codes, size_t quads, size_t groups, const int8_t *query, int32_t start, int32_t *sums_out)
{
	int32_t turned = start;

	for (size_t i = 0; i < 4 * quads; i++)
		turned += 128 * query[i];
	for (size_t group = 0; group < groups; group++)
	{
		int32x4_t sums[4];

		for (int part = 0; part < 4; part++)
			sums[part] = vdupq_n_s32(turned);
		for (size_t quad = 0; quad < quads; quad++, codes += QUAD_BYTES)
		{
			int32_t   four;
			int8x16_t weights;

			memcpy(&four, query + 4 * quad, sizeof(four));
			weights = vreinterpretq_s8_s32(vdupq_n_s32(four));
			for (int part = 0; part < 4; part++)
			{
				uint8x16_t bytes = vld1q_u8(codes + 16 * part);

				sums[part] = add_products(sums[part], veorq_u8(bytes, vdupq_n_u8(0x80)), weights);
			}
		}
		for (int part = 0; part < 4; part++)
			vst1q_s32(sums_out + group * GROUP_ROWS + 4 * part, sums[part]);
	}
}

SCANS_BLOCKS static void
dot_halves_neon(const uint8_t *codes, size_t octets, size_t groups, const int8_t *query, int32_t start,
				int32_t *sums_out)
{
	for (size_t group = 0; group < groups; group++)
	{
		int32x4_t sums[4];

		for (int part = 0; part < 4; part++)
			sums[part] = vdupq_n_s32(start);
		for (size_t octet = 0; octet < octets; octet++, codes += QUAD_BYTES)
		{
			int32_t four[2];

			memcpy(four, query + 8 * octet, sizeof(four));
			for (int part = 0; part < 4; part++)
			{
				uint8x16_t bytes = vld1q_u8(codes + 16 * part);

				sums[part] = add_products(sums[part], vandq_u8(bytes, vdupq_n_u8(15)),
										  vreinterpretq_s8_s32(vdupq_n_s32(four[0])));
				sums[part] = add_products(sums[part], vshrq_n_u8(bytes, 4), vreinterpretq_s8_s32(vdupq_n_s32(four[1])));
			}
		}
		for (int part = 0; part < 4; part++)
			vst1q_s32(sums_out + group * GROUP_ROWS + 4 * part, sums[part]);
	}
}

DEFINE_DOT_MANY(neon)

static const IqdbPackedKernels kernels_neon = {
	.dot = dot_neon, .dot_many = dot_many_neon, .dot_halves = dot_halves_neon};

#endif

const IqdbPackedKernels *
iqdb_packed_kernels(const IqdbKernels *kernels)
{
#if defined(PACKED_X86)
	if (strcmp(kernels->name, "avx512") == 0)
		return &kernels_avx512;
	if (strcmp(kernels->name, "avx2") == 0 || strcmp(kernels->name, "avx512bw") == 0)
		return &kernels_avx2;
#elif defined(PACKED_NEON)
	if (strcmp(kernels->name, "neon") == 0)
		return &kernels_neon;
#endif
	(void) kernels;
	return &kernels_plain;
}
