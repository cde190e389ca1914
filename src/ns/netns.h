/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_NETNS_H
#define RINGKIT_NS_NETNS_H

#include "base/err.h"

/*
 * A network namespace that the caller is not in (--detach-netns). The child cannot visit it and
 * come back: setns(2) into the host's network namespace would need privileges there. So a
 * short-lived process goes.
 */

/* Makes a new network namespace, owned by the caller's user namespace. *fd, close-on-exec, keeps
 * it. 0 or -errno. */
int netns_create(int *fd, struct err *e);

/* Runs fn(arg, e) in a process that is in the namespace, and waits. Returns what fn did, with its
 * *e. */
int netns_run(int netns_fd, int (*fn)(void *arg, struct err *e), void *arg, struct err *e);

/* Puts the caller, who has one thread, into both namespaces, for good. 0 or -errno. */
int netns_join(int userns_fd, int netns_fd, struct err *e);

/* Makes name (a new file in the directory dir_fd, which must have been opened in this mount
 * namespace) a name of the network namespace, by bind mount. 0 or -errno. */
int netns_bind(int netns_fd, int dir_fd, const char *name, struct err *e);

#endif
