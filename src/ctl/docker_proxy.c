/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rootlesskit-docker-proxy. dockerd, running in rootlesskit's namespace, starts it in place of
 * docker-proxy for a published port. The real docker-proxy can only listen in the namespace; this
 * program makes the parent publish the port on the host as well, for as long as the program lives.
 *
 * Where possible, the port leads straight to the container, and the data plane listens in the
 * namespace too (docker_proxy_api.c): then no byte passes through a process in the namespace, and
 * there is no docker-proxy. Otherwise the port leads to a docker-proxy, which this program starts.
 *
 * dockerd reads descriptor 3 until "0\n" (it works) or "1\nWHY". docker-proxy, if there is one,
 * writes there when all is well.
 *
 * Each published port has two such processes, one for each family, for as long as the container
 * runs. So they link to little, and give their heap back before they wait.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/proc.h"
#include "base/text.h"
#include "config.h"
#include "ctl/client.h"
#include "ctl/docker_proxy_internal.h"

#define STATUS_FD    3
#define LISTEN_FD    4
#define REAL_PROXY   "docker-proxy"
#define END_GRACE_MS 3000
#define DEBUG_ENV    "ROOTLESSKIT_DOCKER_PROXY_DEBUG"

static const char usage[] =
	"rootlesskit-docker-proxy publishes a port of a container on the host.\n"
	"\n"
	"dockerd starts it: dockerd --userland-proxy-path=rootlesskit-docker-proxy\n"
	"\n"
	"  -proto PROTO           tcp (default), udp, sctp\n"
	"  -host-ip IP            address on the host; 0.0.0.0 unless given\n"
	"  -host-port PORT\n"
	"  -container-ip IP\n"
	"  -container-port PORT\n"
	"  -use-listen-fd         descriptor 4 is the socket to accept from\n"
	"\n"
	"Environment:\n"
	"  ROOTLESSKIT_STATE_DIR                 rootlesskit's state directory\n"
	"  ROOTLESSKIT_DOCKER_PROXY_DIRECT=false  always has docker-proxy between port and "
	"container\n"
	"  ROOTLESSKIT_DOCKER_PROXY_DEBUG=true    says on stderr why docker-proxy is needed\n";

static void say(const char *level, const char *text)
{
	char line[sizeof(((struct err *)0)->msg)];

	snprintf(line, sizeof(line), "%s", text);
	fprintf(stderr, "[rootlesskit-docker-proxy] %s: %s\n", level, text_make_printable(line));
}

/* Reports the result to dockerd. Somebody who runs us by hand has given us no descriptor 3. */
static void tell_dockerd(const char *why)
{
	if (dprintf(STATUS_FD, why ? "1\n%s" : "0\n", why) < 0)
		say("warning", "dockerd does not take the answer");
}

/* Makes sure that no other descriptor gets number 3, and that only docker-proxy inherits what is on
 * it. */
static void claim_status_fd(void)
{
	int null;

	if (fcntl(STATUS_FD, F_GETFD) >= 0) {
		fd_set_cloexec(STATUS_FD, true);
		return;
	}
	null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (null >= 0 && null != STATUS_FD) {
		dup3(null, STATUS_FD, O_CLOEXEC);
		close(null);
	}
}

static bool is_ourselves(const char *path)
{
	struct stat own, other;

	return stat("/proc/self/exe", &own) == 0 && stat(path, &other) == 0 &&
	       own.st_dev == other.st_dev && own.st_ino == other.st_ino;
}

/* Finds the real docker-proxy. Somebody may have put this program in its place under its name,
 * which is not the one to find. */
static int find_real(struct proxy *p, struct err *e)
{
	const char *path = getenv("PATH");

	while (path && *path) {
		size_t len = strcspn(path, ":");
		int n = snprintf(p->program, sizeof(p->program), "%.*s/" REAL_PROXY, (int)len,
				 path);

		if (len && n > 0 && (size_t)n < sizeof(p->program) &&
		    access(p->program, X_OK) == 0 && !is_ourselves(p->program))
			return 0;
		path += len;
		path += *path == ':';
	}
	return err_set(e, -ENOENT, "exec: \"" REAL_PROXY "\": executable file not found in $PATH");
}

/* Blocks the signals that ask for our end; they are read from signal_fd. */
static int block_signals(struct proxy *p, struct err *e)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigprocmask(SIG_BLOCK, &set, &p->old_mask);
	p->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
	return p->signal_fd < 0 ? err_errno(e, -errno, "signalfd") : 0;
}

static int start_real(struct proxy *p, const char *child_ip, struct err *e)
{
	const char *argv[16];
	char numbers[2][12];
	int keep[] = {STATUS_FD, LISTEN_FD};
	struct proc_spec spec = {.file = p->program,
				 .argv = argv,
				 .keep_fds = keep,
				 .n_keep_fds = p->args.use_listen_fd ? 2 : 1,
				 .stdout_fd = -1,
				 .stderr_fd = -1,
				 .death_signal = SIGKILL};

	docker_proxy_args_build(&p->args, REAL_PROXY, child_ip, argv, numbers);
	return proc_start(&p->real, &spec, e);
}

