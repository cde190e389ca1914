/* SPDX-License-Identifier: Apache-2.0 */
#include "test_ctl_server.h"

#include <err.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/array.h"

#define REQUESTS_KEPT 64

struct fake_server {
	const struct fake_answer *answers;
	size_t n_answers;
	bool repeat;
	char dir[64], path[96];
	int listen_fd;
	int stop[2], release[2]; /* pipes */
	pthread_t thread;
	size_t n_requests, n_connections;
	struct fake_request requests[REQUESTS_KEPT];
};

/* Waits until fd has something to read. Returns false when the test ends the server before that. */
static bool wait_readable(struct fake_server *server, int fd)
{
	struct pollfd p[2] = {{.fd = fd, .events = POLLIN},
			      {.fd = server->stop[0], .events = POLLIN}};

	if (poll(p, 2, -1) < 0)
		err(1, "poll");
	return p[0].revents != 0;
}

static long content_length(const char *head)
{
	const char *found = strcasestr(head, "\r\nContent-Length:");

	return found ? strtol(found + strlen("\r\nContent-Length:"), NULL, 10) : 0;
}

/* Reads one request into buf, with a NUL. Returns false when the client has gone. */
static bool read_request(struct fake_server *server, int fd, char *buf, size_t size)
{
	size_t len = 0;
	ssize_t n;

	for (;;) {
		char *end;

		buf[len] = '\0';
		end = strstr(buf, "\r\n\r\n");
		if (end && len >= (size_t)(end + 4 - buf) + (size_t)content_length(buf))
			return true;
		if (len + 1 == size)
			errx(1, "request longer than %zu bytes", size);
		if (!wait_readable(server, fd))
			return false;
		n = read(fd, buf + len, size - 1 - len);
		if (n <= 0)
			return false;
		len += (size_t)n;
	}
}

static void keep_request(struct fake_server *server, const char *text)
{
	size_t i = server->n_requests++;
	struct fake_request *r = &server->requests[i];

	if (i >= REQUESTS_KEPT)
		return;
	snprintf(r->line, sizeof(r->line), "%.*s", (int)strcspn(text, "\r"), text);
	snprintf(r->body, sizeof(r->body), "%s", strstr(text, "\r\n\r\n") + 4);
	r->is_json = strcasestr(text, "\r\nContent-Type: application/json\r\n") != NULL;
}

/* Returns false when the connection must end. */
static bool answer_request(struct fake_server *server, int fd)
{
	size_t i = server->repeat ? 0 : server->n_requests - 1;
	const struct fake_answer *a = &server->answers[i];
	char byte;

	if (i >= server->n_answers)
		return false;
	if (a->hold &&
	    (!wait_readable(server, server->release[0]) || read(server->release[0], &byte, 1) != 1))
		return false;
	if (send(fd, a->bytes, a->len, MSG_NOSIGNAL) != (ssize_t)a->len)
		return false;
	return !a->close;
}

static void *serve(void *arg)
{
	struct fake_server *server = arg;
	char buf[4096];

	while (wait_readable(server, server->listen_fd)) {
		int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			err(1, "accept");
		server->n_connections++;
		while (read_request(server, fd, buf, sizeof(buf))) {
			keep_request(server, buf);
			if (!answer_request(server, fd))
				break;
		}
		close(fd);
	}
	return NULL;
}

static int listen_at(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 16) < 0)
		err(1, "%s", path);
	return fd;
}

struct fake_server *fake_server_start(const struct fake_answer *answers, size_t n, bool repeat)
{
	struct fake_server *server = calloc(1, sizeof(*server));

	if (!server)
		err(1, "calloc");
	server->answers = answers;
	server->n_answers = n;
	server->repeat = repeat;
	snprintf(server->dir, sizeof(server->dir), "/tmp/test_ctl.XXXXXX");
	if (!mkdtemp(server->dir))
		err(1, "%s", server->dir);
	snprintf(server->path, sizeof(server->path), "%s/api.sock", server->dir);
	server->listen_fd = listen_at(server->path);
	if (pipe2(server->stop, O_CLOEXEC) < 0 || pipe2(server->release, O_CLOEXEC) < 0)
		err(1, "pipe");
	if (pthread_create(&server->thread, NULL, serve, server) != 0)
		errx(1, "pthread_create");
	return server;
}

