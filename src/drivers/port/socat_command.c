/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/port/socat_command.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"

/* By default socat ends half a second after one side has. A server may take longer to answer a
 * client that has sent all it had. */
#define HALF_CLOSED_S 600

struct printed {
	char ip[INET6_ADDRSTRLEN + 2]; /* IPv6 addresses are in brackets */
	unsigned port;
	char family; /* '4' or '6', as in TCP4 */
};

static struct printed print(const struct sockaddr_storage *ss)
{
	struct printed p = {.family = ss->ss_family == AF_INET6 ? '6' : '4'};
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)ss;
	const struct sockaddr_in *in4 = (const struct sockaddr_in *)ss;
	char text[INET6_ADDRSTRLEN] = "";

	if (p.family == '6')
		inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text));
	else
		inet_ntop(AF_INET, &in4->sin_addr, text, sizeof(text));
	snprintf(p.ip, sizeof(p.ip), p.family == '6' ? "[%s]" : "%s", text);
	p.port = ntohs(p.family == '6' ? in6->sin6_port : in4->sin_port);
	return p;
}

static void build_listen(const struct port_route *port, const char *proto,
			 struct socat_command *cmd)
{
	struct printed at = print(&port->listen);
	bool tcp = port->proto == PORT_TCP;
	const char *family_option = "";
	char tcp_options[64] = "";

	if (tcp)
		snprintf(tcp_options, sizeof(tcp_options), ",backlog=%d,nodelay",
			 LIMIT_SOCAT_BACKLOG);
	if (at.family == '6')
		family_option = port->v6only ? ",ipv6only=1" : ",ipv6only=0";
	snprintf(cmd->listen, sizeof(cmd->listen),
		 "%s%c-LISTEN:%u,bind=%s%s,reuseaddr,fork,max-children=%d%s", proto, at.family,
		 at.port, at.ip, family_option, LIMIT_SOCAT_CONNECTIONS, tcp_options);
}

/* nofork: nsenter, and the socat inside, get the connection itself as descriptor 0. shut-down:
 * without it that socat does not take descriptor 0 for a socket, and does not pass on the end of
 * the server's stream. */
static void build_exec(const struct port_route *port, const char *proto, int udp_timeout_ms,
		       struct socat_command *cmd)
{
	struct printed to = print(&port->target);
	bool tcp = port->proto == PORT_TCP;
	char limits[64];

	if (tcp)
		snprintf(limits, sizeof(limits), "-t %d", HALF_CLOSED_S);
	else
		snprintf(limits, sizeof(limits), "-T %d",
			 ((udp_timeout_ms > 0 ? udp_timeout_ms : DEFAULT_UDP_TIMEOUT_MS) + 999) /
				 1000);
	snprintf(cmd->exec, sizeof(cmd->exec),
		 "EXEC:\"nsenter --user=/proc/self/fd/%d --net=/proc/self/fd/%d "
		 "--preserve-credentials socat -b %d %s STDIN%s %s%c:%s:%u%s\",nofork",
		 SOCAT_FD_USERNS, SOCAT_FD_NETNS, LIMIT_SOCAT_BLOCK_BYTES, limits,
		 tcp ? ",shut-down" : "", proto, to.family, to.ip, to.port, tcp ? ",nodelay" : "");
}

void socat_build_command(const struct port_route *port, int udp_timeout_ms,
			 struct socat_command *cmd)
{
	const char *proto = port->proto == PORT_TCP ? "TCP" : "UDP";
	size_t n = 0;

	build_listen(port, proto, cmd);
	build_exec(port, proto, udp_timeout_ms, cmd);
	cmd->argv[n++] = "socat";
	cmd->argv[n++] = "-d"; /* given twice, it makes socat say when it listens */
	cmd->argv[n++] = "-d";
	cmd->argv[n++] = cmd->listen;
	cmd->argv[n++] = cmd->exec;
	cmd->argv[n] = NULL;
}

/* socat's lines are `DATE TIME socat[PID] E MESSAGE`; helper_output puts "; " between lines. */
const char *socat_find_error(const char *output, char *buf, size_t size)
{
	const char *at = strstr(output, "] E "), *end;
	size_t len;

	buf[0] = '\0';
	if (!at)
		return buf;
	at += strlen("] E ");
	end = strstr(at, "; ");
	len = end ? (size_t)(end - at) : strlen(at);
	snprintf(buf, size, "%.*s", (int)len, at);
	return buf;
}
