/* SPDX-License-Identifier: Apache-2.0 */
/* Which state may follow which, of listeners, flows, and what the way out has of its own. Any other
 * step is a mistake of the worker's own, and ends it. Each step is tried in a process of its own,
 * since an assertion that fails ends the process. */
#include "cmocka_all.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dataplane/worker/out_ping.h"
#include "dataplane/worker/out_tcp.h"
#include "dataplane/worker/out_udp.h"
#include "dataplane/worker/tcp_flow.h"
#include "dataplane/worker/worker_internal.h"

static struct worker worker;

static void listener_step(unsigned from, unsigned to)
{
	struct listener l = {.state = (enum listener_state)from};

	flow_set_listener_state(&l, (enum listener_state)to);
}

static void tcp_step(unsigned from, unsigned to)
{
	struct tcp_flow f = {.state = (enum tcp_state)from};

	tcp_flow_set_state(&worker, &f, (enum tcp_state)to);
}

static void udp_step(unsigned from, unsigned to)
{
	struct udp_flow f = {.state = (enum udp_state)from};

	udp_set_state(&f, (enum udp_state)to);
}

static void out_tcp_step(unsigned from, unsigned to)
{
	struct out_pending p = {.state = (enum out_state)from};

	out_tcp_set_state(&p, (enum out_state)to);
}

static void out_map_step(unsigned from, unsigned to)
{
	struct out_map m = {.state = (enum out_map_state)from};

	out_map_set_state(&m, (enum out_map_state)to);
}

static void out_ping_step(unsigned from, unsigned to)
{
	struct out_ping p = {.state = (enum out_ping_state)from};

	out_ping_set_state(&p, (enum out_ping_state)to);
}

/* Whether the worker survives the step. It ends by SIGABRT otherwise, and in no other way. */
static bool may(void (*step)(unsigned from, unsigned to), unsigned from, unsigned to)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO);
		step(from, to);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true((WIFEXITED(status) && WEXITSTATUS(status) == 0) ||
		    (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT));
	return WIFEXITED(status);
}

/* rows: for each state, in order, the initials of the states that may follow. names: the initials
 * of all states. */
static void check(void (*step)(unsigned from, unsigned to), const char *names,
		  const char *const *rows)
{
	for (unsigned from = 0; names[from]; from++)
		for (unsigned to = 0; names[to]; to++)
			if (may(step, from, to) != (strchr(rows[from], names[to]) != NULL))
				fail_msg("%c to %c", names[from], names[to]);
}

static void test_listener(void **state)
{
	/* Free, Open, Paused, Closing, Settled */
	static const char *const rows[] = {"O", "PC", "OC", "S", "F"};

	(void)state;
	check(listener_step, "FOPCS", rows);
}

static void test_tcp(void **state)
{
	/* Free, Waiting, Connecting, Retrying, Open, Draining, cloSing */
	static const char *const rows[] = {"WCROD", "WCS", "WCROS", "WCS", "DS", "S", ""};

	(void)state;
	check(tcp_step, "FWCRODS", rows);
}

static void test_udp(void **state)
{
	/* Free, Waiting, Open, Closing. An open flow starts again at its other address. */
	static const char *const rows[] = {"WO", "WOC", "WOC", ""};

	(void)state;
	check(udp_step, "FWOC", rows);
}

static void test_out_tcp(void **state)
{
	/* Free, Connecting, connecteD, cLosing */
	static const char *const rows[] = {"C", "CDL", "L", ""};

	(void)state;
	check(out_tcp_step, "FCDL", rows);
}

static void test_out_map_and_ping(void **state)
{
	/* Free, Open, Closing. A slot is freed by clearing it. */
	static const char *const rows[] = {"O", "C", ""};

	(void)state;
	check(out_map_step, "FOC", rows);
	check(out_ping_step, "FOC", rows);
}

static int without_core(void **state)
{
	const struct rlimit none = {0, 0};

	(void)state;
	return setrlimit(RLIMIT_CORE, &none);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_listener),
		cmocka_unit_test(test_tcp),
		cmocka_unit_test(test_udp),
		cmocka_unit_test(test_out_tcp),
		cmocka_unit_test(test_out_map_and_ping),
	};

	return cmocka_run_group_tests(tests, without_core, NULL);
}
