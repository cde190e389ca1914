/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_NET_HELPER_OUTPUT_H
#define RINGKIT_DRIVERS_NET_HELPER_OUTPUT_H

#include <stddef.h>

/*
 * Takes what a driver's helper process writes to stdout and stderr. Each line goes to the debug
 * log, and the last ones are kept for the message that says why the helper died. The pipe must be
 * drained while the helper lives, or the helper blocks in write(2).
 */
struct helper_output {
	int fd;		   /* read end, non-blocking; -1: none */
	const char *name;  /* the helper's name, for the log */
	const char *noise; /* lines that begin with this are dropped; NULL: none */
	char tail[400];	   /* the last whole lines, one after the other with "; " between */
	char line[200];	   /* the line that is coming in; a longer one is cut */
	size_t line_len;
};

#define HELPER_OUTPUT_NONE ((struct helper_output){.fd = -1})

/* Makes the pipe; name and noise keep their values. *write_fd is for the helper; the caller closes
 * it. 0 or -errno. */
int helper_output_open(struct helper_output *out, int *write_fd);
void helper_output_close(struct helper_output *out);

/* Reads what is there now. 0 when more may come, -EPIPE at end of file, or -errno. */
int helper_output_drain(struct helper_output *out);

/* Takes these bytes as if they had been read. */
void helper_output_feed(struct helper_output *out, const char *data, size_t len);

/* The last lines in one line of printable characters, the unfinished one included; "" when there
 * was none. Valid until the next call. */
const char *helper_output_tail(struct helper_output *out);

#endif
