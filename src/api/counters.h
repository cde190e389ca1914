/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_API_COUNTERS_H
#define RINGKIT_API_COUNTERS_H

#include <jansson.h>

#include "api/api.h"

/* The counters of drivers as JSON. A driver hands over a table and knows nothing of JSON. */

/* Adds what the driver says of itself to o. */
void counters_describe(const struct ports *ports, json_t *o);

/* The same of the network. */
void counters_describe_network(const struct api_info *info, json_t *o);

/* What GET /v1/stats answers, but for "ports", which is an object with a member for each port, by
 * the decimal id. A new reference, or NULL with *e filled in. */
json_t *counters_stats(const struct api_info *info, struct err *e);

#endif
