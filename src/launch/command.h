/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_LAUNCH_COMMAND_H
#define RINGKIT_LAUNCH_COMMAND_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

/*
 * The user's command, run by the child. The child stays its parent: it forwards signals, reaps, and
 * turns the way it ended into an exit code.
 */
struct command {
	char **argv;
	bool own_session;     /* setsid: it is cut off from the terminal */
	bool listen_fds;      /* LISTEN_PID is to be the command's own */
	const sigset_t *mask; /* what it starts with */
};

/* All signals that can be forwarded; blocked by parent and child so that none is lost. */
void command_signals(sigset_t *out);

/* Whether a signal reached the command by itself: typed on the terminal, it went to the whole
 * process group. */
bool command_signal_is_shared(int sig, int si_code);

/* Reaps all children that have ended, strangers too: process 1 inherits them. True when pid was
 * among them; then *status is its. */
bool command_reap(pid_t pid, int *status);

/*
 * Runs it and returns when it has ended, with the exit code for this process: its own, 255 when a
 * signal killed it, 1 when it could not be run; *e then says so (e->code is 0 only with exit code
 * 0). All signals of command_signals must be blocked.
 */
int command_run(const struct command *cmd, struct err *e);

#endif
