/* SPDX-License-Identifier: Apache-2.0 */
#include "hist.h"

#include <stddef.h>
#include <stdio.h>

static uint32_t bucket_of(uint64_t value_ns)
{
	uint32_t power;

	if (value_ns < HIST_SUB)
		return (uint32_t)value_ns;
	power = 63u - (uint32_t)__builtin_clzll(value_ns) - HIST_SUB_BITS;
	if (power >= HIST_POWERS)
		return HIST_BUCKETS - 1;
	return (power + 1) * HIST_SUB + (uint32_t)((value_ns >> power) & (HIST_SUB - 1));
}

/* The largest value that falls into the bucket. */
static uint64_t bucket_top_ns(uint32_t bucket)
{
	uint32_t power;

	if (bucket < HIST_SUB)
		return bucket;
	power = bucket / HIST_SUB - 1;
	return ((uint64_t)(HIST_SUB + bucket % HIST_SUB + 1) << power) - 1;
}

void hist_add(struct hist *hist, uint64_t value_ns)
{
	hist->bucket[bucket_of(value_ns)]++;
	hist->count++;
	hist->sum_ns += value_ns;
	if (value_ns > hist->max_ns)
		hist->max_ns = value_ns;
}

uint64_t hist_percentile_ns(const struct hist *hist, double share)
{
	uint64_t wanted = (uint64_t)(share * (double)hist->count + 0.5);
	uint64_t seen = 0;

	if (!hist->count)
		return 0;
	if (wanted < 1)
		wanted = 1;
	for (uint32_t i = 0; i < HIST_BUCKETS; i++) {
		seen += hist->bucket[i];
		if (seen >= wanted) {
			uint64_t top = bucket_top_ns(i);

			return top < hist->max_ns ? top : hist->max_ns;
		}
	}
	return hist->max_ns;
}

void hist_print_json(const struct hist *hist)
{
	static const struct {
		const char *name;
		double share;
	} points[] = {
		{"p10", 0.10},	  {"p50", 0.50},    {"p75", 0.75},
		{"p90", 0.90},	  {"p95", 0.95},    {"p99", 0.99},
		{"p99.5", 0.995}, {"p99.9", 0.999}, {"p99.99", 0.9999},
	};
	double mean_ns = hist->count ? (double)hist->sum_ns / (double)hist->count : 0;

	printf("\"latency_us\": {\"mean\": %.2f", mean_ns / 1e3);
	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++)
		printf(", \"%s\": %.2f", points[i].name,
		       (double)hist_percentile_ns(hist, points[i].share) / 1e3);
	printf(", \"max\": %.2f}", (double)hist->max_ns / 1e3);
}
