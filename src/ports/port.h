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
 * A published port. One record of it serves from the API's request to the workers: the table
 * (table.c) makes and frees it, the port driver keeps its own part at the end of it, and the API
 * reads its answers from it.
 *
 * Somebody asks for a port, the table asks the driver (struct port_driver_ops), and the driver
 * settles each add and each remove with one call of port->settled, which says who settled it and
 * why.
 */

struct ports;
struct port_driver;
struct port_order;

enum port_state {
	PORT_NEW, /* in the table, so that its address is taken; the driver has not been asked yet
		   */
	PORT_ADDING,   /* the driver has been asked to add it */
	PORT_LIVE,     /* the driver has it */
	PORT_REMOVING, /* the driver has been asked to remove it */
};

/* Who settled an add or a remove: part of a failure's message. */
enum port_settler {
	PORT_BY_PARENT,	    /* this process: the table, or the sockets that it binds */
	PORT_BY_BROKER,	    /* the broker, which makes the socket in the namespace */
	PORT_BY_WORKER,	    /* the workers */
	PORT_BY_DATA_PLANE, /* no data plane is there, or it died over this port */
	PORT_BY_PROGRAM,    /* the external program that forwards the port */
};

/* No two ports may have the same key. Text is compared as the user wrote it, as RootlessKit does.
 */
struct port_key {
	char proto[64];
	char parent_ip[64];
	long long parent_port;
};

struct port {
	int id;		       /* from 1 */
	int range;	       /* id of the first port of the range that it came with; 0: none */
	struct port_spec spec; /* validated, and without conflicts */

	/* For the driver. */
	struct port_driver *drv;
	/* Settles an add or a remove. e is NULL when it succeeded, else says why not. The driver
	 * calls this once for each add and each remove, from the loop or from within add or remove.
	 * After a failed add and after a remove the record is gone. */
	void (*settled)(struct port *port, enum port_settler by, const struct err *e);

	/* For the table. */
	struct ports *ports;
	enum port_state state;
	bool hidden;		  /* the order is not settled: nobody else sees the port yet */
	struct port_order *order; /* the order that is at work on the port; NULL: none */
	size_t order_index;	  /* index of the port in its order */
	struct port_key key;
	struct loop_source *again; /* timer of the next try to add it */
	UT_hash_handle by_id, by_key;
	struct port *prev, *next; /* list of all ports, by id */

	/* The driver's part: port_size bytes, zero when the driver is first asked for the port. */
	alignas(max_align_t) unsigned char own[];
};

#endif
