/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fd.h"
#include "base/proc.h"

#define SH(script) ((const char *const[]){"sh", "-c", script, NULL})

static struct err e;

static int setup(void **state)
{
	(void)state;
	e = (struct err){0};
	return 0;
}

static void test_run(void **state)
{
	char out[32];

	(void)state;
	assert_int_equal(proc_run(SH("echo out; echo err >&2"), out, sizeof(out), 20000, &e), 0);
	assert_string_equal(out, "out\nerr\n");
	assert_int_equal(proc_run(SH("exit 3"), out, sizeof(out), 20000, &e), -ECHILD);
	assert_string_equal(e.msg, "sh failed (exit status 3)");
	assert_int_equal(proc_run(SH("echo one; echo two; kill -9 $$"), NULL, 0, 20000, &e),
			 -ECHILD);
	assert_string_equal(e.msg, "sh failed (signal: killed): one two");
}

/* There is more output than room for it, and more than a pipe holds. It is cut, and nothing blocks.
 */
static void test_much_output(void **state)
{
	char out[16];

	(void)state;
	assert_int_equal(
		proc_run(SH("head -c 300000 /dev/zero | tr '\\0' x"), out, sizeof(out), 20000, &e),
		0);
	assert_string_equal(out, "xxxxxxxxxxxxxxx");
}

static void test_cannot_run(void **state)
{
	const char *const missing[] = {"/no/such/program", NULL}, *const closed[] = {"/etc/passwd",
										     NULL};
	struct proc p;
	struct proc_spec spec = {
		.file = missing[0], .argv = missing, .stdout_fd = -1, .stderr_fd = -1};

	(void)state;
	assert_int_equal(proc_run(missing, NULL, 0, 20000, &e), -ENOENT);
	assert_string_equal(e.msg, "cannot run /no/such/program: No such file or directory");
	assert_int_equal(proc_run(closed, NULL, 0, 20000, &e), -EACCES);
	assert_int_equal(proc_start(&p, &spec, &e), -ENOENT);
	assert_int_equal(p.pid, 0);
	assert_int_equal(p.pidfd, -1);
}

/* A file that is no program, such as half of one, is not read as a script. */
static void test_no_program(void **state)
{
	char path[] = "/tmp/ringkit-proc-XXXXXX";
	const char *const argv[] = {path, NULL};
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, "exit 0\n", 7), 0);
	assert_int_equal(fchmod(fd, 0700), 0);
	close(fd);
	assert_int_equal(proc_run(argv, NULL, 0, 20000, &e), -ENOEXEC);
	assert_non_null(strstr(e.msg, "Exec format error"));
	unlink(path);
}

static void test_time_out(void **state)
{
	(void)state;
	assert_int_equal(proc_run(SH("exec sleep 600"), NULL, 0, 50, &e), -ETIMEDOUT);
	assert_non_null(strstr(e.msg, "sh did not finish"));
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
}

static void test_abort(void **state)
{
	struct proc_job job;
	int stop[2];

	(void)state;
	assert_int_equal(pipe(stop), 0);
	assert_int_equal(proc_begin(SH("exec sleep 600"), &job, &e), 0);
	job.abort_fd = stop[0];
	assert_int_equal(write(stop[1], "x", 1), 1);
	assert_int_equal(proc_finish(&job, NULL, 0, -1, &e), -ECANCELED);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	close(stop[0]);
	close(stop[1]);
}

/* Two programs run at the same time. Both have written before the output of either is read. */
static void test_jobs_side_by_side(void **state)
{
	struct proc_job one, two;
	char out[16];

	(void)state;
	assert_int_equal(proc_begin(SH("echo one"), &one, &e), 0);
	assert_int_equal(proc_begin(SH("echo two"), &two, &e), 0);
	assert_int_equal(proc_finish(&two, out, sizeof(out), 20000, &e), 0);
	assert_string_equal(out, "two\n");
	assert_int_equal(proc_finish(&one, out, sizeof(out), 20000, &e), 0);
	assert_string_equal(out, "one\n");
}

static void wait_ended(const struct proc *p)
{
	struct pollfd pfd = {.fd = p->pidfd, .events = POLLIN};

	assert_int_equal(poll(&pfd, 1, 20000), 1);
}

static void test_what_the_process_gets(void **state)
{
	const char *const argv[] = {
		"sh", "-c",
		"cat <&3 >&4; cat; echo $WORD; "
		"grep -E 'SigBlk|SigIgn|NoNewPrivs' /proc/self/status | cut -f2",
		NULL};
	char *envp[] = {"WORD=word", "PATH=/usr/bin:/bin", NULL};
	int in[2], out[2], keep[2], status;
	char text[256] = "", blocked[17], ignored[17];
	struct proc p;
	struct proc_spec spec = {.file = "sh",
				 .argv = argv,
				 .envp = envp,
				 .keep_fds = keep,
				 .n_keep_fds = 2,
				 .no_new_privs = true,
				 .null_stdin = true,
				 .death_signal = SIGKILL};
	sigset_t set;

	(void)state;
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	assert_int_equal(write(in[1], "kept\n", 5), 5);
	close(in[1]);
	keep[0] = in[0];
	keep[1] = spec.stdout_fd = spec.stderr_fd = out[1];
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGUSR2, SIG_IGN);
	assert_int_equal(proc_start(&p, &spec, &e), 0);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	signal(SIGUSR2, SIG_DFL);
	wait_ended(&p);
	assert_int_equal(proc_reap(&p, &status), 0);
	assert_int_equal(status, 0);
	assert_int_equal(p.pidfd, -1);
	assert_true(read(out[0], text, sizeof(text) - 1) > 0);
	assert_int_equal(
		sscanf(text, "kept\nword\n%16[0-9a-f]\n%16[0-9a-f]\n1\n", blocked, ignored), 2);
	assert_int_equal(strtoul(blocked, NULL, 16), 0);
	/* Signals 32 and 33 are the C library's. Programs that GNU make starts ignore them for
	 * good. */
	assert_int_equal(strtoul(ignored, NULL, 16) & ~(3UL << 31), 0);
	close(in[0]);
	close(out[0]);
	close(out[1]);
}

