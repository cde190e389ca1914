/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_LAUNCH_PID1_H
#define RINGKIT_LAUNCH_PID1_H

#include "base/err.h"

/*
 * As process 1 of a container, whatever loses its parent becomes our child, and would stay a
 * zombie: the parent waits for the processes that it has started and for no others. So process 1
 * does nothing but that, and passes signals on to another process, which is the parent.
 *
 * Returns 0 in the one that is to be the parent: at once where we are not process 1. Where we are,
 * process 1 does not return but ends with the other's exit code. -errno: it cannot be started.
 */
int pid1_split(struct err *e);

#endif
