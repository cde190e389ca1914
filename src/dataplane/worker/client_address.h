/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_CLIENT_ADDRESS_H
#define RINGKIT_DATAPLANE_WORKER_CLIENT_ADDRESS_H

#include "dataplane/worker/tcp.h"

struct handover_port;

/* Why a server does not see its client's address. */
enum tcp_lost {
	TCP_LOST_NOT = 0, /* it does see it, or the client is on this host */
	TCP_LOST_FAMILY,
	TCP_LOST_SCOPE,
	TCP_LOST_SETUP,
	TCP_LOST_NETWORK,
	TCP_LOST_FAILED,
	TCP_LOST_TIMEOUT,
	TCP_LOST_OFF,
};
/* How to connect: with the namespace's address (NO), the client's (YES), or the client's and a mark
 * (LOOPBACK, MARKED: ns/transparent.h). WAIT: there is no socket yet to ask the kernel with. */
enum client_address {
	CLIENT_ADDRESS_NO,
	CLIENT_ADDRESS_YES,
	CLIENT_ADDRESS_LOOPBACK,
	CLIENT_ADDRESS_MARKED,
	CLIENT_ADDRESS_WAIT,
};
/* A client that has stopped trying at a port, since no answer came to its address. */
struct client_pause {
	uint64_t key;		/* of port and client; 0: the place is free */
	uint64_t off_ns;	/* it does not try until then; 0: it does */
	uint64_t routed_off_ns; /* nor the router's way first */
	uint8_t timeouts, offs;
};

/* Some that are forgotten when others need their places. */
#define CLIENT_PAUSES 256

struct client_pauses {
	struct client_pause table[CLIENT_PAUSES];
	uint64_t until_ns; /* after that none of them matters */
};

/* For a flow that has just been accepted: decides whether to try the client's address, and which
 * target. */
void client_address_begin(struct worker *w, struct tcp_flow *f);
/* Decides how to connect now. May stop trying the client's address. */
enum client_address client_address_choose(struct worker *w, struct tcp_flow *f);
/* Binds fd[1] to the client's address. 0, or -errno, and client_address_failed has been called. */
int client_address_bind(struct worker *w, struct tcp_flow *f, enum client_address how);
/* The attempt failed with err: decides how the next one is made. */
void client_address_failed(struct worker *w, struct tcp_flow *f, int err);
/* Everything else has failed: returns whether one more way is left to try. */
bool client_address_last(struct tcp_flow *f);
/* The attempt takes longer than nearly all: prepares to judge its time-out. */
void client_address_slow(struct worker *w, const struct tcp_flow *f);
/* The flow is connected, with the client's address or without it. */
void client_address_connected(struct worker *w, struct tcp_flow *f);
/* Sets the time limit of the attempt that begins now, f->limit_ns. */
void client_address_limit(const struct worker *w, struct tcp_flow *f);
/* Prepares a listener whose flows will try the client's address. */
void client_address_prepare(struct worker *w, struct listener *l);
/* Forgets what was learnt about the port's last target. */
void client_address_forget(struct listener *l);
/* Takes over what another data plane has learnt about the port, within its bounds. Clients in the
 * namespace's own networks begin anew. */
void client_address_take_over(const struct worker *w, struct listener *l,
			      const struct handover_port *p);
/* Undoes that: the listener is closing. */
void client_address_unprepare(struct worker *w, const struct listener *l);

#endif
