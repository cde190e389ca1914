/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_METRICS_H
#define RINGKIT_CTL_METRICS_H

#include "ctl/args.h"
#include "ctl/client.h"

/* rootlessctl metrics prints GET /v1/metrics on stdout, in Prometheus' text format, which the node
 * exporter's textfile collector takes. With --http it answers the HTTP request on stdin, in
 * OpenMetrics, for a listener that starts a program for each connection. */
int metrics_run(struct client *client, const struct ctl_args *args, struct err *e);

#endif
