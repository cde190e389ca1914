/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_TESTS_NETNS_BOX_H
#define RINGKIT_TESTS_NETNS_BOX_H

#include <sys/types.h>

/* A process that does nothing, in its own user and network namespace; dies with the test. */
struct netns_box {
	pid_t pid;
	int userns_fd, netns_fd;
};

/* 0 or -errno: not everywhere may an ordinary user do this. To be closed either way. */
int netns_box_open(struct netns_box *s);
void netns_box_close(struct netns_box *s);

/* Runs fn in a process inside, for at most ten seconds: its return value, 99 when it could not get
 * in, 98 when it died. */
int netns_box_run(const struct netns_box *s, int (*fn)(void *arg), void *arg);

#endif
