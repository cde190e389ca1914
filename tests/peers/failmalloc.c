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
#include <execinfo.h>
#include <stddef.h>
#include <stdio.h>

#include "fail.h"

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): glibc's own names */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */

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
	const char *spec = getenv("FAILMALLOC");
	char wanted[32], path[256];
	long n;

	/* NOLINTNEXTLINE(cert-err34-c): words of our tests */
	if (!spec || sscanf(spec, "%ld:%31[^:]:%255s", &n, wanted, path) != 3 ||
	    !fail_is_in(wanted))
		return;
	backtrace((void *[1]){NULL}, 1); /* backtrace() allocates at its first call */
	fail_arm(n, path);
}

static int fails(void)
{
	if (!fail_is_due())
		return 0;
	if (is_glibcs()) {
		atomic_store(&fail_left, 1); /* the next allocation fails instead */
		return 0;
	}
	*fail_mark = 1;
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
