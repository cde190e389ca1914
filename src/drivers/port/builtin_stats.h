/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_PORT_BUILTIN_STATS_H
#define RINGKIT_DRIVERS_PORT_BUILTIN_STATS_H

#include <jansson.h>

#include "base/err.h"
#include "dataplane/dataplane.h"

/* The data plane's counters, as struct port_driver_ops wants them. A new reference, or NULL with
 * *e filled in. */
json_t *builtin_stats_json(const struct dataplane *dp, struct err *e);

#endif
