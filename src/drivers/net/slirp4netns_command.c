/* SPDX-License-Identifier: Apache-2.0 */
/* Checks which options a slirp4netns(1) has, and makes its command line. Starts no process. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "drivers/net/slirp4netns_internal.h"
#include "drivers/registry_internal.h"

void slirp4netns_parse_help(const char *help, struct slirp4netns_features *out)
{
	out->netns_type = strstr(help, "--netns-type") != NULL;
	out->cidr = strstr(help, "--cidr") != NULL;
	out->disable_host_loopback = strstr(help, "--disable-host-loopback") != NULL;
	out->api_socket = strstr(help, "--api-socket") != NULL;
	out->ipv6 = strstr(help, "--enable-ipv6") != NULL;
	out->sandbox = strstr(help, "--enable-sandbox") != NULL;
	out->seccomp = strstr(help, "--enable-seccomp") != NULL;
}

int slirp4netns_check_features(const struct net_params *params,
			       const struct slirp4netns_features *have, struct err *e)
{
	const struct {
		bool wanted, there;
		const char *option;
	} rows[] = {
		{params->cidr != NULL, have->cidr, "--cidr"},
		{params->disable_host_loopback, have->disable_host_loopback,
		 "--disable-host-loopback"},
		{params->api_socket != NULL, have->api_socket, "--api-socket"},
		{params->ipv6, have->ipv6, "--enable-ipv6 (asked for by --ipv6)"},
		{!strcmp(params->sandbox, "true"), have->sandbox,
		 "--enable-sandbox (asked for by --slirp4netns-sandbox=true)"},
		{!strcmp(params->seccomp, "true"), have->seccomp,
		 "--enable-seccomp (asked for by --slirp4netns-seccomp=true)"},
	};

	if (!have->netns_type)
		return err_set(e, -ENOTSUP,
			       "unsupported slirp4netns version: 0.4.0 or later is needed");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].wanted && !rows[i].there)
			return err_set(
				e, -ENOTSUP,
				"unsupported slirp4netns version: it lacks %s; install a newer one",
				rows[i].option);
	return 0;
}

bool slirp4netns_detached(const struct net_params *params, const struct net_target *target)
{
	return params->detach_netns || target->netns_path;
}

/* Names a detached namespace by the descriptor that slirp4netns inherits: STATE/netns is mounted
 * where only the child sees it, and a pid may be another process's by now. */
static const char **add_target(const struct net_params *params, const struct net_target *target,
			       struct slirp4netns_command *cmd, const char **arg)
{
	if (!slirp4netns_detached(params, target)) {
		snprintf(cmd->target, sizeof(cmd->target), "%d", (int)target->child_pid);
		*arg++ = cmd->target;
		return arg;
	}
	snprintf(cmd->userns, sizeof(cmd->userns), "--userns-path=/proc/self/fd/%d",
		 SLIRP_FD_USERNS);
	snprintf(cmd->target, sizeof(cmd->target), "/proc/self/fd/%d", SLIRP_FD_NETNS);
	*arg++ = cmd->userns;
	*arg++ = "--netns-type=path";
	*arg++ = cmd->target;
	return arg;
}

void slirp4netns_build_command(const struct net_params *params, const struct net_target *target,
			       const struct cidr *cidr, bool sandbox, bool seccomp,
			       struct slirp4netns_command *cmd)
{
	const char **arg = cmd->argv;
	char base[INET_ADDRSTRLEN];

	snprintf(cmd->mtu, sizeof(cmd->mtu), "%d", net_mtu(&net_slirp4netns_ops, params));
	*arg++ = params->binary ? params->binary : "slirp4netns";
	*arg++ = "--mtu";
	*arg++ = cmd->mtu;
	*arg++ = "-r";
	*arg++ = "3";
	*arg++ = "-e";
	*arg++ = "4";
	if (params->disable_host_loopback)
		*arg++ = "--disable-host-loopback";
	if (params->cidr) {
		snprintf(cmd->cidr, sizeof(cmd->cidr), "%s/%d", cidr_address(cidr, 0, base),
			 cidr->prefix_len);
		*arg++ = "--cidr";
		*arg++ = cmd->cidr;
	}
	if (params->api_socket) {
		*arg++ = "--api-socket";
		*arg++ = params->api_socket;
	}
	if (sandbox)
		*arg++ = "--enable-sandbox";
	if (seccomp)
		*arg++ = "--enable-seccomp";
	if (params->ipv6)
		*arg++ = "--enable-ipv6";
	arg = add_target(params, target, cmd, arg);
	*arg++ = params->ifname ? params->ifname : "tap0";
	*arg = NULL;
}

static_assert(SLIRP_FD_READY == 3 && SLIRP_FD_EXIT == 4, "as written in the command line");
