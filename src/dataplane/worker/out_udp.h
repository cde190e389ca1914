/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_OUT_UDP_H
#define RINGKIT_DATAPLANE_WORKER_OUT_UDP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/sockaddr.h"
#include "dataplane/worker/egress.h"
#include "dataplane/worker/out_rate.h"
#include "dataplane/worker/udp.h"

struct worker;
struct io_event;

enum out_map_state { OUT_MAP_FREE = 0, OUT_MAP_OPEN, OUT_MAP_CLOSING };

/* How long a mapping lives without datagrams; one list for each. */
enum out_age {
	OUT_AGE_LONG,	  /* RFC 4787, REQ-5 */
	OUT_AGE_DNS,	  /* it has sent to port 53 alone */
	OUT_AGE_ANSWERED, /* the same, and no answer is owed */
	OUT_AGES,
};

/* A mapping: the outside socket of one address and port inside. */
struct out_map {
	enum out_map_state state;
	uint32_t gen;
	int fd;
	bool armed;
	bool paused; /* receiving has ended because no buffer was left */
	enum egress_kind kind;
	enum out_age age;
	unsigned resolver;   /* EGRESS_DNS: index of the resolver that it asks */
	unsigned unanswered; /* datagrams sent since the last answer */
	uint64_t asked_ns;   /* when the first of those was sent */
	uint64_t last_ns;
	union sock_addr inside;
	struct out_peer *peers;
	struct out_map *prev, *next; /* of its age, the least recently used first; or free list */
	struct out_map *hash_next;
	struct out_map *pause_prev, *pause_next;
};

/* An address that a mapping has written to, and accepts answers from. */
struct out_peer {
	struct out_map *map;	      /* NULL: free */
	struct in6_addr addr;	      /* the address outside; IPv4 as a mapped address */
	struct out_peer *prev, *next; /* list of its mapping; or free list */
	struct out_peer *hash_next;
	uint64_t last_ns;
	struct out_peer *age_prev, *age_next; /* list of all, the least recently used first */
};

/* A transparent socket inside that sends the answers that come from one address. */
struct out_responder {
	int fd;
	bool used;
	union sock_addr addr;
	uint64_t last_ns;
	struct out_responder *prev, *next; /* list, the least recently used first; or free list */
	struct out_responder *hash_next;
};

/* Datagrams that leave as one message. */
struct out_batch {
	int fd;	      /* socket to send on; -1: the batch is empty */
	bool up;      /* true: they leave the namespace */
	uint32_t map; /* index of the mapping */
	union sock_addr name;
	union sock_addr seen; /* up: the destination that the client sees */
	struct udp_message message;
};

/* The route of the last datagram from inside. map NULL: there is none. */
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
	uint32_t hash_mask; /* of all three hash tables */
	unsigned maps_used, maps_count, peers_used, responders_used;
	unsigned resolver; /* index of the resolver that is asked first */
	struct out_rate evictions;
	bool listener_paused[2];
	struct out_last last;
	struct out_batch batch;
};

void out_udp_open(struct worker *w);
void out_udp_close_all(struct worker *w);
/* Datagrams from inside have come. */
void out_udp_listen_event(struct worker *w, const struct io_event *ev);
/* Datagrams from outside have come. */
void out_udp_map_event(struct worker *w, const struct io_event *ev);
void out_udp_tick(struct worker *w);
uint64_t out_udp_deadline(const struct worker *w);
/* The host's resolvers have changed. */
void out_udp_new_resolvers(struct worker *w);

/* Changes the state. The only place that does, and it asserts that the state may follow. */
void out_map_set_state(struct out_map *m, enum out_map_state state);

/* Parts of a mapping's life that taking over mappings needs, too (out_handover.c). */
struct out_map *out_map_find(struct worker *w, const union sock_addr *inside,
			     enum egress_kind kind);
struct out_map *out_map_slot(struct worker *w);
/* Enters the mapping into every table of open mappings. */
void out_map_begin(struct worker *w, struct out_map *m, const union sock_addr *inside,
		   enum out_age age, uint64_t last_ns);
void out_map_arm(struct worker *w, struct out_map *m);
uint64_t out_map_handle(const struct worker *w, const struct out_map *m);

/* out_peer.c */

struct out_peer *out_peer_find(struct worker *w, const struct out_map *m,
			       const struct in6_addr *addr);
/* The mapping accepts answers from this address from now on. */
void out_peer_allow(struct worker *w, struct out_map *m, const union sock_addr *to);
/* The same for an address of an earlier data plane's mapping, last written to at last_ns. */
void out_peer_take_over(struct worker *w, struct out_map *m, const struct in6_addr *addr,
			uint64_t last_ns);
/* Forgets all addresses of a mapping. */
void out_peer_forget(struct worker *w, struct out_map *m);
void out_peer_tick(struct worker *w);

/* out_responder.c */

/* The responder with this address; NULL: there is no socket for one. */
struct out_responder *out_responder_of(struct worker *w, const union sock_addr *addr);
/* Takes over a responder of an earlier data plane. False: there is no room, and fd stays the
 * caller's. */
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
/* Sends the payload before the turn ends, and then returns its receive buffer. */
void out_udp_send(struct worker *w, const struct out_route *route, const struct udp_payload *p);
void out_udp_flush(struct worker *w);

/* out_udp_error.c */

/* Reads the errors of an outside socket: the client gets them as ICMP messages. */
void out_udp_errors(struct worker *w, struct out_map *m);
/* The resolver that the mapping asks has not answered: questions go to the next one. */
void out_udp_next_resolver(struct worker *w, const struct out_map *m);
/* Replaces an outside address by the one that the client knows. */
void out_udp_seen_inside(const struct worker *w, const struct out_map *m, union sock_addr *addr);

#endif
