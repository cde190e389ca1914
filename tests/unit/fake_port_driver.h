/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_TESTS_FAKE_PORT_DRIVER_H
#define RINGKIT_TESTS_FAKE_PORT_DRIVER_H

#include "drivers/driver.h"

/* A port driver whose answers the test gives: each request waits until fake_answer, unless
 * immediate is set. Adds of ports whose parent port is 666 fail. */
struct port_driver {
	bool immediate;
	unsigned n_waiting;
	struct fake_request {
		struct port *port;
		bool adding;
	} waiting[64];
	unsigned added, removed;
	unsigned fail_only;    /* after so many requests port 666 is free; 0: never */
	long long fail_remove; /* parent port of the port that cannot be removed; 0: none */
};

extern const struct port_driver_ops fake_ops;

/* Answers the oldest request. */
void fake_answer(struct port_driver *drv);
/* Answers the newest request. */
void fake_answer_last(struct port_driver *drv);

#endif