static void start(struct proc *p, const char *const *argv)
{
	struct proc_spec spec = {.file = "sh", .argv = argv, .stdout_fd = -1, .stderr_fd = -1};

	assert_int_equal(proc_start(p, &spec, &e), 0);
}

/* No signal but SIGKILL ends a shielded process, whether it goes to the process or to the group
 * that started it. */
static void test_shielded(void **state)
{
	const int sent[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGUSR1,
			    SIGUSR2, SIGTSTP, SIGPWR,  SIGRTMIN};
	struct proc_spec spec = {.file = "sleep",
				 .argv = (const char *const[]){"sleep", "1000", NULL},
				 .stdout_fd = -1,
				 .stderr_fd = -1,
				 .shielded = true};
	struct proc p;
	int status;

	(void)state;
	assert_int_equal(proc_start(&p, &spec, &e), 0);
	assert_int_equal(getsid(p.pid), p.pid);
	for (size_t i = 0; i < ARRAY_SIZE(sent); i++)
		assert_int_equal(kill(p.pid, sent[i]), 0);
	/* If a signal had ended the process, it would be gone by the time that another one has run.
	 */
	assert_int_equal(proc_run(SH("true"), NULL, 0, 20000, &e), 0);
	assert_int_equal(proc_reap(&p, &status), -EAGAIN);
	assert_int_equal(kill(p.pid, SIGKILL), 0);
	assert_int_equal(poll(&(struct pollfd){.fd = p.pidfd, .events = POLLIN}, 1, 20000), 1);
	assert_int_equal(proc_reap(&p, &status), 0);
	assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void on_alarm(int sig)
{
	(void)sig;
}

/* A signal during the wait does not cancel the time limit. */
static void test_time_out_after_a_signal(void **state)
{
	struct sigaction sa = {.sa_handler = on_alarm}; /* without SA_RESTART */
	struct itimerval soon = {.it_value.tv_usec = 50000};
	struct sigaction old;

	(void)state;
	sigaction(SIGALRM, &sa, &old);
	setitimer(ITIMER_REAL, &soon, NULL);
	assert_int_equal(proc_run(SH("exec sleep 30"), NULL, 0, 300, &e), -ETIMEDOUT);
	sigaction(SIGALRM, &old, NULL);
}

static void test_end(void **state)
{
	struct proc p;
	int status;

	(void)state;
	start(&p, SH("exec sleep 600"));
	assert_int_equal(proc_reap(&p, &status), -EAGAIN);
	proc_end(&p, SIGKILL, 0);
	assert_int_equal(p.pid, 0);
	assert_int_equal(p.pidfd, -1);
	proc_end(&p, SIGKILL, 0); /* there is no process to end */
	start(&p, SH("exec sleep 600"));
	proc_end(&p, SIGTERM, 20000);
	/* A process that ignores SIGTERM. */
	start(&p, SH("trap '' TERM; while :; do sleep 1; done"));
	usleep(100000);
	proc_end(&p, SIGTERM, 50);
	assert_int_equal(p.pid, 0);
}

static void test_words(void **state)
{
	char buf[64];

	(void)state;
	assert_string_equal(proc_status_text(3 << 8, buf, sizeof(buf)), "exit status 3");
	assert_string_equal(proc_status_text(SIGKILL, buf, sizeof(buf)), "signal: killed");
	assert_string_equal(proc_status_text(SIGTERM, buf, sizeof(buf)), "signal: terminated");
	assert_string_equal(proc_status_text(SIGSEGV, buf, sizeof(buf)),
			    "signal: segmentation fault");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_run, setup),
		cmocka_unit_test_setup(test_much_output, setup),
		cmocka_unit_test_setup(test_cannot_run, setup),
		cmocka_unit_test_setup(test_no_program, setup),
		cmocka_unit_test_setup(test_time_out, setup),
		cmocka_unit_test_setup(test_time_out_after_a_signal, setup),
		cmocka_unit_test_setup(test_abort, setup),
		cmocka_unit_test_setup(test_jobs_side_by_side, setup),
		cmocka_unit_test_setup(test_what_the_process_gets, setup),
		cmocka_unit_test_setup(test_shielded, setup),
		cmocka_unit_test_setup(test_end, setup),
		cmocka_unit_test_setup(test_words, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
