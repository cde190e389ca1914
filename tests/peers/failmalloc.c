/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A library to preload. It lets the n-th allocation of one process of rootlesskit fail.
 *
 *   FAILMALLOC=n:ROLE:FILE    in the environment
 *
 * ROLE is that of _RINGKIT_ROLE, or "parent" for the process that has none. The first byte of FILE
 * becomes 1 when the allocation has come.
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): glibc's own names */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */

static atomic_long left; /* allocations until the one that fails; 0: none fails */
static char *hit;

/* Whether the caller is glibc's look-up of users. That ends the process by an assertion when an
 * allocation fails (nss_database.c), which is no fault of ours. */
static int is_glibcs(void)
{
	void *frames[40];
	int n = backtrace(frames, 40);
	Dl_info info;

	for (int i = 0; i < n; i++)
		if (dladdr(frames[i], &info) && info.dli_sname &&
		    (!strncmp(info.dli_sname, "getpw", 5) || !strncmp(info.dli_sname, "getgr", 5)))
			return 1;
	return 0;
}

static void __attribute__((constructor)) start(void)
{
	const char *spec = getenv("FAILMALLOC"), *role = getenv("_RINGKIT_ROLE");
	char wanted[32], path[256], *end;
	long n;
	int fd;

	if (!spec || strcmp(program_invocation_short_name, "rootlesskit") != 0)
		return;
	n = strtol(spec, &end, 10);
	if (sscanf(end, ":%31[^:]:%255s", wanted, path) != 2 ||
	    strcmp(wanted, role ? role : "parent") != 0)
		return;
	fd = open(path, O_RDWR | O_CLOEXEC);
	hit = fd < 0 ? MAP_FAILED : mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd >= 0)
		close(fd);
	if (hit == MAP_FAILED)
		return;
	backtrace((void *[1]){NULL}, 1); /* backtrace() allocates at its first call */
	atomic_store(&left, n);
}

static int fails(void)
{
	if (atomic_load(&left) == 0 || atomic_fetch_sub(&left, 1) != 1)
		return 0;
	if (is_glibcs()) {
		atomic_store(&left, 1); /* the next allocation fails instead */
		return 0;
	}
	*hit = 1;
	errno = ENOMEM;
	return 1;
}

void *malloc(size_t size)
{
	return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t nmemb, size_t size)
{
	return fails() ? NULL : __libc_calloc(nmemb, size);
}

void *realloc(void *ptr, size_t size)
{
	return fails() ? NULL : __libc_realloc(ptr, size);
}
