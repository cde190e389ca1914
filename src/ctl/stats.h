/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_STATS_H
#define RINGKIT_CTL_STATS_H

#include <jansson.h>
#include <stdint.h>

#include "base/err.h"

/*
 * The counters of GET /v1/stats as a person wants to see them. before is what was asked elapsed_ms
 * ago, and rates come with it; NULL: totals. 0 or -errno.
 */
int stats_print(const json_t *stats, const json_t *before, uint64_t elapsed_ms, struct err *e);

#endif
