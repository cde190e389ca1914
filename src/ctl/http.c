/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/http.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/limits.h"
#include "base/loop.h"

#define READ_BYTES 4096

/* Reading */

void http_syntax_on_begin(void *arg)
{
	struct http_reader *r = arg;

	r->len = 0; /* drops a body that came with a 100 */
	if (r->body)
		r->body[0] = '\0';
}

/* Doubles the buffer until need bytes fit: the list of 65,536 ports has 7 MB. */
static int make_room(struct http_reader *r, size_t need)
{
	size_t size = need < 4096 ? 4096 : need * 2;
	char *body;

	if (need <= r->size)
		return 0;
	body = realloc(r->body, size);
	if (!body)
		return -ENOMEM;
	r->body = body;
	r->size = size;
	return 0;
}

int http_syntax_on_body(void *arg, const char *data, size_t n)
{
	struct http_reader *r = arg;
	size_t need = r->len + n + 1;

	if (r->take && http_syntax_status(&r->syntax) < 300) {
		r->failed = r->take(r->take_arg, data, n);
		return r->failed ? -1 : 0;
	}
	r->failed = need > LIMIT_CTL_ANSWER_BYTES ? -EFBIG : make_room(r, need);
	if (r->failed)
		return -1;
	memcpy(r->body + r->len, data, n);
	r->len += n;
	r->body[r->len] = '\0';
	return 0;
}

/* Passes over "100 Continue" and the like, which come before the answer. 101 is an error: nobody
 * has asked for another protocol. */
enum http_syntax_end http_syntax_on_complete(void *arg)
{
	struct http_reader *r = arg;
	unsigned status = http_syntax_status(&r->syntax);

	r->strange = status < 100 || status == 101;
	if (r->strange)
		return HTTP_SYNTAX_WRONG;
	if (status < 200)
		return HTTP_SYNTAX_NEXT;
	r->status = status;
	r->keep_alive = http_syntax_keeps_alive(&r->syntax);
	r->complete = true;
	return HTTP_SYNTAX_STOP;
}

void http_reader_init(struct http_reader *r)
{
	*r = (struct http_reader){.complete = false};
	http_syntax_init(&r->syntax, r);
}

void http_reader_free(struct http_reader *r)
{
	free(r->body);
	r->body = NULL;
}

int http_reader_feed(struct http_reader *r, const char *data, size_t len, struct err *e)
{
	const char *wrong;
	size_t used = http_syntax_read(&r->syntax, data, len, &wrong);

	r->begun = r->begun || len;
	if (r->complete) {
		r->keep_alive = r->keep_alive && len && used == len;
		return 0;
	}
	if (r->failed == -EFBIG)
		return err_set(e, -EFBIG, "the answer has more than %d bytes",
			       LIMIT_CTL_ANSWER_BYTES);
	if (r->failed)
		return err_errno(e, r->failed, "answer");
	if (r->strange)
		return err_set(e, -EPROTO, "HTTP status %u", http_syntax_status(&r->syntax));
	if (wrong)
		return err_set(e, -EPROTO, "%s", wrong);
	if (len == 0)
		return err_set(e, -EPROTO, "it hangs up without an answer");
	return 0;
}

/* Waiting */

static uint64_t time_left_ms(const struct http_limit *limit)
{
	uint64_t now = loop_now_ms();

	if (!limit->deadline_ms)
		return UINT64_MAX;
	return limit->deadline_ms > now ? limit->deadline_ms - now : 0;
}

/* Shortens the limit to the grace period, because somebody wants an end. */
static void shorten(struct http_limit *limit)
{
	if (time_left_ms(limit) > HTTP_ABORT_GRACE_MS)
		limit->deadline_ms = loop_now_ms() + HTTP_ABORT_GRACE_MS;
}

static bool is_aborted(const struct http_limit *limit)
{
	struct pollfd p = {.fd = limit->abort_fd, .events = POLLIN};

	return limit->abort_fd >= 0 && poll(&p, 1, 0) > 0;
}

/* Calls poll(2) once and returns its result or -errno. -EINTR means that nothing came. */
static int wait_once(struct pollfd p[2], int step_ms, uint64_t left_ms)
{
	int n;

	if (step_ms >= 0 && (uint64_t)step_ms < left_ms)
		left_ms = (uint64_t)step_ms;
	n = poll(p, 2, left_ms > INT32_MAX ? -1 : (int)left_ms);
	if (n < 0)
		p[0].revents = p[1].revents = 0;
	return n < 0 ? -errno : n;
}

int http_wait(int fd, short events, int step_ms, struct http_limit *limit)
{
	bool aborted = is_aborted(limit);

	for (;;) {
		struct pollfd p[] = {{.fd = fd, .events = events},
				     {.fd = aborted ? -1 : limit->abort_fd, .events = POLLIN}};
		uint64_t left_ms;
		int n;

		if (aborted)
			shorten(limit);
		left_ms = time_left_ms(limit);
		if (left_ms == 0)
			return aborted ? -ECANCELED : -ETIMEDOUT;
		n = wait_once(p, step_ms, left_ms);
		if (n < 0 && n != -EINTR)
			return n;
		if (p[0].revents || (n == 0 && step_ms >= 0))
			return p[0].revents;
		aborted = aborted || p[1].revents;
	}
}

/* An exchange */

struct request {
	const char *data;
	size_t len, sent;
	bool unheard; /* the server had closed the connection before any of it was sent */
};

/* Sends a part of the request. Errors are left to the reading side: a server may refuse a request
 * before it has all of it, and its answer counts. */
static void send_some(int fd, struct request *r)
{
	ssize_t n = send(fd, r->data + r->sent, r->len - r->sent, MSG_NOSIGNAL);

	if (n >= 0) {
		r->sent += (size_t)n;
	} else if (errno != EAGAIN && errno != EINTR) {
		r->unheard = r->sent == 0;
		r->sent = r->len;
	}
}

/* Receives a part of the answer. The kernel reports ECONNRESET when the server has closed its end
 * with unread data (unix(7)): then it has not read the request. */
static int receive_some(int fd, struct request *request, struct http_reader *reader, struct err *e)
{
	char data[READ_BYTES];
	ssize_t n = recv(fd, data, sizeof(data), 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	request->unheard = request->unheard || (n < 0 && errno == ECONNRESET);
	if (n <= 0 && request->unheard && !reader->begun)
		return err_set(e, -ECONNRESET, "it hangs up before it has read the request");
	if (n < 0)
		return err_set(e, -EPROTO, "%s", strerror(errno));
	return http_reader_feed(reader, data, (size_t)n, e);
}

int http_exchange(int fd, const char *request, size_t len, struct http_limit *limit,
		  struct http_reader *reader, struct err *e)
{
	struct request r = {.data = request, .len = len};
	int code = 0;

	send_some(fd, &r);
	while (!reader->complete && code == 0) {
		int got = http_wait(fd, r.sent < len ? POLLIN | POLLOUT : POLLIN, -1, limit);

		if (got < 0)
			return err_errno(e, got, "no answer");
		if (got & POLLOUT)
			send_some(fd, &r);
		if (got & ~POLLOUT)
			code = receive_some(fd, &r, reader, e);
	}
	return code;
}
