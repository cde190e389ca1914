/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fdpass.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"

union fdpass_control {
	struct cmsghdr align;
	char buf[CMSG_SPACE(sizeof(int) * FDPASS_MAX)];
};

const char *fdpass_strerror(int code)
{
	if (code != -ETOOMANYREFS)
		return strerror(-code);
	return "too many descriptors of the user's are on their way between processes "
	       "(RLIMIT_NOFILE): some process of the user's does not take what it was sent";
}

static void pause_before_retry(void)
{
	struct timespec t = {.tv_nsec = FDPASS_RETRY_MS * 1000000L};

	nanosleep(&t, NULL);
}

int fdpass_send(int sock, const void *buf, size_t len, const int *fds, size_t n_fds, int flags)
{
	struct iovec iov = fd_iovec(buf, len);
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	union fdpass_control control;
	unsigned retries = flags & MSG_DONTWAIT ? 0 : FDPASS_PATIENCE_MS / FDPASS_RETRY_MS;

	assert(n_fds <= FDPASS_MAX);
	if (n_fds) {
		struct cmsghdr *c;

		memset(&control, 0, CMSG_SPACE(sizeof(int) * n_fds));
		msg.msg_control = control.buf;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	for (;;) {
		if (fd_retry(sendmsg(sock, &msg, flags | MSG_NOSIGNAL)) >= 0)
			return 0;
		if (errno != ETOOMANYREFS || retries == 0)
			return -errno;
		retries--;
		pause_before_retry();
	}
}

/* Copies out the descriptors of one control message, and closes those beyond the room. */
static size_t take_rights(const struct cmsghdr *c, int *fds, size_t room)
{
	size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	size_t taken = 0;

	for (size_t i = 0; i < n; i++) {
		int fd;

		memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
		if (taken < room)
			fds[taken++] = fd;
		else
			close(fd);
	}
	return taken;
}

ssize_t fdpass_recv_most(int sock, void *buf, size_t size, int *fds, size_t *n_fds, bool *lost,
			 int flags)
{
	struct iovec iov = {.iov_base = buf, .iov_len = size};
	union fdpass_control control;
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.buf,
			     .msg_controllen = sizeof(control.buf)};
	size_t room = n_fds ? *n_fds : 0, got = 0;
	ssize_t len;

	len = fd_retry(recvmsg(sock, &msg, flags | MSG_CMSG_CLOEXEC));
	/* The kernel tells first, and once, that the other side has ended without reading all that
	 * it was sent. What it sent itself can still be read. */
	if (len < 0 && errno == ECONNRESET)
		len = fd_retry(recvmsg(sock, &msg, flags | MSG_CMSG_CLOEXEC));
	*lost = false;
	if (len < 0)
		return (flags & MSG_DONTWAIT) && fd_is_shortage(-errno) ? -EAGAIN : -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
			got += take_rights(c, fds ? fds + got : NULL, room - got);
	*lost = msg.msg_flags & MSG_CTRUNC;
	if (msg.msg_flags & MSG_TRUNC) {
		fdpass_close(fds, got);
		if (n_fds)
			*n_fds = 0;
		return -EMSGSIZE;
	}
	/* An empty message looks like the end of the stream, with which nobody expects
	 * descriptors. */
	if (len == 0) {
		fdpass_close(fds, got);
		got = 0;
	}
	if (n_fds)
		*n_fds = got;
	return len;
}

ssize_t fdpass_recv(int sock, void *buf, size_t size, int *fds, size_t *n_fds, int flags)
{
	bool lost;
	ssize_t len = fdpass_recv_most(sock, buf, size, fds, n_fds, &lost, flags);

	if (len < 0 || !lost)
		return len;
	if (n_fds) {
		fdpass_close(fds, *n_fds);
		*n_fds = 0;
	}
	return -EMFILE;
}

void fdpass_close(const int *fds, size_t n_fds)
{
	for (size_t i = 0; i < n_fds; i++)
		close(fds[i]);
}
