/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_LAUNCH_IMPLICIT_H
#define RINGKIT_LAUNCH_IMPLICIT_H

#include "base/err.h"
#include "base/loop.h"
#include "ports/driver.h"

/*
 * --port-driver=implicit with --net=builtin: publishes what listens inside, under the same port
 * number, as long as it listens. (With --net=pasta, pasta does this.)
 */

struct implicit;
struct listening_source;
struct ports;

/* Starts to follow the sockets. source and ports are borrowed. 0 or -errno. */
int implicit_open(struct loop *loop, struct listening_source *source, struct ports *ports,
		  struct implicit **out, struct err *e);
/* Lists how many ports are open on the host now, and how many that are open inside are not, by
 * cause, as COUNTER_TOTAL. 0, or -errno of fn. */
int implicit_counters(const struct implicit *im, port_counter_fn *fn, void *arg);
/* Stops looking. Call it before the port driver stops. im may be NULL. */
void implicit_stop(struct implicit *im);
/* Call it after the table has been closed, which answers the requests under way. im may be NULL. */
void implicit_close(struct implicit *im);

#endif
