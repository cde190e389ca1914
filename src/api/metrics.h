/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_API_METRICS_H
#define RINGKIT_API_METRICS_H

#include <jansson.h>

#include "api/api.h"

#define METRICS_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"

/*
 * The counters as OpenMetrics text: all that GET /v1/stats has, by worker, port and cause. With a
 * port driver that counts nothing, the text has what is known of any driver. Returns the text
 * (free() it), NULL when out of memory.
 */
char *metrics_text(const struct api_info *info);

#endif
