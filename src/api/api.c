/* SPDX-License-Identifier: Apache-2.0 */
#include "api/api.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <utlist.h>

#include "api/api_internal.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/state_names.h"

/*
 * The HTTP half of the API: connections, bodies, answers. routes.c has what is asked and answered.
 *
 * libmicrohttpd has its sockets in an epoll of its own, which is one source of the parent's loop
 * (MHD_USE_EPOLL without a thread). It is loaded and started when the first client comes. A request
 * that waits for a port driver is suspended, and resumed when the driver has answered; meanwhile
 * all others are served.
 */

/* Room for the request line and headers. libmicrohttpd answers longer ones itself (431, 413). */
#define CONNECTION_MEMORY_BYTES 16384

/* Runs of the server at its end; within these, streams of events must finish. */
#define LAST_RUNS 8

/* How much of a body that is too long is read, so that the client gets its 413. */
#define BODY_PATIENCE_BYTES (16 * LIMIT_API_BODY_BYTES)

/* Answers */

/* Queues an answer. last: the connection closes after it. */
static int queue(struct request *r, unsigned status, const char *type, char *body, bool last)
{
	const struct mhd *mhd = r->api->mhd;
	struct MHD_Response *resp = r->streamed;
	int ret;

	r->streamed = NULL;
	if (!resp)
		resp = mhd->create_response_from_buffer(body ? strlen(body) : 0, body,
							body ? MHD_RESPMEM_MUST_FREE
							     : MHD_RESPMEM_PERSISTENT);

	if (!resp) {
		free(body);
		return MHD_NO;
	}
	if (type)
		mhd->add_response_header(resp, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	if (last)
		mhd->add_response_header(resp, MHD_HTTP_HEADER_CONNECTION, "close");
	ret = (int)mhd->queue_response(r->conn, status, resp);
	mhd->destroy_response(resp);
	return ret;
}

/* Queues the answer that routes.c left in the request. */
static int queue_answer(struct request *r)
{
	char *body = r->body_out;

	r->body_out = NULL;
	return queue(r, r->status, r->type, body, r->refused);
}

void request_answer(struct request *r, unsigned status, const char *type, char *body)
{
	free(r->body_out);
	r->status = status;
	r->type = type;
	r->body_out = body;
	if (!r->suspended)
		return;
	r->suspended = false;
	r->api->mhd->resume_connection(r->conn);
	request_run_soon(r->api);
}

/* Requests */

static bool asks_to_close(const struct api *api, struct MHD_Connection *conn)
{
	const char *word = api->mhd->lookup_connection_value(conn, MHD_HEADER_KIND,
							     MHD_HTTP_HEADER_CONNECTION);

	return word && strcasestr(word, "close");
}

static struct request *request_new(struct api *api, struct MHD_Connection *conn, const char *url,
				   const char *method, const char *version)
{
	struct request *r = calloc(1, sizeof(*r));
	const char *length;

	if (!r)
		return NULL;
	r->api = api;
	r->conn = conn;
	snprintf(r->url, sizeof(r->url), "%s", strict_path(url));
	snprintf(r->method, sizeof(r->method), "%s", method);
	length = api->mhd->lookup_connection_value(conn, MHD_HEADER_KIND,
						   MHD_HTTP_HEADER_CONTENT_LENGTH);
	r->too_long = length && strtoull(length, NULL, 10) > LIMIT_API_BODY_BYTES;
	r->closes = strcmp(version, MHD_HTTP_VERSION_1_1) != 0 || asks_to_close(api, conn);
	DL_APPEND(api->requests, r);
	clients_spoke(api, conn);
	return r;
}

static void request_free(struct request *r)
{
	free(r->body);
	free(r->body_out);
	free(r);
}

/* Frees a request whose client is gone or has its answer. */
static void request_end(struct request *r)
{
	DL_DELETE(r->api->requests, r);
	r->gone = true;
	if (!r->ordered)
		request_free(r);
}

bool request_settled(struct request *r)
{
	bool gone = r->gone;

	r->ordered = false;
	if (gone)
		request_free(r);
	return !gone;
}

/* Takes a piece of the body. 0, or -1 when the connection is to be dropped. */
static int take_body(struct request *r, const char *data, size_t len)
{
	char *grown;

	r->body_seen += len;
	if (r->too_long || r->body_seen > LIMIT_API_BODY_BYTES) {
		r->too_long = true;
		return r->body_seen > BODY_PATIENCE_BYTES ? -1 : 0;
	}
	grown = realloc(r->body, r->body_seen);
	if (!grown)
		return -1;
	memcpy(grown + r->body_len, data, len);
	r->body = grown;
	r->body_len = r->body_seen;
	return 0;
}

/* Requests that libmicrohttpd accepts and we refuse */

static enum MHD_Result on_field(void *cls, enum MHD_ValueKind kind, const char *name,
				size_t name_len, const char *value, size_t value_len)
{
	(void)kind;
	strict_field(cls, name, name_len, value, value_len);
	return MHD_YES;
}

/* Whether the request was refused. The answer is plain text, as from Go's server, which refuses
 * such requests before a handler sees them. */
static bool refuse(struct request *r, const char *method, const char *version)
{
	static const struct strict_target unknown;
	const struct client *client = client_of(r->api, r->conn);
	const struct strict_target *target = client ? &client->target : &unknown;
	struct strict_refusal no = strict_line(method, target, version);
	struct strict_header header = {.hosts = 0};
	char *text = NULL;

	if (target->has_encoded_nul)
		r->url[0] = '\0'; /* no route has this path */
	if (!no.status) {
		r->api->mhd->get_connection_values_n(r->conn, MHD_HEADER_KIND, on_field, &header);
		no = strict_header_end(&header, version);
	}
	if (!no.status)
		return false;
	r->refused = true;
	if (asprintf(&text, "%u: %s\n", no.status, no.why) < 0)
		text = NULL;
	request_answer(r, no.status, "text/plain; charset=utf-8", text);
	return true;
}

static void *on_target(void *cls, const char *target, struct MHD_Connection *conn)
{
	struct client *client = client_of(cls, conn);

	if (client)
		client->target = strict_target_read(target);
	return NULL;
}

static int too_long(struct request *r)
{
	routes_fail(r, MHD_HTTP_CONTENT_TOO_LARGE, "the request body is longer than %d bytes",
		    LIMIT_API_BODY_BYTES);
	return queue_answer(r);
}

/* Serves a request that has arrived completely. */
static int serve(struct request *r)
{
	if (r->too_long)
		return too_long(r);
	r->served = true;
	routes_serve(r);
	if (r->status)
		return queue_answer(r);
	r->suspended = true;
	r->api->mhd->suspend_connection(r->conn);
	return MHD_YES;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *conn, const char *url,
				  const char *method, const char *version, const char *data,
				  size_t *data_len, void **state)
{
	struct api *api = cls;
	struct request *r = *state;

	if (!r) {
		r = request_new(api, conn, url, method, version);
		*state = r;
		if (!r)
			return MHD_NO;
		if (refuse(r, method, version))
			return (enum MHD_Result)queue_answer(r);
		/* The header announces a body that is too long: the client gets that instead of
		 * "100 Continue". */
		return r->too_long ? (enum MHD_Result)too_long(r) : MHD_YES;
	}
	if (*data_len) {
		int code = take_body(r, data, *data_len);

		*data_len = 0;
		return code < 0 ? MHD_NO : MHD_YES;
	}
	return (enum MHD_Result)(r->served ? queue_answer(r) : serve(r));
}

static void on_completed(void *cls, struct MHD_Connection *conn, void **state,
			 enum MHD_RequestTerminationCode why)
{
	(void)cls;
	(void)conn;
	(void)why;
	if (*state)
		request_end(*state);
	*state = NULL;
}

/* Running the server */

static void on_timer(void *arg, uint32_t events);

static void run(struct api *api)
{
	MHD_UNSIGNED_LONG_LONG ms;

	api->run_again = false;
	api->running = true;
	api->mhd->run(api->daemon);
	api->running = false;
	loop_remove(api->timer);
	api->timer = NULL;
	if (api->run_again)
		request_run_soon(api);
	else if (api->mhd->get_timeout(api->daemon, &ms) == MHD_YES)
		api->timer = loop_add_timer(api->loop, ms, on_timer, api);
}

static void on_ready(void *arg, uint32_t events)
{
	(void)events;
	run(arg);
}

static void on_timer(void *arg, uint32_t events)
{
	struct api *api = arg;

	(void)events;
	api->timer = NULL; /* the loop has removed it */
	run(api);
}

void request_run_soon(struct api *api)
{
	/* A run of the server does not look at what was resumed during that run, so there must be
	 * another. */
	if (api->running) {
		api->run_again = true;
		return;
	}
	loop_remove(api->timer);
	api->timer = loop_add_timer(api->loop, 0, on_timer, api);
}

/* Opening and closing */

/* Binds the socket by the directory's descriptor, because the directory's name may lead elsewhere
 * by now. */
static int listen_in(int dir_fd, struct err *e)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t mask;
	int r;

	if (fd < 0)
		return err_errno(e, -errno, "API socket");
	snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/" STATE_API_SOCKET,
		 dir_fd);
	/* The socket is never open to others, not even for a moment: whoever can connect controls
	 * the ports. */
	mask = umask(0177);
	r = bind(fd, (struct sockaddr *)&addr, sizeof(addr));
	umask(mask);
	if (r < 0 || listen(fd, SOMAXCONN) < 0)
		return err_errno(e, -errno, "API socket " STATE_API_SOCKET);
	return steal_fd(&fd);
}

