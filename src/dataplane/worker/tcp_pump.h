/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_TCP_PUMP_H
#define RINGKIT_DATAPLANE_WORKER_TCP_PUMP_H

#include "dataplane/worker/tcp.h"

enum tcp_pump {
	PUMP_MOVED, /* some bytes were moved: go on */
	PUMP_WAIT_READ,
	PUMP_WAIT_WRITE,
	PUMP_BUDGET, /* there is more, but others wait */
	PUMP_END,    /* end of stream */
	PUMP_READ_ERROR,
	PUMP_WRITE_ERROR,
};
/* Moves what can be moved from fd[d] to fd[!d]. bulk: more than a small message, too; without it,
 * PUMP_BUDGET says that there is more than that. */
enum tcp_pump tcp_pump(struct worker *w, struct tcp_flow *f, unsigned d, bool bulk);
/* The flow's output has been full for a while, or was: counts its stalled pipes. */
void tcp_stalled(struct worker *w, struct tcp_flow *f);
/* Gives up the direction's pipe, and the bytes in it. */
void tcp_drop_pipe(struct worker *w, struct tcp_dir *dir);

#endif
