/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_TRANSPARENT_H
#define RINGKIT_NS_TRANSPARENT_H

#include <libmnl/libmnl.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Routing in a network namespace for connections that have the address of a client outside. A
 * socket with IP_TRANSPARENT (ip(7)) may have any source address, and what the server answers must
 * come back to that socket rather than leave for the client.
 */

/* Where the server may be. Each place works or not for IPv4 and IPv6 separately. */
enum transparent_place {
	TRANSPARENT_LOOPBACK, /* at a loopback address; the socket has TRANSPARENT_MARK_LOOPBACK */
	TRANSPARENT_OWN,      /* at another address of the namespace; the socket has
			       * TRANSPARENT_MARK */
	TRANSPARENT_BEHIND,   /* in another namespace, reached through a bridge or the like */
	TRANSPARENT_ROUTED,   /* at a loopback address, reached from the router */
};

/* A place's bit in the mask of what works. */
#define TRANSPARENT_BIT(place, ipv6) (1u << (2 * (unsigned)(place) + (unsigned)(ipv6)))

/* The mark of packets that go to a local socket whatever their destination is. */
#define TRANSPARENT_MARK 0x524b5450u

/* The mark of packets that go to a local socket if they come from a loopback address. Other rules
 * decide about the way to the server: a connection to a loopback address may be turned towards a
 * container (DNAT). */
#define TRANSPARENT_MARK_LOOPBACK 0x524b5451u

/* Sets up the namespace that the caller is in and has CAP_NET_ADMIN over, and tries it with
 * connections of its own. ifname: the interface to the router of --net=builtin; "": there is no
 * router. Returns the mask of what works. *why has the first failure; its code is 0 when there was
 * none. */
uint32_t transparent_set_up(const char *ifname, struct err *why);

/* transparent_nft.c: adds rules that mark packets from other interfaces that belong to a
 * transparent socket. 0 or -errno. */
int transparent_mark_answers(struct err *e);

/*
 * When somebody's rules have turned a connection elsewhere (DNAT), only the kernel's connection
 * tracking can tell its answers. Rules that ask for it would switch tracking on, which costs every
 * packet. So we add them only once somebody else has switched it on.
 */
struct transparent_watch {
	struct mnl_socket *nl; /* NULL: nothing (more) to do */
	uint64_t next_ms;
};

/* Call this before the first look, while sockets of any kind can be made. The caller closes *w. 0
 * or -errno. */
int transparent_watch_open(struct transparent_watch *w, struct err *e);
void transparent_watch_close(struct transparent_watch *w);

/* Adds the rules if connections are tracked by now. A look takes 50 us; unless it is important, it
 * is left out when the last was less than a second ago. When the rules cannot be added, it is the
 * last look, unless memory was short. Needs CAP_NET_ADMIN, as transparent_set_up
 * does. Whether it has added the rules. */
bool transparent_watch_look(struct transparent_watch *w, bool important, struct err *e);

/* transparent_nft.c: adds those rules, by a netfilter socket. 0, also when they are there; or
 * -errno. */
int transparent_mark_turned(struct mnl_socket *nl, struct err *e);

/* transparent_routed.c: adds the rules for TRANSPARENT_ROUTED, by a netfilter socket. 0, also when
 * they are there; or -errno. */
int transparent_routed_rules(struct mnl_socket *nl, const char *ifname, struct err *e);

/* Puts back the routing rules and nftables rules of transparent_set_up that somebody has taken
 * away. route and nft are sockets of NETLINK_ROUTE and NETLINK_NETFILTER. marked: accepted sockets
 * inherit marks. 0 or -errno. */
int transparent_put_back(struct mnl_socket *route, struct mnl_socket *nft, bool marked,
			 const char *ifname, struct err *e);

/* transparent_nft.c: adds the rules of transparent_mark_answers if they are missing. 0 or
 * -errno. */
int transparent_mark_answers_again(struct mnl_socket *nl, struct err *e);

/*
 * Root of the namespace may take our rules away, as "nft flush ruleset" does, which stands at the
 * top of many firewall scripts. The kernel reports it, and we put them back.
 */
struct transparent_repair {
	struct mnl_socket *nft, *route, *news[2];
	bool marked, lost;
	bool changed;	       /* nftables rules of others, or ours, have changed */
	char ifname[IFNAMSIZ]; /* "": no router */
	uint64_t next_ms;      /* not before: putting back */
	uint64_t read_ms;      /* not before: reading the reports */
};

/* Call this after transparent_set_up, while sockets of any kind can be made. 0 or -errno; after an
 * error the other functions do nothing. */
int transparent_repair_open(struct transparent_repair *r, const char *ifname, struct err *e);
/* The descriptor to poll for input, i: 0 or 1; -1: for now, none. */
int transparent_repair_fd(const struct transparent_repair *r, unsigned i);
/* Whether nftables rules in the namespace have changed since the last call, as far as
 * transparent_repair_look has read the kernel's reports. */
bool transparent_repair_changed(struct transparent_repair *r);
/* The longest time to wait in that poll; -1: no limit. */
int transparent_repair_wait_ms(const struct transparent_repair *r);
/* Reads the kernel's reports and puts back what is lost. Whether it did. *e: why not; it is tried
 * again when memory was short. */
bool transparent_repair_look(struct transparent_repair *r, struct err *e);

#endif
