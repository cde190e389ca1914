/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_HANDOVER_BUILD_H
#define RINGKIT_DATAPLANE_WORKER_HANDOVER_BUILD_H

#include <stdbool.h>

struct worker;

/* Puts the next message of what is handed over into w->handover, which is at rest. Stage 0 begins.
 * False: there is none any more. */
bool handover_build(struct worker *w);

#endif
