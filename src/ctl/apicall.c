/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/apicall.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "ctl/answer.h"
#include "ctl/http_answer.h"

/* The info, a port, or a message: some hundred bytes. */
#define ANSWER_BYTES 16384

/* The descriptor or -errno. */
static int open_connection(const char *socket_path, struct err *e)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	auto_fd int fd = -1;

	if (strlen(socket_path) >= sizeof(addr.sun_path))
		return err_set(e, -ENAMETOOLONG, "%s is too long for the path of a socket",
			       socket_path);
	memcpy(addr.sun_path, socket_path, strlen(socket_path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(e, -errno, "socket");
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return err_errno(e, -errno, "cannot connect to %s", socket_path);
	return steal_fd(&fd);
}

static int send_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			text += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/* HTTP/1.0: the answer comes in one piece and the connection ends after it. */
static int send_request(int fd, const char *method, const char *path, const char *body)
{
	auto_free char *text = NULL;
	int len = asprintf(&text,
			   "%s %s HTTP/1.0\r\n"
			   "Host: rootlesskit\r\n"
			   "Content-Type: application/json\r\n"
			   "Content-Length: %zu\r\n"
			   "\r\n"
			   "%s",
			   method, path, body ? strlen(body) : 0, body ? body : "");

	if (len < 0) {
		text = NULL;
		return -ENOMEM;
	}
	return send_all(fd, text, (size_t)len);
}

/* buf has ANSWER_BYTES. 0 or -errno; -EPROTO: no answer of HTTP. */
static int receive_answer(int fd, char *buf, struct http_answer *out)
{
	size_t len = 0;
	int code = 0;

	while (code == 0) {
		ssize_t n = read(fd, buf + len, ANSWER_BYTES - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		len += (size_t)n;
		code = http_answer_read(buf, len, n == 0, out);
		if (code == 0 && len == ANSWER_BYTES)
			return -EFBIG;
	}
	return code < 0 ? code : 0;
}

static int decode(const struct http_answer *answer, json_t **out, struct err *e)
{
	json_error_t why;

	if (answer->status < 200 || answer->status > 299)
		return answer_refusal(answer->status, answer->body, answer->body_len, e);
	if (!out)
		return 0;
	*out = json_loadb(answer->body, answer->body_len, JSON_DECODE_ANY, &why);
	return *out ? 0 : err_set(e, -EPROTO, "the answer is not JSON: %s", why.text);
}

int apicall(const char *socket_path, const char *method, const char *path, const json_t *body,
	    json_t **out, struct err *e)
{
	auto_fd int fd = open_connection(socket_path, e);
	auto_free char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	auto_free char *buf = malloc(ANSWER_BYTES);
	struct http_answer answer = {.status = 0};
	int code;

	if (fd < 0)
		return fd;
	if ((body && !text) || !buf)
		return err_errno(e, -ENOMEM, "%s %s", method, path);
	code = send_request(fd, method, path, text);
	if (!code)
		code = receive_answer(fd, buf, &answer);
	if (code < 0)
		return err_errno(e, code, "%s %s: %s does not answer as RootlessKit's API does",
				 method, path, socket_path);
	code = decode(&answer, out, e);
	return code == -EPROTO ? err_wrap(e, code, "%s %s", method, path) : code;
}
