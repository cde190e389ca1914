/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_SANDBOX_H
#define RINGKIT_DATAPLANE_SANDBOX_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

/*
 * Takes from the whole process, with all its threads, every system call that its role does not
 * need, and its capabilities. A refused call fails with EPERM. This cannot be undone.
 *
 * All of these need no_new_privs: proc_start sets it, or they set it themselves. 0 or -errno with
 * *e.
 */

/* uring: allows what a worker with io_uring needs; false: with epoll. transparent: also what
 * connections with clients' addresses need. outward: also sockets of the host, TCP, UDP and ping.
 */
int sandbox_dataplane(bool uring, bool transparent, bool outward, struct err *e);

/* The Landlock part of it, as far as the kernel has Landlock. Called while the data plane has one
 * thread; the files that a worker needs at its start have been read by then, except for some that
 * the C library can do without. */
int sandbox_dataplane_files(bool transparent, bool outward, struct err *e);

/* For the broker, once it is in the namespaces of the child. */
int sandbox_broker(struct err *e);

/* For the keeper of the broker's rules (broker/keeper.h): allows what transparent_watch and
 * transparent_repair need (ns/transparent.h). */
int sandbox_keeper(struct err *e);

/* For a network driver's process, once it has opened what it reads and writes. */
int sandbox_relay(struct err *e);

/* For a process that waits for the end of a program that it has started, and for its orphans.
 * ended: the program, which leads a process group; only that group may get signals. */
int sandbox_guard(pid_t ended, struct err *e);

/* For a network driver's process that changes the namespace and ends. Called before the change. The
 * process can execute, trace and mount nothing any more. It keeps its rights over the namespace. */
int sandbox_setup(struct err *e);

/* The capability part: every capability goes except CAP_NET_BIND_SERVICE for the broker and
 * CAP_NET_ADMIN for the keeper. They have these over the namespace of the child alone. */
int sandbox_broker_caps(struct err *e);
int sandbox_keeper_caps(struct err *e);

#endif
