/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_BOOT_OUTWARD_H
#define RINGKIT_DATAPLANE_WORKER_BOOT_OUTWARD_H

#include "base/limits.h"
#include "dataplane/wire.h"

/* The way out as the data plane receives it at its start. The data plane owns all descriptors; -1:
 * none. */
struct boot_outward {
	struct dp_outward policy;
	int raw4, raw6;
	int fds[LIMIT_WORKERS][DP_OUTWARD_FDS]; /* in the order of enum dp_outward_has */
};

/* Receives the messages that follow a dp_boot with outward set. 0 or -errno. */
int boot_outward_receive(int boot_fd, unsigned workers, struct boot_outward *out);

#endif
