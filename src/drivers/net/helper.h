/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_NET_HELPER_H
#define RINGKIT_DRIVERS_NET_HELPER_H

#include "base/proc.h"
#include "drivers/driver.h"
#include "drivers/net/helper_output.h"

/*
 * A program that a network driver runs for as long as the network is to work: started, waited for,
 * watched, ended. Whatever it writes is in the debug log, and the last of it in the message that
 * says how it failed. Runs in the parent.
 */
struct helper {
	struct proc proc;
	struct helper_output output;
	const char *name; /* for messages: "slirp4netns" */
	struct loop_source *exit_src, *output_src;
	net_died_fn *died;
	void *died_arg;
};

/* noise as in struct helper_output. The strings must outlive the helper. */
void helper_init(struct helper *h, const char *name, const char *log_name, const char *noise);

/*
 * Starts it with PR_SET_PDEATHSIG SIGKILL, and shielded (base/proc.h): a key of the terminal, or a
 * signal to all that the command lives through, is not to end its network. stderr is taken over,
 * and stdout where spec->stdout_fd is -1: to the debug log, or nowhere when that is off. 0 or
 * -errno.
 */
int helper_start(struct helper *h, struct proc_spec *spec, struct err *e);

/*
 * Waits until fd is readable (or at its end), and meanwhile takes what the helper writes. 0,
 * -ECHILD when the helper has ended (as helper_ended says), -ETIMEDOUT, -ECANCELED when abort_fd is
 * readable, or -errno. what: "is not ready", for the message of a time-out. fd -1: none, so 0 does
 * not happen.
 */
int helper_wait(struct helper *h, int fd, int abort_fd, int timeout_ms, const char *what,
		struct err *e);

/* For one that runs to its end: waits for that. 0 when it exited with 0, else as helper_wait. */
int helper_finish(struct helper *h, int abort_fd, int timeout_ms, const char *what, struct err *e);

/* The helper has ended: takes its status, and what it wrote. *e: "NAME ended (exit status 1): ...".
 * -ECHILD, always. */
int helper_ended(struct helper *h, struct err *e);

/* Whether it ends within timeout_ms; for when its end explains something else that failed. */
bool helper_ends_within(struct helper *h, int timeout_ms);

/* From now on its output is taken and its end is told, once. 0 or -errno. */
int helper_watch(struct helper *h, struct loop *loop, net_died_fn *died, void *arg);

/* Undoes helper_watch. */
void helper_unwatch(struct helper *h);

/* Ends it, if it runs, and frees what the helper holds. May be called more than once. */
void helper_stop(struct helper *h);

#endif
