/* SPDX-License-Identifier: Apache-2.0 */
#include "ns/etcfiles.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/state_names.h"

/* hosts(5) files of ad blockers have some hundred thousand lines; 16 MiB holds them. */
#define HOSTS_MAX (16 * 1024 * 1024)

/* Room for some name servers, whose lines have 57 bytes at most. */
#define RESOLV_MAX 1024

int etcfiles_resolv_conf(const char *const *dns, size_t n_dns, char *buf, size_t size)
{
	size_t len = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < n_dns; i++) {
		len += (size_t)snprintf(buf + len, size - len, "nameserver %s\n", dns[i]);
		if (len >= size)
			return -ENOBUFS;
	}
	return 0;
}

int etcfiles_hosts(const char *old, const char *hostname, char *buf, size_t size)
{
	int n = snprintf(buf, size, "%s\n127.0.0.1 %s\n::1 %s\n", old, hostname, hostname);

	return n < 0 || (size_t)n >= size ? -ENOBUFS : 0;
}

/* Makes the new text of /etc/hosts. The caller frees *out. */
static int make_hosts(char **out, struct err *e)
{
	auto_free char *old = malloc(HOSTS_MAX), *text = NULL;
	char name[HOST_NAME_MAX + 1] = "localhost";
	ssize_t n;

	if (!old)
		return err_errno(e, -ENOMEM, "/etc/hosts");
	n = fd_read_file("/etc/hosts", old, HOSTS_MAX);
	if (n < 0 && n != -ENOENT)
		return err_errno(e, (int)n, "cannot read /etc/hosts");
	if (n < 0)
		old[0] = '\0';
	gethostname(name, sizeof(name) - 1);
	text = malloc(strlen(old) + 2 * sizeof(name) + 32);
	if (!text)
		return err_errno(e, -ENOMEM, "/etc/hosts");
	etcfiles_hosts(old, name, text, strlen(old) + 2 * sizeof(name) + 32);
	*out = steal_ptr(text);
	return 0;
}

/* Writes the file with mode 0644 whatever the umask is, since the umask is the command's and must
 * not change. The descriptor, or -errno. */
static int write_at(int dir_fd, const char *name, const char *text)
{
	auto_fd int fd =
		openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	int code;

	if (fd < 0 || fchmod(fd, 0644) < 0)
		return -errno;
	code = fd_write_all(fd, text, strlen(text));
	return code ? code : steal_fd(&fd);
}

static int write_file(const char *path, const char *text)
{
	auto_fd int fd = write_at(AT_FDCWD, path, text);

	return fd < 0 ? fd : 0;
}

/* In a copied-up /etc the name is a link to the host's file. It is removed, and a file of ours
 * made. */
static int put_file(const char *path, const char *text, struct err *e)
{
	int code;

	if (unlink(path) < 0 && errno != ENOENT)
		return err_errno(e, -errno, "cannot replace %s", path);
	code = write_file(path, text);
	return code ? err_errno(e, code, "cannot write %s", path) : 0;
}

/* Mounts the very file that it wrote into the state directory, wherever the name leads to by then.
 * path NULL: it is not mounted. */
static int install_file(int dir_fd, const char *name, const char *text, const char *path,
			struct err *e)
{
	auto_fd int fd = write_at(dir_fd, name, text);
	char source[32];

	if (fd < 0)
		return err_errno(e, fd, "cannot write %s in the state directory", name);
	if (!path)
		return 0;
	snprintf(source, sizeof(source), "/proc/self/fd/%d", fd);
	if (mount(source, path, NULL, MS_BIND, NULL) < 0)
		return err_errno(e, -errno,
				 "failed to create bind mount on %s (--copy-up=/etc avoids it)",
				 path);
	return 0;
}

static void warn_bound(void)
{
	log_warning("Mounting /etc/resolv.conf without copying-up /etc. "
		    "Note that /etc/resolv.conf in the namespace will be unmounted when it is "
		    "recreated on the host. "
		    "Unless /etc/resolv.conf is statically configured, copying-up /etc is "
		    "highly recommended.");
}

int etcfiles_install(const char *const *dns, size_t n_dns, enum etcfiles_how how, int dir_fd,
		     struct err *e)
{
	const bool bound = how == ETCFILES_BOUND;
	auto_free char *hosts = NULL;
	char resolv[RESOLV_MAX];
	int code;

	code = etcfiles_resolv_conf(dns, n_dns, resolv, sizeof(resolv));
	if (code)
		return err_errno(e, code, "/etc/resolv.conf");
	code = make_hosts(&hosts, e);
	if (code)
		return code;
	assert(hosts);
	if (bound && n_dns)
		warn_bound();
	if (n_dns)
		code = install_file(dir_fd, STATE_RESOLV_CONF, resolv,
				    bound ? "/etc/resolv.conf" : NULL, e);
	if (!code)
		code = install_file(dir_fd, STATE_HOSTS, hosts,
				    bound && access("/etc/hosts", F_OK) == 0 ? "/etc/hosts" : NULL,
				    e);
	if (code || how != ETCFILES_PUT)
		return code;
	if (n_dns)
		code = put_file("/etc/resolv.conf", resolv, e);
	return code ? code : put_file("/etc/hosts", hosts, e);
}

int etcfiles_change_resolv_conf(const char *const *old, size_t n_old, const char *const *dns,
				size_t n_dns, struct err *e)
{
	const char *path = "/etc/resolv.conf";
	char before[RESOLV_MAX], after[RESOLV_MAX], found[RESOLV_MAX];
	int code = etcfiles_resolv_conf(old, n_old, before, sizeof(before));
	ssize_t n;

	code = code ? code : etcfiles_resolv_conf(dns, n_dns, after, sizeof(after));
	if (code)
		return err_errno(e, code, "%s", path);
	n = fd_read_file(path, found, sizeof(found));
	if (n < 0 || strcmp(found, before) != 0)
		return err_set(e, -EEXIST, "%s is not as it was made: it stays as it is", path);
	/* Written in place, because a bind mount cannot be replaced. */
	code = write_file(path, after);
	return code ? err_errno(e, code, "cannot write %s", path) : 0;
}
