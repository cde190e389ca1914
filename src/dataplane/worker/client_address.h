/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_CLIENT_ADDRESS_H
#define RINGKIT_DATAPLANE_WORKER_CLIENT_ADDRESS_H

#include "dataplane/worker/tcp.h"

/* Why a server does not see its client's address. */
enum tcp_lost {
	TCP_LOST_NOT = 0, /* it does, or the client is on this host */
	TCP_LOST_FAMILY,
	TCP_LOST_SCOPE,
	TCP_LOST_SETUP,
	TCP_LOST_NETWORK,
	TCP_LOST_FAILED,
	TCP_LOST_TIMEOUT,
	TCP_LOST_OFF,
};
/* With the client's address, with it and a mark (ns/transparent.h), or when there is a socket to
 * ask the kernel with. */
enum client_address {
	CLIENT_ADDRESS_NO,
	CLIENT_ADDRESS_YES,
	CLIENT_ADDRESS_LOOPBACK,
	CLIENT_ADDRESS_MARKED,
	CLIENT_ADDRESS_WAIT,
};
/* A flow that has just been accepted: whether it is to try, and with which target. */
void client_address_begin(struct worker *w, struct tcp_flow *f);
/* How it is to be connected now. May end its trying. */
enum client_address client_address_choose(struct worker *w, struct tcp_flow *f);
/* Gives its fd[1] the client's address. 0, or -errno and client_address_failed has been called. */
int client_address_bind(struct worker *w, struct tcp_flow *f, enum client_address how);
/* The attempt failed with err: chooses which one comes next. */
void client_address_failed(struct worker *w, struct tcp_flow *f, int err);
/* Nothing else has worked: whether there is still a way to try. */
bool client_address_last(struct tcp_flow *f);
/* The flow is connected, with the client's address or without. */
void client_address_connected(struct worker *w, struct tcp_flow *f);
/* The attempt that begins now may last until f->limit_ns. */
void client_address_limit(const struct worker *w, struct tcp_flow *f);
/* A listener whose clients will be tried with: gets what that takes. */
void client_address_prepare(struct worker *w, struct listener *l);
/* The listener is gone. */
void client_address_unprepare(struct worker *w, const struct listener *l);

#endif
