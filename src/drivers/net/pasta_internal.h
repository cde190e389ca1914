/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_NET_PASTA_INTERNAL_H
#define RINGKIT_DRIVERS_NET_PASTA_INTERNAL_H

#include <limits.h>
#include <stdbool.h>

#include "drivers/driver.h"
#include "drivers/net/cidr.h"

/* Options that not every pasta has. Plain data. */
struct pasta_features {
	bool host_lo_to_ns_lo;
};

/* Whether pasta's answer says, in its first line, that it does not know an option. The usage text,
 * if there is any, is cut off. */
bool pasta_lacks_option(char *answer);

/* Whether TCP ports of the host's loopback are reachable on the one inside. Tests showed that
 * Debian's version of March 2023 opens no port outside (--tcp-ports=auto) unless it may do this
 * too. Versions with --host-lo-to-ns-lo (2024) do not need it. */
bool pasta_opens_host_loopback(const struct net_params *params, const struct pasta_features *have);

/* Words and numbers of one command line. argv points into the struct: do not copy it. */
struct pasta_command {
	char mtu[24], ifname[40], address[40], netmask[24], gateway[40], dns[40];
	char userns[40], netns[40], conf[PATH_MAX + 16];
	const char *argv[40];
};

void pasta_build_command(const struct net_params *params, const struct net_target *target,
			 const struct cidr *cidr, const struct pasta_features *have,
			 struct pasta_command *cmd);

#endif
