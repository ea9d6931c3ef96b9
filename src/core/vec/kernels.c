/*
 * kernels.c - which table of kernels runs, and the step from sums to rank keys.
 *
 * The choice asks the processor on every call (a load and a test; the compiler's run-time library has asked the
 * hardware and the operating system once), so there is no state to initialise. The step to rank keys belongs to no
 * table: it must be the same whichever of them made the sums.
 */
#include "core/vec/kernels_private.h"

#include <float.h>

#ifdef IQDBI_HAVE_X86

#include <emmintrin.h>
#ifdef __clang__
#include <cpuid.h>
#endif

/*
 * Not every clang knows "f16c" as a question to the run-time library, so there the processor is asked: on every call, which
 * under a hypervisor takes microseconds; tables are chosen seldom. That the operating system keeps the wide registers is
 * part of the answer about AVX2.
 */
static bool
runs_f16c(void)
{
#ifdef __clang__
	unsigned int eax, ebx, ecx, edx;

	return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
#else
	return __builtin_cpu_supports("f16c");
#endif
}

static bool
runs_avx2(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("popcnt") && runs_f16c();
}

static bool
runs_avx512bw(void)
{
	return runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
		   __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

static bool
runs_avx512(void)
{
	return runs_avx512bw() && __builtin_cpu_supports("avx512vnni");
}

/* The first processors with VNNI have no VPOPCNTDQ: the same table, but for bits. */
static const IqdbKernels *
avx512_table(void)
{
	return __builtin_cpu_supports("avx512vpopcntdq") ? &iqdbi_kernels_avx512 : &iqdbi_kernels_avx512_vnni;
}

#endif

const IqdbKernels *
iqdb_kernels_best(void)
{
#if defined(IQDBI_HAVE_X86)
	if (runs_avx512())
		return avx512_table();
	if (runs_avx512bw())
		return &iqdbi_kernels_avx512bw;
	if (runs_avx2())
		return &iqdbi_kernels_avx2;
#elif defined(IQDBI_HAVE_NEON)
	return &iqdbi_kernels_neon;
#endif
	return &iqdbi_kernels_scalar;
}

const IqdbKernels *
iqdb_kernels_named(const char *name)
{
	if (strcmp(name, "scalar") == 0)
		return &iqdbi_kernels_scalar;
#if defined(IQDBI_HAVE_X86)
	if (strcmp(name, "avx2") == 0 && runs_avx2())
		return &iqdbi_kernels_avx2;
	if (strcmp(name, "avx512bw") == 0 && runs_avx512bw())
		return &iqdbi_kernels_avx512bw;
	if (strcmp(name, "avx512") == 0 && runs_avx512())
		return avx512_table();
#elif defined(IQDBI_HAVE_NEON)
	if (strcmp(name, "neon") == 0)
		return &iqdbi_kernels_neon;
#endif
	return NULL;
}

void
iqdbi_f32_widen(const void *row, size_t dim, float *out)
{
	memcpy(out, row, dim * sizeof(*out));
}

#ifdef IQDBI_HAVE_X86

/*
 * iqdb_cosine_key for two rows at a time: roots and divisions are what this costs, and they come two for the price of
 * one. Operand order matters in min and max: they give the second one when either is NaN.
 */
static void
cosine_two(__m128d query_norm2, const float *norms2, float *sums)
{
	__m128d norm2 = _mm_set_pd((double) norms2[1], (double) norms2[0]);
	__m128d dot = _mm_set_pd((double) sums[1], (double) sums[0]);
	__m128d one = _mm_set1_pd(1.0);
	__m128d root = _mm_sqrt_pd(_mm_mul_pd(query_norm2, norm2));
	__m128d none = _mm_cmple_pd(root, _mm_set1_pd((double) FLT_MIN));
	__m128d key = _mm_div_pd(dot, root);

	key = _mm_max_pd(_mm_set1_pd(-1.0), _mm_min_pd(one, key));
	key = _mm_sub_pd(one, key);
	key = _mm_or_pd(_mm_and_pd(none, one), _mm_andnot_pd(none, key));
	_mm_storel_pi((__m64 *) (void *) sums, _mm_cvtpd_ps(key));
}

#endif

static void
finish_cosine(float query_norm2, const float *norms2, size_t count, float *sums)
{
	size_t i = 0;

#ifdef IQDBI_HAVE_X86
	__m128d query = _mm_set1_pd((double) query_norm2);

	for (; i + 2 <= count; i += 2)
		cosine_two(query, norms2 + i, sums + i);
#endif
	for (; i < count; i++)
		sums[i] = iqdb_cosine_key(sums[i], query_norm2, norms2[i]);
}

void
iqdb_metric_finish(IqdbMetric metric, float query_norm2, const float *norms2, size_t count, float *sums)
{
	size_t i;

	switch (iqdb_metric_traits((uint32_t) metric)->form)
	{
		case IQDB_KEY_SUM:
			break;
		case IQDB_KEY_NEGATED:
			for (i = 0; i < count; i++)
				sums[i] = -sums[i];
			break;
		case IQDB_KEY_COSINE:
			finish_cosine(query_norm2, norms2, count, sums);
			break;
		case IQDB_KEY_JACCARD:
			for (i = 0; i < count; i++)
				sums[i] = iqdb_jaccard_key(sums[i], query_norm2, norms2[i]);
			break;
	}
}
