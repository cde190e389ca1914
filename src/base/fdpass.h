/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_FDPASS_H
#define RINGKIT_BASE_FDPASS_H

#include <stddef.h>
#include <sys/types.h>

/* The kernel's limit on descriptors in one message: SCM_MAX_FD, unix(7). */
#define FDPASS_MAX 253

/*
 * One message with descriptors over a SOCK_SEQPACKET unix socket (SCM_RIGHTS, unix(7)).
 * The descriptors are duplicated into the receiver; the sender keeps its own.
 *
 * flags as for sendmsg(2) and recvmsg(2): MSG_DONTWAIT where the caller must not block.
 */

/* Descriptors on their way between processes are limited for each user (unix(7), ETOOMANYREFS): as
 * many as the sender may have open. Whoever the user's processes are that hold them, nothing tells
 * when there is room again. Who may block tries for this long, who must not tries again after
 * that. */
#define FDPASS_PATIENCE_MS 5000
#define FDPASS_RETRY_MS	   5

/* As strerror(3) of what fdpass_send returned. */
const char *fdpass_strerror(int code);

/* 0 or -errno; -ETOOMANYREFS as above. n_fds is at most FDPASS_MAX. */
int fdpass_send(int sock, const void *buf, size_t len, const int *fds, size_t n_fds, int flags);

/*
 * Returns the length of the message, 0 at end of file, or -errno; -EMSGSIZE when the message or
 * its descriptors did not fit (what came is closed). *n_fds: room on entry, number received on
 * return. Received descriptors are close-on-exec and belong to the caller. A process that is out of
 * descriptors gets fewer than were sent: the kernel drops the rest and -EMFILE is returned.
 */
ssize_t fdpass_recv(int sock, void *buf, size_t size, int *fds, size_t *n_fds, int flags);

/* Closes all of them. */
void fdpass_close(const int *fds, size_t n_fds);

#endif
