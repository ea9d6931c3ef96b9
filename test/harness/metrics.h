/*
 * metrics.h - the metrics that a test of vectors of numbers runs over: 0 .. NUMBER_METRICS - 1.
 *
 * Those behind are of bits only (vec/metric.h: IqdbMetricTraits.elements).
 */
#ifndef IQDB_TEST_HARNESS_METRICS_H
#define IQDB_TEST_HARNESS_METRICS_H

#include "core/vec/metric.h"

#define NUMBER_METRICS IQDB_METRIC_JACCARD

#endif
