/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_BOOT_H
#define RINGKIT_DATAPLANE_BOOT_H

#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "dataplane/wire.h"

/*
 * The two ends of a start: parent and process may be of different versions of the program, and find
 * that out before anything else.
 */

/* In the process: takes the message that says what to be, of the given size and with its version
 * first. 0 or -errno; one of another version has been told so, and gets -EPROTONOSUPPORT. As
 * fdpass_recv otherwise. */
int boot_receive(void *boot, size_t size, int *fds, size_t *n_fds);

/* How its answer begins. */
struct wire_reply boot_reply(int err);

/* In the parent: an answer of len bytes, which is to have size. 0, or -errno with *e; name: whose
 * it is. */
int boot_check_reply(const void *reply, ssize_t len, size_t size, const char *name, struct err *e);

#endif
