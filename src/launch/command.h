/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_LAUNCH_COMMAND_H
#define RINGKIT_LAUNCH_COMMAND_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

/*
 * Runs the user's command. The child stays its parent: it forwards signals, reaps, and makes an
 * exit code of the command's status.
 */
struct command {
	char **argv;
	bool own_session;     /* setsid: the command is cut off from the terminal */
	bool listen_fds;      /* LISTEN_PID is to name the command */
	const sigset_t *mask; /* the signal mask that the command starts with */
};

/* All signals that can be forwarded. Parent and child block them, so that none is lost. */
void command_signals(sigset_t *out);

/* Whether the command has got the signal anyway: one typed on the terminal goes to the whole
 * process group. */
bool command_signal_is_shared(int sig, int si_code);

/* Reaps all children that have ended, orphans too, which process 1 inherits. True when pid was
 * among them; then *status is its status. */
bool command_reap(pid_t pid, int *status);

/*
 * Runs the command and returns when it has ended, with the exit code for this process: the
 * command's own, 255 when a signal killed it, 1 when it could not be run. *e has the reason for any
 * exit code but 0. All signals of command_signals must be blocked.
 */
int command_run(const struct command *cmd, struct err *e);

#endif
