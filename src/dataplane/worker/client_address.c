/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/array.h"
#include "base/log.h"
#include "base/sockaddr.h"
#include "dataplane/dataplane.h"
#include "dataplane/worker/handover_record.h"
#include "dataplane/worker/hash.h"
#include "dataplane/worker/worker_internal.h"
#include "ns/transparent.h"

/*
 * Connections that bear the client's address (IP_TRANSPARENT), so that the server sees who its
 * client is. ns/transparent.c has prepared the namespace for them.
 *
 * A flow whose client is outside tries the client's address first. If that fails, for any reason,
 * it uses the namespace's own address: no connection is lost by trying. When an answer leaves for
 * the client instead of coming back, the only sign is that time passes. So the attempt has a time
 * limit. A client for which the limit passed while the ordinary way worked stops trying at this
 * port for a while. When clients of several networks in a row have stopped, all of the port's do,
 * so that not each of them waits: one client, as one that rules in the namespace shut out, must not
 * hide the addresses of the others.
 *
 * A client may have an address that is also one of the namespace's own, or in a network that the
 * namespace has, too: 172.17.0.0/16 is on many machines. Answers to that address do not come back
 * where rules have turned the connection. Such clients stop trying for themselves alone, however
 * many they are.
 *
 * With --net=builtin there is a better way for what would go to the namespace's loopback address: a
 * socket of the router's namespace connects to the namespace's own address. Its packets come in as
 * those of a real network would. So the command's rules apply to them (Docker's and kube-proxy's
 * DNAT), and answers reach the router by themselves. A server that listens on the loopback address
 * alone refuses such a connection, and is then reached the ordinary way. For clients of this host,
 * and for a port where this way got no answer, the ordinary way comes first, and this way last.
 *
 * How a server is reached may change at any time, so the kernel is asked each time: which source
 * address would a datagram socket have on the way to the server? If that is the server's own
 * address, the server is in the namespace (then the connection has a mark). If the way to the
 * client has the same source address, the server's answers would go straight to the client, not
 * back through here.
 */

/* Longer than a busy machine takes, shorter than a client waits. */
#define TRY_NS (1000 * WORKER_NS_PER_MS)

/* How long a client, or a port, stops trying. After that one flow tries for all. When it fails, the
 * time doubles, up to OFF_DOUBLES times: a server that is still being set up is soon ready, others
 * never are. */
#define OFF_NS	    (4000 * WORKER_NS_PER_MS)
#define OFF_DOUBLES 4

/* A server that cannot keep up lets connections wait, too. Where clients' addresses have worked
 * before, a client stops trying after so many time-outs only. */
#define TIMEOUTS_MAX 3

/* So many clients in a row stop trying before the port does. Those of one network, one after the
 * other, count as one. */
#define CLIENTS_MAX 4

static const char *const reasons[] = {
	[TCP_LOST_FAMILY] = "one has an IPv4 address and the other an IPv6 one",
	[TCP_LOST_SCOPE] = "it means nothing beyond the link that the client is on",
	[TCP_LOST_SETUP] = "the namespace could not be prepared for it",
	[TCP_LOST_NETWORK] =
		"answers would not come back: the server is outside, or on the client's network",
	[TCP_LOST_FAILED] = "the connection could not be made with it",
	[TCP_LOST_TIMEOUT] = "the server's answer did not come back",
	[TCP_LOST_OFF] = "the server's answer did not come back a while ago",
};

static const union sock_addr *target_of(const struct tcp_flow *f)
{
	return f->second ? &f->listener->target2 : &f->listener->target;
}

static void give_up(struct tcp_flow *f, enum tcp_lost why)
{
	f->transparent = f->routed = false;
	f->second = false;
	f->lost = (uint8_t)why;
}

/* Whether trying has stopped. When the time is up, one flow tries, while the others go the ordinary
 * way. */
static bool is_off(const struct worker *w, uint64_t *off_ns)
{
	if (*off_ns == 0)
		return false;
	if (w->now_ns < *off_ns)
		return true;
	*off_ns = w->now_ns + 2 * TRY_NS;
	return false;
}

/* Clients that have stopped trying */

static uint64_t mix(const struct worker *w, uint64_t h, uint64_t word)
{
	return hash_word(h, word) ^ w->udp.hash_seed;
}

