/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_NET_SLIRP4NETNS_INTERNAL_H
#define RINGKIT_DRIVERS_NET_SLIRP4NETNS_INTERNAL_H

#include <stdbool.h>

#include "drivers/driver.h"
#include "drivers/net/cidr.h"

/* The options that a slirp4netns knows, from its --help. Plain data. */
struct slirp4netns_features {
	bool netns_type; /* came with 0.4.0, whose other options it stands for */
	bool cidr, disable_host_loopback, api_socket, ipv6, sandbox, seccomp;
};

void slirp4netns_parse_help(const char *help, struct slirp4netns_features *out);

/* Checks that these options are enough for what the user asks. 0, or -ENOTSUP with what is
 * missing. */
int slirp4netns_check_features(const struct net_params *params,
			       const struct slirp4netns_features *have, struct err *e);

/* Words and numbers of one command line. argv points into the struct: do not copy it. */
struct slirp4netns_command {
	char mtu[16], cidr[64], target[64], userns[64];
	const char *argv[32];
};

/* The descriptors that slirp4netns gets, in this order from 3 on: ready, exit and, with a detached
 * namespace, the network and user namespaces. */
enum { SLIRP_FD_READY = 3, SLIRP_FD_EXIT, SLIRP_FD_NETNS, SLIRP_FD_USERNS };

/* Whether the network namespace is not the child's: then the descriptors of target name it. */
bool slirp4netns_detached(const struct net_params *params, const struct net_target *target);

void slirp4netns_build_command(const struct net_params *params, const struct net_target *target,
			       const struct cidr *cidr, bool sandbox, bool seccomp,
			       struct slirp4netns_command *cmd);

#endif
