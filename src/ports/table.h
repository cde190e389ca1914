/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_PORTS_TABLE_H
#define RINGKIT_PORTS_TABLE_H

#include "ports/driver.h"

/*
 * The table of published ports, the same for every port driver: numbers them (from 1, never used
 * again), refuses conflicts, validates, and asks the driver. A port that is being added already
 * blocks its twin; it shows in the list when the driver has it.
 */
/* drv is borrowed and must outlive the table's use of it: after the driver has stopped, only
 * ports_close may be called. 0 or -errno. */
int ports_open(const struct port_driver_ops *ops, struct port_driver *drv, struct ports **out);

/* For patience_ms from now an address that is in use is tried again: an instance that was killed
 * has left its state directory, and its processes, which hold its ports, end a moment after it. */
void ports_await_predecessor(struct ports *ports, struct loop *loop, int patience_ms);

/* Frees the ports. The driver has stopped. Requests that wait for it fail with -ECANCELED. */
void ports_close(struct ports *ports);

/*
 * Publishes what specs say, each in its turn until one cannot be had. A range is a port for each of
 * its numbers: all of them or none, and their ids follow each other. The driver is asked for as
 * many ports at a time as it takes; nothing shows before the request is settled.
 *
 * done is called exactly once, perhaps from within. ports[i] is the port of the i-th spec, or the
 * first one of its range; they are valid during the call. Where e is not NULL, it says why the spec
 * after those n could not be had; the n ports stay.
 */
typedef void ports_added_fn(void *arg, const struct port *const *ports, size_t n,
			    const struct err *e);
void ports_add(struct ports *ports, const struct port_spec *specs, size_t n, ports_added_fn *done,
	       void *arg);

/* The spec that the port came with: its own, or that of its range. */
struct port_spec ports_asked(const struct ports *ports, const struct port *port);

/* Removes the ports from first to last. `unknown id: N` where one is not there, and then none is
 * touched. A port that the driver cannot remove stays, and e says why. done is called exactly once,
 * perhaps from within. */
typedef void ports_removed_fn(void *arg, const struct err *e);
void ports_remove(struct ports *ports, long long first, long long last, ports_removed_fn *done,
		  void *arg);

/* Calls fn for every live port, in the order of their ids. Stops when fn returns nonzero and
 * returns that. fn must not add or remove. */
int ports_each(const struct ports *ports, int (*fn)(void *arg, const struct port *), void *arg);

const struct port_driver_ops *ports_driver(const struct ports *ports);

/* The protocols that it takes, NULL at the end. */
const char *const *ports_protos(const struct ports *ports);

/* Lists what the driver says of itself beside its ops. 0 or -errno of fn. */
int ports_describe(const struct ports *ports, port_counter_fn *fn, void *arg);

/* The driver's counters, as struct port_driver_ops has them. 0, or -errno with *e filled in, also
 * when the driver counts nothing. */
int ports_stats(const struct ports *ports, port_counter_fn *fn, void *arg, struct err *e);

#endif
