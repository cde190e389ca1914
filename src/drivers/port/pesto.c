/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The port driver "pesto": ports of a pasta network. pesto(1) adds and removes them over the socket
 * that pasta listens on (--conf-path). Runs in the parent; pasta forwards.
 *
 * pesto's exit code is not enough. It is 0 even when pasta cannot listen for the new port. Then
 * pasta has taken the rule all the same, and listens for none of the other ports either until the
 * rule has gone. So a port is tried before pesto runs. Afterwards it must be in use, or the rule is
 * removed again. One pesto runs at a time, because pasta's rules are one table.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/proc.h"
#include "drivers/driver.h"
#include "drivers/net/helper_output.h"
#include "drivers/port/bind_probe.h"
#include "drivers/port/pesto_command.h"
#include "drivers/registry_internal.h"

/* A call of pesto takes 6 to 13 ms, and a second on a loaded machine. */
#define CALL_TIMEOUT_MS	 10000
#define START_TIMEOUT_MS 5000

/* How long pasta may take to listen after pesto has ended. */
#define LISTEN_TIMEOUT_MS 2000
#define LISTEN_PAUSE_MS	  5

/* The driver's part of a port: an add or a remove that waits or is under way. */
struct job {
	struct port *port;
	struct port_spec spec; /* in pesto's form */
	bool removing;
	struct job *next;
};

struct port_driver {
	struct loop *loop;
	const char *binary, *socket; /* borrowed from the caller */
	char child_ip[INET6_ADDRSTRLEN];
	bool ipv6;
	struct job *first, **last; /* the first is under way */
	bool busy;
	/* About the first job: */
	bool undoing; /* its rule is being removed again, for this reason: */
	struct err why;
	uint64_t listen_end_ms;
	struct proc proc;
	struct helper_output output;
	struct loop_source *exit_src, *output_src, *timer;
};

static void start_next(struct port_driver *drv);

static int check_program(const char *binary, struct err *e)
{
	const char *argv[] = {binary, "--version", NULL};
	int code = proc_run(argv, NULL, 0, START_TIMEOUT_MS, e);

	return code == -ENOENT ? err_wrap(e, code,
					  "install passt of May 2026 or later, or name pesto with "
					  "--pesto-binary")
			       : code;
}

static int pesto_start(const struct port_params *params, struct port_driver **out, struct err *e)
{
	struct port_driver *drv;
	int code = check_program(params->pesto_binary, e);

	if (code)
		return code;
	drv = calloc(1, sizeof(*drv));
	if (!drv)
		return err_errno(e, -ENOMEM, "port driver pesto");
	drv->loop = params->loop;
	drv->binary = params->pesto_binary;
	drv->socket = params->helper_socket;
	drv->ipv6 = params->ipv6;
	snprintf(drv->child_ip, sizeof(drv->child_ip), "%s", params->child_ip);
	drv->last = &drv->first;
	drv->proc = PROC_NONE;
	drv->output = HELPER_OUTPUT_NONE;
	drv->output.name = "port/pesto";
	*out = drv;
	return 0;
}

/* Ends the process and drops what waits for it. */
static void clear(struct port_driver *drv)
{
	loop_remove(drv->exit_src);
	loop_remove(drv->output_src);
	loop_remove(drv->timer);
	drv->exit_src = drv->output_src = drv->timer = NULL;
	if (drv->proc.pid > 0)
		kill(-drv->proc.pid, SIGKILL); /* also the program of a wrapper */
	proc_end(&drv->proc, SIGKILL, 0);
	helper_output_close(&drv->output);
}

/* Answers the add or remove under way, and goes on with the next. */
static void settle(struct port_driver *drv, enum port_settler by, const struct err *e)
{
	struct job *job = drv->first;

	clear(drv);
	drv->busy = drv->undoing = false;
	drv->first = job->next;
	if (!drv->first)
		drv->last = &drv->first;
	job->port->settled(job->port, by, e);
	start_next(drv);
}

static int run_pesto(struct port_driver *drv, bool remove, struct err *e);

/* Removes the rule again; then the add fails for the reason in *e. */
static void undo(struct port_driver *drv, const struct err *e)
{
	struct err failed = {.code = 0};

	drv->why = *e;
	drv->undoing = true;
	clear(drv);
	if (run_pesto(drv, true, &failed) == 0)
		return;
	log_warning("port %d: the rule stays with pasta: %s", drv->first->port->id, failed.msg);
	settle(drv, PORT_BY_PROGRAM, &drv->why);
}

static void check_listening(void *arg, uint32_t events)
{
	struct port_driver *drv = arg;
	struct port_route route;
	struct err e = {.code = 0};

	(void)events;
	drv->timer = NULL;
	if (bind_probe(&drv->first->spec, &route, &e) == -EADDRINUSE) {
		settle(drv, PORT_BY_PROGRAM, NULL);
		return;
	}
	if (loop_now_ms() < drv->listen_end_ms)
		drv->timer = loop_add_timer(drv->loop, LISTEN_PAUSE_MS, check_listening, drv);
	if (drv->timer)
		return;
	err_set(&e, -EREMOTEIO,
		"pesto ended with success, but pasta does not listen; its log "
		"(--debug) may say why");
	undo(drv, &e);
}

/* Whether the port is free, so that a rule that could not be removed is not there. */
static bool is_free(const struct port_spec *spec)
{
	struct port_route route;
	struct err e = {.code = 0};

	return bind_probe(spec, &route, &e) == 0;
}

