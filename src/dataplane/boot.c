/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/boot.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/fdpass.h"
#include "config.h"

struct wire_reply boot_reply(int err)
{
	struct wire_reply r = {.err = err, .version = WIRE_VERSION};

	snprintf(r.program, sizeof(r.program), "%s", RINGKIT_VERSION);
	return r;
}

static void refuse(void)
{
	struct wire_reply r = boot_reply(-EPROTONOSUPPORT);

	fdpass_send(WIRE_BOOT_FD, &r, sizeof(r), NULL, 0, 0);
}

int boot_receive(void *boot, size_t size, int *fds, size_t *n_fds)
{
	uint32_t words[WIRE_BOOT_MAX / sizeof(uint32_t)];
	ssize_t len = fdpass_recv(WIRE_BOOT_FD, words, sizeof(words), fds, n_fds, 0);

	if (len < 0)
		return (int)len;
	if (len < (ssize_t)sizeof(words[0]) || words[0] != WIRE_VERSION) {
		fdpass_close(fds, len > 0 ? *n_fds : 0);
		refuse();
		return -EPROTONOSUPPORT;
	}
	if ((size_t)len != size) {
		fdpass_close(fds, *n_fds);
		return -EPROTO;
	}
	memcpy(boot, words, size);
	return 0;
}

int boot_check_reply(const void *reply, ssize_t len, size_t size, const char *name, struct err *e)
{
	struct wire_reply head;

	if (len < (ssize_t)sizeof(head))
		return err_set(e, -EPIPE, "the %s ended before it was ready", name);
	memcpy(&head, reply, sizeof(head));
	head.program[sizeof(head.program) - 1] = '\0';
	if (head.version != WIRE_VERSION || head.err == -EPROTONOSUPPORT)
		return err_set(e, -EPROTONOSUPPORT,
			       "the %s of version %s cannot serve this rootlesskit, which is of "
			       "version " RINGKIT_VERSION ": their protocols differ (%u, %u); to "
			       "change to it, start rootlesskit again",
			       name, head.program, head.version, WIRE_VERSION);
	if (head.err)
		return err_errno(e, wire_err(head.err), "the %s could not start", name);
	return (size_t)len == size
		       ? 0
		       : err_set(e, -EPROTO, "the %s answers with %zd bytes instead of %zu", name,
				 len, size);
}