static void on_log(void *cls, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

static void on_log(void *cls, const char *fmt, va_list ap)
{
	char line[512];

	(void)cls;
	vsnprintf(line, sizeof(line), fmt, ap);
	line[strcspn(line, "\n")] = '\0';
	log_debug("API: %s", line);
}

/* Starts the server on a copy of the socket that listens: when that fails, libmicrohttpd closes
 * what it was given, or does not. 0 or -errno. */
static int start_daemon(struct api *api, struct err *e)
{
	int fd = fcntl(api->listen_fd, F_DUPFD_CLOEXEC, 3);

	if (fd < 0)
		return err_errno(e, -errno, "API socket");
	api->daemon = api->mhd->start_daemon(
		MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
		on_request, api, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET,
		fd, MHD_OPTION_NOTIFY_COMPLETED, on_completed, api, MHD_OPTION_NOTIFY_CONNECTION,
		clients_notify, api, MHD_OPTION_URI_LOG_CALLBACK, on_target, api,
		MHD_OPTION_CONNECTION_LIMIT, (unsigned)(LIMIT_API_RUSH + LIMIT_API_LEASES),
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)LIMIT_API_IDLE_S,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY_BYTES,
		MHD_OPTION_END);
	if (api->daemon)
		return 0;
	if (fcntl(fd, F_GETFD) >= 0)
		close(fd);
	return err_set(e, -EIO, "the HTTP server cannot be started");
}

