/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_TESTS_PEERS_FAIL_H
#define RINGKIT_TESTS_PEERS_FAIL_H

/* What the libraries have in common that let something fail: in which process, when, and the mark
 * that it has happened. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static atomic_long fail_left; /* calls until the one that fails; 0: none fails */
static char *fail_mark;

/* Whether this process is rootlesskit in this role; "parent": in none. */
static inline int fail_is_in(const char *wanted)
{
	const char *role = getenv("_RINGKIT_ROLE");

	return !strcmp(program_invocation_short_name, "rootlesskit") &&
	       !strcmp(wanted, role ? role : "parent");
}

/* The n-th call from now fails. The mark is the first byte of the file, which must have one. */
static inline void fail_arm(long n, const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	void *map = fd < 0 ? MAP_FAILED : mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (fd >= 0)
		close(fd);
	if (map == MAP_FAILED)
		return;
	fail_mark = map;
	atomic_store(&fail_left, n);
}

/* Counts a call. Whether it is the one that fails. */
static inline int fail_is_due(void)
{
	return atomic_load(&fail_left) != 0 && atomic_fetch_sub(&fail_left, 1) == 1;
}

#endif