const char *fake_server_path(const struct fake_server *server)
{
	return server->path;
}

void fake_server_release(struct fake_server *server)
{
	if (write(server->release[1], "", 1) != 1)
		err(1, "write");
}

void fake_server_stop(struct fake_server *server)
{
	if (write(server->stop[1], "", 1) != 1)
		err(1, "write");
	pthread_join(server->thread, NULL);
}

size_t fake_server_requests(const struct fake_server *server)
{
	return server->n_requests;
}

size_t fake_server_connections(const struct fake_server *server)
{
	return server->n_connections;
}

const struct fake_request *fake_server_request(const struct fake_server *server, size_t i)
{
	if (i >= server->n_requests || i >= REQUESTS_KEPT)
		errx(1, "no request %zu", i);
	return &server->requests[i];
}

void fake_server_free(struct fake_server *server)
{
	close(server->listen_fd);
	for (int i = 0; i < 2; i++) {
		close(server->stop[i]);
		close(server->release[i]);
	}
	unlink(server->path);
	rmdir(server->dir);
	free(server);
}

/* Running rootlessctl */

static int collector(void)
{
	int fd = memfd_create("out", MFD_CLOEXEC);

	if (fd < 0)
		err(1, "memfd_create");
	return fd;
}

static char *collected(int fd)
{
	off_t len = lseek(fd, 0, SEEK_END);
	char *text = calloc(1, (size_t)len + 1);

	if (!text || pread(fd, text, (size_t)len, 0) != len)
		err(1, "output of rootlessctl");
	close(fd);
	return text;
}

static void exec_ctl(const char *const *args, char *const *env, int out_fd, int err_fd)
{
	static char *proxy_env[] = {"http_proxy=http://127.0.0.1:1",
				    "ALL_PROXY=socks5://127.0.0.1:1", NULL};
	const char *argv[32] = {"rootlessctl"}, *path = getenv("RK_ROOTLESSCTL");
	size_t n = 1;

	while (*args && n + 1 < ARRAY_SIZE(argv))
		argv[n++] = *args++;
	if (!path || *args || dup2(out_fd, 1) < 0 || dup2(err_fd, 2) < 0)
		_exit(126);
	execve(path, (char *const *)argv, env ? env : proxy_env);
	_exit(127);
}

struct ctl_result ctl_run(const char *const *args, char *const *env, int out_fd)
{
	int out = out_fd < 0 ? collector() : out_fd, errors = collector(), status;
	struct ctl_result result = {.status = -1};
	pid_t pid = fork();

	if (pid < 0)
		err(1, "fork");
	if (pid == 0)
		exec_ctl(args, env, out, errors);
	if (waitpid(pid, &status, 0) != pid)
		err(1, "waitpid");
	if (WIFEXITED(status))
		result.status = WEXITSTATUS(status);
	result.err = collected(errors);
	if (out_fd < 0)
		result.out = collected(out);
	return result;
}

struct ctl_result ctl_ask(const char *bytes, const char *first, const char *second)
{
	struct fake_answer answer = {.bytes = bytes, .len = strlen(bytes), .close = true};
	struct fake_server *server = fake_server_start(&answer, 1, true);
	const char *args[] = {"--socket", fake_server_path(server), first, second, NULL};
	struct ctl_result result = ctl_run(args, NULL, -1);

	fake_server_stop(server);
	fake_server_free(server);
	return result;
}

void ctl_result_free(struct ctl_result *result)
{
	free(result->out);
	free(result->err);
}

void ctl_require(void)
{
	const char *path = getenv("RK_ROOTLESSCTL");

	if (path && access(path, X_OK) == 0)
		return;
	fprintf(stderr, "skipped: RK_ROOTLESSCTL does not name a rootlessctl\n");
	exit(77);
}
