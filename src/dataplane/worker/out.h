/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_OUT_H
#define RINGKIT_DATAPLANE_WORKER_OUT_H

#include <stdbool.h>

#include "dataplane/stats.h"
#include "dataplane/worker/gate.h"
#include "dataplane/worker/out_ping.h"
#include "dataplane/worker/out_room.h"
#include "dataplane/worker/out_tcp.h"
#include "dataplane/worker/out_udp.h"
#include "dataplane/worker/supply.h"

/*
 * A worker's part of the way out of the command's namespace (--net=builtin). Packets leave the
 * command's namespace through the router's. There the worker has three kinds of entries:
 * transparent listeners for TCP connections, a transparent socket for datagrams, and a netfilter
 * queue that shows opened connections and echo requests first. The worker makes the sockets of the
 * host's side itself.
 *
 * Descriptors and slots are counted apart from those of published ports: a flood on the way out
 * takes nothing from the ports.
 */

struct worker;
struct io_event;
struct dp_msg;

/* The host's ports that all workers together may take for connections, and as many for UDP
 * mappings: half of the ephemeral ones (ip(7), ip_local_port_range), so that the host's own
 * programs find some. The workers share this record. */
struct out_ports {
	unsigned max;
	unsigned tcp, udp; /* ports taken; atomic */
};

struct out_config {
	const struct dp_outward *policy; /* NULL: there is no way out */
	struct out_ports *ports;
	int tcp_fd[2], udp_fd[2]; /* IPv4, IPv6; -1: none */
	int queue_fd, channel_fd;
	int raw_fd[2];		 /* the workers share these, and nobody closes them */
	unsigned fds_max;	 /* descriptors, in addition to those of published ports */
	unsigned tcp_flows_max;	 /* each takes two descriptors */
	unsigned pending_max;	 /* connections that are being made; a descriptor each */
	unsigned maps_max;	 /* UDP mappings; a descriptor each */
	unsigned peers_max;	 /* addresses from which mappings accept answers */
	unsigned responders_max; /* addresses from which answers are sent inside; a descriptor each
				  */
};

struct out {
	bool on;
	struct dp_outward policy;
	unsigned fds; /* descriptors held, and those that connects under way will need */
	struct port_stats port_stats;
	struct gate gate;
	struct out_tcp tcp;
	struct out_udp udp;
	struct out_pings pings;
	struct supply supply; /* of the router's namespace */
};

/* Takes over the configuration's descriptors. 0 or -errno. */
int out_open(struct worker *w);
void out_close(struct worker *w);
/* For any event of HANDLE_OUT_*. */
void out_event(struct worker *w, const struct io_event *ev);
/* At the end of a turn. */
void out_tick(struct worker *w);
uint64_t out_deadline(const struct worker *w);
/* The resolvers have changed. */
void out_set_resolvers(struct worker *w, const struct dp_msg *msg);
/* Closes sockets that were not needed lately. Returns whether another call may find more. */
bool out_trim(struct worker *w);
/* For a hand-over (handover.h): cancels operations; returns whether any is in flight; goes on. */
void out_rest(struct worker *w);
bool out_in_flight(const struct worker *w);
void out_go(struct worker *w);
/* At the end of a turn of a worker at rest. */
void out_rest_tick(struct worker *w);

#endif
