/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rootlesskit-docker-proxy: what dockerd, running in rootlesskit's namespace, starts in place of
 * docker-proxy for a published port. The real docker-proxy can only listen in the namespace; this
 * program has the parent publish the port on the host as well, for as long as it lives.
 *
 * dockerd reads descriptor 3 until "0\n" (it works) or "1\nWHY". When all is well docker-proxy
 * itself writes there.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/codec.h"
#include "base/fd.h"
#include "base/proc.h"
#include "config.h"
#include "ctl/answer.h"
#include "ctl/client.h"
#include "ctl/docker_proxy_args.h"

#define STATUS_FD    3
#define LISTEN_FD    4
#define REAL_PROXY   "docker-proxy"
#define END_GRACE_MS 3000

struct proxy {
	struct docker_proxy_args args;
	char program[PATH_MAX]; /* the real docker-proxy */
	char **argv;		/* ours */
	char *socket_path;
	struct client *client;
	json_t *info;
	char proto[16];			 /* "tcp4" */
	char child_ip[INET6_ADDRSTRLEN]; /* where docker-proxy listens in the namespace */
	int port_id;			 /* 0: none */
	int signal_fd;
	struct proc real;
};

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
	"  -use-listen-fd         descriptor 4 is the socket to accept from\n";

static void say(const char *level, const char *text)
{
	fprintf(stderr, "[rootlesskit-docker-proxy] %s: %s\n", level, text);
}

/* The verdict for dockerd. Whoever runs us by hand has not given us a descriptor 3. */
static void tell_dockerd(const char *why)
{
	if (dprintf(STATUS_FD, why ? "1\n%s" : "0\n", why) < 0)
		say("warning", "dockerd does not take the answer");
	close(STATUS_FD);
}

/* Nothing else may get number 3, and what is on it must not reach processes that we do not mean. */
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

/* Where docker-proxy is. Somebody may have put us in its place under its name: not that one. */
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

/* The port driver's name, NULL when there is none. */
static const char *port_driver(const struct proxy *p)
{
	return json_string_value(json_object_get(json_object_get(p->info, "portDriver"), "driver"));
}

static bool driver_takes(const struct proxy *p, const char *proto)
{
	const json_t *driver = json_object_get(p->info, "portDriver"), *item;
	size_t i;

	json_array_foreach(json_object_get(driver, "protos"), i,
			   item) if (!strcmp(json_string_value(item), proto)) return true;
	return false;
}

static int ask_info(struct proxy *p, struct err *e)
{
	json_t *answer = NULL;
	int code = client_call(p->client, "GET", "/v1/info", NULL, &answer, e);

	if (!code) {
		p->info = answer_normalize_info(answer, e);
		code = p->info ? 0 : -EPROTO;
	}
	json_decref(answer);
	return code ? err_wrap(e, code, "failed to call rootlesskit's API") : 0;
}

/* Loopback where the driver reaches it: then nobody on the network of the namespace reaches the
 * port past us. */
static int choose_child_ip(struct proxy *p, struct err *e)
{
	const json_t *driver = json_object_get(p->info, "portDriver");
	const json_t *net = json_object_get(p->info, "networkDriver");
	const char *ip = docker_proxy_args_is_ipv6(&p->args) ? "::1" : "127.0.0.1";

	if (json_is_true(json_object_get(driver, "disallowLoopbackChildIP"))) {
		ip = json_string_value(json_object_get(net, "childIP"));
		if (!ip)
			return err_set(e, -EADDRNOTAVAIL,
				       "RootlessKit port driver \"%s\" does not allow loopback "
				       "child IP, but network driver has no child IP",
				       port_driver(p));
	}
	snprintf(p->child_ip, sizeof(p->child_ip), "%s", ip);
	return 0;
}

static int publish(struct proxy *p, struct err *e)
{
	struct port_spec spec = {.parent_port = p->args.host_port, .child_port = p->args.host_port};
	struct answer_port port = {.id = 0};
	json_t *body, *answer = NULL;
	int code;

	snprintf(spec.proto, sizeof(spec.proto), "%s", p->proto);
	snprintf(spec.parent_ip, sizeof(spec.parent_ip), "%s", p->args.host_ip);
	snprintf(spec.child_ip, sizeof(spec.child_ip), "%s", p->child_ip);
	body = codec_spec_encode(&spec);
	if (!body)
		return err_errno(e, -ENOMEM, "port spec");
	code = client_call(p->client, "POST", "/v1/ports", body, &answer, e);
	if (!code)
		code = answer_decode_port(answer, &port, e);
	p->port_id = port.id;
	json_decref(answer);
	json_decref(body);
	return code ? err_wrap(e, code, "error while calling PortManager.AddPort()") : 0;
}

/* Containers run for months; the parent has better uses for a connection. */
static void hang_up(struct proxy *p)
{
	client_close(p->client);
	p->client = NULL;
}

