/* SPDX-License-Identifier: Apache-2.0 */
#include "base/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"

/* The headers of Linux 6.1 know only the first versions, so this struct is ours: that of version 6.
 * It is longer than that of older versions; the kernel is told how long the one that it knows
 * is. */
struct ruleset {
	uint64_t files, net, scoped;
};

/* linux/landlock.h of Linux 6.12 */
#define NET_BIND_TCP	     (UINT64_C(1) << 0)
#define NET_CONNECT_TCP	     (UINT64_C(1) << 1)
#define SCOPED_ABSTRACT_UNIX (UINT64_C(1) << 0)
#define SCOPED_SIGNAL	     (UINT64_C(1) << 1)
#define FS_TRUNCATE	     (UINT64_C(1) << 14)
#define FS_IOCTL_DEV	     (UINT64_C(1) << 15)

#define FS_READ	     (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE)
#define FS_READ_TREE (FS_READ | LANDLOCK_ACCESS_FS_READ_DIR)
#define FS_WRITE     (LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE | FS_IOCTL_DEV)

#define ABI_NET	  4
#define ABI_SCOPE 6

/* The kernel's version of Landlock. 0: there is none, or it is switched off. Or -errno. */
static long abi_version(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0,
			   LANDLOCK_CREATE_RULESET_VERSION);

	if (abi < 0)
		return errno == ENOSYS || errno == EOPNOTSUPP || errno == EPERM ? 0 : -errno;
	return abi;
}

/* The rights over files that a version knows: 13 in the first, and one more in some of the later
 * ones. */
static uint64_t file_rights(long abi)
{
	unsigned n = 13 + (abi >= 2) + (abi >= 3) + (abi >= 5);

	return (UINT64_C(1) << n) - 1;
}

/* Makes a ruleset without the rights that the kernel's version does not know. Its descriptor or
 * -errno. */
static int create(long abi, struct ruleset r)
{
	size_t size = sizeof(r);
	int fd;

	r.files &= file_rights(abi);
	if (abi < ABI_SCOPE)
		size = offsetof(struct ruleset, scoped);
	if (abi < ABI_NET)
		size = offsetof(struct ruleset, net);
	fd = (int)syscall(SYS_landlock_create_ruleset, &r, size, 0);
	return fd < 0 ? -errno : fd;
}

static int enforce(int ruleset_fd)
{
	return syscall(SYS_landlock_restrict_self, ruleset_fd, 0) < 0 ? -errno : 0;
}

int landlock_no_files(const struct landlock_rest *rest)
{
	long abi = abi_version();
	struct ruleset r = {.files = UINT64_MAX, .scoped = SCOPED_ABSTRACT_UNIX};
	auto_fd int fd = -1;

	if (abi <= 0)
		return (int)abi;
	r.net |= rest->bind_tcp ? 0 : NET_BIND_TCP;
	r.net |= rest->connect_tcp ? 0 : NET_CONNECT_TCP;
	r.scoped |= rest->signal ? 0 : SCOPED_SIGNAL;
	fd = create(abi, r);
	return fd < 0 ? fd : enforce(fd);
}

/* For a file other than a directory the kernel takes only the rights over files; others are an
 * error. */
static int allow(int ruleset_fd, int path_fd, uint64_t rights)
{
	struct landlock_path_beneath_attr attr = {.allowed_access = rights, .parent_fd = path_fd};

	if (syscall(SYS_landlock_add_rule, ruleset_fd, LANDLOCK_RULE_PATH_BENEATH, &attr, 0) < 0)
		return -errno;
	return 0;
}

/* Does nothing when the path does not exist: it needs no rule then. */
static int allow_path(int ruleset_fd, int at_fd, const char *path, uint64_t rights)
{
	auto_fd int fd = openat(at_fd, path, O_PATH | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	return allow(ruleset_fd, fd, rights);
}

/* When standard error is a file or a FIFO, programs that we start open it again. Pipes and sockets
 * are in no file system, and no rule applies to them. */
static void allow_standard_error(int ruleset_fd, uint64_t known)
{
	struct stat st;

	if (fstat(STDERR_FILENO, &st) == 0 && !S_ISDIR(st.st_mode))
		(void)allow(ruleset_fd, STDERR_FILENO, FS_WRITE & known);
}

int landlock_write_only_in(int dir_fd)
{
	long abi = abi_version();
	const struct ruleset r = {.files = UINT64_MAX, .scoped = SCOPED_ABSTRACT_UNIX};
	uint64_t known = file_rights(abi);
	auto_fd int fd = -1;
	int code;

	if (abi <= 0)
		return (int)abi;
	fd = create(abi, r);
	code = fd < 0 ? fd : allow_path(fd, AT_FDCWD, "/", FS_READ_TREE);
	/* Our own binary, wherever its file is by now. */
	code = code ? code : allow_path(fd, AT_FDCWD, "/proc/self/exe", FS_READ);
	code = code ? code : allow_path(fd, AT_FDCWD, "/dev", FS_WRITE & known);
	code = code ? code : allow(fd, dir_fd, known);
	code = code ? code : allow_path(fd, dir_fd, "..", LANDLOCK_ACCESS_FS_REMOVE_DIR);
	if (code)
		return code;
	allow_standard_error(fd, known);
	return enforce(fd);
}
