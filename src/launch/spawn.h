/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_LAUNCH_SPAWN_H
#define RINGKIT_LAUNCH_SPAWN_H

#include "base/err.h"
#include "base/proc.h"
#include "cli/options.h"

/*
 * Descriptors that this process was started with (beside the standard three) and that go on to the
 * command, as with RootlessKit: sockets of systemd's socket activation, and whatever a shell leaves
 * open. No helper gets them: drivers and the data plane have no business with them.
 */
struct inherited_fds {
	int *fd;
	size_t n;
};

/* Finds these descriptors and makes them close-on-exec. Call it before this process opens anything.
 * 0 or -errno; free with inherited_fds_free. */
int inherited_fds_take(struct inherited_fds *out);
void inherited_fds_free(struct inherited_fds *in);

/*
 * Starts the child in its new namespaces. The child waits for HS_MAPPED on the channel, then
 * executes our own binary with argv, which runs child_main. *sock: the parent's end. 0 or -errno
 * with *e filled in.
 */
int spawn_child(const struct options *options, char **argv, const struct inherited_fds *inherited,
		struct proc *child, int *sock, struct err *e);

/* The clone(2) flags for these options. */
int spawn_flags(const struct options *options);

#endif
