/* SPDX-License-Identifier: Apache-2.0 */
/* Checks which options a pasta(1) has, and makes its command line. Starts no process. */
#include <stdio.h>
#include <string.h>

#include "drivers/net/pasta_internal.h"
#include "drivers/registry_internal.h"

bool pasta_lacks_option(char *answer)
{
	char *usage = strstr(answer, "Usage:");

	if (usage) {
		while (usage > answer && usage[-1] == ' ')
			usage--;
		*usage = '\0';
	}
	return strcasestr(answer, "option") != NULL;
}

bool pasta_opens_host_loopback(const struct net_params *params, const struct pasta_features *have)
{
	return !params->disable_host_loopback || (params->auto_ports && !have->host_lo_to_ns_lo);
}

/* Passes a detached namespace as standard input: STATE/netns is mounted where only the child sees
 * it, and later versions of pasta close every other inherited descriptor. */
static const char **add_target(const struct net_params *params, const struct net_target *target,
			       struct pasta_command *cmd, const char **arg)
{
	if (!params->detach_netns) {
		snprintf(cmd->netns, sizeof(cmd->netns), "%d", (int)target->child_pid);
		*arg++ = cmd->netns;
		return arg;
	}
	/* Otherwise pasta watches the name of the namespace, and ends when it vanishes; we end
	 * pasta. */
	*arg++ = "--no-netns-quit";
	snprintf(cmd->userns, sizeof(cmd->userns), "--userns=/proc/%d/ns/user",
		 (int)target->child_pid);
	snprintf(cmd->netns, sizeof(cmd->netns), "--netns=/proc/self/fd/0");
	*arg++ = cmd->userns;
	*arg++ = cmd->netns;
	return arg;
}

static const char **add_addresses(const struct cidr *cidr, struct pasta_command *cmd,
				  const char **arg)
{
	char ip[INET_ADDRSTRLEN];

	snprintf(cmd->address, sizeof(cmd->address), "--address=%s",
		 cidr_address(cidr, CIDR_INSIDE, ip));
	snprintf(cmd->netmask, sizeof(cmd->netmask), "--netmask=%d", cidr->prefix_len);
	snprintf(cmd->gateway, sizeof(cmd->gateway), "--gateway=%s",
		 cidr_address(cidr, CIDR_GATEWAY, ip));
	snprintf(cmd->dns, sizeof(cmd->dns), "--dns-forward=%s", cidr_address(cidr, CIDR_DNS, ip));
	*arg++ = cmd->address;
	*arg++ = cmd->netmask;
	*arg++ = cmd->gateway;
	*arg++ = cmd->dns;
	return arg;
}

void pasta_build_command(const struct net_params *params, const struct net_target *target,
			 const struct cidr *cidr, const struct pasta_features *have,
			 struct pasta_command *cmd)
{
	const char **arg = cmd->argv;

	*arg++ = params->binary ? params->binary : "pasta";
	/* pasta stays our child, so that it dies with us. It writes its pid when it is ready. */
	*arg++ = "--foreground";
	*arg++ = "--pid=/proc/self/fd/1";
	/* Later versions do this by default, and warn that the option will be dropped. */
	if (!have->host_lo_to_ns_lo)
		*arg++ = "--stderr";
	snprintf(cmd->ifname, sizeof(cmd->ifname), "--ns-ifname=%s",
		 net_ifname(&net_pasta_ops, params));
	snprintf(cmd->mtu, sizeof(cmd->mtu), "--mtu=%d", net_mtu(&net_pasta_ops, params));
	*arg++ = cmd->ifname;
	*arg++ = cmd->mtu;
	*arg++ = "--config-net";
	arg = add_addresses(cidr, cmd, arg);
	if (params->disable_host_loopback) {
		*arg++ = "--no-map-gw";
		/* By default, pasta makes the ports that are open on the host's loopback reachable
		 * on the one inside. */
		if (!pasta_opens_host_loopback(params, have))
			*arg++ = "--tcp-ns=none";
		*arg++ = "--udp-ns=none";
	}
	if (!params->ipv6)
		*arg++ = "--ipv4-only";
	*arg++ = params->auto_ports ? "--tcp-ports=auto" : "--tcp-ports=none";
	*arg++ = params->auto_ports ? "--udp-ports=auto" : "--udp-ports=none";
	if (params->auto_ports && have->host_lo_to_ns_lo)
		*arg++ = "--host-lo-to-ns-lo";
	if (params->api_socket) {
		snprintf(cmd->conf, sizeof(cmd->conf), "--conf-path=%s", params->api_socket);
		*arg++ = cmd->conf;
	}
	arg = add_target(params, target, cmd, arg);
	*arg = NULL;
}
