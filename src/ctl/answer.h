/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_ANSWER_H
#define RINGKIT_CTL_ANSWER_H

#include <jansson.h>

#include "base/err.h"
#include "base/portspec.h"

/*
 * What the server says, checked and put into RootlessKit's shape: members in its order, empty ones
 * left out where it leaves them out. Members that are missing count as empty, unknown ones of
 * ports are ignored and those of the info kept.
 */

/* The body of POST /v1/ports. A new reference, NULL when a string in it is not UTF-8. */
json_t *answer_encode_spec(const struct port_spec *spec);

/* *out borrows its strings from the answer. */
struct answer_port {
	json_int_t id;
	const char *proto, *parent_ip, *child_ip; /* "" when absent */
	json_int_t parent_port, child_port;
};

/* {"id":…,"spec":{…}}. 0 or -EPROTO. */
int answer_decode_port(const json_t *answer, struct answer_port *out, struct err *e);

/* A new reference. */
json_t *answer_encode_port(const struct answer_port *port);

/* The answer of GET /v1/info put in order, a new reference. NULL with *e filled in when it has
 * members of the wrong type. */
json_t *answer_normalize_info(const json_t *answer, struct err *e);

#endif
