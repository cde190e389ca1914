/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_ROUTER_H
#define RINGKIT_NS_ROUTER_H

#include <stdint.h>

#include "base/err.h"

/*
 * The router's namespace (--net=builtin): a network namespace beside the command's, owned by the
 * same user namespace and joined to it by a veth pair. To the command it is the next hop of an
 * ordinary network. In the router, packets that the command sends to any address come to
 * transparent sockets of ours (Documentation/networking/tproxy.rst of the kernel), which the data
 * plane reads. So no rule of ours is in the command's namespace.
 *
 * The rules (router_nft.c) decide by marks. A mark does not survive the way between namespaces.
 */

/* The interface at the router's end. */
#define ROUTER_IFNAME "inside"

/* Marks of packets. */
#define ROUTER_MARK_ROUTED	     0x524b5000u /* delivered to a local socket */
#define ROUTER_MARK_REFUSED	     0x524b5001u /* answered with a TCP reset */
#define ROUTER_MARK_UNREACHABLE_HOST 0x524b5002u /* answered with ICMP */
#define ROUTER_MARK_UNREACHABLE_NET  0x524b5003u
#define ROUTER_MARK_PROHIBITED	     0x524b5004u
#define ROUTER_MARK_ACCEPT	     0x524b5100u /* + i: delivered to the listener of worker i */

/* The nftables table of the rules, and its counter. */
#define ROUTER_TABLE   "router"
#define ROUTER_COUNTER "refused"

/* The queue of worker 0; those of the others follow. The namespace is ours alone, so any number is
 * free. */
#define ROUTER_QUEUE 0

/* Ports of the transparent sockets. Nobody else has sockets in this namespace. */
#define ROUTER_TCP_PORT 10000 /* + i: worker i's listener, of either family */
#define ROUTER_UDP_PORT 9999  /* the same for all workers, with SO_REUSEPORT */

/* The part of the kernel that holds back the first packet of a connection. */
enum router_queue {
	ROUTER_QUEUE_EXPR,   /* nft_queue */
	ROUTER_QUEUE_TARGET, /* xt_NFQUEUE by nft_compat */
	ROUTER_QUEUE_NONE,   /* neither: connections are accepted before they are connected */
};

/* Addresses are text. */
struct router_config {
	int netns_fd;	    /* the command's; borrowed */
	int inside_fd;	    /* a socket in that namespace; borrowed; -1: none */
	const char *ifname; /* its name in the command's namespace */
	int mtu;
	unsigned workers;
	enum router_queue best_queue; /* better ones are not tried; 0: all are tried */
	const char *gateway4, *dns4, *inside4;
	int prefix_len4;
	const char *gateway6, *dns6, *inside6; /* NULL: no IPv6 */
	int prefix_len6;
};

/* Called in the command's namespace, before router_set_up(): sets what the way in wants there. What
 * cannot be set is logged. */
void router_prepare_inside(void);

/* Makes the current network namespace, which is new, the router of the command's namespace, which
 * gets an interface (not yet up). *queue gets the kind of queue that the kernel has. 0 or -errno;
 * on failure the command's namespace is left as it was. */
int router_set_up(const struct router_config *config, enum router_queue *queue, struct err *e);

/* router_queue.c: opens a queue of the current namespace. The socket is non-blocking and receives
 * whole packets. The caller closes it. 0 or -errno. */
int router_queue_open(uint16_t number, int *out, struct err *e);

/* router_count.c: opens a socket of the current namespace for router_count. -errno if that
 * fails. */
int router_count_open(void);
/* The number of packets that were refused because nothing carries their protocol. 0 or -errno: the
 * kernel may have no counters for rules. */
int router_count(int fd, uint64_t *out);

/* router_tunnels.c: makes the checksums right of what the command's tunnels carry. If it cannot, a
 * debug line says why. */
void router_tunnels(const struct router_config *config);

/* router_nft.c */
int router_add_rules(const struct router_config *config, enum router_queue *queue, struct err *e);
/* The rule for the interface's end in the router, which must be there. 0 or -errno. */
int router_add_loopback(struct err *e);

#endif
