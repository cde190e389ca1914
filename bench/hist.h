/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BENCH_HIST_H
#define RINGKIT_BENCH_HIST_H

#include <stdint.h>

/*
 * Counts latencies in buckets that grow with the value: each power of two is divided into 64 equal
 * parts. So a percentile is off by 1.6 % at most, from a nanosecond to an hour, with a fixed amount
 * of memory and without sorting (the idea of HdrHistogram).
 */
#define HIST_SUB_BITS 6
#define HIST_SUB      (1u << HIST_SUB_BITS)
#define HIST_POWERS   (42u - HIST_SUB_BITS)
#define HIST_BUCKETS  ((HIST_POWERS + 1) * HIST_SUB)

struct hist {
	uint64_t count;
	uint64_t sum_ns;
	uint64_t max_ns;
	uint64_t bucket[HIST_BUCKETS];
};

void hist_add(struct hist *hist, uint64_t value_ns);

/* The value that the given share (0..1) of the samples does not exceed; 0 when there are none. */
uint64_t hist_percentile_ns(const struct hist *hist, double share);

/* Writes  "latency_us": {"mean": …, "p50": …, …}  without a comma on either side. */
void hist_print_json(const struct hist *hist);

#endif