/* Goes on after pesto has ended; failed: NULL for success. */
static void on_end(struct port_driver *drv, const struct err *failed)
{
	struct job *job = drv->first;

	clear(drv);
	if (drv->undoing) {
		if (failed && failed->code == -ETIMEDOUT)
			log_warning("port %d: the rule may stay with pasta: %s", job->port->id,
				    failed->msg);
		settle(drv, PORT_BY_PROGRAM, &drv->why);
	} else if (job->removing) {
		settle(drv, PORT_BY_PROGRAM, failed && !is_free(&job->spec) ? failed : NULL);
	} else if (!failed) {
		drv->listen_end_ms = loop_now_ms() + LISTEN_TIMEOUT_MS;
		check_listening(drv, 0);
	} else if (failed->code == -ETIMEDOUT) {
		undo(drv, failed); /* pasta may have the rule */
	} else {
		settle(drv, PORT_BY_PROGRAM, failed);
	}
}

static void on_exit_of_pesto(void *arg, uint32_t events)
{
	struct port_driver *drv = arg;
	struct err e = {.code = 0};
	char words[64];
	const char *tail;
	int status = 0;

	(void)events;
	helper_output_drain(&drv->output);
	tail = helper_output_tail(&drv->output);
	if (proc_reap(&drv->proc, &status) == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		on_end(drv, NULL);
		return;
	}
	err_set(&e, -EREMOTEIO, "pesto ended (%s)%s%s",
		proc_status_text(status, words, sizeof(words)), *tail ? ": " : " and said nothing",
		tail);
	on_end(drv, &e);
}

static void on_output(void *arg, uint32_t events)
{
	struct port_driver *drv = arg;

	(void)events;
	if (helper_output_drain(&drv->output) < 0) {
		loop_remove(drv->output_src);
		drv->output_src = NULL;
	}
}

static void on_timeout(void *arg, uint32_t events)
{
	struct port_driver *drv = arg;
	struct err e = {.code = 0};

	(void)events;
	drv->timer = NULL;
	err_set(&e, -ETIMEDOUT, "pesto did not end within %d ms", CALL_TIMEOUT_MS);
	on_end(drv, &e);
}

static int watch(struct port_driver *drv)
{
	drv->exit_src = loop_add_fd(drv->loop, drv->proc.pidfd, EPOLLIN, on_exit_of_pesto, drv);
	drv->output_src = loop_add_fd(drv->loop, drv->output.fd, EPOLLIN, on_output, drv);
	drv->timer = loop_add_timer(drv->loop, CALL_TIMEOUT_MS, on_timeout, drv);
	return drv->exit_src && drv->output_src && drv->timer ? 0 : -ENOMEM;
}

/* Starts pesto for the first job. 0, or -errno, and then pesto does not run. */
static int run_pesto(struct port_driver *drv, bool remove, struct err *e)
{
	struct proc_spec spec = {
		.file = drv->binary, .null_stdin = true, .death_signal = SIGKILL, .shielded = true};
	struct pesto_command cmd;
	auto_fd int output_w = -1;
	int code = helper_output_open(&drv->output, &output_w);

	if (code)
		return err_errno(e, code, "cannot start pesto: pipe");
	pesto_build_command(&drv->first->spec, remove, drv->binary, drv->socket, &cmd);
	spec.argv = cmd.argv;
	spec.stdout_fd = spec.stderr_fd = output_w;
	log_debug("port/pesto: %s %s", cmd.argv[1], cmd.rule);
	code = proc_start(&drv->proc, &spec, e);
	if (!code) {
		code = watch(drv);
		if (code)
			err_errno(e, code, "cannot watch pesto");
	}
	if (code)
		clear(drv);
	return code;
}

static void start_next(struct port_driver *drv)
{
	struct port_route route;
	struct err e = {.code = 0};
	int code = 0;

	if (drv->busy || !drv->first)
		return;
	drv->busy = true;
	if (!drv->first->removing)
		code = bind_probe(&drv->first->spec, &route, &e);
	if (!code)
		code = run_pesto(drv, drv->first->removing, &e);
	if (code)
		settle(drv, PORT_BY_PARENT, &e);
}

static void queue(struct port *port, bool removing)
{
	struct port_driver *drv = port->drv;
	struct job *job = (struct job *)port->own;

	job->removing = removing;
	job->next = NULL;
	*drv->last = job;
	drv->last = &job->next;
	start_next(drv);
}

static void pesto_add(struct port *port)
{
	struct port_driver *drv = port->drv;
	struct job *job = (struct job *)port->own;
	struct err e = {.code = 0};

	job->port = port;
	if (pesto_spec(&port->spec, drv->ipv6, drv->child_ip, &job->spec, &e) < 0)
		port->settled(port, PORT_BY_PARENT, &e);
	else
		queue(port, false);
}

static void pesto_remove(struct port *port)
{
	queue(port, true);
}

static void pesto_stop(struct port_driver *drv)
{
	if (!drv)
		return;
	clear(drv);
	free(drv);
}

static const char *const protos4[] = {"tcp", "tcp4", "udp", "udp4", NULL};
static const char *const protos46[] = {"tcp", "tcp4", "tcp6", "udp", "udp4", "udp6", NULL};

static const char *const *pesto_protos(const struct port_driver *drv)
{
	return drv->ipv6 ? protos46 : protos4;
}

const struct port_driver_ops port_pesto_ops = {
	.name = "pesto",
	.protos = protos46,
	.protos_now = pesto_protos,
	.disallow_loopback_child_ip = true,
	.port_size = sizeof(struct job),
	.start = pesto_start,
	.add = pesto_add,
	.remove = pesto_remove,
	.stop = pesto_stop,
};
