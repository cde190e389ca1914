/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A library to preload. It lets the n-th call of a kind fail, or do less than it could, in one
 * process of rootlesskit.
 *
 *   FAILCALL=n:KIND:ROLE:FILE    in the environment
 *
 * KIND is "read" (a file or a stream socket gives one byte), "write" (it takes one byte), "netlink"
 * (the kernel's answer is an error), "ring" (there is no memory for io_uring_register(2), of which
 * opening a ring makes two) or "limit" (from the first call on there is no limit of descriptors).
 * ROLE is that of _RINGKIT_ROLE, or "parent" for the process that has none. The first byte of FILE
 * becomes 1 when the call has come.
 */
#include <dlfcn.h>
#include <linux/netlink.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "fail.h"

static char kind[16];

static void __attribute__((constructor)) start(void)
{
	const char *spec = getenv("FAILCALL");
	char wanted[32], path[256];
	long n;

	/* NOLINTNEXTLINE(cert-err34-c): words of our tests */
	if (spec && sscanf(spec, "%ld:%15[^:]:%31[^:]:%255s", &n, kind, wanted, path) == 4 &&
	    fail_is_in(wanted))
		fail_arm(n, path);
}

static int is_time(const char *what)
{
	if (strcmp(kind, what) != 0 || !fail_is_due())
		return 0;
	*fail_mark = 1;
	return 1;
}

/* Whether reads and writes of this descriptor may be cut short. A message comes whole, and so does
 * the number of an eventfd or a signalfd. */
static int is_stream(int fd)
{
	struct stat st;
	int type = 0;
	socklen_t len = sizeof(type);

	if (fstat(fd, &st) < 0)
		return 0;
	if (S_ISSOCK(st.st_mode))
		return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM;
	return S_ISREG(st.st_mode);
}

static size_t part(const char *what, int fd, size_t size)
{
	return size > 1 && is_stream(fd) && is_time(what) ? 1 : size;
}

/* Declared by <unistd.h>. No call has more than six arguments. */
long syscall(long sysno, ...)
{
	static long (*real)(long, ...);
	long a[6];
	va_list ap;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "syscall");
	if (sysno == SYS_io_uring_register && is_time("ring")) {
		errno = ENOMEM;
		return -1;
	}
	va_start(ap, sysno);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	return real(sysno, a[0], a[1], a[2], a[3], a[4], a[5]);
}

ssize_t read(int fd, void *buf, size_t nbytes)
{
	return syscall(SYS_read, fd, buf, part("read", fd, nbytes));
}

ssize_t write(int fd, const void *buf, size_t n)
{
	return syscall(SYS_write, fd, buf, part("write", fd, n));
}

ssize_t send(int fd, const void *buf, size_t n, int flags)
{
	return syscall(SYS_sendto, fd, buf, part("write", fd, n), flags, NULL, 0);
}

/* With _FILE_OFFSET_BITS this has another name, here as in the program. */
int getrlimit(__rlimit_resource_t resource, struct rlimit *rlimits)
{
	if (syscall(SYS_prlimit64, 0, resource, NULL, rlimits) < 0)
		return -1;
	if (resource == RLIMIT_NOFILE && is_time("limit"))
		atomic_store(&fail_left, 1);
	if (resource == RLIMIT_NOFILE && atomic_load(&fail_left) && !strcmp(kind, "limit"))
		rlimits->rlim_cur = rlimits->rlim_max = RLIM_INFINITY;
	return 0;
}

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp,*-declaration*):
 * glibc's own names, declared only by some of its headers */
ssize_t __read_chk(int fd, void *buf, size_t nbytes, size_t size);

ssize_t __read_chk(int fd, void *buf, size_t nbytes, size_t size)
{
	(void)size;
	return read(fd, buf, nbytes);
}

/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp,*-declaration*) */

/* The function of libmnl. An acknowledgement becomes a refusal, and a list is lost. */
ssize_t mnl_socket_recvfrom(const void *nl, void *buf, size_t size);

ssize_t mnl_socket_recvfrom(const void *nl, void *buf, size_t size)
{
	static ssize_t (*real)(const void *, void *, size_t);
	struct nlmsghdr *head = buf;
	struct nlmsgerr *error;
	ssize_t n;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "mnl_socket_recvfrom");
	n = real(nl, buf, size);
	if (n < 0 || !is_time("netlink"))
		return n;
	error = NLMSG_DATA(head);
	if (head->nlmsg_type == NLMSG_ERROR && error->error == 0) {
		error->error = -ENOSPC;
		return n;
	}
	errno = ENOBUFS;
	return -1;
}
