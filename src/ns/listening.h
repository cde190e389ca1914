/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_LISTENING_H
#define RINGKIT_NS_LISTENING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sockaddr.h"

/*
 * Lists the sockets of a network namespace that wait for others: TCP sockets that listen, and UDP
 * sockets that are bound and not connected (sock_diag(7)). The socket that asks belongs to the
 * namespace it was made in, so it can be made there and used elsewhere.
 */

struct listening_source {
	int fd;
	uint32_t seq;
	/* net.ipv4.ip_local_port_range: the kernel gives these to sockets that ask for none. */
	uint16_t ephemeral_first, ephemeral_last;
};

struct listening {
	uint8_t proto; /* IPPROTO_TCP, IPPROTO_UDP */
	bool v6only;   /* an IPv6 socket that takes no IPv4 */
	union sock_addr addr;
};

typedef void listening_fn(void *arg, const struct listening *l);

/* Opens a source for the calling process's namespace. 0 or -errno with *e filled in; the caller
 * closes out->fd. */
int listening_open(struct listening_source *out, struct err *e);

/* Calls fn for each waiting socket. 0, or -errno: then some may be missing. */
int listening_each(struct listening_source *src, listening_fn *fn, void *arg);

/* Reads one message of the kernel's, from the dump with this number. 1: it was the last, 0: more
 * follow, or -errno. */
int listening_parse(const void *buf, size_t len, uint32_t seq, uint8_t proto, listening_fn *fn,
		    void *arg);

#endif
