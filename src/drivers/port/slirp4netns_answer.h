/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_PORT_SLIRP4NETNS_ANSWER_H
#define RINGKIT_DRIVERS_PORT_SLIRP4NETNS_ANSWER_H

#include <stddef.h>

#include "base/err.h"

/*
 * The language of slirp4netns's API socket, slirp4netns(1) "API SOCKET": a connection carries one
 * request and one answer, both JSON. No input or output here.
 */

enum slirp4netns_request {
	SLIRP4NETNS_ADD,    /* {"return":{"id":N}} */
	SLIRP4NETNS_REMOVE, /* {"return":{}} */
	SLIRP4NETNS_LIST,   /* {"entries":[{"id":N,...},...]}, with or without "return" around it */
};

/* An answer of slirp4netns. Zero-initialise it and give it back to slirp4netns_answer_free. */
struct slirp4netns_answer {
	char refused[256]; /* its own words, printable; "" when it did as asked */
	long long id;	   /* of what was added */
	long long *ids;	   /* of what there is */
	size_t n_ids;
};

/* 0 (a refusal included), -EPROTO when it is no answer to such a request, with what came instead in
 * *e, or -ENOMEM. */
int slirp4netns_answer_parse(enum slirp4netns_request request, const char *text, size_t len,
			     struct slirp4netns_answer *out, struct err *e);

void slirp4netns_answer_free(struct slirp4netns_answer *answer);

#endif
