/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_TEST_FILE_H
#define RINGKIT_TEST_FILE_H

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/fd.h"

/* Creates or truncates the file. It has this content and, if it is new, this mode. 0 or -errno. */
static inline int file_write(const char *path, const char *content, mode_t mode)
{
	auto_fd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	if (fd < 0)
		return -errno;
	return fd_write_all(fd, content, strlen(content));
}

#endif