/* The client's network: whoever has one may have all of its addresses. */
static uint64_t network_of(const union sock_addr *client)
{
	uint64_t network;

	if (client->sa.sa_family == AF_INET)
		return ntohl(client->in4.sin_addr.s_addr) >> 8;
	memcpy(&network, &client->in6.sin6_addr, sizeof(network));
	return network;
}

static uint64_t pause_key(const struct worker *w, const struct tcp_flow *f)
{
	const struct listener *l = f->listener;
	uint64_t host = 0, h = w->udp.hash_seed;

	if (f->client.sa.sa_family == AF_INET)
		host = f->client.in4.sin_addr.s_addr;
	else
		memcpy(&host, &f->client.in6.sin6_addr.s6_addr[8], sizeof(host));
	h = mix(w, h, (uint64_t)(uint32_t)l->port_id << 32 | l->targets_seen);
	h = mix(w, h, network_of(&f->client));
	return mix(w, h, host) | 1;
}

/* Counts a client that has stopped, unless it is of the same network as the last one. */
static void count_client(const struct worker *w, struct client_tries *t, const struct tcp_flow *f,
			 uint8_t *counter)
{
	uint32_t network = (uint32_t)mix(w, w->udp.hash_seed, network_of(&f->client)) | 1;

	if (*counter < CLIENTS_MAX && (*counter == 0 || t->network != network))
		(*counter)++;
	t->network = network;
}

/* The place of the client's pause, whoever has it now. */
static struct client_pause *pause_place(struct worker *w, uint64_t key)
{
	return &w->pauses.table[(key >> 1) % CLIENT_PAUSES];
}

/* NULL: the client has none. */
static struct client_pause *pause_of(struct worker *w, const struct tcp_flow *f)
{
	struct client_pause *p;
	uint64_t key;

	if (w->now_ns >= w->pauses.until_ns)
		return NULL;
	key = pause_key(w, f);
	p = pause_place(w, key);
	return p->key == key ? p : NULL;
}

static struct client_pause *pause_begin(struct worker *w, const struct tcp_flow *f)
{
	uint64_t key = pause_key(w, f);
	struct client_pause *p = pause_place(w, key);

	if (p->key != key || w->now_ns >= w->pauses.until_ns)
		*p = (struct client_pause){.key = key};
	w->pauses.until_ns = w->now_ns + 2 * (OFF_NS << OFF_DOUBLES);
	return p;
}

/* The source address that the kernel would choose in the namespace on the way to to. 0 or -errno.
 */
static int source_for(struct worker *w, const union sock_addr *to, union sock_addr *source)
{
	socklen_t len = sizeof(*source);
	int fd = w->probes.fd[to->sa.sa_family == AF_INET6];

	if (fd < 0)
		return -EAGAIN;
	return w->io->ops->source_for(w->io, fd, &to->sa, sockaddr_len(&to->sa), &source->sa, &len);
}

/* Whether the namespace has this address itself, or a network of its own that holds it: the way
 * there is not the way to the rest of the world, for which addresses stand that nobody has (RFC
 * 7600 and RFC 6666). */
static bool is_inside(struct worker *w, const union sock_addr *client)
{
	union sock_addr to_client, outside, to_outside;

	if (source_for(w, client, &to_client) < 0)
		return false;
	if (sockaddr_same_host(&to_client, client))
		return true;
	memset(&outside, 0, sizeof(outside));
	outside.sa.sa_family = client->sa.sa_family;
	if (client->sa.sa_family == AF_INET)
		outside.in4 = (struct sockaddr_in){.sin_family = AF_INET,
						   .sin_port = htons(9),
						   .sin_addr.s_addr = htonl(0xc0000008)};
	else
		outside.in6 = (struct sockaddr_in6){.sin6_family = AF_INET6,
						    .sin6_port = htons(9),
						    .sin6_addr.s6_addr = {[0] = 0x01, [15] = 0x01}};
	return source_for(w, &outside, &to_outside) < 0 ||
	       !sockaddr_same_host(&to_client, &to_outside);
}

static struct client_tries *tries_of(struct worker *w, const struct tcp_flow *f)
{
	return &f->listener->tries[is_inside(w, &f->client)];
}

/* Whether all is well with every client of the port: then nobody need be told apart, which takes
 * some system calls. */
static bool is_well(const struct listener *l)
{
	uint64_t any = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(l->tries); i++)
		any |= l->tries[i].timeouts | l->tries[i].routed_misses | l->tries[i].off_ns |
		       l->tries[i].routed_off_ns;
	return any == 0;
}

