/* SPDX-License-Identifier: Apache-2.0 */
#include "ns/sysctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"

int sysctl_set(const char *name, const char *value, struct err *e)
{
	char path[128];
	auto_fd int fd = -1;
	int code;

	snprintf(path, sizeof(path), "/proc/sys/net/%s", name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	code = fd < 0 ? -errno : fd_write_all(fd, value, strlen(value));
	return code < 0 ? err_errno(e, code, "cannot set %s", path) : 0;
}
