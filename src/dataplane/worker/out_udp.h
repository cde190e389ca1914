/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_OUT_UDP_H
#define RINGKIT_DATAPLANE_WORKER_OUT_UDP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/sockaddr.h"
#include "dataplane/worker/egress.h"
#include "dataplane/worker/out_rate.h"
#include "dataplane/worker/udp.h"

struct worker;
struct io_event;

enum out_map_state { OUT_MAP_FREE = 0, OUT_MAP_OPEN, OUT_MAP_CLOSING };

/* How long a mapping lives without datagrams. */
enum out_age {
	OUT_AGE_LONG,	  /* RFC 4787, REQ-5 */
	OUT_AGE_DNS,	  /* to port 53 alone */
	OUT_AGE_ANSWERED, /* the same, and nothing is waited for */
	OUT_AGES,
};

/* A mapping: the outside socket of an address and port inside. */
struct out_map {
	enum out_map_state state;
	uint32_t gen;
	int fd;
	bool armed;
	bool paused; /* receiving ended for want of buffers */
	enum egress_kind kind;
	enum out_age age;
	unsigned resolver;   /* EGRESS_DNS: which one it asks */
	unsigned unanswered; /* datagrams since the last one that came back */
	uint64_t asked_ns;   /* when the first of these went out */
	uint64_t last_ns;
	union sock_addr inside;
	struct out_peer *peers;
	struct out_map *prev, *next; /* of its age, the least recently used first; free list */
	struct out_map *hash_next;
	struct out_map *pause_prev, *pause_next;
};

/* An address that a mapping has written to, from which it takes answers. */
struct out_peer {
	struct out_map *map;	      /* NULL: free */
	struct in6_addr addr;	      /* outside; IPv4 as a mapped address */
	struct out_peer *prev, *next; /* of its mapping; free list */
	struct out_peer *hash_next;
	uint64_t last_ns;
	struct out_peer *age_prev, *age_next; /* all, the least recently used first */
};

/* A transparent socket inside that sends answers from this address. */
struct out_responder {
	int fd;
	bool used;
	union sock_addr addr;
	uint64_t last_ns;
	struct out_responder *prev, *next; /* the least recently used first; free list */
	struct out_responder *hash_next;
};

/* What leaves next. */
struct out_batch {
	int fd;	      /* -1: nothing */
	bool up;      /* out of the namespace */
	uint32_t map; /* index */
	union sock_addr name;
	union sock_addr seen; /* up: the destination as the client sees it */
	struct udp_message message;
};

/* Where the last datagram from inside went. map NULL: nowhere. */
struct out_last {
	struct out_map *map;
	union sock_addr client, dest, to;
};

struct out_udp {
	struct out_map *maps, *maps_free;
	struct out_map **map_hash;
	struct out_map *ages[OUT_AGES];
	struct out_map *paused;
	struct out_peer *peers, *peers_free, *peer_ages;
	struct out_peer **peer_hash;
	struct out_responder *responders, *responders_free, *responder_ages;
	struct out_responder **responder_hash;
	uint32_t hash_mask; /* of all three */
	unsigned maps_used, maps_count, peers_used, responders_used;
	unsigned resolver; /* that is asked first */
	struct out_rate evictions;
	bool listener_paused[2];
	struct out_last last;
	struct out_batch batch;
};

void out_udp_open(struct worker *w);
void out_udp_close_all(struct worker *w);
/* Datagrams from inside. */
void out_udp_listen_event(struct worker *w, const struct io_event *ev);
/* Datagrams from outside. */
void out_udp_map_event(struct worker *w, const struct io_event *ev);
void out_udp_tick(struct worker *w);
uint64_t out_udp_deadline(const struct worker *w);
/* The host's resolvers are others now. */
void out_udp_new_resolvers(struct worker *w);

/* Parts of a mapping's life, for those that another data plane has made (out_handover.c). */
struct out_map *out_map_find(struct worker *w, const union sock_addr *inside,
			     enum egress_kind kind);
struct out_map *out_map_slot(struct worker *w);
/* It is in every table that open mappings are in. */
void out_map_begin(struct worker *w, struct out_map *m, const union sock_addr *inside,
		   enum out_age age, uint64_t last_ns);
void out_map_arm(struct worker *w, struct out_map *m);
uint64_t out_map_handle(const struct worker *w, const struct out_map *m);

/* out_peer.c */

struct out_peer *out_peer_find(struct worker *w, const struct out_map *m,
			       const struct in6_addr *addr);
/* From now on it takes answers from this address. */
void out_peer_allow(struct worker *w, struct out_map *m, const union sock_addr *to);
/* The same, as another data plane has had it. */
void out_peer_take_over(struct worker *w, struct out_map *m, const struct in6_addr *addr,
			uint64_t last_ns);
/* All of a mapping. */
void out_peer_forget(struct worker *w, struct out_map *m);
void out_peer_tick(struct worker *w);

/* out_responder.c */

/* The one that has this address, or NULL: there is no socket for it. */
struct out_responder *out_responder_of(struct worker *w, const union sock_addr *addr);
/* One that another data plane has made. Its descriptor stays the caller's when there is no room:
 * false. */
bool out_responder_take_over(struct worker *w, const union sock_addr *addr, int fd);
void out_responder_tick(struct worker *w);
uint64_t out_responder_deadline(const struct worker *w);
void out_responder_close_all(struct worker *w);

/* out_udp_send.c */

struct out_route {
	int fd;
	bool up;
	uint32_t map;
	const union sock_addr *name, *seen;
};
/* Sends it, soon; its buffer goes back by itself. */
void out_udp_send(struct worker *w, const struct out_route *route, const struct udp_payload *p);
void out_udp_flush(struct worker *w);

/* out_udp_error.c */

/* An outside socket has errors to tell: the client hears them as ICMP. */
void out_udp_errors(struct worker *w, struct out_map *m);
/* The resolver that a mapping asks has not answered: the next one is asked. */
void out_udp_next_resolver(struct worker *w, const struct out_map *m);
/* Makes an outside address what the client knows it by. */
void out_udp_seen_inside(const struct worker *w, const struct out_map *m, union sock_addr *addr);

#endif
