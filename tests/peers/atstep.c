/* SPDX-License-Identifier: Apache-2.0 */
/*
 * To be preloaded: holds a process of rootlesskit at its n-th message, or lets calls from the n-th
 * on fail, counted from when the test says so.
 *   ATSTEP=FILE    a file with a struct step, which test_reload_steps.py writes, too. It lies in
 * the state directory: once the command runs, rootlesskit may open no other file for writing.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): glibc's own names */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */

enum kind { KIND_NONE, KIND_HOLD, KIND_MESSAGE_FAILS, KIND_MEMORY_FAILS };

struct step {
	atomic_uint kind;
	atomic_uint role;   /* first letter of _RINGKIT_ROLE, "p" for the parent */
	atomic_uint only;   /* the process; 0: any, except... */
	atomic_uint except; /* ... this one */
	atomic_uint left;   /* calls until then; 0: that was it */
	atomic_uint times;  /* how many calls fail */
	atomic_uint held;   /* the process that is held, or that had a call fail */
	atomic_uint go;	    /* it may go on */
};

static struct step none;
static struct step *step = &none;
static unsigned own_role, own_pid;

static void __attribute__((constructor)) start(void)
{
	const char *path = getenv("ATSTEP"), *role = getenv("_RINGKIT_ROLE");
	void *page;
	int fd;

	if (!path || strcmp(program_invocation_short_name, "rootlesskit") != 0)
		return;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	page = mmap(NULL, sizeof(*step), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	own_role = role ? (unsigned char)role[0] : 'p';
	own_pid = (unsigned)getpid();
	if (page != MAP_FAILED)
		step = page;
}

static int is_meant(enum kind kind)
{
	unsigned only;

	if (atomic_load(&step->kind) != kind || atomic_load(&step->role) != own_role)
		return 0;
	only = atomic_load(&step->only);
	return only ? only == own_pid : atomic_load(&step->except) != own_pid;
}

/* Counts a call. Returns whether it is the one. */
static int is_time(void)
{
	unsigned left = atomic_load(&step->left);

	while (left > 0)
		if (atomic_compare_exchange_weak(&step->left, &left, left - 1))
			return left == 1;
	return 0;
}

static int fails(enum kind kind)
{
	unsigned times;

	if (!is_meant(kind) || (!is_time() && !atomic_load(&step->held)))
		return 0;
	atomic_store(&step->held, own_pid);
	times = atomic_load(&step->times);
	while (times > 0)
		if (atomic_compare_exchange_weak(&step->times, &times, times - 1))
			return 1;
	return 0;
}

/* The system calls that a sandbox allows cannot wait, so this asks again and again. */
static void maybe_hold(void)
{
	if (!is_meant(KIND_HOLD) || !is_time())
		return;
	atomic_store(&step->held, own_pid);
	while (!atomic_load(&step->go))
		syscall(SYS_sched_yield);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	maybe_hold();
	if (fails(KIND_MESSAGE_FAILS)) {
		errno = ENOBUFS;
		return -1;
	}
	return syscall(SYS_sendmsg, fd, message, flags);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	maybe_hold();
	if (fails(KIND_MESSAGE_FAILS)) {
		errno = ENOMEM;
		return -1;
	}
	return syscall(SYS_recvmsg, fd, message, flags);
}

void *malloc(size_t size)
{
	if (fails(KIND_MEMORY_FAILS)) {
		errno = ENOMEM;
		return NULL;
	}
	return __libc_malloc(size);
}

void *calloc(size_t nmemb, size_t size)
{
	if (fails(KIND_MEMORY_FAILS)) {
		errno = ENOMEM;
		return NULL;
	}
	return __libc_calloc(nmemb, size);
}

void *realloc(void *ptr, size_t size)
{
	if (fails(KIND_MEMORY_FAILS)) {
		errno = ENOMEM;
		return NULL;
	}
	return __libc_realloc(ptr, size);
}
