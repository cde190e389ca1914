/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_PORT_SOCAT_COMMAND_H
#define RINGKIT_DRIVERS_PORT_SOCAT_COMMAND_H

#include <stddef.h>

#include "ports/route.h"

/* The descriptors of the namespaces in socat and in all that it starts. */
#define SOCAT_FD_NETNS	3
#define SOCAT_FD_USERNS 4

/* A command line. argv points into the struct. */
struct socat_command {
	const char *argv[8];
	char listen[160];
	char exec[320];
};

/* Makes the command line. The addresses are formatted from their binary form, so that no text of
 * the user's gets into socat's little language of commas, colons and quotes. No shell is
 * involved. */
void socat_build_command(const struct port_route *port, int udp_timeout_ms,
			 struct socat_command *cmd);

/* Finds the message of the first error in socat's output (helper_output_tail), in buf; "" when
 * there is none. Returns buf. */
const char *socat_find_error(const char *output, char *buf, size_t size);

#endif
