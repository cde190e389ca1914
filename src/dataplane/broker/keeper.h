/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_BROKER_KEEPER_H
#define RINGKIT_DATAPLANE_BROKER_KEEPER_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "dataplane/wire.h"

/*
 * The keeper of the broker's rules in the namespace. It is a process of its own, so that the
 * broker, to which data plane and parent talk, needs no right over the namespace's network. The
 * kernel tells the keeper when rules are removed, and the keeper puts them back. The broker asks it
 * to look whether connections are tracked by now (ns/transparent.h). Question and answer are one
 * byte each. Over a second channel the parent asks it, by way of the broker, where rules turn
 * connections (ns/turned.h); the broker does not wait for those answers.
 *
 * When the broker ends, the keeper ends. When the keeper ends, the broker ends, so that both are
 * started again.
 */
struct keeper {
	int fd; /* channel to the keeper, readable when that has ended; -1: there is no keeper. The
		   caller closes it */
	int turned_fd;	  /* broker_turned goes out, broker_turned_reply comes in; -1: none */
	bool done;	  /* nothing is left to look for */
	bool late;	  /* the last answer did not come in time: nobody waits until one does */
	uint64_t next_ms; /* earliest time of the next look */
};

#define KEEPER_NONE ((struct keeper){.fd = -1, .turned_fd = -1})

/* Forks the keeper; in the new process this function does not return. The caller must have one
 * thread, and rights over the namespace, which it may give up afterwards. boot: the broker's.
 * argv: main()'s, in which the name of the role is changed. channels: descriptors that the new
 * process closes. 0 or -errno. */
int keeper_start(struct keeper *k, const struct broker_boot *boot, char **argv,
		 const struct pollfd *channels, nfds_t n_channels, struct err *e);

/* Has the keeper look, and waits for it, unless it was too busy to answer the last time. Called
 * before sockets are passed out whose connections may need rules. Unless important, there is at
 * most one look in a second. */
void keeper_look(struct keeper *k, bool important);

#endif
