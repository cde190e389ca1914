/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_SANDBOX_H
#define RINGKIT_DATAPLANE_SANDBOX_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

/*
 * Takes every system call away from the whole process (all its threads) but those its role needs,
 * and its capabilities. What is refused fails with EPERM. There is no way back.
 *
 * Both need no_new_privs, which proc_start sets, or they set it themselves. 0 or -errno with *e.
 */

/* uring: what a worker with io_uring needs; false: with epoll. transparent: what connections with
 * the addresses of clients take. outward: sockets of the host's side, TCP, UDP and ping. */
int sandbox_dataplane(bool uring, bool transparent, bool outward, struct err *e);

/* Part of it, for the data plane while it has one thread: Landlock, as far as the kernel has it.
 * What a worker reads at its start has been read by then, but for what the C library can do
 * without. */
int sandbox_dataplane_files(bool transparent, bool outward, struct err *e);

/* The broker, once it is in the namespaces of the child. */
int sandbox_broker(struct err *e);

/* The keeper of its rules (broker/keeper.h): with what transparent_watch and transparent_repair
 * take (ns/transparent.h). */
int sandbox_keeper(struct err *e);

/* A process of a network driver, once it has opened what it reads and writes. */
int sandbox_relay(struct err *e);

/* A process that waits for the end of a program that it has started, and for its orphans. ended:
 * the program, which leads a process group; that group gets signals and nobody else. */
int sandbox_guard(pid_t ended, struct err *e);

/* A process of a network driver that changes the namespace and ends, before it does so: it starts
 * nothing, traces nobody, mounts nothing. It keeps its rights over the namespace. */
int sandbox_setup(struct err *e);

/* Parts of them: every capability goes but CAP_NET_BIND_SERVICE, or for the keeper CAP_NET_ADMIN.
 * They have it over the namespace of the child alone. */
int sandbox_broker_caps(struct err *e);
int sandbox_keeper_caps(struct err *e);

#endif
