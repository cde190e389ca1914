/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_API_CODEC_H
#define RINGKIT_API_CODEC_H

#include <jansson.h>

#include "base/err.h"
#include "ports/spec.h"

/*
 * The API's JSON: RootlessKit's types, as Go's encoding/json reads and writes them. Keys match in
 * any case. Of two members with the same key the last one wins. Unknown members and what follows
 * the value are ignored. Absent and null members are zero, and zero members are not written.
 */

/* Decodes a port spec from a request's body, without validating it. 0, or -EINVAL with Go's words
 * for it. */
int codec_spec_decode(const char *body, size_t len, struct port_spec *out, struct err *e);

/* Whether a spec in a request's body asks for a lease: {"lease": "connection", ...}, which
 * RootlessKit's API does not have. 1, 0, or -EINVAL for another value. */
int codec_lease_decode(const char *body, size_t len, struct err *e);

/* Decodes a body that is an array of specs. *out has *n of them, 1 to max; the caller frees it. 0,
 * -EINVAL with which spec is wrong and why, or -ENOMEM. */
int codec_specs_decode(const char *body, size_t len, size_t max, struct port_spec **out, size_t *n,
		       struct err *e);

/* Decodes a spec from a parsed value; NULL counts as null. */
int codec_spec_take(const json_t *value, struct port_spec *out, struct err *e);

/* Encodes a spec: {"proto":…,"parentIP":…,…}. A new reference, NULL when out of memory. */
json_t *codec_spec_encode(const struct port_spec *spec);

/* Encodes a port: {"id":…,"spec":{…}}. A new reference, NULL when out of memory. */
json_t *codec_port_encode(int id, const struct port_spec *spec);

/* Encodes a message: {"message":…}. A new reference, NULL when out of memory. Bytes that are no
 * UTF-8 are replaced. */
json_t *codec_message_encode(const char *message);

/* Decodes an id, or FIRST-LAST for all ids from one to the other. 0 or -EINVAL. */
int codec_ids_decode(const char *s, long long *first, long long *last, struct err *e);

/* Decodes a decimal number as Go's strconv.Atoi does, with its error message: `bad id abc: …`. */
int codec_id_decode(const char *s, long long *out, struct err *e);

#endif
