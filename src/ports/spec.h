/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_PORTS_SPEC_H
#define RINGKIT_PORTS_SPEC_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/*
 * A port to publish, as the user wrote it: the API answers with the same words.
 *   [PARENTIP:]PARENTPORT:[CHILDIP:]CHILDPORT/PROTO      IPv6 addresses in brackets
 * Beyond RootlessKit, both ports may be ranges of the same length, FIRST-LAST.
 * Plain data: copy it by assignment.
 */
struct port_spec {
	char proto[64];	    /* "tcp", "tcp4", "tcp6", "udp", ...; may be unknown until validated */
	char parent_ip[64]; /* "" when absent */
	char child_ip[64];  /* "" when absent */
	long long parent_port;
	long long child_port; /* wide: the API takes any integer, and validation refuses it by value
			       */
	/* Beyond RootlessKit: the port is served in the namespace, too, at this address and
	 * parent_port. "" when absent. Not in the string form. */
	char child_listen_ip[64];
	long long count; /* ports of a range that starts at parent_port and child_port; 0 or 1: no
			    range */
};

/* Parses the string form. Errors have RootlessKit's words where it has such. Numbers and addresses
 * are not checked: portspec_validate does that. 0 or -EINVAL. */
int portspec_parse(const char *s, struct port_spec *out, struct err *e);

/* The number of ports: 1, or those of a range. */
static inline size_t portspec_count(const struct port_spec *spec)
{
	return spec->count > 1 ? (size_t)spec->count : 1;
}

/* The i-th port of a range, as a spec of its own. */
struct port_spec portspec_at(const struct port_spec *spec, size_t i);

/* Checks protocol, addresses and port numbers: 0 or -EINVAL with RootlessKit's words (`unknown
 * proto: "foo"`, `invalid ParentIP: "x"`, `invalid ParentPort: 0: …`). sctp is a known protocol
 * here: the driver refuses it. */
int portspec_validate(const struct port_spec *spec, struct err *e);

/* Writes the string form to buf; returns buf. */
const char *portspec_format(const struct port_spec *spec, char *buf, size_t size);

/* Whether two specs conflict as RootlessKit defines it: same protocol string and parent IP, and a
 * parent port in common. */
bool portspec_conflicts(const struct port_spec *a, const struct port_spec *b);

/* Writes s to buf in double quotes with Go's %q escapes; returns buf. */
const char *quote_go(const char *s, char *buf, size_t size);

#endif
