/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_FD_H
#define RINGKIT_BASE_FD_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/*
 * Variables that release what they hold when they go out of scope, for all code but the data
 * plane's workers:
 *   auto_fd int fd = open(...);            closed on every way out
 *   return steal_fd(&fd);                  handed on instead
 */
static inline int steal_fd(int *fd)
{
	int v = *fd;

	*fd = -1;
	return v;
}

static inline void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_fclose(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define auto_fd	  __attribute__((cleanup(close_fd)))
#define auto_free __attribute__((cleanup(cleanup_free)))
#define auto_file __attribute__((cleanup(cleanup_fclose)))

/* Takes the value out of an auto_free pointer, so that the caller owns it. */
#define steal_ptr(p)                                                                               \
	({                                                                                         \
		__typeof__(p) steal_ptr_v = (p);                                                   \
		(p) = NULL;                                                                        \
		steal_ptr_v;                                                                       \
	})

/* Makes a system call, again for as long as a signal interrupts it (EINTR). */
#define fd_retry(call)                                                                             \
	({                                                                                         \
		__typeof__(call) fd_retry_v;                                                       \
		do                                                                                 \
			fd_retry_v = (call);                                                       \
		while (fd_retry_v < 0 && errno == EINTR);                                          \
		fd_retry_v;                                                                        \
	})

/* Whether this -errno says that memory or descriptors are short for a moment: the same call may
 * succeed later, and a message that could not be read or sent is still there. */
static inline bool fd_is_shortage(int code)
{
	return code == -ENOMEM || code == -ENOBUFS || code == -EMFILE || code == -ENFILE;
}

/* Whether this -errno says so, or that there is nothing to read, or no room, now (EAGAIN). */
static inline bool fd_is_passing(int code)
{
	return code == -EAGAIN || fd_is_shortage(code);
}

/* An iovec for a system call that only reads the buffer: struct iovec knows no const. */
static inline struct iovec fd_iovec(const void *buf, size_t len)
{
	union {
		const void *given;
		void *base;
	} u = {.given = buf};

	return (struct iovec){.iov_base = u.base, .iov_len = len};
}

/* Writes all of buf, and goes on after short writes and signals. 0 or -errno. */
int fd_write_all(int fd, const void *buf, size_t len);

/* Reads the whole file into buf and puts a NUL after its content. Returns the length without the
 * NUL, or -errno; -EFBIG when it does not fit. */
ssize_t fd_read_file(const char *path, char *buf, size_t size);

/* Opens /dev/null for each standard descriptor that is closed. Otherwise the next descriptor that
 * we open takes its number, and receives what is meant for stderr. 0 or -errno. */
int fd_fill_standard(void);

/* How many descriptors this process may plan with: RLIMIT_NOFILE, at most LIMIT_NOFILE (limits.h).
 * Tables by descriptor have this many entries. */
unsigned fd_limit(void);

/* Raises the limit of this process, and of those that it starts, to what the user may have, at most
 * LIMIT_NOFILE. A limit above that is lowered to it. Returns the new fd_limit(). */
unsigned fd_limit_raise(void);

int fd_set_cloexec(int fd, bool on);
int fd_set_nonblock(int fd, bool on);

#endif
