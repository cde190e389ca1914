/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_TESTS_NETNS_BOX_H
#define RINGKIT_TESTS_NETNS_BOX_H

#include <sys/types.h>

/* A process that does nothing, in a user and a network namespace of its own. It dies with the test.
 */
struct netns_box {
	pid_t pid;
	int userns_fd, netns_fd;
};

/* 0 or -errno: some systems do not let an ordinary user do this. Must be closed either way. */
int netns_box_open(struct netns_box *s);
void netns_box_close(struct netns_box *s);

/* Runs fn in a process inside, for at most ten seconds. Returns what fn returned; 99: the process
 * could not enter; 98: it died. */
int netns_box_run(const struct netns_box *s, int (*fn)(void *arg), void *arg);

/* One for a group of tests: the group's setup and teardown, and netns_box_run(), which skips the
 * test where there is none. */
extern struct netns_box shared_box;
int shared_box_open(void **state);
int shared_box_close(void **state);
int shared_box_run(int (*fn)(void *arg), void *arg);

#endif
