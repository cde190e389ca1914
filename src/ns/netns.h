/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_NETNS_H
#define RINGKIT_NS_NETNS_H

#include "base/err.h"

/*
 * Works in a network namespace that the caller is not in (--detach-netns). The child cannot go
 * there and come back: setns(2) into the host's network namespace would need privileges there. So a
 * short-lived process goes instead.
 */

/* Makes a new network namespace, owned by the caller's user namespace. It lives as long as *fd,
 * which is close-on-exec, is open. 0 or -errno. */
int netns_create(int *fd, struct err *e);

/* Runs fn(arg, e) in a process that is in the namespace, and waits for it. Returns fn's result,
 * with its *e. */
int netns_run(int netns_fd, int (*fn)(void *arg, struct err *e), void *arg, struct err *e);

/* Moves the caller, which must have only one thread, into both namespaces, for good. 0 or
 * -errno. */
int netns_join(int userns_fd, int netns_fd, struct err *e);

/* Bind-mounts the network namespace on name, a new file in the directory dir_fd, which must have
 * been opened in this mount namespace. 0 or -errno. */
int netns_bind(int netns_fd, int dir_fd, const char *name, struct err *e);

#endif
