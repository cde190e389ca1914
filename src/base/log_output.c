/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log_output.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <termios.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/linux_calls.h"

/*
 * A reader that has stopped (a full pipe, Ctrl-S on the terminal, a service manager that hangs)
 * must not stop us: the parent is one thread, and a write(2) that waits would stop the API, the
 * restarts and the exit code as well.
 *
 * O_NONBLOCK cannot simply be set on standard error. The flag belongs to the open file description,
 * which the command and whoever started us share, and their writes would begin to fail. poll(2)
 * before write(2) is not enough either: another writer can take the room in between. So the way to
 * write depends on what standard error is:
 *
 * - Pipe, FIFO, terminal: opened again through /proc/self/fd/2, which gives a description of our
 *   own, with O_NONBLOCK. A terminal that we may not open (after su) is, as a rule, our controlling
 *   terminal, which everybody may open as /dev/tty.
 * - Pipe that we may not open (another user made it): pwritev2(2) with RWF_NOWAIT where the
 *   kernel has that for pipes; else splice(2) from a pipe of our own, with SPLICE_F_NONBLOCK.
 * - Socket: MSG_DONTWAIT.
 * - File, /dev/null: a plain write(2), since no reader has to make room.
 * - Terminal of another user that is not our controlling terminal: poll(2) and write(2). A stopped
 *   terminal is noticed; only one that stops between the two calls makes us wait.
 */
enum how { PLAIN, OWN, SOCKET, PIPE, POLLED };

static enum how how = PLAIN;
static int own_fd = -1;
static int pipe_in = -1, pipe_out = -1; /* a pipe of our own, for splice(2) */
static atomic_bool cut;			/* only a part of the last text was written */

static int open_again(const char *path)
{
	return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static bool is_controlling_terminal(void)
{
	pid_t session = tcgetsid(STDERR_FILENO);

	return session > 0 && session == getsid(0);
}

static enum how open_pipe(void)
{
	int fds[2];

	own_fd = open_again("/proc/self/fd/2");
	if (own_fd >= 0)
		return OWN;
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) == 0) {
		pipe_out = fds[0];
		pipe_in = fds[1];
	}
	return PIPE;
}

static enum how open_terminal(void)
{
	own_fd = open_again("/proc/self/fd/2");
	if (own_fd < 0 && is_controlling_terminal())
		own_fd = open_again("/dev/tty");
	return own_fd < 0 ? POLLED : OWN;
}

void log_output_open(void)
{
	struct stat st;

	close_fd(&own_fd);
	close_fd(&pipe_in);
	close_fd(&pipe_out);
	how = PLAIN;
	if (fstat(STDERR_FILENO, &st) < 0)
		return;
	if (S_ISFIFO(st.st_mode))
		how = open_pipe();
	else if (S_ISSOCK(st.st_mode))
		how = SOCKET;
	else if (isatty(STDERR_FILENO))
		how = open_terminal();
}

/* Moves text by splice(2) from our own pipe into the one that is standard error. */
static ssize_t write_spliced(const char *text, size_t len)
{
	char rest[PIPE_BUF];
	ssize_t n = write(pipe_in, text, len);
	int code;

	if (n < 0)
		return n;
	n = splice(pipe_out, NULL, STDERR_FILENO, NULL, (size_t)n, SPLICE_F_NONBLOCK);
	code = errno;
	if (n < (ssize_t)len && read(pipe_out, rest, sizeof(rest)) < 0)
		code = errno;
	errno = code;
	return n;
}

static ssize_t write_pipe(const char *text, size_t len)
{
	struct iovec iov = fd_iovec(text, len);
	ssize_t n = pwritev2(STDERR_FILENO, &iov, 1, -1, RWF_NOWAIT);

	return n < 0 && errno == EOPNOTSUPP ? write_spliced(text, len) : n;
}

static ssize_t write_polled(const char *text, size_t len)
{
	struct pollfd pfd = {.fd = STDERR_FILENO, .events = POLLOUT};

	if (poll(&pfd, 1, 0) == 1)
		return write(STDERR_FILENO, text, len);
	errno = EAGAIN;
	return -1;
}

static ssize_t write_some(const char *text, size_t len)
{
	struct iovec iov = fd_iovec(text, len);
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	switch (how) {
	case OWN:
		return write(own_fd, text, len);
	case SOCKET: /* not send(2): the socket broker's system call filter has no sendto(2) */
		return sendmsg(STDERR_FILENO, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	case PIPE:
		return write_pipe(text, len);
	case POLLED:
		return write_polled(text, len);
	default:
		return write(STDERR_FILENO, text, len);
	}
}

int log_output_write(const char *text, size_t len)
{
	ssize_t n;

	/* A terminal or a socket may take a part of a line. The next line must not continue it. */
	if (atomic_load(&cut)) {
		if (write_some("\n", 1) < 1)
			return -EAGAIN;
		atomic_store(&cut, false);
	}
	n = write_some(text, len);
	if (n < 0)
		return -errno;
	if (n < (ssize_t)len)
		atomic_store(&cut, true);
	return n < (ssize_t)len ? -EAGAIN : 0;
}
