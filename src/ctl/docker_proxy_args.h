/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_DOCKER_PROXY_ARGS_H
#define RINGKIT_CTL_DOCKER_PROXY_ARGS_H

#include <stdbool.h>

#include "base/err.h"

/* The arguments that dockerd gives its userland proxy. Strings point into argv. */
struct docker_proxy_args {
	const char *proto; /* "tcp", "udp", "sctp"; the default is tcp, as docker-proxy's */
	const char *host_ip, *container_ip;
	int host_port, container_port;
	bool use_listen_fd; /* descriptor 4 is a socket for docker-proxy */
	bool help, version;
};

/* Parses options as Go's flag package does: one dash or two, "-name value" or "-name=value". Checks
 * addresses and ports. 0 or -EINVAL. */
int docker_proxy_args_parse(int argc, char **argv, struct docker_proxy_args *out, struct err *e);

/* Puts the protocol by the family of the host's address ("tcp4", "udp6" and so on) into buf, of at
 * least 16 bytes. */
const char *docker_proxy_args_proto(const struct docker_proxy_args *args, char *buf);

bool docker_proxy_args_is_ipv6(const struct docker_proxy_args *args);

/* Makes the command line for the real docker-proxy, which listens on host_ip. argv has room for 16
 * pointers, numbers for 2 texts of 12 bytes. program is its path. */
void docker_proxy_args_build(const struct docker_proxy_args *args, const char *program,
			     const char *host_ip, const char *argv[16], char numbers[2][12]);

#endif
