/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_PORT_SOCAT_COMMAND_H
#define RINGKIT_DRIVERS_PORT_SOCAT_COMMAND_H

#include <stddef.h>

#include "ports/route.h"

/* Descriptors of the namespaces in socat and all that it starts. */
#define SOCAT_FD_NETNS	3
#define SOCAT_FD_USERNS 4

/* A command line; argv points into it. */
struct socat_command {
	const char *argv[8];
	char listen[160];
	char exec[320];
};

/* port's addresses are written out from their binary form, so nothing that a user wrote gets into
 * socat's little language of commas, colons and quotes; and no shell is involved. */
void socat_build_command(const struct port_route *port, int udp_timeout_ms,
			 struct socat_command *cmd);

/* The message of the first error in what socat wrote (helper_output_tail), in buf; "" when there is
 * none. Returns buf. */
const char *socat_find_error(const char *output, char *buf, size_t size);

#endif
