/* SPDX-License-Identifier: Apache-2.0 */
#include "launch/implicit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/log.h"
#include "ns/listening.h"
#include "ports/table.h"

/*
 * Once a second this asks the kernel which sockets of the namespace listen, and changes the table
 * of ports accordingly. A server that listens on every address, or on one of the namespace's, is
 * published on every address of the host; one that listens on a loopback address only, on the
 * host's loopback address. UDP sockets whose port the kernel chose are left out: a client's look
 * the same as a server's.
 */

#define INTERVAL_MS 1000

/* A port that could not be opened is tried again after this time. */
#define RETRY_MS 10000

/* Why a port that is open inside is not open on the host. */
enum cause { CAUSE_NONE, CAUSE_IN_USE, CAUSE_PRIVILEGED, CAUSE_OTHER, CAUSE_COUNT };

/* Where a server can be reached, from the worst to the best. */
enum scope { SCOPE_LOOPBACK, SCOPE_ADDRESS, SCOPE_ANY };

struct key {
	uint8_t proto;
	uint8_t ipv6;
	in_port_t port;
};

struct followed {
	struct key key;
	struct implicit *im;
	unsigned seen; /* the last round that has seen the socket */
	enum scope scope, scope_there;
	char address[INET6_ADDRSTRLEN], address_there[INET6_ADDRSTRLEN];
	int id;	   /* the id of its port; 0: there is none */
	bool busy; /* an add or a remove is under way */
	bool complained;
	enum cause missing; /* why the last attempt to open its port failed */
	uint64_t retry_ms;
	UT_hash_handle hh;
};

struct implicit {
	struct loop *loop;
	struct loop_source *timer;
	struct listening_source *source;
	struct ports *ports;
	struct followed *table;
	unsigned round;
	unsigned over_limit; /* sockets of the last round that are not followed */
	bool closing, complained_of_many, complained_of_asking;
};

static const char *proto_name(const struct followed *f)
{
	if (f->key.proto == IPPROTO_TCP)
		return f->key.ipv6 ? "tcp6" : "tcp4";
	return f->key.ipv6 ? "udp6" : "udp4";
}

static struct port_spec spec_of(const struct followed *f)
{
	const char *any = f->key.ipv6 ? "::" : "0.0.0.0";
	const char *loopback = f->key.ipv6 ? "::1" : "127.0.0.1";
	struct port_spec spec = {.parent_port = ntohs(f->key.port),
				 .child_port = ntohs(f->key.port)};

	snprintf(spec.proto, sizeof(spec.proto), "%s", proto_name(f));
	snprintf(spec.parent_ip, sizeof(spec.parent_ip), "%s",
		 f->scope == SCOPE_LOOPBACK ? loopback : any);
	/* Without an address: a port that names a loopback address would have rules of its own. */
	snprintf(spec.child_ip, sizeof(spec.child_ip), "%s",
		 f->scope == SCOPE_ADDRESS ? f->address : "");
	return spec;
}

static void forget(struct followed *f)
{
	HASH_DEL(f->im->table, f);
	free(f);
}

/* Ports */

/* EEXIST: somebody has published the port by the API. On a host without IPv6 nobody misses its
 * ports. */
static enum cause cause_of(int code)
{
	switch (code) {
	case -EADDRINUSE:
	case -EEXIST:
		return CAUSE_IN_USE;
	case -EACCES:
	case -EPERM:
		return CAUSE_PRIVILEGED;
	case -EAFNOSUPPORT:
		return CAUSE_NONE;
	default:
		return CAUSE_OTHER;
	}
}

static void complain(struct followed *f, const struct err *e)
{
	char text[256];
	struct port_spec spec = spec_of(f);

	f->missing = cause_of(e->code);
	if (f->complained || f->missing == CAUSE_NONE || f->im->closing)
		return;
	f->complained = true;
	log_warning("--port-driver=implicit: %s is open inside, but cannot be had on the host: %s",
		    portspec_format(&spec, text, sizeof(text)), e->msg);
}

