/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/net/helper_output.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

int helper_output_open(struct helper_output *out, int *write_fd)
{
	int fds[2], code;

	*out = (struct helper_output){.fd = -1, .name = out->name, .noise = out->noise};
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	/* Only our end is non-blocking: the helper's must block, as its stderr always did. */
	code = fd_set_nonblock(fds[0], true);
	if (code < 0) {
		close(fds[0]);
		close(fds[1]);
		return code;
	}
	out->fd = fds[0];
	*write_fd = fds[1];
	return 0;
}

void helper_output_close(struct helper_output *out)
{
	close_fd(&out->fd);
}

/* Drops whole lines from the front until len more bytes and a separator fit. */
static void make_room(struct helper_output *out, size_t len)
{
	while (strlen(out->tail) + len + 3 > sizeof(out->tail)) {
		char *next = strstr(out->tail, "; ");

		if (!next) {
			out->tail[0] = '\0';
			return;
		}
		memmove(out->tail, next + 2, strlen(next + 2) + 1);
	}
}

static void end_line(struct helper_output *out)
{
	size_t have;

	if (!out->line_len)
		return;
	out->line[out->line_len] = '\0';
	if (out->noise && !strncmp(out->line, out->noise, strlen(out->noise))) {
		out->line_len = 0;
		return;
	}
	log_debug("%s: %s", out->name, out->line);
	make_room(out, out->line_len);
	have = strlen(out->tail);
	if (have) {
		memcpy(out->tail + have, "; ", 2);
		have += 2;
	}
	memcpy(out->tail + have, out->line, out->line_len + 1);
	out->line_len = 0;
}

void helper_output_feed(struct helper_output *out, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char c = data[i];

		if (c == '\n' || c == '\r') {
			end_line(out);
			continue;
		}
		/* No escape sequence may get into an error message. */
		if ((unsigned char)c < ' ' || (unsigned char)c >= 0x7f)
			c = '?';
		if (out->line_len + 1 < sizeof(out->line))
			out->line[out->line_len++] = c;
	}
}

int helper_output_drain(struct helper_output *out)
{
	char buf[1024];

	for (;;) {
		ssize_t n = fd_retry(read(out->fd, buf, sizeof(buf)));

		if (n > 0)
			helper_output_feed(out, buf, (size_t)n);
		else if (n == 0)
			return -EPIPE;
		else
			return errno == EAGAIN ? 0 : -errno;
	}
}

const char *helper_output_tail(struct helper_output *out)
{
	end_line(out);
	return out->tail;
}