/* 0, also when the parent is gone and its ports with it. */
static int unpublish(struct proxy *p, struct err *e)
{
	char path[64];
	int code;

	if (!p->port_id)
		return 0;
	snprintf(path, sizeof(path), "/v1/ports/%d", p->port_id);
	p->port_id = 0;
	code = client_open(p->socket_path, false, &p->client, e);
	if (!code)
		code = client_call(p->client, "DELETE", path, NULL, NULL, e);
	if (code == -ECONNREFUSED || code == -ENOENT)
		return 0;
	return code ? err_wrap(e, code, "error while calling PortManager.RemovePort()") : 0;
}

/* From now on the signals that ask for our end wait until they are read. */
static int block_signals(struct proxy *p, struct err *e)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	p->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
	return p->signal_fd < 0 ? err_errno(e, -errno, "signalfd") : 0;
}

static int start_real(struct proxy *p, struct err *e)
{
	const char *argv[16];
	char numbers[2][12];
	int keep[] = {STATUS_FD, LISTEN_FD};
	struct proc_spec spec = {.file = p->program,
				 .argv = (char *const *)(unsigned long)argv,
				 .keep_fds = keep,
				 .n_keep_fds = p->args.use_listen_fd ? 2 : 1,
				 .stdout_fd = -1,
				 .stderr_fd = -1,
				 .death_signal = SIGKILL};

	docker_proxy_args_build(&p->args, REAL_PROXY, p->child_ip, argv, numbers);
	return proc_start(&p->real, &spec, e);
}

/* Until somebody wants us to end or docker-proxy has ended by itself. Returns the exit code. */
static int wait_for_end(struct proxy *p)
{
	struct pollfd fds[] = {{.fd = p->signal_fd, .events = POLLIN},
			       {.fd = p->real.pidfd, .events = POLLIN}};
	int status = 0;

	while (poll(fds, 2, -1) < 0 && errno == EINTR)
		;
	if (fds[0].revents || proc_reap(&p->real, &status) < 0)
		return 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* Runs the port to its end. *code_out is the exit code when 0 is returned; otherwise *e tells why
 * the port did not come to be, and nothing is left of it. */
static int run_port(struct proxy *p, int *code_out, struct err *e)
{
	struct err later = {.code = 0};
	int code = choose_child_ip(p, e);

	code = code ? code : find_real(p, e);
	code = code ? code : block_signals(p, e);
	code = code ? code : publish(p, e);
	if (code)
		return code;
	hang_up(p);
	code = start_real(p, e);
	if (code) {
		unpublish(p, &later);
		return code;
	}
	close(STATUS_FD);
	*code_out = wait_for_end(p);
	if (unpublish(p, &later) < 0)
		say("error", later.msg);
	proc_end(&p->real, SIGINT, END_GRACE_MS);
	return 0;
}

/* Nothing to publish: docker-proxy does as it always does. Returns only on failure. */
static int become_real(struct proxy *p, struct err *e)
{
	int code = find_real(p, e);

	if (code)
		return code;
	fd_set_cloexec(STATUS_FD, false);
	p->argv[0] = (char *)(unsigned long)REAL_PROXY;
	execv(p->program, p->argv);
	return err_errno(e, -errno, "exec %s", p->program);
}

/* docker cannot start a container with a port that cannot be had, so it is told that all is well.
 */
static void discard(const struct proxy *p)
{
	char text[300];

	snprintf(text, sizeof(text),
		 docker_proxy_args_is_ipv6(&p->args)
			 ? "protocol \"%s\" is not supported by the RootlessKit port driver "
			   "\"%s\", discarding request for \"[%s]:%ld\""
			 : "protocol \"%s\" is not supported by the RootlessKit port driver "
			   "\"%s\", discarding request for \"%s:%ld\"",
		 p->proto, port_driver(p), p->args.host_ip, p->args.host_port);
	say("warning", text);
	tell_dockerd(NULL);
}

static int connect_api(struct proxy *p, struct err *e)
{
	const char *state_dir = getenv("ROOTLESSKIT_STATE_DIR");

	if (!state_dir || !*state_dir)
		return err_set(e, -EINVAL,
			       "$ROOTLESSKIT_STATE_DIR needs to be set: this program runs inside "
			       "rootlesskit");
	if (asprintf(&p->socket_path, "%s/api.sock", state_dir) < 0) {
		p->socket_path = NULL;
		return err_errno(e, -ENOMEM, "socket path");
	}
	return client_open(p->socket_path, false, &p->client, e);
}

static int run(struct proxy *p, int *code_out, struct err *e)
{
	const char *driver;
	int code = connect_api(p, e);

	code = code ? code : ask_info(p, e);
	if (code)
		return code;
	driver = port_driver(p);
	if (!driver || !strcmp(driver, "none") || !strcmp(driver, "implicit"))
		return become_real(p, e);
	docker_proxy_args_proto(&p->args, p->proto);
	if (driver_takes(p, p->proto))
		return run_port(p, code_out, e);
	discard(p);
	*code_out = 0;
	return 0;
}

int main(int argc, char **argv)
{
	struct proxy p = {.argv = argv, .signal_fd = -1, .real = PROC_NONE};
	struct err e = {.code = 0};
	int exit_code = 1;

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
	json_decref(p.info);
	free(p.socket_path);
	close_fd(&p.signal_fd);
	return exit_code;
}