/* By way of the router */

static bool works(const struct worker *w, enum transparent_place place, bool ipv6)
{
	return w->config.transparent & TRANSPARENT_BIT(place, ipv6);
}

/* The address that reaches target by way of the router; sa_family 0: none. A loopback address that
 * the user named is reached as such, where the namespace is prepared for that: rules may be for
 * that address and not for the namespace's own, as Docker's are since version 28. */
static union sock_addr route(const struct worker *w, const struct listener *l,
			     const union sock_addr *target)
{
	union sock_addr to = *target, none = {.sa.sa_family = AF_UNSPEC};

	if (!w->out.on || !sockaddr_is_loopback(&target->sa))
		return none;
	if (to.sa.sa_family == AF_INET6 && !w->out.policy.ipv6)
		return none;
	if (l->literal && works(w, TRANSPARENT_ROUTED, to.sa.sa_family == AF_INET6))
		return to;
	if (to.sa.sa_family == AF_INET)
		to.in4.sin_addr = w->out.policy.inside4;
	else
		to.in6.sin6_addr = w->out.policy.inside6;
	return to;
}

static struct sockpool *routed_pool(struct worker *w, const struct listener *l)
{
	return supply_pool(&w->out.supply, l->routed[0].sa.sa_family, SOCK_STREAM);
}

void client_address_unprepare(struct worker *w, const struct listener *l)
{
	if (l->routed[0].sa.sa_family && l->proto == PORT_TCP)
		routed_pool(w, l)->users--;
}

/* Why a connection cannot bear the client's address at all; TCP_LOST_NOT: it can, or the client is
 * on this host. */
static enum tcp_lost hopeless(const struct tcp_flow *f)
{
	const struct listener *l = f->listener;
	const union sock_addr *client = &f->client;

	if (sockaddr_is_loopback(&client->sa))
		return TCP_LOST_NOT;
	if (client->sa.sa_family != l->target.sa.sa_family &&
	    client->sa.sa_family != l->target2.sa.sa_family)
		return TCP_LOST_FAMILY;
	if (client->sa.sa_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&client->in6.sin6_addr))
		return TCP_LOST_SCOPE;
	return TCP_LOST_NOT;
}

/* The connection will be tried with the client's address. */
static void begin_transparent(struct tcp_flow *f)
{
	f->transparent = true;
	f->second = f->client.sa.sa_family != f->listener->target.sa.sa_family;
}

static bool has_route(const struct tcp_flow *f)
{
	return f->listener->routed[f->second].sa.sa_family != AF_UNSPEC;
}

bool client_address_last(struct tcp_flow *f)
{
	if (!f->routed_left)
		return false;
	f->routed_left = f->second = false;
	if (hopeless(f) == TCP_LOST_NOT && !sockaddr_is_loopback(&f->client.sa)) {
		f->lost = TCP_LOST_NOT;
		begin_transparent(f);
	}
	f->routed = has_route(f);
	return f->routed;
}

void client_address_begin(struct worker *w, struct tcp_flow *f)
{
	struct listener *l = f->listener;
	struct client_pause *p;
	struct client_tries *t;

	sockaddr_unmap(&f->client);
	if (!l->transparent)
		return;
	f->routed_left = has_route(f);
	f->lost = (uint8_t)hopeless(f);
	if (f->lost || sockaddr_is_loopback(&f->client.sa))
		return;
	p = pause_of(w, f);
	t = is_well(l) ? &l->tries[0] : tries_of(w, f);
	if ((p && is_off(w, &p->off_ns)) || is_off(w, &t->off_ns)) {
		f->lost = TCP_LOST_OFF;
		return;
	}
	if (w->now_ns >= t->routed_off_ns)
		t->routed_off_ns = 0;
	begin_transparent(f);
	if (has_route(f) && !t->routed_off_ns && !(p && w->now_ns < p->routed_off_ns)) {
		f->routed = true;
		f->routed_left = false;
	}
}

/* The way to the server */

void client_address_prepare(struct worker *w, struct listener *l)
{
	/* By the router, the rules that turn connections do so by themselves. */
	l->routed[0] = route(w, l, l->turned ? &l->target2 : &l->target);
	l->routed[1] = route(w, l, &l->target2);
	if (l->proto != PORT_TCP)
		return;
	if (l->routed[0].sa.sa_family)
		routed_pool(w, l)->users++;
	if (!sockaddr_is_loopback(&l->target.sa))
		probes_want(w, l->target.sa.sa_family == AF_INET6);
}

