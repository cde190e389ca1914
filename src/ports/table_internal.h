/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_PORTS_TABLE_INTERNAL_H
#define RINGKIT_PORTS_TABLE_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "ports/table.h"

/* Shared by table.c and bulk.c. */

enum port_state {
	PORT_ADDING,
	PORT_LIVE,
	PORT_REMOVING,
};

/* No two ports may have the same key. The words are the user's, as RootlessKit compares them. */
struct port_key {
	char proto[64];
	char parent_ip[64];
	long long parent_port;
};

struct port {
	struct port_order order; /* first: the driver gives this back */
	struct ports *ports;
	struct port_entry entry;
	enum port_state state;
	bool hidden; /* of a range that is not there as a whole */
	struct port_key key;
	ports_added_fn *added; /* until it is live */
	port_done_fn *removed; /* while it is being removed */
	void *arg;
	struct loop_source *again; /* the timer of the next try */
	UT_hash_handle by_id, by_key;
	struct port *prev, *next; /* in the order of ids */
};

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

/* In the table, being added; the driver does not know it. NULL when out of memory. */
struct port *port_new(struct ports *p, const struct port_spec *spec);

/* Out of the table. The driver does not have it, or no longer. */
void port_forget(struct port *port);

/* Asks the driver for it. Where the driver refuses, the port is forgotten before done is called. */
void port_ask(struct port *port, ports_added_fn *done, void *arg);

/* Has the driver take it back; it is live. Forgotten before done is called, unless that fails. */
void port_withdraw(struct port *port, port_done_fn *done, void *arg);

/* The live port of this number; NULL with *e filled in when there is none. */
struct port *port_find(struct ports *p, long long id, struct err *e);

#endif
