/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_PROC_H
#define RINGKIT_BASE_PROC_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

/* A subprocess. pid and pidfd belong together; pid is 0 when there is none. */
struct proc {
	pid_t pid;
	int pidfd; /* readable when it has ended; close-on-exec */
};

#define PROC_NONE ((struct proc){.pid = 0, .pidfd = -1})

struct proc_spec {
	const char *file; /* looked up in PATH when it has no slash; "/proc/self/exe" for us */
	const char *const *argv; /* NULL at the end */
	char **envp;		 /* NULL: ours */
	const int *keep_fds; /* become 3, 4, ... in the new process; all else is close-on-exec */
	size_t n_keep_fds;
	int stdout_fd, stderr_fd; /* -1: ours. Beware: 0 means descriptor 0 */
	bool no_new_privs;	  /* PR_SET_NO_NEW_PRIVS: file capabilities do not come along */
	int death_signal;	  /* PR_SET_PDEATHSIG; 0: none. Also checks that we still live */
	bool null_stdin;
	int stdin_fd; /* becomes standard input; 0: ours, or /dev/null with null_stdin */
	/* It works for the command, and has to outlive what asks the command to end. It leads a
	 * session of its own (setsid(2); a signal to -pid reaches it and what it starts), so that
	 * no key of the terminal and no signal to our process group comes to it. Signals that
	 * people and service managers send, to a whole cgroup for example, are blocked; the mask
	 * stays over exec. SIGKILL ends it. What it makes, sockets above all, is for our user alone
	 * (umask 077), whatever the umask that the command is to have. */
	bool shielded;
};

/*
 * Starts it and waits until exec has happened, so a command that is missing is an error here and
 * not an exit code later. 0 or -errno with *e filled in (the name and why).
 * In the new process every disposition is reset to default, and the signal mask is empty unless it
 * is shielded.
 */
int proc_start(struct proc *p, const struct proc_spec *spec, struct err *e);

/* Takes the exit status as waitpid(2) gives it, and closes the pidfd. 0, -EAGAIN when it still
 * runs, -errno. */
int proc_reap(struct proc *p, int *status);

/* Kills with sig if it runs, waits until it is gone, closes the pidfd. A sig other than SIGKILL
 * is followed by SIGKILL after grace_ms. */
void proc_end(struct proc *p, int sig, int grace_ms);

/* Runs argv to its end. Returns 0 when it exits 0; otherwise -errno with *e filled in:
 * the command, its exit code or signal, and what it wrote to stdout and stderr (shortened). out, if
 * not NULL, takes what it wrote to both, with a NUL. timeout_ms as poll(2). */
int proc_run(const char *const *argv, char *out, size_t out_size, int timeout_ms, struct err *e);

/* The same in two steps, so that several can run at once and waiting can be cut short (abort_fd).
 * Every job that began must be finished; proc_finish frees what it holds either way. argv must stay
 * until then. */
struct proc_job {
	struct proc proc;
	int out_fd;
	int abort_fd; /* borrowed; when it is readable, proc_finish kills the job: -ECANCELED. -1:
			 none */
	const char *const *argv;
};

#define PROC_JOB_NONE ((struct proc_job){.proc = PROC_NONE, .out_fd = -1, .abort_fd = -1})

int proc_begin(const char *const *argv, struct proc_job *job, struct err *e);
int proc_finish(struct proc_job *job, char *out, size_t out_size, int timeout_ms, struct err *e);

/* "exit status 3" or "signal: killed", the words RootlessKit uses. Returns buf. */
const char *proc_status_text(int status, char *buf, size_t size);

/* pidfd_open(2): the descriptor or -errno. */
int proc_pidfd_open(pid_t pid);

#endif
