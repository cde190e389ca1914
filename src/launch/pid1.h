/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_LAUNCH_PID1_H
#define RINGKIT_LAUNCH_PID1_H

#include "base/err.h"

/*
 * Lets rootlesskit run as process 1 of a container. Orphans become children of process 1 and stay
 * zombies until it reaps them, but the parent waits only for the processes that it has started. So
 * process 1 does nothing but reap, and forwards signals to another process, which is the parent.
 *
 * Returns 0 in the process that is to be the parent: at once where we are not process 1. Process 1
 * itself does not return, but ends with the other's exit code. -errno: the other process cannot be
 * started.
 */
int pid1_split(struct err *e);

#endif
