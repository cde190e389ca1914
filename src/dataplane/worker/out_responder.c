/* SPDX-License-Identifier: Apache-2.0 */
#include <utlist.h>

#include "dataplane/worker/out_hash.h"
#include "dataplane/worker/worker_internal.h"

/*
 * Answers reach the inside from the address that was written to. A transparent socket of the
 * router's namespace is bound to that address when its first answer comes. The socket is not
 * connected, so that it serves all who wrote to the address; but it never receives what they write.
 */

/* A socket that has had nothing to send for this long is closed. */
#define RESPONDER_NS (60000 * WORKER_NS_PER_MS)

static struct out_udp *table(struct worker *w)
{
	return &w->out.udp;
}

static struct out_responder **responder_bucket(struct worker *w, const union sock_addr *addr)
{
	return &table(w)->responder_hash[out_hash_addr(w->out.tcp.hash_seed, addr) &
					 table(w)->hash_mask];
}

static void responder_close(struct worker *w, struct out_responder *r)
{
	struct out_responder **at = responder_bucket(w, &r->addr);

	if (table(w)->batch.fd == r->fd)
		out_udp_flush(w);
	while (*at != r)
		at = &(*at)->hash_next;
	*at = r->hash_next;
	DL_DELETE(table(w)->responder_ages, r);
	w->io->ops->close_fd(w->io, r->fd);
	w->out.fds--;
	r->used = false;
	r->next = table(w)->responders_free;
	table(w)->responders_free = r;
}

static struct out_responder *responder_slot(struct worker *w)
{
	struct out_udp *t = table(w);
	struct out_responder *r;
	bool more = t->responders_free || t->responders_used < w->config.out.responders_max;

	if ((!more || !out_has_fds(w, 1)) && t->responder_ages)
		responder_close(w, t->responder_ages);
	if (!out_has_fds(w, 1))
		return NULL;
	r = t->responders_free;
	if (r)
		t->responders_free = r->next;
	else
		r = &t->responders[t->responders_used++];
	return r;
}

static void responder_begin(struct worker *w, struct out_responder *r, const union sock_addr *addr,
			    int fd)
{
	struct out_responder **bucket = responder_bucket(w, addr);

	*r = (struct out_responder){
		.fd = fd, .used = true, .addr = *addr, .last_ns = w->now_ns, .hash_next = *bucket};
	*bucket = r;
	DL_APPEND(table(w)->responder_ages, r);
	w->out.fds++;
}

static struct out_responder *responder_new(struct worker *w, const union sock_addr *addr)
{
	int fd = supply_take(w, &w->out.supply, addr->sa.sa_family, SOCK_DGRAM);
	struct out_responder *r;

	if (fd < 0)
		return NULL;
	r = w->io->ops->bind_as(w->io, fd, &addr->sa, sockaddr_len(&addr->sa), 0)
		    ? NULL
		    : responder_slot(w);
	if (!r) {
		w->io->ops->close_fd(w->io, fd);
		return NULL;
	}
	responder_begin(w, r, addr, fd);
	return r;
}

static struct out_responder *find(struct worker *w, const union sock_addr *addr)
{
	struct out_responder *r = *responder_bucket(w, addr);

	while (r && !sockaddr_same(&r->addr, addr))
		r = r->hash_next;
	return r;
}

bool out_responder_take_over(struct worker *w, const union sock_addr *addr, int fd)
{
	struct out_responder *r = find(w, addr) ? NULL : responder_slot(w);

	if (r)
		responder_begin(w, r, addr, fd);
	return r;
}

struct out_responder *out_responder_of(struct worker *w, const union sock_addr *addr)
{
	struct out_responder *r = find(w, addr);

	if (!r)
		return responder_new(w, addr);
	if (r->last_ns != w->now_ns) {
		r->last_ns = w->now_ns;
		DL_DELETE(table(w)->responder_ages, r);
		DL_APPEND(table(w)->responder_ages, r);
	}
	return r;
}

void out_responder_tick(struct worker *w)
{
	struct out_responder *r;

	while ((r = table(w)->responder_ages) && w->now_ns - r->last_ns >= RESPONDER_NS)
		responder_close(w, r);
}

uint64_t out_responder_deadline(const struct worker *w)
{
	const struct out_responder *r = w->out.udp.responder_ages;

	return r ? r->last_ns + RESPONDER_NS : UINT64_MAX;
}

void out_responder_close_all(struct worker *w)
{
	for (unsigned i = 0; i < table(w)->responders_used; i++)
		if (table(w)->responders[i].used)
			w->io->ops->close_fd(w->io, table(w)->responders[i].fd);
}
