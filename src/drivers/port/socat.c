/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The port driver "socat" (deprecated): one socat(1) for each port. It forks for every connection
 * and enters the namespace by nsenter(1). Runs in the parent; each socat is under a guard
 * (guard.h). A socat that ends by itself is started again (base/restart.h); its connections are
 * lost.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/restart.h"
#include "drivers/driver.h"
#include "drivers/net/helper_output.h"
#include "drivers/port/bind_probe.h"
#include "drivers/port/guard.h"
#include "drivers/port/socat_command.h"
#include "drivers/registry_internal.h"

/* socat listens after some milliseconds, and after a second on a loaded machine. */
#define START_TIMEOUT_MS 10000

/* A guard that takes longer is stuck in the kernel or stopped. */
#define REMOVE_TIMEOUT_MS 5000

/* The driver's part of a port. */
struct socat {
	struct port_driver *drv;
	struct port *port;
	struct port_route route;
	struct guard guard;
	struct helper_output output;
	struct loop_source *exit_src, *output_src, *timer;
	bool listening;	   /* the current process listens */
	unsigned failures; /* in a row */
	uint64_t started_ms;
	bool asked;		   /* an add or a remove is under way */
	struct socat *prev, *next; /* the driver's other ports */
};

struct port_driver {
	struct loop *loop;
	int userns_fd, netns_fd; /* borrowed */
	int udp_timeout_ms;
	struct socat *socats;
};

static int check_program(const char *program, const char *option, const char *package,
			 struct err *e)
{
	const char *argv[] = {program, option, NULL};
	int code = proc_run(argv, NULL, 0, 5000, e);

	return code == -ENOENT ? err_wrap(e, code, "install it (sudo apt-get install %s)", package)
			       : code;
}

static int socat_start(const struct port_params *params, struct port_driver **out, struct err *e)
{
	static char socat[] = "socat", nsenter[] = "nsenter", upper[] = "-V",
		    version[] = "--version";
	struct port_driver *drv;
	int code = check_program(socat, upper, "socat", e);

	if (!code)
		code = check_program(nsenter, version, "util-linux", e);
	if (code)
		return code;
	drv = calloc(1, sizeof(*drv));
	if (!drv)
		return err_errno(e, -ENOMEM, "port driver socat");
	drv->loop = params->loop;
	drv->userns_fd = params->userns_fd;
	drv->netns_fd = params->netns_fd;
	drv->udp_timeout_ms = params->udp_timeout_ms;
	*out = drv;
	return 0;
}

/* Ends the process and frees everything that belongs to it. */
static void clear(struct socat *s)
{
	loop_remove(s->exit_src);
	loop_remove(s->output_src);
	loop_remove(s->timer);
	s->exit_src = s->output_src = s->timer = NULL;
	s->listening = false;
	guard_end(&s->guard);
	helper_output_close(&s->output);
}

static void socat_end(struct socat *s)
{
	clear(s);
	DL_DELETE(s->drv->socats, s);
}

/* Answers the add or remove under way. end: ends the port as well. */
static void settle(struct socat *s, bool end, const struct err *e)
{
	bool asked = s->asked;

	s->asked = false;
	loop_remove(s->timer);
	s->timer = NULL;
	if (end)
		socat_end(s);
	if (asked)
		s->port->settled(s->port, PORT_BY_PROGRAM, e);
}

/* Says why socat ended, by its own error message if there is one. */
static void why_ended(struct socat *s, struct err *e)
{
	char words[64] = "", error[300];
	const char *tail;
	int status;

	helper_output_drain(&s->output);
	tail = helper_output_tail(&s->output);
	if (proc_reap(&s->guard.proc, &status) == 0)
		proc_status_text(status, words, sizeof(words));
	if (socat_find_error(tail, error, sizeof(error))[0])
		tail = error;
	else if (s->listening)
		tail = ""; /* it only says that it listens, and who connected */
	err_set(e, -ECHILD, "socat ended (%s)%s%s", words, *tail ? ": " : " and said nothing",
		tail);
}

static void start_again_later(struct socat *s, const char *why);

static void on_exit_of_socat(void *arg, uint32_t events)
{
	struct socat *s = arg;
	struct err e = {.code = 0};

	(void)events;
	if (s->guard.leash_w < 0) { /* we released it */
		settle(s, true, NULL);
		return;
	}
	why_ended(s, &e);
	if (s->asked)
		settle(s, true, &e);
	else
		start_again_later(s, e.msg);
}

static void on_output(void *arg, uint32_t events)
{
	struct socat *s = arg;

	(void)events;
	if (helper_output_drain(&s->output) < 0) {
		loop_remove(s->output_src);
		s->output_src = NULL;
	}
	if (s->listening || s->guard.leash_w < 0 ||
	    !strstr(helper_output_tail(&s->output), " listening on "))
		return;
	s->listening = true;
	settle(s, false, NULL); /* answers the add; a port that runs again has none */
}

static void on_start_timeout(void *arg, uint32_t events)
{
	struct socat *s = arg;
	struct err e = {.code = 0};

	(void)events;
	s->timer = NULL;
	err_set(&e, -ETIMEDOUT, "socat does not listen after %d ms", START_TIMEOUT_MS);
	if (s->asked)
		settle(s, true, &e);
	else
		start_again_later(s, e.msg);
}