/* Decides by the source addresses that the kernel would choose. */
static enum client_address by_routes(struct worker *w, const struct tcp_flow *f)
{
	const union sock_addr *target = target_of(f);
	bool ipv6 = target->sa.sa_family == AF_INET6;
	union sock_addr to_server, to_client;

	if (sockaddr_same_host(&f->client, target) || source_for(w, target, &to_server) < 0)
		return CLIENT_ADDRESS_NO;
	if (sockaddr_same_host(&to_server, target))
		return works(w, TRANSPARENT_OWN, ipv6) ? CLIENT_ADDRESS_MARKED : CLIENT_ADDRESS_NO;
	if (!works(w, TRANSPARENT_BEHIND, ipv6))
		return CLIENT_ADDRESS_NO;
	/* If there is no route to the client, its address serves as well as any. */
	if (source_for(w, &f->client, &to_client) == 0 &&
	    sockaddr_same_host(&to_client, &to_server))
		return CLIENT_ADDRESS_NO;
	return CLIENT_ADDRESS_YES;
}

enum client_address client_address_choose(struct worker *w, struct tcp_flow *f)
{
	const union sock_addr *target = target_of(f);
	bool ipv6 = target->sa.sa_family == AF_INET6;
	enum client_address how;

	if (f->routed)
		return CLIENT_ADDRESS_YES;
	if (!f->transparent)
		return CLIENT_ADDRESS_NO;
	if (sockaddr_is_loopback(&target->sa)) {
		if (works(w, TRANSPARENT_LOOPBACK, ipv6))
			return CLIENT_ADDRESS_LOOPBACK;
		give_up(f, TCP_LOST_SETUP);
		return CLIENT_ADDRESS_NO;
	}
	probes_want(w, ipv6);
	if (w->probes.fd[ipv6] < 0)
		return CLIENT_ADDRESS_WAIT;
	how = by_routes(w, f);
	if (how == CLIENT_ADDRESS_NO)
		give_up(f, TCP_LOST_NETWORK);
	return how;
}

static uint32_t mark_of(enum client_address how)
{
	switch (how) {
	case CLIENT_ADDRESS_LOOPBACK:
		return TRANSPARENT_MARK_LOOPBACK;
	case CLIENT_ADDRESS_MARKED:
		return TRANSPARENT_MARK;
	default:
		return 0;
	}
}

/* The router's rules would not deliver answers to a socket of the router's that is not transparent,
 * so the connection bears the gateway's address. */
static union sock_addr gateway_of(const struct worker *w, const union sock_addr *target)
{
	union sock_addr a = {.sa.sa_family = target->sa.sa_family};

	if (a.sa.sa_family == AF_INET)
		a.in4.sin_addr = w->out.policy.gateway4;
	else
		a.in6.sin6_addr = w->out.policy.gateway6;
	return a;
}

int client_address_bind(struct worker *w, struct tcp_flow *f, enum client_address how)
{
	union sock_addr client = f->transparent ? f->client : gateway_of(w, target_of(f));
	int code;

	if (f->any_port)
		client.in4.sin_port = 0; /* an IPv6 port is at the same place */
	code = w->io->ops->bind_as(w->io, f->fd[1], &client.sa, sockaddr_len(&client.sa),
				   mark_of(how));
	if (code)
		client_address_failed(w, f, code);
	return code;
}

/* The limit */

void client_address_slow(struct worker *w, const struct tcp_flow *f)
{
	if (f->transparent || f->routed)
		probes_want(w, f->client.sa.sa_family == AF_INET6);
}

void client_address_limit(const struct worker *w, struct tcp_flow *f)
{
	assert((f->transparent || f->routed) && !f->limited);
	f->limited = true;
	f->limit_ns = w->now_ns + TRY_NS;
}

/* The outcome */

/* No answer has come by the router: the client does not try this way first for a while. Nor do the
 * port's others, when it is so for several. */
static void miss_router(struct worker *w, const struct tcp_flow *f)
{
	struct client_tries *t = tries_of(w, f);
	struct client_pause *p = pause_begin(w, f);

	if (p->routed_off_ns == 0)
		count_client(w, t, f, &t->routed_misses);
	p->routed_off_ns = w->now_ns + OFF_NS;
	if (t->routed_misses >= CLIENTS_MAX)
		t->routed_off_ns = w->now_ns + OFF_NS;
}