/* Waits until a signal asks us to end or docker-proxy has ended by itself. Returns the exit
 * code. */
static int wait_for_end(struct proxy *p)
{
	struct pollfd fds[] = {{.fd = p->signal_fd, .events = POLLIN},
			       {.fd = p->real.pidfd, .events = POLLIN}};
	int status = 0;

	(void)fd_retry(poll(fds, 2, -1));
	if (fds[0].revents || proc_reap(&p->real, &status) < 0)
		return 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static void unpublish(struct proxy *p)
{
	struct err e;

	if (docker_proxy_remove(p, &e) < 0)
		say("error", e.msg);
}

/* Whether docker-proxy is not needed. A socket that dockerd has made and bound in the namespace can
 * only be served by a process that has it. */
static bool is_served(const struct proxy *p, const struct outcome *published)
{
	return published->direct && !p->args.use_listen_fd;
}

/* Runs the published port to its end. *exit_code is set when this returns 0. Otherwise *e says why,
 * and the port is gone. */
static int run_port(struct proxy *p, const struct outcome *published, int *exit_code, struct err *e)
{
	int code = 0;

	if (is_served(p, published))
		tell_dockerd(NULL);
	else
		code = start_real(p, published->child_ip, e);
	if (!code) {
		close(STATUS_FD);
#ifdef __GLIBC__
		malloc_trim(0);
#endif
		*exit_code = wait_for_end(p);
	}
	unpublish(p);
	proc_end(&p->real, SIGINT, END_GRACE_MS);
	return code;
}

/* Turns into docker-proxy, when there is nothing to publish. Returns only on failure. */
static int become_real(struct proxy *p, struct err *e)
{
	if (p->no_program.code) {
		*e = p->no_program;
		return e->code;
	}
	sigprocmask(SIG_SETMASK, &p->old_mask, NULL);
	fd_set_cloexec(STATUS_FD, false);
	p->argv[0] = REAL_PROXY;
	execv(p->program, p->argv);
	return err_errno(e, -errno, "exec %s", p->program);
}

/* Reports success although the port driver does not carry the protocol: otherwise docker could not
 * start the container. */
static void discard(const struct proxy *p, const char *driver)
{
	bool ipv6 = docker_proxy_args_is_ipv6(&p->args);
	char text[300];

	snprintf(text, sizeof(text),
		 "protocol \"%s\" is not supported by the RootlessKit port driver \"%s\", "
		 "discarding request for \"%s%s%s:%d\"",
		 p->proto, driver, ipv6 ? "[" : "", p->args.host_ip, ipv6 ? "]" : "",
		 p->args.host_port);
	say("warning", text);
	tell_dockerd(NULL);
}

static int find_api(struct proxy *p, struct err *e)
{
	const char *state_dir = getenv("ROOTLESSKIT_STATE_DIR");

	if (!state_dir || !*state_dir)
		return err_set(e, -EINVAL,
			       "$ROOTLESSKIT_STATE_DIR needs to be set: this program runs inside "
			       "rootlesskit");
	if (asprintf(&p->socket_path, "%s/api.sock", state_dir) >= 0)
		return 0;
	p->socket_path = NULL;
	return err_errno(e, -ENOMEM, "socket path");
}

static int run(struct proxy *p, int *exit_code, struct err *e)
{
	struct outcome out;
	int code = find_api(p, e);

	code = code ? code : block_signals(p, e);
	if (code)
		return code;
	find_real(p, &p->no_program);
	docker_proxy_args_proto(&p->args, p->proto);
	docker_proxy_publish(p, &out);
	if (out.what == NOTHING) {
		*e = out.e;
		return out.e.code;
	}
	if (out.what == WITHOUT_US)
		return become_real(p, e);
	if (out.what == PUBLISHED && !out.direct && docker_proxy_env(DEBUG_ENV, false))
		say("debug", out.not_direct.msg);
	if (out.what == PUBLISHED)
		return run_port(p, &out, exit_code, e);
	discard(p, out.driver);
	*exit_code = 0;
	return 0;
}

int main(int argc, char **argv)
{
	struct proxy p = {.argv = argv, .signal_fd = -1, .real = PROC_NONE};
	struct err e = {.code = 0};
	int exit_code = 1;

	(void)fd_fill_standard();
	claim_status_fd();
	if (docker_proxy_args_parse(argc, argv, &p.args, &e) == 0) {
		if (p.args.help || p.args.version) {
			fputs(p.args.help ? usage
					  : "rootlesskit-docker-proxy version " RINGKIT_VERSION
					    "\n",
			      stdout);
			return 0;
		}
		run(&p, &exit_code, &e);
	}
	if (e.code) {
		say("error", e.msg);
		tell_dockerd(e.msg);
	}
	client_close(p.client);
	free(p.socket_path);
	close_fd(&p.signal_fd);
	return exit_code;
}
