/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_BROKER_KEEPER_H
#define RINGKIT_DATAPLANE_BROKER_KEEPER_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/*
 * The keeper of the broker's rules in the namespace: a process of its own, so that the one that
 * data plane and parent talk to has no right over the namespace's network. It hears from the kernel
 * what became of the rules and puts back what was taken away; the broker asks it to look whether
 * connections are tracked by now (ns/transparent.h). From the broker comes one byte, to it goes
 * one.
 *
 * It ends with the broker. The broker ends with it, so that both are started anew.
 */
struct keeper {
	int fd;	   /* to it, readable when it has ended; -1: there is none. The caller closes it */
	bool done; /* there is nothing more to look for */
	uint64_t next_ms; /* when the next look may be */
};

#define KEEPER_NONE ((struct keeper){.fd = -1})

/* Forks; in the new process the function does not return. Needs one thread, and the rights over the
 * namespace, which the caller may give up after it. sandbox: whether it locks itself down. ifname:
 * as transparent_set_up has it. argv: of main(); the name of the role in it is changed. channels:
 * what the new process is to close. 0 or -errno. */
int keeper_start(struct keeper *k, bool sandbox, const char *ifname, char **argv,
		 const struct pollfd *channels, nfds_t n_channels, struct err *e);

/* Before sockets go out that may need it: has it look, and waits for that. Unless it is important
 * it is left out when there was one within a second. */
void keeper_look(struct keeper *k, bool important);

#endif
