/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_LAUNCH_SPAWN_H
#define RINGKIT_LAUNCH_SPAWN_H

#include "base/err.h"
#include "base/proc.h"
#include "cli/options.h"

/*
 * Descriptors that this process was started with (beside the standard three) and that go on to the
 * command, as with RootlessKit: sockets of systemd's socket activation, and whatever a shell leaves
 * open. They are kept from every helper: drivers and the data plane have no business with them.
 */
struct inherited_fds {
	int *fd;
	size_t n;
};

/* Finds them and makes them close-on-exec. To be called before this process opens anything. 0 or
 * -errno; frees with inherited_fds_free. */
int inherited_fds_take(struct inherited_fds *out);
void inherited_fds_free(struct inherited_fds *in);

/*
 * Starts the child in its new namespaces. It waits for HS_MAPPED on the channel and then runs
 * child_main by executing our own binary with argv. *sock: the parent's end. 0 or -errno with *e
 * filled in.
 */
int spawn_child(const struct options *options, char **argv, const struct inherited_fds *inherited,
		struct proc *child, int *sock, struct err *e);

/* The clone(2) flags for these options. */
int spawn_flags(const struct options *options);

#endif
