/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/loop.h"
#include "ctl/http.h"
#include "ports/spec.h"

/* The pause between two tries to connect, while the server's backlog is full. */
#define AGAIN_MS 10

struct client {
	struct client_options options;
	int fd; /* -1: not connected */
	struct http_reader answer;
	int (*take)(void *arg, const char *data,
		    size_t len); /* takes the answer of the request under way; or NULL */
	void *take_arg;
	struct http_limit limit; /* of the request under way */
};

int client_open(const struct client_options *options, struct client **out, struct err *e)
{
	const char *path = options->socket_path;
	struct client *client;

	if (strlen(path) >= sizeof((struct sockaddr_un){0}.sun_path))
		return err_set(
			e, -ENAMETOOLONG,
			"%s is too long for the path of a socket, which has at most %zu bytes",
			path, sizeof((struct sockaddr_un){0}.sun_path) - 1);
	client = calloc(1, sizeof(*client));
	if (!client)
		return err_errno(e, -ENOMEM, "rootlessctl");
	client->options = *options;
	client->fd = -1;
	*out = client;
	return 0;
}

void client_close(struct client *client)
{
	if (!client)
		return;
	close_fd(&client->fd);
	http_reader_free(&client->answer);
	free(client);
}

void client_set_abort_fd(struct client *client, int fd)
{
	client->options.abort_fd = fd;
}

/* Connecting */

static int explain_time(const struct client *client, int code, struct err *e)
{
	const char *path = client->options.socket_path;

	if (code == -ECANCELED)
		return err_set(e, code, "%s had not answered when a signal asked for an end", path);
	if (code == -ETIMEDOUT)
		return err_set(e, code,
			       "%s does not answer within %g s: the rootlesskit there is stopped, "
			       "or busy",
			       path, client->options.timeout_ms / 1000.0);
	return err_errno(e, code, "cannot wait for %s", path);
}

/* Explains why nobody answers at that path, and what would be right. */
static int explain_no_connection(const struct client *client, int code, struct err *e)
{
	const char *path = client->options.socket_path;
	struct stat st;

	if (stat(path, &st) < 0)
		return err_set(e, -errno,
			       "cannot connect to %s: %s (it is api.sock in the --state-dir of a "
			       "running rootlesskit)",
			       path, strerror(errno));
	if (S_ISDIR(st.st_mode))
		return err_set(e, -EISDIR,
			       "cannot connect to %s: it is a directory: try %s/api.sock", path,
			       path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, -ENOTSOCK, "cannot connect to %s: it is not a socket", path);
	if (code == -ECONNREFUSED)
		return err_set(e, code,
			       "cannot connect to %s: connection refused: the rootlesskit that "
			       "made it does not run any more",
			       path);
	if (code == -EACCES)
		return err_set(e, code,
			       "cannot connect to %s: permission denied: it belongs to user id %u",
			       path, (unsigned)st.st_uid);
	return err_errno(e, code, "cannot connect to %s", path);
}

static int connect_to(const struct client *client, struct http_limit *limit, struct err *e)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return err_errno(e, -errno, "socket");
	memcpy(addr.sun_path, client->options.socket_path, strlen(client->options.socket_path));
	while (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		int code = 0;

		if (errno == EAGAIN) /* unix(7): the backlog is full, and poll(2) cannot tell */
			code = http_wait(-1, 0, AGAIN_MS, limit);
		else if (errno != EINTR)
			return explain_no_connection(client, -errno, e);
		if (code < 0)
			return explain_time(client, code, e);
	}
	return steal_fd(&fd);
}

/* Checks whose server this is: the user at the moment of listen(2) (unix(7)). Anybody who can put a
 * socket at the path could claim that a port is published. For root every server is right: root has
 * named the socket, and "sudo rootlessctl" is meant for a user's server. In a user namespace, the
 * user is root. */
static int check_server(const struct client *client, int fd, struct err *e)
{
	struct ucred server = {.pid = 0};
	socklen_t len = sizeof(server);

	if (geteuid() == 0)
		return 0;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &server, &len) < 0)
		return err_errno(e, -errno, "cannot tell whose %s is", client->options.socket_path);
	if (server.uid == 0 || server.uid == geteuid())
		return 0;
	return err_set(e, -EACCES,
		       "%s is served by user id %u, who is neither you (%u) nor root: nothing is "
		       "asked there",
		       client->options.socket_path, (unsigned)server.uid, (unsigned)geteuid());
}

/* Whether the server has hung up meanwhile, or sent something that nobody has asked for. */
static bool is_stale(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) != 0;
}

bool client_is_connected(const struct client *client)
{
	return client->fd >= 0 && !is_stale(client->fd);
}

/* Connects unless there is a usable connection. *is_new: the connection is so new that the server
 * cannot have closed it for its silence. */
static int ensure_connected(struct client *client, struct http_limit *limit, bool *is_new,
			    struct err *e)
{
	auto_fd int fd = -1;
	int code;

	*is_new = !client_is_connected(client);
	if (!*is_new)
		return 0;
	close_fd(&client->fd);
	fd = connect_to(client, limit, e);
	code = fd < 0 ? fd : check_server(client, fd, e);
	if (code)
		return code;
	client->fd = steal_fd(&fd);
	return 0;
}

/* Requests */

static const char *answer_text(const struct client *client)
{
	return client->answer.len ? client->answer.body : "";
}

