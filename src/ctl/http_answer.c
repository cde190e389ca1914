/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/http_answer.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#define UNKNOWN ((size_t)-1)

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* "HTTP/1.1 200 OK". The status, or -EPROTO. */
static int read_status(const char *line, size_t len)
{
	const char *code = line + 9;

	if (len < 12 || memcmp(line, "HTTP/1.", 7) != 0 || !is_digit(line[7]) || line[8] != ' ')
		return -EPROTO;
	if (code[0] < '1' || code[0] > '9' || !is_digit(code[1]) || !is_digit(code[2]) ||
	    (len > 12 && code[3] != ' '))
		return -EPROTO;
	return (code[0] - '0') * 100 + (code[1] - '0') * 10 + code[2] - '0';
}

static bool has_name(const char *line, size_t len, const char *name)
{
	size_t n = strlen(name);

	return len > n && line[n] == ':' && strncasecmp(line, name, n) == 0;
}

/* The number after the colon. 0 or -EPROTO. */
static int read_length(const char *text, size_t len, size_t *out)
{
	size_t i = 0, n = 0;

	while (i < len && (text[i] == ' ' || text[i] == '\t'))
		i++;
	if (i == len)
		return -EPROTO;
	for (; i < len && is_digit(text[i]); i++) {
		if (n > 99999999) /* nothing here is that long */
			return -EPROTO;
		n = n * 10 + (size_t)(text[i] - '0');
	}
	while (i < len && (text[i] == ' ' || text[i] == '\t'))
		i++;
	*out = n;
	return i == len ? 0 : -EPROTO;
}

static int read_field(const char *line, size_t len, size_t *body_len)
{
	static const char length[] = "Content-Length";

	if (has_name(line, len, "Transfer-Encoding"))
		return -EPROTO; /* HTTP/1.0 has none */
	if (!has_name(line, len, length))
		return 0;
	return read_length(line + sizeof(length), len - sizeof(length), body_len);
}

/* The lines of the head, each with its end. 0 or -EPROTO. */
static int read_head(const char *head, size_t len, int *status, size_t *body_len)
{
	size_t at = 0;

	for (unsigned number = 0; at < len; number++) {
		const char *line = head + at, *end = memmem(line, len - at, "\r\n", 2);
		size_t n = (size_t)(end - line);
		int code = number ? read_field(line, n, body_len) : read_status(line, n);

		if (code < 0)
			return code;
		if (number == 0)
			*status = code;
		at += n + 2;
	}
	return 0;
}

int http_answer_read(const char *data, size_t len, bool ended, struct http_answer *out)
{
	const char *end = len ? memmem(data, len, "\r\n\r\n", 4) : NULL;
	size_t head_len, got, body_len = UNKNOWN;
	int code;

	if (!end)
		return ended ? -EPROTO : 0;
	head_len = (size_t)(end - data) + 2;
	code = read_head(data, head_len, &out->status, &body_len);
	if (code < 0)
		return code;
	got = len - head_len - 2;
	if (body_len == UNKNOWN ? !ended : got < body_len)
		return ended ? -EPROTO : 0;
	out->body = data + head_len + 2;
	out->body_len = body_len == UNKNOWN ? got : body_len;
	return 1;
}
