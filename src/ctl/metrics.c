/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/metrics.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/text.h"
#include "ctl/http.h"
#include "ctl/output.h"

#define PATH	    "/v1/metrics"
#define OPENMETRICS "application/openmetrics-text; version=1.0.0; charset=utf-8"

/* Room for a request's line and headers: a scraper's have 300 bytes. */
#define REQUEST_BYTES 8192

/* Turns one line, without its end, from OpenMetrics into Prometheus' older format. OpenMetrics
 * names a counter without the _total of its samples, the older format with it, and it has another
 * word for an unknown type. */
static void put_line(const char *line, char counter[128])
{
	char name[128], type[16];

	if (sscanf(line, "# TYPE %120s %15s", name, type) == 2) {
		bool is_counter = !strcmp(type, "counter");

		snprintf(counter, 128, "%s", is_counter ? name : "");
		printf("# TYPE %s%s %s\n", name, is_counter ? "_total" : "",
		       strcmp(type, "unknown") ? type : "untyped");
	} else if (sscanf(line, "# HELP %120s", name) == 1 && !strcmp(name, counter)) {
		printf("# HELP %s_total%s\n", name, line + strlen("# HELP ") + strlen(name));
	} else if (strcmp(line, "# EOF") != 0) {
		puts(line);
	}
}

static int put_prometheus(char *text, struct err *e)
{
	char counter[128] = "";

	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		put_line(text_make_printable(line), counter);
	return output_finish(e);
}

/* Reads the request on stdin, up to the blank line, and adds a NUL. 0 or -errno. */
static int read_request(char *buf, size_t size, int timeout_ms, struct err *e)
{
	struct http_limit limit = {.abort_fd = -1};
	size_t len = 0;

	if (timeout_ms)
		limit.deadline_ms = loop_now_ms() + (uint64_t)timeout_ms;
	buf[0] = '\0';
	while (!strstr(buf, "\r\n\r\n") && !strstr(buf, "\n\n")) {
		int got = http_wait(STDIN_FILENO, POLLIN, -1, &limit);
		ssize_t n;

		if (got < 0)
			return err_errno(e, got, "no HTTP request on stdin");
		n = read(STDIN_FILENO, buf + len, size - 1 - len);
		if (n <= 0)
			return err_set(e, -EPROTO, "no HTTP request on stdin");
		len += (size_t)n;
		buf[len] = '\0';
	}
	return 0;
}

static int answer(const char *status, const char *type, const char *body, bool head, struct err *e)
{
	printf("HTTP/1.0 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: "
	       "close\r\n\r\n%s",
	       status, type, strlen(body), head ? "" : body);
	return output_finish(e);
}

static int fail(const char *status, struct err *e)
{
	struct err dropped;
	char body[sizeof(e->msg) + 1];

	snprintf(body, sizeof(body), "%s\n", text_make_printable(e->msg));
	answer(status, "text/plain; charset=utf-8", body, false, &dropped);
	return e->code;
}

static bool is_word(const char **text, const char *word)
{
	size_t len = strlen(word);

	if (strncmp(*text, word, len) != 0)
		return false;
	*text += len;
	return true;
}

static int serve(struct client *client, int timeout_ms, struct err *e)
{
	char request[REQUEST_BYTES] = "";
	const char *at = request;
	char *text = NULL;
	int code = read_request(request, sizeof(request), timeout_ms, e);
	bool head;

	if (code < 0)
		return fail("400 Bad Request", e);
	head = is_word(&at, "HEAD ");
	if (!head && !is_word(&at, "GET ")) {
		err_set(e, -EPROTO, "GET and HEAD are all that is answered");
		return fail("405 Method Not Allowed", e);
	}
	if (!is_word(&at, "/metrics") || !strchr(" ?", *at)) {
		err_set(e, -EPROTO, "/metrics is all there is");
		return fail("404 Not Found", e);
	}
	code = client_get_text(client, PATH, &text, e);
	return code < 0 ? fail("503 Service Unavailable", e)
			: answer("200 OK", OPENMETRICS, text, head, e);
}

int metrics_run(struct client *client, const struct ctl_args *args, struct err *e)
{
	char *text = NULL;
	int code;

	if (args_has(args, CTL_HTTP))
		return serve(client, args->timeout_ms, e);
	code = client_get_text(client, PATH, &text, e);
	return code < 0 ? code : put_prometheus(text, e);
}
