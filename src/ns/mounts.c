/* SPDX-License-Identifier: Apache-2.0 */
#include "ns/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/vfs.h>

#include "base/array.h"
#include "base/fd.h"
#include "base/linux_calls.h"
#include "base/log.h"
#include "ns/mountinfo.h"

#define CGROUP_DIR "/sys/fs/cgroup"

int mounts_set_propagation(const char *name, struct err *e)
{
	static const struct {
		const char *name;
		unsigned long flag;
	} table[] = {{"rprivate", MS_REC | MS_PRIVATE},
		     {"rslave", MS_REC | MS_SLAVE},
		     {"rshared", MS_REC | MS_SHARED},
		     {"private", MS_PRIVATE},
		     {"slave", MS_SLAVE},
		     {"shared", MS_SHARED}};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (strcmp(table[i].name, name) != 0)
			continue;
		if (mount("none", "/", NULL, table[i].flag, NULL) < 0)
			return err_errno(e, -errno, "failed to set mount propagation %s", name);
		return 0;
	}
	return err_set(e, -EINVAL, "unknown mount propagation %s", name);
}

static int look_at_root(void *arg, const struct mountinfo *m)
{
	bool *shared = arg;

	if (strcmp(m->point, "/") == 0)
		*shared = m->shared; /* the last one in the list is on top */
	return 0;
}

bool mounts_root_is_shared(void)
{
	bool shared = true;

	mountinfo_each(look_at_root, &shared);
	return shared;
}

/* The kernel refuses a filesystem of this type that shows more than the mounted one
 * (mount_too_revealing in fs/namespace.c). A read-only one may still be allowed. */
static bool mount_pseudo(const char *type, const char *dir)
{
	if (mount("none", dir, type, 0, NULL) == 0)
		return true;
	log_warning("failed to mount %s on %s (%s), falling back to read-only mount", type, dir,
		    strerror(errno));
	if (mount("none", dir, type, MS_RDONLY, NULL) == 0)
		return true;
	log_warning("failed to mount %s on %s: %s; the one of the host stays in view", type, dir,
		    strerror(errno));
	return false;
}

void mounts_proc(void)
{
	mount_pseudo("proc", "/proc");
}

bool mounts_has_cgroup2(void)
{
	struct statfs fs;

	return statfs(CGROUP_DIR, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

static bool mount_cgroup2(void)
{
	return mount("none", CGROUP_DIR, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) == 0;
}

void mounts_sys(bool cgroup2)
{
	auto_fd int tree = linux_open_tree(AT_FDCWD, CGROUP_DIR,
					   OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	int open_errno = errno;

	if (!mount_pseudo("sysfs", "/sys"))
		return;
	if (cgroup2 && mount_cgroup2())
		return;
	if (tree < 0) {
		log_debug("no %s to carry over: %s", CGROUP_DIR, strerror(open_errno));
		return;
	}
	if (linux_move_mount(tree, "", AT_FDCWD, CGROUP_DIR, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		log_warning("failed to bind %s: %s", CGROUP_DIR, strerror(errno));
}

void mounts_cgroup2(void)
{
	int code;

	/* A cgroup2 mount directly on top of another fails with EBUSY, so a tmpfs comes between. */
	if (mount("none", CGROUP_DIR, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755") == 0) {
		if (mount_cgroup2())
			return;
		code = errno;
		umount2(CGROUP_DIR, MNT_DETACH);
		errno = code;
	}
	log_warning("failed to mount cgroup2 on %s: %s; the one of the host stays in view",
		    CGROUP_DIR, strerror(errno));
}
