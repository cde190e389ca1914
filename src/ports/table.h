/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_PORTS_TABLE_H
#define RINGKIT_PORTS_TABLE_H

#include "ports/driver.h"

/*
 * The table of published ports, the same for every port driver: numbers them (from 1, never used
 * again), refuses conflicts, validates, and asks the driver. A port that is being added already
 * blocks its twin; it shows in the list when the driver has it.
 */
struct ports;

struct port_entry {
	int id;
	int range; /* the number of the first port of the range that it came with; 0: none */
	struct port_spec spec;
};

/* drv is borrowed and must outlive the table. 0 or -errno. */
int ports_open(const struct port_driver_ops *ops, struct port_driver *drv, struct ports **out);

/* For patience_ms from now an address that is in use is tried again: an instance that was killed
 * has left its state directory, and its processes, which hold its ports, end a moment after it. */
void ports_await_predecessor(struct ports *ports, struct loop *loop, int patience_ms);

/* Requests that wait for the driver fail with -ECANCELED; the driver is not to answer them any
 * more. */
void ports_close(struct ports *ports);

/* done's id is the new port's, or 0 when e says why not. Called exactly once. A range is a port for
 * each of its numbers: their ids follow each other, id is the first one's; there are all of them or
 * none, and e names the first that could not be had. */
typedef void ports_added_fn(void *arg, int id, const struct err *e);
void ports_add(struct ports *ports, const struct port_spec *spec, ports_added_fn *done, void *arg);

/* `unknown id: N` when there is none. */
void ports_remove(struct ports *ports, long long id, port_done_fn *done, void *arg);

/* Removes those from first to last. Where one is not there, none is touched. One that the driver
 * cannot remove stays, and e says so. */
void ports_remove_range(struct ports *ports, long long first, long long last, port_done_fn *done,
			void *arg);

/* Calls fn for every live port, in the order of their ids. Stops when fn returns nonzero and
 * returns that. fn must not add or remove. */
int ports_each(const struct ports *ports, int (*fn)(void *arg, const struct port_entry *),
	       void *arg);

const struct port_driver_ops *ports_driver(const struct ports *ports);

/* Lists what the driver says of itself beside its ops. 0 or -errno of fn. */
int ports_describe(const struct ports *ports, port_counter_fn *fn, void *arg);

/* The driver's counters, as struct port_driver_ops has them. 0, or -errno with *e filled in, also
 * when the driver counts nothing. */
int ports_stats(const struct ports *ports, port_counter_fn *fn, void *arg, struct err *e);

#endif
