/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a command again and again. Prints for each run the time from before the fork until the child
 * was reaped, and the CPU time of the child and its descendants. The command's stdout is discarded.
 * Runs that fail are counted, but have no figures. When all fail, so does the program.
 */
#include "program.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

struct run {
	double wall_ms;
	double cpu_ms;
	long rss_kib;
	bool failed;
};

static double timeval_ms(struct timeval tv)
{
	return (double)tv.tv_sec * 1e3 + (double)tv.tv_usec / 1e3;
}

static _Noreturn void exec_command(char **argv)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
		_exit(126);
	execvp(argv[0], argv);
	_exit(127);
}

static struct run run_once(char **argv)
{
	const uint64_t start_ns = now_ns();
	struct rusage usage;
	struct run run;
	int status;
	pid_t pid;

	pid = fork();
	if (pid < 0)
		die_errno("fork");
	if (!pid)
		exec_command(argv);
	while (wait4(pid, &status, 0, &usage) < 0) {
		if (errno != EINTR)
			die_errno("wait4");
	}
	run.wall_ms = (double)(now_ns() - start_ns) / 1e6;
	run.cpu_ms = timeval_ms(usage.ru_utime) + timeval_ms(usage.ru_stime);
	run.rss_kib = usage.ru_maxrss;
	run.failed = !WIFEXITED(status) || WEXITSTATUS(status);
	return run;
}

static size_t count = 10;

static void run(char **words, size_t nofile)
{
	size_t failed = 0;

	(void)nofile;
	if (!words[0])
		die("expected a command");
	printf("{\"runs\": [");
	for (size_t i = 0; i < count; i++) {
		struct run one = run_once(words);

		if (one.failed) {
			failed++;
			continue;
		}
		printf("%s{\"wall_ms\": %.3f, \"cpu_ms\": %.3f, \"rss_kib\": %ld}",
		       i > failed ? ", " : "", one.wall_ms, one.cpu_ms, one.rss_kib);
	}
	printf("], \"failed\": %zu}\n", failed);
	if (failed == count)
		die("%s failed every time", words[0]);
}

static const struct setting settings[] = {
	NUMBER("count", count, 1, 10000),
	{.name = NULL},
};

const struct program program = {
	.usage = "startup [--count=N] COMMAND [ARG...]",
	.settings = settings,
	.run = run,
};
