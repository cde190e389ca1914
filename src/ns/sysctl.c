/* SPDX-License-Identifier: Apache-2.0 */
#include "ns/sysctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
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

void sysctl_local_ports(uint16_t *first, uint16_t *last)
{
	unsigned long from, to;
	char text[64], *end;

	*first = 32768;
	*last = 60999;
	if (fd_read_file("/proc/sys/net/ipv4/ip_local_port_range", text, sizeof(text)) < 0)
		return;
	from = strtoul(text, &end, 10);
	to = strtoul(end, NULL, 10);
	if (from == 0 || from > to || to > UINT16_MAX)
		return;
	*first = (uint16_t)from;
	*last = (uint16_t)to;
}
