/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_API_COUNTERS_H
#define RINGKIT_API_COUNTERS_H

#include <jansson.h>

#include "api/api.h"

/* Turns drivers' counters into JSON. A driver hands over a table and knows nothing of JSON. */

/* Adds what the port driver reports of itself to o. */
void counters_describe(const struct ports *ports, json_t *o);

/* Adds what the network driver reports of itself to o. */
void counters_describe_network(const struct api_info *info, json_t *o);

/* The answer of GET /v1/stats, except that "ports" is not the list of ports but an object with the
 * counters of each port by its decimal id. A new reference, or NULL with *e filled in. */
json_t *counters_stats(const struct api_info *info, struct err *e);

#endif
