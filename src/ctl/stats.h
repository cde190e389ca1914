/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_STATS_H
#define RINGKIT_CTL_STATS_H

#include <jansson.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Prints the counters of GET /v1/stats for people. before: the answer of elapsed_ms ago, with which
 * it prints rates; NULL: it prints totals. 0 or -errno.
 */
int stats_print(const json_t *stats, const json_t *before, uint64_t elapsed_ms, struct err *e);

#endif
