/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_PROC_H
#define RINGKIT_BASE_PROC_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

/* A subprocess. pid and pidfd belong together; pid is 0 when there is no process. */
struct proc {
	pid_t pid;
	int pidfd;     /* readable when the process has ended; close-on-exec */
	int report_fd; /* until proc_check: tells whether exec has happened; else -1 */
};

#define PROC_NONE ((struct proc){.pid = 0, .pidfd = -1, .report_fd = -1})

struct proc_spec {
	const char *file; /* looked up in PATH when it has no slash; "/proc/self/exe": ourselves */
	const char *const *argv; /* NULL at the end */
	char **envp;		 /* NULL: ours */
	const int *keep_fds; /* become 3, 4, ... in the new process; all others are close-on-exec */
	size_t n_keep_fds;
	int stdout_fd, stderr_fd; /* -1: ours. Beware: 0 means descriptor 0 */
	bool no_new_privs;	  /* PR_SET_NO_NEW_PRIVS: exec does not grant file capabilities */
	int death_signal;	  /* PR_SET_PDEATHSIG; 0: none. The start fails if we die first */
	bool null_stdin;
	int stdin_fd; /* becomes standard input; 0: ours, or /dev/null with null_stdin */
	/* The process works for the command, and has to outlive what asks the command to end. It
	 * leads a session of its own (setsid(2)), so that no key of the terminal and no signal to
	 * our process group reaches it; a signal to -pid reaches it and what it starts. Signals
	 * that people and service managers send, to a whole cgroup for example, are blocked, and
	 * exec keeps that mask. SIGKILL ends it. The files and sockets that it makes are for our
	 * user alone (umask 077), whatever umask the command is to have. */
	bool shielded;
};

/*
 * Starts the process and waits until exec has happened, so that a missing program is an error here
 * and not an exit code later. 0 or -errno with *e filled in (the name and the reason). In the new
 * process every signal disposition is the default, and the signal mask is empty unless the process
 * is shielded.
 */
int proc_start(struct proc *p, const struct proc_spec *spec, struct err *e);

/* proc_start in two steps, so that several processes can be started at once. name: for the message.
 * When the second fails, there is no process any more. */
int proc_fork(struct proc *p, const struct proc_spec *spec, struct err *e);
int proc_check(struct proc *p, const char *name, struct err *e);

/* Takes the exit status as waitpid(2) gives it, and closes the descriptors. 0, -EAGAIN while the
 * process still runs, or -errno. */
int proc_reap(struct proc *p, int *status);

/* Sends sig if the process runs, waits until it is gone, and closes the descriptors. When sig is
 * not SIGKILL, SIGKILL follows after grace_ms. */
void proc_end(struct proc *p, int sig, int grace_ms);

/* Runs argv to its end. 0 when it exits with 0; otherwise -errno with *e filled in: the command,
 * its exit code or signal, and what it wrote to stdout and stderr (shortened). out, if not NULL,
 * takes what it wrote to both, with a NUL. timeout_ms as for poll(2). */
int proc_run(const char *const *argv, char *out, size_t out_size, int timeout_ms, struct err *e);

/* proc_run in two steps, so that several commands can run at once and the wait can be cut short
 * (abort_fd). Every job that began must be finished: proc_finish frees what the job holds, whether
 * it succeeds or not. argv must stay valid until then. */
struct proc_job {
	struct proc proc;
	int out_fd;
	int abort_fd; /* borrowed; when it becomes readable, proc_finish kills the job: -ECANCELED.
		       * -1: none */
	const char *const *argv;
};

#define PROC_JOB_NONE ((struct proc_job){.proc = PROC_NONE, .out_fd = -1, .abort_fd = -1})

int proc_begin(const char *const *argv, struct proc_job *job, struct err *e);
int proc_finish(struct proc_job *job, char *out, size_t out_size, int timeout_ms, struct err *e);

/* "exit status 3" or "signal: killed", the words RootlessKit uses. Returns buf. */
const char *proc_status_text(int status, char *buf, size_t size);

/* pidfd_open(2). The descriptor or -errno. */
int proc_pidfd_open(pid_t pid);

#endif