static void on_remove_timeout(void *arg, uint32_t events)
{
	struct socat *s = arg;

	(void)events;
	s->timer = NULL;
	log_warning("port %d: socat did not end within %d ms and is killed", s->port->id,
		    REMOVE_TIMEOUT_MS);
	proc_end(&s->guard.proc, SIGKILL, 0);
	settle(s, true, NULL);
}

static int watch(struct socat *s)
{
	struct loop *loop = s->drv->loop;

	s->exit_src = loop_add_fd(loop, s->guard.proc.pidfd, EPOLLIN, on_exit_of_socat, s);
	s->output_src = loop_add_fd(loop, s->output.fd, EPOLLIN, on_output, s);
	s->timer = loop_add_timer(loop, (uint64_t)START_TIMEOUT_MS, on_start_timeout, s);
	return s->exit_src && s->output_src && s->timer ? 0 : -ENOMEM;
}

static int launch(struct socat *s, struct err *e)
{
	const int keep[] = {s->drv->netns_fd, s->drv->userns_fd};
	struct socat_command cmd;
	auto_fd int output_w = -1;
	int code = helper_output_open(&s->output, &output_w);

	if (code)
		return err_errno(e, code, "cannot start socat: pipe");
	socat_build_command(&s->route, s->drv->udp_timeout_ms, &cmd);
	log_debug("port/socat: %s %s", cmd.listen, cmd.exec);
	s->started_ms = loop_now_ms();
	code = guard_start(&s->guard, cmd.argv, keep, 2, output_w, e);
	if (code)
		return code;
	code = watch(s);
	return code ? err_errno(e, code, "cannot watch socat") : 0;
}

static void on_restart(void *arg, uint32_t events)
{
	struct socat *s = arg;
	struct err e = {.code = 0};

	(void)events;
	s->timer = NULL;
	if (launch(s, &e) < 0)
		start_again_later(s, e.msg);
}

/* Starts socat again later: a port must work until it is removed. */
static void start_again_later(struct socat *s, const char *why)
{
	unsigned pause_ms;

	s->failures = s->listening && loop_now_ms() - s->started_ms >= RESTART_HEALTHY_MS
			      ? 1
			      : s->failures + 1;
	pause_ms = restart_delay_ms(s->failures);
	clear(s);
	if (pause_ms >= RESTART_HOPELESS_MS)
		log_error("port %d is not forwarded: %s; starting it again in %u s", s->port->id,
			  why, pause_ms / 1000);
	else
		log_warning("port %d: %s; starting it again, open connections are lost",
			    s->port->id, why);
	s->timer = loop_add_timer(s->drv->loop, pause_ms, on_restart, s);
	if (!s->timer)
		log_error("port %d is not forwarded any more: %s; remove it and add it again",
			  s->port->id, strerror(errno));
}

/* Refuses protocols that are known, such as sctp, but not to this driver. */
static int check_proto(const struct port_spec *spec, struct err *e)
{
	char quoted[300];

	for (size_t i = 0; port_socat_ops.protos[i]; i++)
		if (!strcmp(spec->proto, port_socat_ops.protos[i]))
			return 0;
	return err_set(e, -EPROTONOSUPPORT, "unsupported protocol %s",
		       quote_go(spec->proto, quoted, sizeof(quoted)));
}

static int add(struct port *port, struct err *e)
{
	struct socat *s = (struct socat *)port->own;
	int code = check_proto(&port->spec, e);

	*s = (struct socat){
		.drv = port->drv, .port = port, .guard = GUARD_NONE, .output = HELPER_OUTPUT_NONE};
	s->output.name = "port/socat";
	if (!code)
		code = bind_probe(&port->spec, &s->route, e);
	if (code)
		return code;
	DL_APPEND(s->drv->socats, s);
	code = launch(s, e);
	if (code)
		socat_end(s);
	s->asked = !code;
	return code;
}

static void socat_add(struct port *port)
{
	struct err e = {.code = 0};

	if (add(port, &e) < 0)
		port->settled(port, PORT_BY_PARENT, &e);
}

static void socat_remove(struct port *port)
{
	struct socat *s = (struct socat *)port->own;

	s->asked = true;
	guard_release(&s->guard);
	if (!s->guard.proc.pid) { /* it has ended by itself, and waits for its next start */
		settle(s, true, NULL);
		return;
	}
	loop_remove(s->timer);
	s->timer = loop_add_timer(s->drv->loop, REMOVE_TIMEOUT_MS, on_remove_timeout, s);
	if (!s->timer)
		settle(s, true, NULL);
}

static void socat_stop(struct port_driver *drv)
{
	struct socat *s, *tmp;

	if (!drv)
		return;
	/* Ends all of them at once, then waits for each. */
	DL_FOREACH(drv->socats, s)
	guard_release(&s->guard);
	DL_FOREACH_SAFE(drv->socats, s, tmp)
	socat_end(s);
	free(drv);
}

static const char *const socat_protos[] = {"tcp", "tcp4", "tcp6", "udp", "udp4", "udp6", NULL};

const struct port_driver_ops port_socat_ops = {
	.name = "socat",
	.protos = socat_protos,
	.port_size = sizeof(struct socat),
	.start = socat_start,
	.add = socat_add,
	.remove = socat_remove,
	.stop = socat_stop,
};
