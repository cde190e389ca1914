/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_API_CODEC_H
#define RINGKIT_API_CODEC_H

#include <jansson.h>

#include "base/err.h"
#include "ports/spec.h"

/*
 * JSON as the API speaks it: RootlessKit's types as Go's encoding/json reads and writes them. Keys
 * match whatever their case, the last of two wins, unknown ones and what follows the value are
 * ignored, absent and null members are zero, and zero members are not written.
 */

/* A port spec from a request's body. 0 or -EINVAL with Go's words for it. Does not validate. */
int codec_spec_decode(const char *body, size_t len, struct port_spec *out, struct err *e);

/* Whether a spec in a request's body asks for a lease: {"lease": "connection", ...}, which is no
 * part of RootlessKit's API. 1, 0, or -EINVAL for another value. */
int codec_lease_decode(const char *body, size_t len, struct err *e);

/* Specs from a body that is an array of them. *out has *n of them, 1 to max, and is to be freed. 0,
 * -EINVAL with what is wrong with which, or -ENOMEM. */
int codec_specs_decode(const char *body, size_t len, size_t max, struct port_spec **out, size_t *n,
		       struct err *e);

/* One from a value that is parsed already; NULL counts as null. */
int codec_spec_take(const json_t *value, struct port_spec *out, struct err *e);

/* {"proto":…,"parentIP":…,…}. A new reference, NULL when out of memory. */
json_t *codec_spec_encode(const struct port_spec *spec);

/* {"id":…,"spec":{…}}. A new reference, NULL when out of memory. */
json_t *codec_port_encode(int id, const struct port_spec *spec);

/* {"message":…}. A new reference, NULL when out of memory. Bytes that are no UTF-8 are replaced. */
json_t *codec_message_encode(const char *message);

/* A number, or FIRST-LAST for all from one to the other. 0 or -EINVAL. */
int codec_ids_decode(const char *s, long long *first, long long *last, struct err *e);

/* A decimal number as Go's strconv.Atoi takes it, with its words: `bad id abc: …`. */
int codec_id_decode(const char *s, long long *out, struct err *e);

#endif
