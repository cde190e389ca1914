/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_PORTS_TABLE_H
#define RINGKIT_PORTS_TABLE_H

#include "ports/driver.h"

/*
 * The table of published ports, the same for every port driver. It numbers ports (from 1; the id of
 * a port that was removed is never used again), validates them, refuses conflicts, and asks the
 * driver. A port blocks its address as soon as its add begins; the list shows it when the driver
 * has it.
 */
/* drv is borrowed and must outlive the table's use of it: after the driver has stopped, only
 * ports_close may be called. 0 or -errno. */
int ports_open(const struct port_driver_ops *ops, struct port_driver *drv, struct ports **out);

/* Until patience_ms from now, adds whose address is in use are tried again. An instance that was
 * killed leaves its state directory free at once, but its processes hold its ports a moment longer.
 */
void ports_await_predecessor(struct ports *ports, struct loop *loop, int patience_ms);

/* Frees the ports. The driver must have stopped. Requests that wait for it fail with -ECANCELED. */
void ports_close(struct ports *ports);

/*
 * Publishes the ports of specs, in order, until one spec fails. A range is one port for each of its
 * numbers, all or none, with consecutive ids. The driver is asked for as many ports at a time as it
 * takes. Nobody else sees the ports before the request is settled.
 *
 * done is called exactly once, perhaps from within. ports[i] is the port of the i-th spec, or the
 * first one of its range; they are valid during the call. When e is not NULL, it says why the spec
 * after the first n failed; the n ports stay.
 */
typedef void ports_added_fn(void *arg, const struct port *const *ports, size_t n,
			    const struct err *e);
void ports_add(struct ports *ports, const struct port_spec *specs, size_t n, ports_added_fn *done,
	       void *arg);

/* The spec that the port was asked for with: its own, or that of its range. */
struct port_spec ports_asked(const struct ports *ports, const struct port *port);

/* Removes the ports with ids first to last. Fails with `unknown id: N` when one does not exist, and
 * then none is touched. A port that the driver cannot remove stays, and e says why. done is called
 * exactly once, perhaps from within. */
typedef void ports_removed_fn(void *arg, const struct err *e);
void ports_remove(struct ports *ports, long long first, long long last, ports_removed_fn *done,
		  void *arg);

/* Calls fn for every live port, in the order of their ids. Stops when fn returns nonzero and
 * returns that. fn must not add or remove. */
int ports_each(const struct ports *ports, int (*fn)(void *arg, const struct port *), void *arg);

const struct port_driver_ops *ports_driver(const struct ports *ports);

/* The protocols that the driver takes, NULL at the end. */
const char *const *ports_protos(const struct ports *ports);

/* Lists facts about the driver that its ops do not say. 0 or -errno of fn. */
int ports_describe(const struct ports *ports, port_counter_fn *fn, void *arg);

/* Lists the driver's counters in the order of struct port_driver_ops.stats. 0, or -errno with *e
 * filled in, also when the driver counts nothing. */
int ports_stats(const struct ports *ports, port_counter_fn *fn, void *arg, struct err *e);

#endif
