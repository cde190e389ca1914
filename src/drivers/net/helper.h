/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_NET_HELPER_H
#define RINGKIT_DRIVERS_NET_HELPER_H

#include "base/proc.h"
#include "drivers/driver.h"
#include "drivers/net/helper_output.h"

/* A program may take so long to say what it can do, and so long until it is ready. */
#define HELPER_ASK_MS	5000
#define HELPER_READY_MS 10000

/*
 * A program that a network driver runs for as long as the network is to work. These functions start
 * it, wait for it, watch it and end it. Its output goes to the debug log, and the last of it into
 * the message that says why it failed. Runs in the parent.
 */
struct helper {
	struct proc proc;
	struct helper_output output;
	const char *name; /* for messages: "slirp4netns" */
	struct loop_source *exit_src, *output_src;
	net_died_fn *died;
	void *died_arg;
};

/* noise: as in struct helper_output. The strings must outlive the helper. */
void helper_init(struct helper *h, const char *name, const char *log_name, const char *noise);

/*
 * Starts the program with PR_SET_PDEATHSIG SIGKILL, and shielded (base/proc.h): neither a key of
 * the terminal nor a signal that the command survives may end the command's network. stderr goes to
 * the debug log, or nowhere when that is off, and so does stdout where spec->stdout_fd is -1. 0 or
 * -errno.
 */
int helper_start(struct helper *h, struct proc_spec *spec, struct err *e);

/* The same without waiting until the program runs: proc_check(&h->proc, ...) must follow. */
int helper_fork(struct helper *h, struct proc_spec *spec, struct err *e);

/*
 * Waits until fd is readable (or at its end), and meanwhile takes the helper's output. 0, -ECHILD
 * when the helper has ended (with helper_ended's message), -ETIMEDOUT, -ECANCELED when abort_fd is
 * readable, or -errno. what: "is not ready", for the message of a time-out. fd may be -1; then the
 * result is never 0.
 */
int helper_wait(struct helper *h, int fd, int abort_fd, int timeout_ms, const char *what,
		struct err *e);

/* Waits for the end of a helper that runs to its end. 0 when it exited with 0, otherwise as
 * helper_wait. */
int helper_finish(struct helper *h, int abort_fd, int timeout_ms, const char *what, struct err *e);

/* Takes the status and the rest of the output of a helper that has ended. *e: "NAME ended (exit
 * status 1): ...". Returns -ECHILD, always. */
int helper_ended(struct helper *h, struct err *e);

/* Whether the helper ends within timeout_ms: its end may explain another failure. */
bool helper_ends_within(struct helper *h, int timeout_ms);

/* From now on takes the helper's output, and calls died once when it ends. 0 or -errno. */
int helper_watch(struct helper *h, struct loop *loop, net_died_fn *died, void *arg);

/* Who hears of the first helper of a network that ends, and only of that one: none of them is of
 * use without the others. died NULL: nobody. */
struct helper_first {
	net_died_fn *died;
	void *arg;
};

/* To be called, or given to helper_watch, with a struct helper_first as arg. It may be freed
 * within. */
void helper_first_died(void *arg, const char *msg);

/* Undoes helper_watch. */
void helper_unwatch(struct helper *h);

/* Ends the helper, if it runs, and frees what it holds. May be called more than once. */
void helper_stop(struct helper *h);

#endif
