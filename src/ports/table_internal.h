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
	struct loop *loop;	/* NULL: nobody is waited for */
	uint64_t patient_until; /* loop_now_ms() */
};

/* 0, or why a single port cannot be asked of the driver. */
int port_check(struct ports *p, const struct port_spec *spec, struct err *e);

/* In the table; the driver does not know it. NULL when out of memory. */
struct port *port_new(struct ports *p, const struct port_spec *spec);

/* Takes the port out of the table. The driver does not have it, or no longer. */
void port_forget(struct port *port);

/* Asks the driver to add a new port, or to remove a live one; order_settled() hears how it ended.
 */
void port_ask(struct port *port);

/* The live port of this number; NULL with *e filled in when there is none. */
struct port *port_find(struct ports *p, long long id, struct err *e);

/* order.c: the port has been added or removed (e NULL), or could not be. A port that is gone after
 * that (an add that failed, a remove that did not) is still there during this call. */
void order_settled(struct port *port, const struct err *e);

#endif
