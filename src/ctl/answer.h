/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_ANSWER_H
#define RINGKIT_CTL_ANSWER_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "ports/spec.h"

/*
 * Checks the server's answers and brings them into RootlessKit's form: members in its order, empty
 * ones left out where it leaves them out. Missing members count as empty. Unknown members of ports
 * are ignored, those of the info kept.
 */

struct answer_port {
	int id;
	int range; /* the id of the first port of its range; 0: none */
	struct port_spec spec;
};

/* Decodes a port, {"id":…,"spec":{…}}. 0 or -EPROTO. */
int answer_decode_port(const json_t *answer, struct answer_port *out, struct err *e);

/* The number of ports that the server takes in one POST /v1/ports/batch, according to its info; 0:
 * it has no batches. */
size_t answer_batch_max(const json_t *info);

/* Whether the server knows ranges of ports, according to its info. */
bool answer_has_ranges(const json_t *info);

/* Puts the answer of GET /v1/info in order. A new reference; NULL with *e filled in when it has
 * members of the wrong type. */
json_t *answer_normalize_info(const json_t *answer, struct err *e);

#endif
