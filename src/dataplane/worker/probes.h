/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_PROBES_H
#define RINGKIT_DATAPLANE_WORKER_PROBES_H

#include <stdbool.h>

/*
 * Datagram sockets of the command's namespace, one for each family, with which a worker asks the
 * kernel for the way to an address. They are of the broker's supply, and stay.
 */

struct worker;

struct probes {
	int fd[2];	/* by family: unconnected datagram sockets; -1: none */
	bool wanted[2]; /* one has been asked for */
};

void probes_open(struct worker *w);
void probes_close(struct worker *w);
/* Takes a socket, or asks for one. */
void probes_want(struct worker *w, bool ipv6);
/* The supply may have a socket for a probe now. */
void probes_ready(struct worker *w);

#endif
