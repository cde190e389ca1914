/* SPDX-License-Identifier: Apache-2.0 */
#include <utlist.h>

#include "dataplane/worker/out_hash.h"
#include "dataplane/worker/worker_internal.h"

/* The addresses from which a mapping accepts answers (RFC 4787, REQ-8): those that it has written
 * to. */

/* An address is forgotten when nothing was sent to it for this long. */
#define PEER_NS (120000 * WORKER_NS_PER_MS)

static struct out_udp *table(struct worker *w)
{
	return &w->out.udp;
}

static struct out_peer **peer_bucket(struct worker *w, const struct out_map *m,
				     const struct in6_addr *addr)
{
	uint64_t h = hash_word(w->out.tcp.hash_seed, (uint64_t)(m - table(w)->maps));

	return &table(w)->peer_hash[out_hash_in6(h, addr) & table(w)->hash_mask];
}

struct out_peer *out_peer_find(struct worker *w, const struct out_map *m,
			       const struct in6_addr *addr)
{
	struct out_peer *p = *peer_bucket(w, m, addr);

	while (p && !(p->map == m && IN6_ARE_ADDR_EQUAL(&p->addr, addr)))
		p = p->hash_next;
	return p;
}

static void peer_free(struct worker *w, struct out_peer *p)
{
	struct out_peer **at = peer_bucket(w, p->map, &p->addr);

	while (*at != p)
		at = &(*at)->hash_next;
	*at = p->hash_next;
	DL_DELETE(p->map->peers, p);
	DL_DELETE2(table(w)->peer_ages, p, age_prev, age_next);
	p->map = NULL;
	p->next = table(w)->peers_free;
	table(w)->peers_free = p;
}

static struct out_peer *peer_slot(struct worker *w)
{
	struct out_udp *t = table(w);
	struct out_peer *p;

	if (!t->peers_free && t->peers_used < w->config.out.peers_max)
		return &t->peers[t->peers_used++];
	if (!t->peers_free)
		peer_free(w, t->peer_ages);
	p = t->peers_free;
	t->peers_free = p->next;
	return p;
}

static struct out_peer *peer_new(struct worker *w, struct out_map *m, const struct in6_addr *addr)
{
	struct out_peer *p = peer_slot(w), **bucket = peer_bucket(w, m, addr);

	p->map = m;
	p->addr = *addr;
	p->hash_next = *bucket;
	*bucket = p;
	DL_APPEND(m->peers, p);
	return p;
}

/* The list is in the order of last_ns. */
static void peer_last(struct worker *w, struct out_peer *p, uint64_t last_ns)
{
	p->last_ns = last_ns;
	DL_APPEND2(table(w)->peer_ages, p, age_prev, age_next);
}

void out_peer_allow(struct worker *w, struct out_map *m, const union sock_addr *to)
{
	struct in6_addr addr = out_host_of(to);
	struct out_peer *p = out_peer_find(w, m, &addr);

	if (p)
		DL_DELETE2(table(w)->peer_ages, p, age_prev, age_next);
	else
		p = peer_new(w, m, &addr);
	peer_last(w, p, w->now_ns);
}

void out_peer_take_over(struct worker *w, struct out_map *m, const struct in6_addr *addr,
			uint64_t last_ns)
{
	if (!out_peer_find(w, m, addr))
		peer_last(w, peer_new(w, m, addr), worker_at_most(last_ns, w->now_ns));
}

void out_peer_forget(struct worker *w, struct out_map *m)
{
	while (m->peers)
		peer_free(w, m->peers);
}

void out_peer_tick(struct worker *w)
{
	struct out_peer *p;

	while ((p = table(w)->peer_ages) && w->now_ns - p->last_ns >= PEER_NS)
		peer_free(w, p);
}
