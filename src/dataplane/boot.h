/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_BOOT_H
#define RINGKIT_DATAPLANE_BOOT_H

#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "dataplane/wire.h"

/*
 * The two ends of a process's start. Parent and process may be of different versions of the
 * program: both find that out before anything else.
 */

/* In the process: receives the boot message, which has the given size and begins with its version.
 * 0 or -errno. A sender of another version is told so, and the result is -EPROTONOSUPPORT.
 * Otherwise as fdpass_recv. */
int boot_receive(void *boot, size_t size, int *fds, size_t *n_fds);

/* The beginning of every answer to a boot message. */
struct wire_reply boot_reply(int err);

/* In the parent: checks an answer of len bytes that should have size bytes. 0, or -errno with *e.
 * name: of the process that answered. */
int boot_check_reply(const void *reply, ssize_t len, size_t size, const char *name, struct err *e);

#endif
