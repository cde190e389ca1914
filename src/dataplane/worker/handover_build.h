/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_HANDOVER_BUILD_H
#define RINGKIT_DATAPLANE_WORKER_HANDOVER_BUILD_H

#include <stdbool.h>

struct worker;

/* Builds the next message of the hand-over in w->handover; the worker must be at rest. Stage 0
 * starts from the beginning. Returns false when there is no more. */
bool handover_build(struct worker *w);

#endif
