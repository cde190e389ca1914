/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_TRANSPARENT_H
#define RINGKIT_NS_TRANSPARENT_H

#include <libmnl/libmnl.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Routing in a network namespace for connections that bear the address of a client from outside:
 * a socket with IP_TRANSPARENT (ip(7)) may have any source address, and what the server answers
 * must come back to it rather than leave for the client.
 */

/* Where the server may be. For each, IPv4 and IPv6 by themselves. */
enum transparent_place {
	TRANSPARENT_LOOPBACK, /* at a loopback address; the socket has TRANSPARENT_MARK_LOOPBACK */
	TRANSPARENT_OWN,      /* at another of the namespace; the socket has TRANSPARENT_MARK */
	TRANSPARENT_BEHIND,   /* in another namespace, reached through a bridge or the like */
	TRANSPARENT_ROUTED,   /* at 127.0.0.1 or ::1, from the router, at TRANSPARENT_ALIAS */
};

/* In the mask of what works. */
#define TRANSPARENT_BIT(place, ipv6) (1u << (2 * (unsigned)(place) + (unsigned)(ipv6)))

/* Mark of packets that go to a local socket whatever their destination is. */
#define TRANSPARENT_MARK 0x524b5450u

/* Mark of packets that go to a local socket if they come from a loopback address. The way there is
 * left to others: a connection to a loopback address may be turned towards a container (DNAT). */
#define TRANSPARENT_MARK_LOOPBACK 0x524b5451u

/*
 * What comes in by the router's interface to these addresses is turned to 127.0.0.1 and ::1 before
 * anybody's rules but those of the raw table see it: so a connection reaches a server there, or
 * where the namespace's rules turn connections to a loopback address, with the client's address. No
 * packet has these addresses by itself: that of RFC 7600, and one of those that are to be discarded
 * (RFC 6666).
 */
#define TRANSPARENT_ALIAS4 0xc0000008u /* 192.0.0.8 */
#define TRANSPARENT_ALIAS6                                                                         \
	{                                                                                          \
		.s6_addr = { 0x01, 0x00, [15] = 1 }                                                \
	} /* 100::1 */

/* Sets up the namespace that the caller is in and has CAP_NET_ADMIN over, and tries it with
 * connections of its own. ifname: leads to the router of --net=builtin; "": there is none. Returns
 * the mask of what works; *why says what the first failure was, its code is 0 when there was none.
 */
uint32_t transparent_set_up(const char *ifname, struct err *why);

/* transparent_nft.c: what comes in from another interface and belongs to a transparent socket gets
 * the mark. 0 or -errno. */
int transparent_mark_answers(struct err *e);

/*
 * Answers of connections that somebody's rules have turned elsewhere (DNAT) can be told by nothing
 * but the kernel's connection tracking. Rules that ask for it would switch it on, and it costs
 * every packet: so they come when somebody else has switched it on.
 */
struct transparent_watch {
	struct mnl_socket *nl; /* NULL: nothing to do, or no more */
	uint64_t next_ms;
};

/* Call it before the first look, while sockets of any kind can be made. The caller closes it. 0 or
 * -errno. */
int transparent_watch_open(struct transparent_watch *w, struct err *e);
void transparent_watch_close(struct transparent_watch *w);

/* Adds the rules if it is time for them. A look takes 50 us; unless it is important it is left out
 * when there was one within a second. Needs CAP_NET_ADMIN, as transparent_set_up does. Whether
 * there are rules now that were not before. */
bool transparent_watch_look(struct transparent_watch *w, bool important, struct err *e);

/* transparent_nft.c: those rules, by a netfilter socket. 0, also when they are there; -errno. */
int transparent_mark_turned(struct mnl_socket *nl, struct err *e);

/* transparent_alias.c: the rules for TRANSPARENT_ALIAS, by a netfilter socket. 0, also when they
 * are there; -errno. */
int transparent_alias_rules(struct mnl_socket *nl, const char *ifname, struct err *e);

/* Puts back what transparent_set_up has set up and somebody has taken away: rules of routing and of
 * nftables. Sockets of NETLINK_ROUTE and NETLINK_NETFILTER. marked: accepted sockets inherit marks.
 * 0 or -errno. */
int transparent_put_back(struct mnl_socket *route, struct mnl_socket *nft, bool marked,
			 const char *ifname, struct err *e);

/* transparent_nft.c: the rules of transparent_mark_answers, if they are not there. 0 or -errno. */
int transparent_mark_answers_again(struct mnl_socket *nl, struct err *e);

/*
 * Whoever is root in the namespace may take our rules away, as "nft flush ruleset" does, which is
 * at the top of many a firewall's script. The kernel tells of it.
 */
struct transparent_repair {
	struct mnl_socket *nft, *route, *news[2];
	bool marked, lost;
	char ifname[IFNAMSIZ]; /* "": no router */
	uint64_t next_ms;
};

/* Call it after transparent_set_up, while sockets of any kind can be made. 0 or -errno, and then
 * the others do nothing. */
int transparent_repair_open(struct transparent_repair *r, const char *ifname, struct err *e);
void transparent_repair_close(struct transparent_repair *r);
/* What to poll for input, i: 0 or 1; or -1. */
int transparent_repair_fd(const struct transparent_repair *r, unsigned i);
/* How long to wait for it at most; -1: no limit. */
int transparent_repair_wait_ms(const struct transparent_repair *r);
/* Reads the news, and puts back what is lost. Whether it did. *e: why not. */
bool transparent_repair_look(struct transparent_repair *r, struct err *e);

#endif
