/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>

#include "base/fd.h"
#include "dataplane/control/control_internal.h"

/*
 * Why io_uring is not available. The kernel returns only an errno, and the same one for several
 * causes; facts about the machine tell them apart. The parent reads those, since the data plane
 * should open as few files as possible.
 */

#define SYSCTL "/proc/sys/kernel/io_uring_disabled"

/* The first Linux with IORING_SETUP_DEFER_TASKRUN. */
#define URING_MAJOR 6
#define URING_MINOR 1

void dp_uring_host_read(struct uring_host *host, unsigned workers)
{
	struct rlimit rl = {.rlim_cur = RLIM_INFINITY};
	struct utsname un = {.release = ""};
	char text[16];

	uname(&un);
	snprintf(host->release, sizeof(host->release), "%s", un.release);
	host->disabled = -1;
	if (fd_read_file(SYSCTL, text, sizeof(text)) > 0)
		host->disabled = (int)strtol(text, NULL, 10);
	getrlimit(RLIMIT_MEMLOCK, &rl);
	host->memlock = rl.rlim_cur;
	host->workers = workers;
}

static bool is_older(const char *release, unsigned major, unsigned minor)
{
	unsigned long a, b;
	char *end;

	a = strtoul(release, &end, 10);
	if (*end != '.')
		return false;
	b = strtoul(end + 1, NULL, 10);
	return a != major ? a < major : b < minor;
}

static int why_not_permitted(const struct uring_host *host, int err, struct err *e)
{
	if (host->disabled >= 2)
		return err_set(e, err,
			       "kernel.io_uring_disabled is %d; 0 allows it (sysctl), or "
			       "--dataplane=epoll works without it",
			       host->disabled);
	if (host->disabled == 1)
		return err_set(e, err,
			       "kernel.io_uring_disabled is 1: it is for root and the group "
			       "kernel.io_uring_group; 0 allows it (sysctl), or --dataplane=epoll "
			       "works without it");
	return err_set(e, err,
		       "a seccomp filter, as containers have, or a security module does not permit "
		       "io_uring_setup(2); --dataplane=epoll works without it");
}

static int why_no_memory(const struct uring_host *host, int err, struct err *e)
{
	char limit[32] = "unlimited";

	if (host->memlock != RLIM_INFINITY)
		snprintf(limit, sizeof(limit), "%" PRIu64 " KiB", host->memlock / 1024);
	return err_set(e, err,
		       "there is no memory for its rings: a limit of the cgroup, or RLIMIT_MEMLOCK "
		       "(ulimit -l), which is %s; %s--dataplane=epoll works without it",
		       limit, host->workers > 1 ? "fewer --workers want less, " : "");
}

int dp_uring_why(const struct uring_host *host, int err, struct err *e)
{
	bool older = is_older(host->release, URING_MAJOR, URING_MINOR);

	if (err == -EPERM || err == -EACCES)
		return why_not_permitted(host, err, e);
	if (err == -ENOMEM)
		return why_no_memory(host, err, e);
	if (older)
		return err_set(
			e, err,
			"it needs Linux %d.%d or newer (this is %.*s); --dataplane=epoll works",
			URING_MAJOR, URING_MINOR, (int)strcspn(host->release, "-+"), host->release);
	if (err == -ENOSYS)
		return err_set(
			e, err,
			"the kernel was built without io_uring, or a seccomp filter hides it; "
			"--dataplane=epoll works without it");
	if (err == -EINVAL)
		return err_set(e, err,
			       "the kernel (%s) refuses a ring of the kind that is used; "
			       "--dataplane=epoll works without it",
			       host->release);
	return err_errno(e, err, "io_uring cannot be had (--dataplane=epoll works without it)");
}