/* The router's way did not work: the next attempt is without it. */
static void leave_router(struct worker *w, struct tcp_flow *f, int err)
{
	f->routed = f->any_port = false;
	if (err == -ECANCELED)
		miss_router(w, f);
}

/* The first target has refused. A second one may be tried with the client's address, too, if it is
 * of the same family. */
static bool second_left(const struct tcp_flow *f)
{
	return !f->second && f->listener->target2.sa.sa_family == f->client.sa.sa_family;
}

void client_address_failed(struct worker *w, struct tcp_flow *f, int err)
{
	/* Another connection uses the client's port. The address matters more: try with any port.
	 */
	if ((err == -EADDRINUSE || err == -EADDRNOTAVAIL) && !f->any_port)
		f->any_port = true;
	else if (f->routed)
		leave_router(w, f, err);
	else if (err == -ECONNREFUSED && second_left(f))
		f->second = true;
	else
		give_up(f, err == -ECANCELED ? TCP_LOST_TIMEOUT : TCP_LOST_FAILED);
}

/* Stops trying, for longer each time. */
static void stop(const struct worker *w, uint64_t *off_ns, uint8_t *offs)
{
	*off_ns = w->now_ns + (OFF_NS << *offs);
	if (*offs < OFF_DOUBLES)
		(*offs)++;
}

static void timed_out(struct worker *w, const struct tcp_flow *f)
{
	struct client_tries *t = tries_of(w, f);
	struct client_pause *p = pause_begin(w, f);

	if (p->timeouts < TIMEOUTS_MAX)
		p->timeouts++;
	if (t->worked && p->timeouts < TIMEOUTS_MAX)
		return;
	if (p->offs == 0)
		count_client(w, t, f, &t->timeouts);
	stop(w, &p->off_ns, &p->offs);
	if (t->timeouts < CLIENTS_MAX)
		return;
	stop(w, &t->off_ns, &t->offs);
	t->worked = false;
}

static void worked(struct worker *w, const struct tcp_flow *f)
{
	struct listener *l = f->listener;
	struct client_tries *t = is_well(l) ? &l->tries[0] : tries_of(w, f);
	struct client_pause *p = pause_of(w, f);

	if (f->routed)
		t->routed_misses = 0;
	if (p)
		*p = (struct client_pause){.routed_off_ns = p->routed_off_ns, .key = p->key};
	t->worked = true;
	t->timeouts = t->offs = 0;
	t->off_ns = 0;
}

void client_address_forget(struct listener *l)
{
	l->targets_seen++;
	for (unsigned i = 0; i < ARRAY_SIZE(l->tries); i++)
		l->tries[i] = (struct client_tries){.routed_off_ns = l->tries[i].routed_off_ns};
}

void client_address_take_over(const struct worker *w, struct listener *l,
			      const struct handover_port *p)
{
	uint64_t longest_ns = w->now_ns + (OFF_NS << OFF_DOUBLES);

	l->tries[0] = (struct client_tries){
		.worked = p->transparent_worked != 0,
		.timeouts = (uint8_t)worker_at_most(p->transparent_timeouts, CLIENTS_MAX),
		.offs = (uint8_t)worker_at_most(p->transparent_offs, OFF_DOUBLES),
		.off_ns = worker_at_most(p->transparent_off_ns, longest_ns),
		/* UDP's pause is no longer than the longest of TCP. */
		.routed_off_ns = worker_at_most(p->routed_off_ns, longest_ns),
	};
}

/* Logs the reason, once in the life of the process. */
static void complain(enum tcp_lost why)
{
	static bool said;

	if (!__atomic_exchange_n(&said, true, __ATOMIC_RELAXED))
		log_warning("a server did not see the address of its client "
			    "(--source-ip-transparent): %s; this is said once, and counted",
			    reasons[why]);
}

void client_address_connected(struct worker *w, struct tcp_flow *f)
{
	if (f->transparent) {
		stats_add(&w->stats->tcp_transparent, 1);
		worked(w, f);
	} else if (f->lost) {
		stats_add(&w->stats->tcp_transparent_lost, 1);
		complain(f->lost);
		if (f->lost == TCP_LOST_TIMEOUT)
			timed_out(w, f);
	}
}
