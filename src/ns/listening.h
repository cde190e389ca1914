/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_LISTENING_H
#define RINGKIT_NS_LISTENING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sockaddr.h"

/*
 * Which sockets of a network namespace wait for others: TCP sockets that listen, and UDP sockets
 * that are bound and not connected (sock_diag(7)). The socket that asks belongs to the namespace it
 * was made in, so that it can be made there and used elsewhere.
 */

struct listening_source {
	int fd;
	uint32_t seq;
	/* net.ipv4.ip_local_port_range: the kernel gives these to sockets that ask for none. */
	uint16_t ephemeral_first, ephemeral_last;
};

struct listening {
	uint8_t proto; /* IPPROTO_TCP, IPPROTO_UDP */
	bool v6only;   /* of IPv6: it takes no IPv4 */
	union sock_addr addr;
};

typedef void listening_fn(void *arg, const struct listening *l);

/* Of the calling process's namespace. 0 or -errno with *e filled in; out->fd is the caller's. */
int listening_open(struct listening_source *out, struct err *e);

/* Calls fn for each. 0 or -errno: then some may be missing. */
int listening_each(struct listening_source *src, listening_fn *fn, void *arg);

/* One message of the kernel's, of a dump with this number. 1: it was the last, 0: there is more, or
 * -errno. */
int listening_parse(const void *buf, size_t len, uint32_t seq, uint8_t proto, listening_fn *fn,
		    void *arg);

#endif
