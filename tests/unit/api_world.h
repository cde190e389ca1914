/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_TEST_API_WORLD_H
#define RINGKIT_TEST_API_WORLD_H

/* The API's server and a client of it in one thread: the loop turns whenever the client has nothing
 * to read. Include after cmocka_all.h. */

#include <stddef.h>
#include <time.h>

#include "api/api.h"
#include "base/loop.h"
#include "fake_port_driver.h"

/* The server, its driver and its loop, and the path of its socket. */
extern struct api *api;
extern struct port_driver drv;
extern struct loop *loop;
extern char path[100];

/* Seconds by which the clock of the loop and of libmicrohttpd is ahead. Tests may raise it. */
extern time_t later_s;
/* That clock shows this time; 0: it goes on. So a slow machine is in time. */
extern time_t stands_at_s;

/* The setup of a test: a server, with a port driver or without. */
int setup(void **state);
int setup_without_ports(void **state);
int teardown(void **state);
/* Opens a connection to the server. Returns its descriptor. */
int dial(void);
void turn(unsigned n);
/* Sends all bytes, or as many as the server takes before it closes. */
void put(int fd, const char *data, size_t len);
void put_text(int fd, const char *text);
/* Reads until the answer's body is whole, the server has closed, or nothing comes any more. The
 * text is valid until the next call. */
const char *get(int fd);
/* Sends a request and returns its answer: ask() on this connection, ask_once() on one of its own.
 */
const char *ask(int fd, const char *request);
const char *ask_once(const char *request);
const char *post_request(const char *url, const char *body);
const char *post(const char *body);
const char *post_batch(const char *body);

#define SPEC "{\"proto\":\"tcp\",\"parentIP\":\"127.0.0.1\",\"parentPort\":8080,\"childPort\":80}"

void assert_has(const char *answer, const char *want);

#define SPEC_OF(port)	  "{\"proto\":\"tcp\",\"parentPort\":" port ",\"childPort\":80}"
#define PORT_OF(id, port) "{\"id\":" id ",\"spec\":" SPEC_OF(port) "}"

void assert_list(const char *want);

#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

/* The test has both ends of all connections, for which the usual limit of 1,024 descriptors is too
 * low. Raises it, or skips the test. */
int have_descriptors(void **state);

#endif
