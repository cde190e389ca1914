/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_PORT_SLIRP4NETNS_ANSWER_H
#define RINGKIT_DRIVERS_PORT_SLIRP4NETNS_ANSWER_H

#include <stddef.h>

#include "base/err.h"

/*
 * The messages on slirp4netns's API socket, slirp4netns(1) "API SOCKET": a connection carries one
 * request and one answer, both JSON. No input or output here.
 */

enum slirp4netns_request {
	SLIRP4NETNS_ADD,    /* {"return":{"id":N}} */
	SLIRP4NETNS_REMOVE, /* {"return":{}} */
	SLIRP4NETNS_LIST,   /* {"entries":[{"id":N,...},...]}, with or without "return" around it */
};

/* An answer of slirp4netns. Zero-initialise it and free it by slirp4netns_answer_free. */
struct slirp4netns_answer {
	char refused[256]; /* slirp4netns's reason, printable; "" when it did as requested */
	long long id;	   /* the id of what was added */
	long long *ids;	   /* the ids of all forwards */
	size_t n_ids;
};

/* Parses an answer. 0, also for a refusal; -EPROTO when it is no answer to such a request, with
 * what came instead in *e; or -ENOMEM. */
int slirp4netns_answer_parse(enum slirp4netns_request request, const char *text, size_t len,
			     struct slirp4netns_answer *out, struct err *e);

void slirp4netns_answer_free(struct slirp4netns_answer *answer);

#endif
