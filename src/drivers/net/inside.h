/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_NET_INSIDE_H
#define RINGKIT_DRIVERS_NET_INSIDE_H

#include <stddef.h>

#include "base/role.h"
#include "drivers/driver.h"
#include "drivers/net/helper.h"

/*
 * A process of ours in the network namespace of the command, which works for a network driver: our
 * own binary in a role. The parent sends it one struct and the descriptors it needs. The process
 * joins the namespaces, sets itself up, locks itself down and sends one struct back; then it works
 * until the channel closes. It is not a part of the child, because the command's pid 1 should do
 * nothing else. Being a process of its own, it can be locked down although it reads what others
 * send, and its end is noticed.
 */

/* The parent's side. */
struct inside {
	struct helper helper;
	int channel;	  /* the channel to the process; closing it ends the process */
	bool check_later; /* inside_start does not wait for exec: proc_check must follow */
	bool never_wait;  /* do not wait for room in the channel: the parent's loop already runs */
};

/* The head of every answer. */
struct inside_answer {
	struct err err; /* code 0: no error */
};

/* name: for messages, such as "VPNKit's relay"; log_name: for the log. */
void inside_init(struct inside *in, const char *name, const char *log_name);

/* Starts the role. boot: the first message that it gets, len bytes; fd: one more descriptor for it,
 * or -1. 0 or -errno. */
int inside_start(struct inside *in, enum role role, const struct net_target *target,
		 const void *boot, size_t len, int fd, struct err *e);

/* Waits for the answer, a struct that begins with struct inside_answer. 0, the error that the
 * process reports, or as helper_wait. */
int inside_wait(struct inside *in, void *answer, size_t len, int abort_fd, int timeout_ms,
		struct err *e);

/* Takes the answer without waiting, when the channel is readable. */
int inside_take(struct inside *in, void *answer, size_t len, struct err *e);

/* Ends the process. To watch it, use helper_watch. */
void inside_stop(struct inside *in);

/* The process's side. */

/* The process's end of the channel, readable when the parent has closed its end. */
#define INSIDE_CHANNEL 3

/* Takes the parent's struct, and *fd (NULL: none is expected), and joins both namespaces. 0 or
 * -errno. */
int inside_enter(void *boot, size_t len, int *fd, struct err *e);

/* Makes the process untraceable. The command has the same user, and its processes could trace this
 * one, which is in their namespace. 0 or -errno. */
int inside_shield(struct err *e);

/* Sends the answer. If that fails the parent is gone, which the channel shows. */
void inside_say(const void *answer, size_t len);

/* Ends the process, and sends the parent the reason. */
void inside_fail(const struct err *e) __attribute__((noreturn));

#endif
