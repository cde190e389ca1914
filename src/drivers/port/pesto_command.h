/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_PORT_PESTO_COMMAND_H
#define RINGKIT_DRIVERS_PORT_PESTO_COMMAND_H

#include <netinet/in.h>
#include <stdbool.h>

#include "base/err.h"
#include "ports/spec.h"

/* What pesto(1) is told about a port. No processes here. */

/*
 * The port as pesto can have it, with a protocol of one family and an address: pasta has a rule for
 * each family, and an address that is left out is that family's wildcard, IPv4's unless the
 * protocol or the child IP says IPv6. child_ip: the namespace's own, which pasta sends to; no other
 * can be had. 0, or -errno with *e filled in.
 */
int pesto_spec(const struct port_spec *spec, bool ipv6, const char *child_ip, struct port_spec *out,
	       struct err *e);

/* Words of one command line. argv points into the struct: do not copy it. */
struct pesto_command {
	char rule[40 + INET6_ADDRSTRLEN];
	const char *argv[6];
};

/* spec as pesto_spec made it. remove: the rule is to go. */
void pesto_build_command(const struct port_spec *spec, bool remove, const char *binary,
			 const char *socket, struct pesto_command *cmd);

#endif
