/*
 * metrics.h - metrics of vectors of numbers: which ones a test runs over, 0 .. NUMBER_METRICS - 1, and keys and distances of
 * single pairs of floats to compare with.
 *
 * Metrics behind those are of bits only (vec/metric.h: IqdbMetricTraits.elements).
 */
#ifndef IQDB_TEST_HARNESS_METRICS_H
#define IQDB_TEST_HARNESS_METRICS_H

#include "core/vec/kernels.h"

#define NUMBER_METRICS IQDB_METRIC_JACCARD

/* Rank key of one pair as the kernels give it, norms computed on the way where the metric needs them. */
float floats_key(const IqdbKernels *kernels, IqdbMetric metric, const float *a, const float *b, size_t dim);

/* iqdb_element_distance() of floats. */
double floats_distance(const IqdbKernels *kernels, IqdbMetric metric, const float *a, const float *b, size_t dim);

#endif
