/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_RESTART_H
#define RINGKIT_BASE_RESTART_H

/*
 * When to start a process again that has ended by itself.
 */

/* One that lived this long did not die of what it was started with. */
#define RESTART_HEALTHY_MS 10000

/* From a pause of this length on, it is hopeless for now. */
#define RESTART_HOPELESS_MS 1000

/* How long to wait before it is started after so many failures in a row: nothing after the first,
 * then longer and longer, up to 10 s. */
unsigned restart_delay_ms(unsigned failures);

#endif
