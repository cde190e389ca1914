/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_PORT_BUILTIN_STATS_H
#define RINGKIT_DRIVERS_PORT_BUILTIN_STATS_H

#include "ports/driver.h"

struct dataplane;

/* Lists the data plane's counters, as stats of struct port_driver_ops. 0 or -errno. */
int builtin_stats_list(const struct dataplane *dp, port_counter_fn *fn, void *arg);

#endif
