/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_NET_READDRESS_H
#define RINGKIT_DRIVERS_NET_READDRESS_H

#include "drivers/net/inside.h"

/*
 * Gives the interface in the namespace another address, default route and name servers. A process
 * joins the namespaces for that (role "readdress"). Runs in the parent, which does not wait for the
 * process.
 */
struct readdress {
	struct inside process;
	struct loop_source *answer_src, *timer;
	/* Called once, from the loop, when the change is done. e: why it failed, or NULL. */
	void (*done)(void *arg, const struct err *e);
	void *arg;
};

void readdress_init(struct readdress *r);

/* Starts the change. mnt_ns_fd: the mount namespace that has the command's /etc/resolv.conf; -1:
 * the file must not change. from and to may differ in address, prefix length, gateway and name
 * servers. r->done and r->arg must be set. 0, or -errno with *e; then done is not called. */
int readdress_start(struct readdress *r, const struct net_target *target, int mnt_ns_fd,
		    const struct net_result *from, const struct net_result *to, struct loop *loop,
		    struct err *e);

/* Ends the process, if it runs; done is not called any more. */
void readdress_stop(struct readdress *r);

#endif