json_t *client_last_answer(const struct client *client)
{
	return json_loadb(answer_text(client), client->answer.len, 0, NULL);
}

/* Makes an error of the server's refusal. Every handler of the API answers {"message":"..."};
 * anything else is shown as it is. */
static int explain_refusal(const struct client *client, struct err *e)
{
	json_t *body = client_last_answer(client);
	const char *message = json_string_value(json_object_get(body, "message"));
	char quoted[512];

	if (message)
		err_set(e, -EREMOTEIO, "%s", message);
	else
		err_set(e, -EREMOTEIO, "unexpected HTTP status %u, body=%s", client->answer.status,
			quote_go(answer_text(client), quoted, sizeof(quoted)));
	json_decref(body);
	return -EREMOTEIO;
}

/* Formats the request. Its host is the one that RootlessKit sends; a server takes any. */
static int format_request(const char *method, const char *path, const char *body, char **out)
{
	char length[64] = "";

	if (body)
		snprintf(length, sizeof(length), "Content-Length: %zu\r\n", strlen(body));
	return asprintf(out,
			"%s %s HTTP/1.1\r\nHost: rootlesskit\r\nUser-Agent: rootlessctl\r\n"
			"Content-Type: application/json\r\n%s\r\n%s",
			method, path, length, body ? body : "");
}

/* Adds which request failed. A request that was not answered gets a sentence of its own. */
static int explain_exchange(const struct client *client, int code, const char *method,
			    const char *path, struct err *e)
{
	if (code == -EPROTO || code == -ECONNRESET)
		err_wrap(e, code, "%s does not answer as RootlessKit's API does",
			 client->options.socket_path);
	else if (code != -EFBIG && code != -ENOMEM)
		explain_time(client, code, e);
	return err_wrap(e, code, "%s %s", method, path);
}

static int exchange(struct client *client, const char *method, const char *path, const char *body,
		    struct err *e)
{
	const struct client_options *o = &client->options;
	struct http_limit *limit = &client->limit;
	auto_free char *request = NULL;
	bool is_new;
	int len = format_request(method, path, body, &request), code;

	if (len < 0) {
		request = NULL;
		return err_errno(e, -ENOMEM, "%s %s", method, path);
	}
	*limit = (struct http_limit){.abort_fd = o->abort_fd};
	if (o->timeout_ms)
		limit->deadline_ms = loop_now_ms() + (uint64_t)o->timeout_ms;
	do {
		code = ensure_connected(client, limit, &is_new, e);
		if (code < 0)
			return code;
		http_reader_free(&client->answer);
		http_reader_init(&client->answer);
		client->answer.take = client->take;
		client->answer.take_arg = client->take_arg;
		code = http_exchange(client->fd, request, (size_t)len, limit, &client->answer, e);
		if (code < 0 || !client->answer.keep_alive)
			close_fd(&client->fd);
	} while (code == -ECONNRESET && !is_new);
	return code < 0 ? explain_exchange(client, code, method, path, e) : 0;
}

/* Sends a request and waits for the answer. An answer that is no success is an error. */
static int ask(struct client *client, const char *method, const char *path, const char *body,
	       struct err *e)
{
	uint64_t started_ns = loop_now_ns();
	int code = exchange(client, method, path, body, e);

	if (code < 0)
		return code;
	if (client->options.debug)
		fprintf(stderr, "debug: %s %s: %u, %zu bytes, %.3f ms\n", method, path,
			client->answer.status, client->answer.len,
			(double)(loop_now_ns() - started_ns) / 1e6);
	return client->answer.status > 299 ? explain_refusal(client, e) : 0;
}

struct follower {
	struct client *client;
	int (*take)(void *arg, const char *data, size_t len, struct err *e);
	void *arg;
	struct err failed; /* why take wants no more */
};

static int take_part(void *arg, const char *data, size_t len)
{
	struct follower *f = arg;

	f->client->limit.deadline_ms = 0;
	return f->take(f->arg, data, len, &f->failed);
}

int client_follow(struct client *client, const char *path,
		  int (*take)(void *arg, const char *data, size_t len, struct err *e), void *arg,
		  struct err *e)
{
	struct follower follower = {.client = client, .take = take, .arg = arg};
	int code;

	client->take = take_part;
	client->take_arg = &follower;
	code = ask(client, "GET", path, NULL, e);
	client->take = NULL;
	if (follower.failed.code)
		*e = follower.failed;
	return code;
}

int client_get_text(struct client *client, const char *path, char **out, struct err *e)
{
	int code = ask(client, "GET", path, NULL, e);

	if (!code && !client->answer.len)
		return err_set(e, -EPROTO, "GET %s: the answer is empty", path);
	*out = client->answer.body;
	return code;
}

int client_call(struct client *client, const char *method, const char *path, const json_t *body,
		json_t **out, struct err *e)
{
	auto_free char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	json_error_t why;
	int code;

	if (body && !text)
		return err_set(e, -EINVAL, "%s %s: cannot be written as JSON", method, path);
	code = ask(client, method, path, text, e);
	if (code < 0 || !out)
		return code;
	*out = json_loadb(answer_text(client), client->answer.len, JSON_DECODE_ANY, &why);
	if (!*out)
		return err_set(e, -EPROTO, "%s %s: the answer is not JSON: %s", method, path,
			       why.text);
	return 0;
}
