/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/landlock.h"

#include <errno.h>
#include <linux/landlock.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"

/* Rights that a version of the ABI knows: 13 in the first; each of these versions added one. */
static uint64_t rights_of(long abi)
{
	unsigned n = 13 + (abi >= 2) + (abi >= 3) + (abi >= 5);

	return (UINT64_C(1) << n) - 1;
}

int landlock_no_files(void)
{
	struct landlock_ruleset_attr attr = {.handled_access_fs = 0};
	long abi = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0,
			   LANDLOCK_CREATE_RULESET_VERSION);
	auto_fd int fd = -1;

	if (abi < 0)
		return errno == ENOSYS || errno == EOPNOTSUPP || errno == EPERM ? 0 : -errno;
	attr.handled_access_fs = rights_of(abi);
	fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr.handled_access_fs), 0);
	if (fd < 0)
		return -errno;
	return syscall(SYS_landlock_restrict_self, fd, 0) < 0 ? -errno : 0;
}
