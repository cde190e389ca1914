/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_ETCFILES_H
#define RINGKIT_NS_ETCFILES_H

#include <stddef.h>

#include "base/err.h"

/*
 * The child's /etc/resolv.conf and /etc/hosts.
 */

/* Writes n_dns name servers into buf, as resolv.conf(5) wants them. 0 or -ENOBUFS. */
int etcfiles_resolv_conf(const char *const *dns, size_t n_dns, char *buf, size_t size);

/* Writes the host's hosts(5) text into buf and, after it, the host's own name for both loopback
 * addresses. 0 or -ENOBUFS. */
int etcfiles_hosts(const char *old, const char *hostname, char *buf, size_t size);

/* What happens to the two files in /etc. */
enum etcfiles_how {
	ETCFILES_PUT,	/* they become plain files: /etc is a tmpfs of ours (copy-up) */
	ETCFILES_BOUND, /* ours are mounted over them; a warning names what is lost then */
	ETCFILES_KEPT,	/* they stay; ours are for whoever enters a detached network namespace */
};

/* Writes resolv.conf and hosts into the state directory dir_fd (documented since RootlessKit 2.0,
 * and read by BuildKit and nerdctl), and puts them in place. To be mounted, dir_fd must have been
 * opened in this mount namespace. With n_dns 0 there is no resolv.conf, and that of /etc stays as
 * it is. 0 or -errno. */
int etcfiles_install(const char *const *dns, size_t n_dns, enum etcfiles_how how, int dir_fd,
		     struct err *e);

/* Puts other name servers into the /etc/resolv.conf that etcfiles_install made. 0; -EEXIST with *e
 * when somebody has changed the file, which then stays as it is; or -errno. */
int etcfiles_change_resolv_conf(const char *const *old, size_t n_old, const char *const *dns,
				size_t n_dns, struct err *e);

#endif
