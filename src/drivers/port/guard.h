/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_PORT_GUARD_H
#define RINGKIT_DRIVERS_PORT_GUARD_H

#include "base/proc.h"

/*
 * Runs a command that forks (socat starts a process a connection) and ends it with all that it has
 * started: when we say so, and when we die in whatever way. PR_SET_PDEATHSIG reaches only the first
 * process, so between us and the command there is our own binary in the role "guard": it adopts
 * orphans (PR_SET_CHILD_SUBREAPER) and waits on a pipe of which only we hold the other end.
 */
struct guard {
	struct proc proc; /* the guard: ends, with the command's status, when nothing is left */
	int leash_w;	  /* closing it ends everything */
};

#define GUARD_NONE ((struct guard){.proc = PROC_NONE, .leash_w = -1})

/* argv: the command. keep_fds (at most 4) become 3, 4, ... in it. stderr_fd takes what it writes to
 * stdout and stderr. A command that cannot be run is reported there, and the guard exits 127.
 * 0 or -errno. */
int guard_start(struct guard *guard, const char *const *argv, const int *keep_fds,
		size_t n_keep_fds, int stderr_fd, struct err *e);

/* Begins the end, which proc.pidfd then tells of. */
void guard_release(struct guard *guard);

/* Ends it and waits for that. Afterwards it is GUARD_NONE. */
void guard_end(struct guard *guard);

/* The role. Returns the exit code. */
int guard_main(int argc, char **argv);

#endif
