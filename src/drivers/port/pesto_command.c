/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/port/pesto_command.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ports/address.h"

static bool is_ipv6(const char *ip)
{
	char buf[INET_ADDRSTRLEN];

	return strchr(port_address_unmapped(ip, buf), ':') != NULL;
}

static int unsupported(const struct port_spec *spec, const char *why, struct err *e)
{
	char quoted[300];

	return err_set(e, -EPROTONOSUPPORT, "unsupported protocol %s%s",
		       quote_go(spec->proto, quoted, sizeof(quoted)), why);
}

static int check_child_ip(const struct port_spec *spec, bool ipv6, const char *child_ip,
			  struct err *e)
{
	char own[INET_ADDRSTRLEN];
	const char *ip = port_address_unmapped(spec->child_ip, own);

	if (!ip[0] || (!ipv6 && !strcmp(ip, child_ip)))
		return 0;
	return err_set(
		e, -EINVAL,
		"child IP %s: pasta sends to the namespace's own address alone%s%s; leave it "
		"out",
		spec->child_ip, ipv6 ? "" : ", ", ipv6 ? "" : child_ip);
}

int pesto_spec(const struct port_spec *spec, bool ipv6, const char *child_ip, struct port_spec *out,
	       struct err *e)
{
	size_t len = strlen(spec->proto);
	char family = len == 4 ? spec->proto[3] : '\0', ip[INET_ADDRSTRLEN];
	bool six = spec->parent_ip[0] ? is_ipv6(spec->parent_ip) : family == '6';

	if ((strncmp(spec->proto, "tcp", 3) != 0 && strncmp(spec->proto, "udp", 3) != 0) || len > 4)
		return unsupported(spec, "", e);
	if ((family == '4' && six) || (family == '6' && !six))
		return err_set(e, -EINVAL, "listen %s: address %s: no suitable address found",
			       spec->proto, spec->parent_ip);
	if (six && !ipv6)
		return unsupported(spec, ": an IPv6 port needs --ipv6", e);
	if (check_child_ip(spec, six, child_ip, e) < 0)
		return e->code;
	*out = *spec;
	snprintf(out->proto, sizeof(out->proto), "%.3s%c", spec->proto, six ? '6' : '4');
	snprintf(out->parent_ip, sizeof(out->parent_ip), "%s",
		 spec->parent_ip[0] ? port_address_unmapped(spec->parent_ip, ip)
		 : six		    ? "::"
				    : "0.0.0.0");
	return 0;
}

void pesto_build_command(const struct port_spec *spec, bool remove, const char *binary,
			 const char *socket, struct pesto_command *cmd)
{
	snprintf(cmd->rule, sizeof(cmd->rule), "--%.3s-ports=%.*s/%lld:%lld", spec->proto,
		 INET6_ADDRSTRLEN, spec->parent_ip, spec->parent_port, spec->child_port);
	cmd->argv[0] = binary;
	cmd->argv[1] = remove ? "--delete" : "--add";
	cmd->argv[2] = cmd->rule;
	cmd->argv[3] = socket;
	cmd->argv[4] = NULL;
}