static void on_added(void *arg, const struct port *const *ports, size_t n, const struct err *e)
{
	struct followed *f = arg;

	f->busy = false;
	if (n && !e) {
		f->id = ports[0]->id;
		f->missing = CAUSE_NONE;
		log_debug("implicit: port %d follows %s %u", f->id, proto_name(f),
			  ntohs(f->key.port));
		return;
	}
	complain(f, e);
	f->retry_ms = loop_now_ms() + RETRY_MS;
}

static void on_removed(void *arg, const struct err *e)
{
	struct followed *f = arg;

	f->busy = false;
	if (e)
		log_debug("implicit: port %d: %s", f->id, e->msg);
	/* The port is gone, whether we removed it or somebody else did before. */
	f->id = 0;
}

static void publish(struct followed *f)
{
	struct port_spec spec = spec_of(f);

	f->busy = true;
	f->scope_there = f->scope;
	memcpy(f->address_there, f->address, sizeof(f->address));
	ports_add(f->im->ports, &spec, 1, on_added, f);
}

static void withdraw(struct followed *f)
{
	f->busy = true;
	ports_remove(f->im->ports, f->id, f->id, on_removed, f);
}

/* Sockets */

static struct followed *followed_of(struct implicit *im, const struct key *key)
{
	struct followed *f;

	HASH_FIND(hh, im->table, key, sizeof(*key), f);
	if (f)
		return f;
	if (HASH_COUNT(im->table) >= LIMIT_IMPLICIT_PORTS) {
		im->over_limit++;
		if (!im->complained_of_many)
			log_warning("--port-driver=implicit: more than %d ports are open inside; "
				    "the others are not followed",
				    LIMIT_IMPLICIT_PORTS);
		im->complained_of_many = true;
		return NULL;
	}
	f = calloc(1, sizeof(*f));
	if (!f)
		return NULL;
	f->key = *key;
	f->im = im;
	HASH_ADD(hh, im->table, key, sizeof(f->key), f);
	if (hash_has(&f->hh))
		return f;
	free(f);
	return NULL;
}

static void see(struct implicit *im, const struct listening *l, bool ipv6, enum scope scope)
{
	struct key key;
	struct followed *f;

	memset(&key, 0, sizeof(key)); /* the hash covers the padding */
	key.proto = l->proto;
	key.ipv6 = ipv6;
	key.port = l->addr.in4.sin_port; /* sin6_port is at the same place */
	f = followed_of(im, &key);
	if (!f || (f->seen == im->round && f->scope >= scope))
		return;
	f->seen = im->round;
	f->scope = scope;
	memset(f->address, 0, sizeof(f->address));
	if (scope != SCOPE_ADDRESS)
		return;
	inet_ntop(l->addr.sa.sa_family,
		  ipv6 ? (const void *)&l->addr.in6.sin6_addr : &l->addr.in4.sin_addr, f->address,
		  sizeof(f->address));
}

static bool is_any(const union sock_addr *a)
{
	if (a->sa.sa_family == AF_INET6)
		return IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr);
	return a->in4.sin_addr.s_addr == htonl(INADDR_ANY);
}

/* Whether the socket is no server that clients outside could use. */
static bool is_left_out(const struct implicit *im, const struct listening *l)
{
	const struct in6_addr *a = &l->addr.in6.sin6_addr;
	in_port_t port = ntohs(l->addr.in4.sin_port);

	if (l->addr.sa.sa_family == AF_INET6 &&
	    (IN6_IS_ADDR_LINKLOCAL(a) || IN6_IS_ADDR_MULTICAST(a)))
		return true;
	if (l->addr.sa.sa_family == AF_INET && IN_MULTICAST(ntohl(l->addr.in4.sin_addr.s_addr)))
		return true;
	return l->proto == IPPROTO_UDP && port >= im->source->ephemeral_first &&
	       port <= im->source->ephemeral_last;
}

