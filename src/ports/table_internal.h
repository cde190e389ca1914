/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_PORTS_TABLE_INTERNAL_H
#define RINGKIT_PORTS_TABLE_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "ports/table.h"

/* Shared by table.c and order.c. */

struct ports {
	const struct port_driver_ops *ops;
	struct port_driver *drv;
	int last_id;
	unsigned n;
	bool closing;
	struct port *by_id, *by_key, *list;
	struct loop *loop;	/* NULL: adds are never tried again */
	uint64_t patient_until; /* loop_now_ms() */
};

/* 0, or why the driver cannot be asked for this port. */
int port_check(struct ports *p, const struct port_spec *spec, struct err *e);

/* Makes a port and puts it into the table. The driver does not know it. NULL when out of memory. */
struct port *port_new(struct ports *p, const struct port_spec *spec);

/* Takes the port out of the table and frees it. The driver must not have it. */
void port_forget(struct port *port);

/* Asks the driver to add a new port, or to remove a live one. order_settled() gets the result. */
void port_ask(struct port *port);

/* The live port with this id; NULL with *e filled in when there is none. */
struct port *port_find(struct ports *p, long long id, struct err *e);

/* order.c: an add or a remove has ended; e: NULL, or why it failed. A port that is gone after that
 * (a failed add, a successful remove) exists until this call returns. */
void order_settled(struct port *port, const struct err *e);

#endif
