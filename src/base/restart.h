/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_RESTART_H
#define RINGKIT_BASE_RESTART_H

/*
 * When to start a process again that has ended by itself.
 */

/* A process that lived this long did not die of what it was started with. */
#define RESTART_HEALTHY_MS 10000

/* From a pause of this length on, there is no hope for now. */
#define RESTART_HOPELESS_MS 1000

/* The pause before a process is started again after this many failures in a row: none at first,
 * then longer and longer, up to 10 s. */
unsigned restart_delay_ms(unsigned failures);

#endif
