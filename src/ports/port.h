/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_PORTS_PORT_H
#define RINGKIT_PORTS_PORT_H

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/hash.h"
#include "ports/spec.h"

/*
 * A published port. There is one record of it, from the request of the API to the workers: the
 * table (table.c) makes and frees it, the port driver has its own part at the end of it, and the
 * API reads from it what it answers.
 *
 * Somebody asks for a port, the table asks the driver (struct port_driver_ops), and the driver
 * settles each add and each remove with one call of port->settled, which says who settled it and
 * why.
 */

struct ports;
struct port_driver;
struct port_order;

enum port_state {
	PORT_NEW,      /* in the table, so that nobody else gets its address; not asked for yet */
	PORT_ADDING,   /* the driver is asked to add it */
	PORT_LIVE,     /* the driver has it */
	PORT_REMOVING, /* the driver is asked to remove it */
};

/* Who settled an add or a remove. */
enum port_settler {
	PORT_BY_PARENT,	    /* this process: its table, or the sockets that it binds */
	PORT_BY_BROKER,	    /* the broker: the socket in the namespace */
	PORT_BY_WORKER,	    /* the workers */
	PORT_BY_DATA_PLANE, /* nobody: there is no data plane, or it died of this port */
	PORT_BY_PROGRAM,    /* the program that forwards the port */
};

/* In words, for the log: "the broker". */
const char *port_settler_name(enum port_settler by);

/* No two ports may have the same key. The words are the user's, as RootlessKit compares them. */
struct port_key {
	char proto[64];
	char parent_ip[64];
	long long parent_port;
};

struct port {
	int id;		       /* from 1 */
	int range;	       /* the number of the first port of the range it came with; 0: none */
	struct port_spec spec; /* has been validated and does not conflict */

	/* For the driver. */
	struct port_driver *drv;
	/* e is NULL when the port is added or removed, else says why not. To be called once for
	 * each add and each remove, from the loop or from within add or remove. After a failed add
	 * and after a remove the record is gone. */
	void (*settled)(struct port *port, enum port_settler by, const struct err *e);

	/* For the table. */
	struct ports *ports;
	enum port_state state;
	bool hidden;		  /* its order is not settled: nobody else sees it yet */
	struct port_order *order; /* the request that is under way for it; NULL: none */
	size_t order_index;	  /* which of the order's ports it is */
	struct port_key key;
	struct loop_source *again; /* the timer of the next try */
	UT_hash_handle by_id, by_key;
	struct port *prev, *next; /* in the order of ids */

	/* The driver's part: port_size bytes, zero when the port is asked for. */
	alignas(max_align_t) unsigned char own[];
};

#endif
