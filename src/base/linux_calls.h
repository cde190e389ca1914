/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_LINUX_CALLS_H
#define RINGKIT_BASE_LINUX_CALLS_H

/*
 * System calls and constants of Linux that not every C library has: musl lacks most of them, and
 * glibc before 2.35 or 2.36 those that begin with linux_. Those are called directly with every
 * library, so that a program that was built on Debian 12 also runs with the glibc of Ubuntu 22.04
 * and RHEL 9.
 */
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

#ifndef __GLIBC__
#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x8
#endif

/* The system call takes the offset in two halves; our callers always pass -1. */
static inline ssize_t pwritev2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
{
	return syscall(SYS_pwritev2, fd, iov, n, (long)offset, (long)offset, flags);
}
#endif

/* 8 is the size of the kernel's signal set. */
static inline int linux_epoll_pwait2(int fd, struct epoll_event *events, int max,
				     const struct timespec *timeout, const sigset_t *mask)
{
	return (int)syscall(SYS_epoll_pwait2, fd, events, max, timeout, mask, 8);
}

#ifndef OPEN_TREE_CLONE /* linux/mount.h, which does not go with sys/mount.h */
#define OPEN_TREE_CLONE		1
#define OPEN_TREE_CLOEXEC	O_CLOEXEC
#define MOVE_MOUNT_F_EMPTY_PATH 0x4
#define MOVE_MOUNT_T_EMPTY_PATH 0x40
#define FSOPEN_CLOEXEC		0x1
#define FSMOUNT_CLOEXEC		0x1
#define FSCONFIG_SET_STRING	1
#define FSCONFIG_CMD_CREATE	6
#endif

static inline int linux_open_tree(int dir_fd, const char *path, unsigned flags)
{
	return (int)syscall(SYS_open_tree, dir_fd, path, flags);
}

static inline int linux_move_mount(int from_fd, const char *from, int to_fd, const char *to,
				   unsigned flags)
{
	return (int)syscall(SYS_move_mount, from_fd, from, to_fd, to, flags);
}

static inline int linux_fsopen(const char *name, unsigned flags)
{
	return (int)syscall(SYS_fsopen, name, flags);
}

static inline int linux_fsconfig(int fd, unsigned command, const char *key, const void *value,
				 int aux)
{
	return (int)syscall(SYS_fsconfig, fd, command, key, value, aux);
}

static inline int linux_fsmount(int fd, unsigned flags, unsigned attributes)
{
	return (int)syscall(SYS_fsmount, fd, flags, attributes);
}

#endif
