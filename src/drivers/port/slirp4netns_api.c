/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/port/slirp4netns_api.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <utlist.h>

#include "base/fd.h"
#include "base/limits.h"

/* With a full backlog, connect(2) on a non-blocking unix socket fails at once with EAGAIN, and
 * nothing tells when there is room. */
#define CONNECT_RETRY_MS 20

/* How long a request may take, with its time in the queue. */
#define TIMEOUT_MS 10000

struct call {
	struct slirp4netns_api *api;
	enum slirp4netns_request request;
	char *text;
	size_t sent; /* bytes of text */
	slirp4netns_api_fn *fn;
	void *arg;
	struct loop_source *deadline;
	struct call *prev, *next;
};

struct slirp4netns_api {
	struct loop *loop;
	struct sockaddr_un addr;
	struct call *calls; /* the first is under way when busy */
	bool busy, starting;
	int fd; /* -1 while the backlog is full, and when not busy */
	struct loop_source *fd_src, *retry;
	char *in;
	size_t in_len, in_size;
};

static void next_calls(struct slirp4netns_api *api);

int slirp4netns_api_open(struct loop *loop, const char *path, struct slirp4netns_api **out)
{
	struct slirp4netns_api *api = calloc(1, sizeof(*api));

	if (!api)
		return -ENOMEM;
	api->loop = loop;
	api->fd = -1;
	api->addr.sun_family = AF_UNIX;
	snprintf(api->addr.sun_path, sizeof(api->addr.sun_path), "%s", path);
	*out = api;
	return 0;
}

/* Closes the connection of the call under way. */
static void hang_up(struct slirp4netns_api *api)
{
	loop_remove(api->fd_src);
	loop_remove(api->retry);
	api->fd_src = api->retry = NULL;
	close_fd(&api->fd);
	free(api->in);
	api->in = NULL;
	api->in_len = api->in_size = 0;
	api->busy = false;
}

static void call_free(struct call *call)
{
	loop_remove(call->deadline);
	DL_DELETE(call->api->calls, call);
	free(call->text);
	free(call);
}

void slirp4netns_api_close(struct slirp4netns_api *api)
{
	if (!api)
		return;
	hang_up(api);
	while (api->calls)
		call_free(api->calls);
	free(api);
}

/* Frees the call and calls its owner, who may make another call from within. */
static void finish(struct call *call, const struct slirp4netns_answer *answer, const struct err *e)
{
	struct slirp4netns_api *api = call->api;
	slirp4netns_api_fn *fn = call->fn;
	void *arg = call->arg;

	if (api->busy && call == api->calls)
		hang_up(api);
	call_free(call);
	fn(arg, answer, e);
}

static void on_deadline(void *arg, uint32_t events)
{
	struct call *call = arg;
	struct slirp4netns_api *api = call->api;
	struct err e = {.code = 0};

	(void)events;
	call->deadline = NULL;
	err_set(&e, -ETIMEDOUT, "slirp4netns has not answered on its API socket within %d ms",
		TIMEOUT_MS);
	finish(call, NULL, &e);
	next_calls(api);
}

/* Fails the call under way with an error of its connection. */
static void fail(struct slirp4netns_api *api, int code)
{
	struct err e = {.code = 0};

	if (code == -ECONNREFUSED || code == -ENOENT)
		err_set(&e, -ECONNREFUSED,
			"slirp4netns does not run any more: nobody answers on its API socket");
	else if (code == -EPIPE || code == -ECONNRESET)
		err_errno(&e, -EPROTO, "slirp4netns broke off its API connection");
	else
		err_errno(&e, code, "API socket of slirp4netns");
	finish(api->calls, NULL, &e);
}

static void take_answer(struct slirp4netns_api *api)
{
	struct slirp4netns_answer answer = {.id = 0};
	struct err e = {.code = 0};
	int code = slirp4netns_answer_parse(api->calls->request, api->in ? api->in : "",
					    api->in_len, &answer, &e);

	finish(api->calls, code ? NULL : &answer, code ? &e : NULL);
	slirp4netns_answer_free(&answer);
}

