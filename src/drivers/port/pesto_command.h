/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_PORT_PESTO_COMMAND_H
#define RINGKIT_DRIVERS_PORT_PESTO_COMMAND_H

#include <netinet/in.h>
#include <stdbool.h>

#include "base/err.h"
#include "ports/spec.h"

/* Makes pesto(1)'s command line for a port. Starts no process. */

/*
 * Brings a port into pesto's form, with a protocol of one family and an address. pasta has a rule
 * for each family. A missing address becomes that family's wildcard: IPv4's unless the protocol or
 * the child IP says IPv6. child_ip: the namespace's own address, the only one that pasta sends to.
 * 0, or -errno with *e filled in.
 */
int pesto_spec(const struct port_spec *spec, bool ipv6, const char *child_ip, struct port_spec *out,
	       struct err *e);

/* Words of one command line. argv points into the struct: do not copy it. */
struct pesto_command {
	char rule[40 + INET6_ADDRSTRLEN];
	const char *argv[6];
};

/* Makes the command line. spec: made by pesto_spec. remove: the rule is to be removed. */
void pesto_build_command(const struct port_spec *spec, bool remove, const char *binary,
			 const char *socket, struct pesto_command *cmd);

#endif
