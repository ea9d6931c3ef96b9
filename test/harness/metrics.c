/*
 * metrics.c - see metrics.h.
 */
#include "harness/metrics.h"

float
floats_key(const IqdbKernels *kernels, IqdbMetric metric, const float *a, const float *b, size_t dim)
{
	const IqdbMetricTraits *traits = iqdb_metric_traits((uint32_t) metric);
	IqdbPairKernel          pair = kernels->sums[traits->sum].pair;
	float                   sum = pair(a, b, dim);
	float                   norm2 = traits->needs_norms ? pair(b, b, dim) : 0.0f;

	iqdb_metric_finish(metric, traits->needs_norms ? pair(a, a, dim) : 0.0f, &norm2, 1, &sum);
	return sum;
}

double
floats_distance(const IqdbKernels *kernels, IqdbMetric metric, const float *a, const float *b, size_t dim)
{
	return iqdb_element_distance(kernels, iqdb_element(IQDB_ELEMENT_F32), metric, a, b, dim);
}