static int make_room(struct slirp4netns_api *api)
{
	size_t size = api->in_size ? api->in_size * 2 : 1024;
	char *in;

	if (api->in_len < api->in_size)
		return 0;
	if (size > LIMIT_SLIRP4NETNS_ANSWER_BYTES)
		return -EMSGSIZE;
	in = realloc(api->in, size);
	if (!in)
		return -ENOMEM;
	api->in = in;
	api->in_size = size;
	return 0;
}

/* Reads a part of the answer, which ends with the connection. */
static void read_some(struct slirp4netns_api *api)
{
	int code = make_room(api);
	ssize_t n = -1;

	if (!code) {
		n = fd_retry(read(api->fd, api->in + api->in_len, api->in_size - api->in_len));
		code = n < 0 ? -errno : 0;
	}
	if (code == -EAGAIN)
		return;
	if (code) {
		fail(api, code);
		return;
	}
	api->in_len += (size_t)n;
	if (n == 0)
		take_answer(api);
}

/* Writes a part of the request. 0 when all is written. */
static int write_some(struct slirp4netns_api *api)
{
	struct call *call = api->calls;
	size_t left = strlen(call->text) - call->sent;
	ssize_t n = fd_retry(send(api->fd, call->text + call->sent, left, MSG_NOSIGNAL));

	if (n < 0)
		return -errno;
	call->sent += (size_t)n;
	if ((size_t)n < left)
		return -EAGAIN;
	/* slirp4netns reads until our end of the stream. */
	if (shutdown(api->fd, SHUT_WR) < 0)
		return -errno;
	return loop_source_set_events(api->fd_src, EPOLLIN);
}

static void on_socket(void *arg, uint32_t events)
{
	struct slirp4netns_api *api = arg;
	int code = 0;

	if (api->calls->text[api->calls->sent]) {
		if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
			code = write_some(api);
		if (code && code != -EAGAIN)
			fail(api, code);
	} else {
		read_some(api);
	}
	next_calls(api);
}

static void on_retry(void *arg, uint32_t events)
{
	struct slirp4netns_api *api = arg;

	(void)events;
	api->retry = NULL;
	api->busy = false;
	next_calls(api);
}

static int begin(struct slirp4netns_api *api)
{
	api->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (api->fd < 0)
		return -errno;
	if (connect(api->fd, (struct sockaddr *)&api->addr, sizeof(api->addr)) < 0) {
		if (errno != EAGAIN)
			return -errno;
		close_fd(&api->fd);
		api->retry = loop_add_timer(api->loop, CONNECT_RETRY_MS, on_retry, api);
		return api->retry ? 0 : -ENOMEM;
	}
	api->fd_src = loop_add_fd(api->loop, api->fd, EPOLLIN | EPOLLOUT, on_socket, api);
	return api->fd_src ? 0 : -errno;
}

/* Begins the next request unless one is under way. When nobody listens, all requests fail, and
 * their owners may make other calls from within. */
static void next_calls(struct slirp4netns_api *api)
{
	if (api->starting)
		return;
	api->starting = true;
	while (!api->busy && api->calls) {
		int code;

		api->busy = true;
		code = begin(api);
		if (code)
			fail(api, code);
	}
	api->starting = false;
}

int slirp4netns_api_call(struct slirp4netns_api *api, enum slirp4netns_request request, char *text,
			 bool urgent, slirp4netns_api_fn *fn, void *arg)
{
	struct call *call = text ? calloc(1, sizeof(*call)) : NULL;

	if (!call) {
		free(text);
		return -ENOMEM;
	}
	*call = (struct call){.api = api, .request = request, .text = text, .fn = fn, .arg = arg};
	call->deadline = loop_add_timer(api->loop, (uint64_t)TIMEOUT_MS, on_deadline, call);
	if (!call->deadline) {
		free(text);
		free(call);
		return -ENOMEM;
	}
	if (urgent && api->busy)
		DL_APPEND_ELEM(api->calls, api->calls, call);
	else if (urgent)
		DL_PREPEND(api->calls, call);
	else
		DL_APPEND(api->calls, call);
	next_calls(api);
	return 0;
}
