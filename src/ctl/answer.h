/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_ANSWER_H
#define RINGKIT_CTL_ANSWER_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "ports/spec.h"

/*
 * What the server says, checked and put into RootlessKit's shape: members in its order, empty ones
 * left out where it leaves them out. Members that are missing count as empty; unknown ones of
 * ports are ignored, those of the info kept.
 */

struct answer_port {
	int id;
	int range; /* the id of the first port of its range; 0: none */
	struct port_spec spec;
};

/* {"id":…,"spec":{…}}. 0 or -EPROTO. */
int answer_decode_port(const json_t *answer, struct answer_port *out, struct err *e);

/* How many ports the server takes in one POST /v1/ports/batch, by its info; 0: it has no such
 * thing. */
size_t answer_batch_max(const json_t *info);

/* Whether the server, by its info, knows ranges of ports. */
bool answer_has_ranges(const json_t *info);

/* The answer of GET /v1/info put in order, a new reference. NULL with *e filled in when it has
 * members of the wrong type. */
json_t *answer_normalize_info(const json_t *answer, struct err *e);

#endif