/* Loads and starts the server, which then watches the socket itself. 0, or -errno: everything is as
 * before. */
static int start(struct api *api, struct err *e)
{
	const union MHD_DaemonInfo *info;
	struct loop_source *source;
	int code;

	api->mhd = mhd_load(e);
	code = api->mhd ? start_daemon(api, e) : -ENOENT;
	if (code)
		return code;
	info = api->mhd->get_daemon_info(api->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	source = loop_add_fd(api->loop, info->epoll_fd, EPOLLIN, on_ready, api);
	if (!source) {
		code = err_errno(e, -errno, "API");
		api->mhd->stop_daemon(api->daemon);
		api->daemon = NULL;
		return code;
	}
	loop_remove(api->source);
	close_fd(&api->listen_fd);
	api->source = source;
	return 0;
}

/* The first client: many instances never have one, and the library, with those that it needs, takes
 * memory and milliseconds of the start. A client that cannot be served is let go, and the next one
 * is another attempt. */
static void on_first(void *arg, uint32_t events)
{
	struct api *api = arg;
	struct err e = {.code = 0};
	int client;

	(void)events;
	if (start(api, &e) == 0) {
		run(api);
		return;
	}
	client = accept4(api->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	close_fd(&client);
	log_error("API: %s", e.msg);
}

int api_open(struct loop *loop, int dir_fd, const struct api_info *info, struct api **out,
	     struct err *e)
{
	struct api *api = calloc(1, sizeof(*api));
	int code;

	if (!api)
		return err_errno(e, -ENOMEM, "API");
	*api = (struct api){.loop = loop, .info = *info, .listen_fd = -1, .dir_fd = -1};
	code = listen_in(dir_fd, e);
	if (code >= 0) {
		api->listen_fd = code;
		api->dir_fd = dir_fd;
		api->source = loop_add_fd(loop, code, EPOLLIN, on_first, api);
		code = api->source ? 0 : err_errno(e, -errno, "API");
	}
	if (code < 0) {
		api_close(api);
		return code;
	}
	events_open(api);
	*out = api;
	return 0;
}

void api_close(struct api *api)
{
	struct request *r;

	if (!api)
		return;
	api->closing = true;
	loop_remove(api->source);
	loop_remove(api->timer);
	/* libmicrohttpd cannot stop a daemon while a connection is suspended. */
	events_close(api);
	DL_FOREACH(api->requests, r)
	if (r->suspended)
		routes_fail(r, MHD_HTTP_SERVICE_UNAVAILABLE, "rootlesskit is ending");
	loop_remove(api->timer);
	/* Finishes the resumed streams: their last chunk needs this many runs to leave. */
	for (int i = 0; i < LAST_RUNS && api->daemon && api->streams; i++)
		api->mhd->run(api->daemon);
	if (api->daemon)
		api->mhd->stop_daemon(api->daemon);
	close_fd(&api->listen_fd);
	if (api->dir_fd >= 0)
		unlinkat(api->dir_fd, STATE_API_SOCKET, 0);
	free(api);
}
