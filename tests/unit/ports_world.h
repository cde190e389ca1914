/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_TESTS_PORTS_WORLD_H
#define RINGKIT_TESTS_PORTS_WORLD_H

#include "fake_port_driver.h"
#include "ports/table.h"

/* A table of ports over a driver that the test plays, and the answer to the last request. */

extern struct port_driver drv;
extern struct ports *ports;
extern unsigned answers;      /* to all requests */
extern int last_id;	      /* of the first port that was added; 0: none was */
extern size_t last_n;	      /* how many specs were added */
extern char last_error[1024]; /* "": none */

/* A test's setup and teardown. The driver answers at once. */
int ports_setup(void **state);
int ports_teardown(void **state);
/* Closes the table. */
void close_ports(void);

/* Asks for a port or a range, given as with -p. */
void add(const char *text);
void add_spec(const struct port_spec *spec);
void add_all(const char *const *texts, size_t n);
void remove_ids(long long first, long long last);

/* The table lists these ids, each with a space behind it. */
void assert_list(const char *want);

#endif