static void on_socket(void *arg, const struct listening *given)
{
	struct implicit *im = arg;
	struct listening l = *given;
	enum scope scope = SCOPE_ADDRESS;

	sockaddr_unmap(&l.addr);
	if (is_left_out(im, &l))
		return;
	if (is_any(&l.addr))
		scope = SCOPE_ANY;
	else if (sockaddr_is_loopback(&l.addr.sa))
		scope = SCOPE_LOOPBACK;
	see(im, &l, l.addr.sa.sa_family == AF_INET6, scope);
	if (scope == SCOPE_ANY && l.addr.sa.sa_family == AF_INET6 && !l.v6only)
		see(im, &l, false, scope);
}

static bool has_moved(const struct followed *f)
{
	return f->scope != f->scope_there || strcmp(f->address, f->address_there) != 0;
}

static void bring_up_to_date(struct implicit *im)
{
	struct followed *f, *next;

	HASH_ITER(hh, im->table, f, next)
	{
		bool open = f->seen == im->round;

		if (f->busy)
			continue;
		if (f->id && (!open || has_moved(f)))
			withdraw(f);
		else if (!f->id && !open)
			forget(f);
		else if (!f->id && loop_now_ms() >= f->retry_ms)
			publish(f);
	}
}

static void look(void *arg, uint32_t events)
{
	struct implicit *im = arg;
	int code;

	(void)events;
	im->round++;
	im->over_limit = 0;
	code = listening_each(im->source, on_socket, im);
	if (code == 0)
		bring_up_to_date(im);
	else if (!im->complained_of_asking)
		log_warning("--port-driver=implicit: what listens inside is not known: %s",
			    strerror(-code));
	im->complained_of_asking = code != 0;
	im->timer = loop_add_timer(im->loop, INTERVAL_MS, look, im);
	if (!im->timer)
		log_warning("--port-driver=implicit: no timer: ports are not followed any more");
}

/* Counters */

/* Returns how many ports are open, and how many are not by each cause. */
static unsigned count_ports(const struct implicit *im, unsigned *missing)
{
	const struct followed *f, *next;
	unsigned open = 0;

	HASH_ITER(hh, im->table, f, next)
	{
		open += f->id != 0;
		missing[f->missing]++;
	}
	return open;
}

int implicit_counters(const struct implicit *im, port_counter_fn *fn, void *arg)
{
	unsigned missing[CAUSE_COUNT] = {0};
	unsigned open = count_ports(im, missing);
	struct port_counter counters[] = {
		{.name = "open", .value = open},
		{.name = "inUse", .value = missing[CAUSE_IN_USE]},
		{.name = "privileged", .value = missing[CAUSE_PRIVILEGED]},
		{.name = "failed", .value = missing[CAUSE_OTHER]},
		{.name = "overLimit", .value = im->over_limit},
	};
	int code = 0;

	for (size_t i = 0; i < ARRAY_SIZE(counters) && !code; i++) {
		counters[i].scope = COUNTER_TOTAL;
		counters[i].group = "implicit";
		code = fn(arg, &counters[i]);
	}
	return code;
}

int implicit_open(struct loop *loop, struct listening_source *source, struct ports *ports,
		  struct implicit **out, struct err *e)
{
	struct implicit *im = calloc(1, sizeof(*im));

	if (!im)
		return err_errno(e, -ENOMEM, "port driver implicit");
	im->loop = loop;
	im->source = source;
	im->ports = ports;
	im->timer = loop_add_timer(loop, 0, look, im);
	if (!im->timer) {
		free(im);
		return err_errno(e, -errno, "port driver implicit");
	}
	*out = im;
	return 0;
}

void implicit_stop(struct implicit *im)
{
	if (!im)
		return;
	im->closing = true;
	loop_remove(im->timer);
	im->timer = NULL;
}

void implicit_close(struct implicit *im)
{
	struct followed *f, *next;

	if (!im)
		return;
	HASH_ITER(hh, im->table, f, next)
	forget(f);
	free(im);
}
