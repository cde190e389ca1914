/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_PORT_GUARD_H
#define RINGKIT_DRIVERS_PORT_GUARD_H

#include "base/proc.h"

/*
 * Runs a command that forks (socat starts a process for each connection), and ends it with all that
 * it has started: when we say so, and when we die in any way. PR_SET_PDEATHSIG reaches only the
 * first process. So between us and the command there is our own binary in the role "guard": it
 * adopts orphans (PR_SET_CHILD_SUBREAPER) and waits on a pipe whose other end only we hold.
 */
struct guard {
	struct proc proc; /* the guard; it ends, with the command's status, when nothing is left */
	int leash_w;	  /* closing it ends everything */
};

#define GUARD_NONE ((struct guard){.proc = PROC_NONE, .leash_w = -1})

/* Starts a command under a guard. argv: the command. keep_fds (at most 4) become 3, 4, ... in it.
 * stderr_fd takes its stdout and stderr. When the command cannot be run, the reason is reported
 * there, and the guard exits with 127. 0 or -errno. */
int guard_start(struct guard *guard, const char *const *argv, const int *keep_fds,
		size_t n_keep_fds, int stderr_fd, struct err *e);

/* Begins to end everything; proc.pidfd becomes readable when it is done. */
void guard_release(struct guard *guard);

/* Ends everything and waits for that. Afterwards *guard is GUARD_NONE. */
void guard_end(struct guard *guard);

/* The role "guard". Returns the exit code. */
int guard_main(int argc, char **argv);

#endif
