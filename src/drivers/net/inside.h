/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_NET_INSIDE_H
#define RINGKIT_DRIVERS_NET_INSIDE_H

#include <stddef.h>

#include "base/role.h"
#include "drivers/driver.h"
#include "drivers/net/helper.h"

/*
 * A process of ours in the network namespace of the command, which works for a network driver: our
 * own binary in a role. The parent sends it one struct and the descriptors it needs; it joins the
 * namespaces, sets itself up, locks itself down and sends one struct back; then it works until the
 * channel closes. It is a process of its own, not a part of the child, because the command's pid 1
 * is to do nothing but that, and because a thing that reads what others send can then be locked
 * down, and its end seen.
 */

/* The parent's side. */
struct inside {
	struct helper helper;
	int channel;	 /* to the process; closing it ends it */
	bool never_wait; /* the command runs, and with it the parent's loop */
};

/* What goes before every answer. */
struct inside_answer {
	struct err err; /* code 0: all is well */
};

/* name: for messages, "VPNKit's relay"; log_name: for the log. */
void inside_init(struct inside *in, const char *name, const char *log_name);

/* Starts the role. boot: the first len bytes that it gets; fd: one descriptor more for it, or -1. 0
 * or -errno. */
int inside_start(struct inside *in, enum role role, const struct net_target *target,
		 const void *boot, size_t len, int fd, struct err *e);

/* Waits for the answer; a struct that begins with struct inside_answer. 0, what the process failed
 * with, or as helper_wait. */
int inside_wait(struct inside *in, void *answer, size_t len, int abort_fd, int timeout_ms,
		struct err *e);

/* The same without the waiting, for when the channel is readable. */
int inside_take(struct inside *in, void *answer, size_t len, struct err *e);

/* Watching is helper_watch. */
void inside_stop(struct inside *in);

/* The process's side. */

/* Its end of the channel, readable when the parent has closed its. */
#define INSIDE_CHANNEL 3

/* Takes the parent's struct, and *fd (NULL: none is expected); joins both namespaces. 0 or -errno.
 */
int inside_enter(void *boot, size_t len, int *fd, struct err *e);

/* The command is the same user: without this its processes could trace this one, which is in their
 * namespace. 0 or -errno. */
int inside_shield(struct err *e);

/* Sends the answer; where that fails the parent is gone, and the channel tells. */
void inside_say(const void *answer, size_t len);

/* Ends the process, and gives the parent the reason. */
void inside_fail(const struct err *e) __attribute__((noreturn));

#endif
