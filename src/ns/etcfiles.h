/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_ETCFILES_H
#define RINGKIT_NS_ETCFILES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/*
 * /etc/resolv.conf and /etc/hosts of the child.
 */

/* n_dns name servers as resolv.conf(5), into buf. 0 or -ENOBUFS. */
int etcfiles_resolv_conf(const char *const *dns, size_t n_dns, char *buf, size_t size);

/* The host's hosts(5) text and, after it, the host's own name for both loopbacks. 0 or -ENOBUFS. */
int etcfiles_hosts(const char *old, const char *hostname, char *buf, size_t size);

/*
 * Puts both in place. copied_up: /etc is a tmpfs of ours, and they become plain files in it.
 * Otherwise they are bind-mounted over what is there, from a tmpfs that is made for a moment on
 * scratch_dir (any directory of the child's), and a warning tells what is lost then. n_dns 0:
 * /etc/resolv.conf stays as it is.
 */
int etcfiles_install(const char *const *dns, size_t n_dns, bool copied_up, const char *scratch_dir,
		     struct err *e);

/* Puts other name servers into the /etc/resolv.conf that etcfiles_install made. 0; -EEXIST with *e
 * when it is not as it was made, and stays; -errno. */
int etcfiles_change_resolv_conf(const char *const *old, size_t n_old, const char *const *dns,
				size_t n_dns, struct err *e);

#endif
