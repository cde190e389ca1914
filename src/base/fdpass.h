/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_FDPASS_H
#define RINGKIT_BASE_FDPASS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The kernel's limit on descriptors in one message: SCM_MAX_FD, unix(7). */
#define FDPASS_MAX 253

/*
 * Messages with descriptors over a SOCK_SEQPACKET unix socket (SCM_RIGHTS, unix(7)). The
 * descriptors are duplicated into the receiver; the sender keeps its own.
 *
 * flags are those of sendmsg(2) and recvmsg(2): MSG_DONTWAIT where the caller must not block.
 */

/* The kernel limits how many descriptors of a user may be on their way in messages: as many as the
 * sender may have open (unix(7), ETOOMANYREFS). Any process of the user may hold them, and nothing
 * tells when there is room again. A caller that may block tries for this long; one that may not
 * tries again after this time. */
#define FDPASS_PATIENCE_MS 5000
#define FDPASS_RETRY_MS	   5

/* The text of an error that fdpass_send returned, like strerror(3). */
const char *fdpass_strerror(int code);

/* Sends one message. 0 or -errno; -ETOOMANYREFS as explained above. n_fds is at most FDPASS_MAX. */
int fdpass_send(int sock, const void *buf, size_t len, const int *fds, size_t n_fds, int flags);

/*
 * Receives one message. Returns its length, 0 at end of file, or -errno; -EMSGSIZE when the message
 * or its descriptors did not fit (those that came are closed). *n_fds: room on entry, number
 * received on return. Received descriptors are close-on-exec and belong to the caller. When the
 * process is out of descriptors, the kernel drops those that it cannot deliver, and this returns
 * -EMFILE. With MSG_DONTWAIT, -EAGAIN also when memory is short: the message is still there then,
 * and a channel that was given up is not opened anew as long as both of its processes live.
 */
ssize_t fdpass_recv(int sock, void *buf, size_t size, int *fds, size_t *n_fds, int flags);

/* The same, but returns the length when the kernel has dropped descriptors. *n_fds is the number of
 * those that came before; *lost says whether there were more. */
ssize_t fdpass_recv_most(int sock, void *buf, size_t size, int *fds, size_t *n_fds, bool *lost,
			 int flags);

/* Closes all n_fds descriptors. */
void fdpass_close(const int *fds, size_t n_fds);

#endif
