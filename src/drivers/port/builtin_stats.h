/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_PORT_BUILTIN_STATS_H
#define RINGKIT_DRIVERS_PORT_BUILTIN_STATS_H

#include "ports/driver.h"

struct dataplane;

/* The data plane's counters, as struct port_driver_ops lists them. 0 or -errno. */
int builtin_stats_list(const struct dataplane *dp, port_counter_fn *fn, void *arg);

#endif
