/* SPDX-License-Identifier: Apache-2.0 */
#include "ports/address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/fd.h"
#include "base/sockaddr.h"

/*
 * Listening, after Go's net.Listen and net.ListenUDP:
 *   tcp   ""  0.0.0.0  ::     one socket for IPv6 and IPv4
 *   tcp   any other address   that address
 *   tcp4  "" and :: mean 0.0.0.0; an IPv6 address is an error
 *   tcp6  "" means ::, for IPv6 alone; an IPv4 address is an error
 * and the same for udp.
 */

struct proto {
	const char *name;
	enum port_proto proto;
	int family; /* AF_UNSPEC: either */
};

static const struct proto protos[] = {
	{"tcp", PORT_TCP, AF_UNSPEC}, {"tcp4", PORT_TCP, AF_INET}, {"tcp6", PORT_TCP, AF_INET6},
	{"udp", PORT_UDP, AF_UNSPEC}, {"udp4", PORT_UDP, AF_INET}, {"udp6", PORT_UDP, AF_INET6},
};

static const struct proto *proto_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(protos); i++)
		if (!strcmp(protos[i].name, name))
			return &protos[i];
	return NULL;
}

static void set_in4(struct sockaddr_storage *ss, struct in_addr addr, uint16_t port)
{
	struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = addr};

	memset(ss, 0, sizeof(*ss));
	memcpy(ss, &in4, sizeof(in4));
}

static void set_in6(struct sockaddr_storage *ss, const struct in6_addr *addr, uint16_t port)
{
	struct sockaddr_in6 in6 = {
		.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = *addr};

	memset(ss, 0, sizeof(*ss));
	memcpy(ss, &in6, sizeof(in6));
}

/* Go treats an IPv4-mapped IPv6 address as the IPv4 address that it maps. */
static int set_ip(struct sockaddr_storage *ss, const char *ip, uint16_t port)
{
	struct in6_addr a6;
	struct in_addr a4;

	if (inet_pton(AF_INET, ip, &a4) == 1) {
		set_in4(ss, a4, port);
		return 0;
	}
	if (inet_pton(AF_INET6, ip, &a6) != 1)
		return -EINVAL;
	if (IN6_IS_ADDR_V4MAPPED(&a6)) {
		memcpy(&a4, &a6.s6_addr[12], sizeof(a4));
		set_in4(ss, a4, port);
	} else {
		set_in6(ss, &a6, port);
	}
	return 0;
}

const char *port_address_unmapped(const char *ip, char buf[INET_ADDRSTRLEN])
{
	struct sockaddr_storage ss = {0};

	if (!strchr(ip, ':') || set_ip(&ss, ip, 0) < 0 || ss.ss_family != AF_INET)
		return ip;
	inet_ntop(AF_INET, &((struct sockaddr_in *)&ss)->sin_addr, buf, INET_ADDRSTRLEN);
	return buf;
}

static bool is_wildcard(const struct sockaddr_storage *ss)
{
	if (ss->ss_family == AF_INET6)
		return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)ss)->sin6_addr);
	return ((const struct sockaddr_in *)ss)->sin_addr.s_addr == INADDR_ANY;
}

static void set_any4(struct sockaddr_storage *ss, uint16_t port)
{
	set_in4(ss, (struct in_addr){.s_addr = INADDR_ANY}, port);
}

/* Go resolves UDP addresses in a step of its own, whose errors do not say "listen". */
static int unsuitable(const struct proto *proto, const struct port_spec *spec, struct err *e)
{
	if (proto->proto == PORT_UDP)
		return err_set(e, -EINVAL, "address %s: no suitable address found",
			       spec->parent_ip);
	return err_set(e, -EINVAL, "listen %s: address %s: no suitable address found", spec->proto,
		       spec->parent_ip);
}

/* The address to listen on, before dual stack is considered. */
static int listen_addr(const struct proto *proto, const struct port_spec *spec,
		       struct sockaddr_storage *ss, struct err *e)
{
	uint16_t port = (uint16_t)spec->parent_port;

	if (spec->parent_ip[0] == '\0') {
		if (proto->family == AF_INET)
			set_any4(ss, port);
		else
			set_in6(ss, &in6addr_any, port);
		return 0;
	}
	if (set_ip(ss, spec->parent_ip, port) < 0)
		return err_set(e, -EINVAL, "invalid ParentIP: \"%s\"", spec->parent_ip);
	if (proto->family == AF_INET && ss->ss_family == AF_INET6 && is_wildcard(ss))
		set_any4(ss, port);
	if (proto->family != AF_UNSPEC && proto->family != ss->ss_family)
		return unsuitable(proto, spec, e);
	return 0;
}

static int resolve_listen(const struct proto *proto, const struct port_spec *spec,
			  struct port_route *port, struct err *e)
{
	int code = listen_addr(proto, spec, &port->listen, e);

	if (code)
		return code;
	if (proto->family == AF_UNSPEC && is_wildcard(&port->listen))
		set_in6(&port->listen, &in6addr_any, (uint16_t)spec->parent_port);
	port->v6only = proto->family == AF_INET6;
	return 0;
}

/*
 * Connecting. A child IP is used as it is given. Without one the server is looked for on 127.0.0.1,
 * or on the parent IP when that is another loopback address: a server in the namespace that listens
 * on 127.0.0.2 is published with 127.0.0.2. Any other parent IP says nothing about the namespace,
 * which has none of the host's addresses: a connection to one would leave the namespace, and could
 * reach a service of the host.
 */
static int resolve_target(const struct port_spec *spec, struct port_route *port, struct err *e)
{
	const struct in_addr loop4 = {.s_addr = htonl(INADDR_LOOPBACK)};
	uint16_t child_port = (uint16_t)spec->child_port;
	const char *ip = spec->child_ip;
	struct sockaddr_storage parent;

	memset(&port->target2, 0, sizeof(port->target2));
	port->literal = ip[0] != '\0';
	if (port->literal) {
		if (set_ip(&port->target, ip, child_port) < 0)
			return err_set(e, -EINVAL, "invalid ChildIP: \"%s\"", ip);
		return 0;
	}
	set_in4(&port->target, loop4, child_port);
	if (!spec->parent_ip[0] || set_ip(&parent, spec->parent_ip, child_port) < 0)
		return 0;
	if (parent.ss_family == AF_INET6)
		set_in6(&port->target2, &in6addr_loopback, child_port);
	if (!sockaddr_is_loopback((const struct sockaddr *)&parent))
		return 0;
	if (parent.ss_family == AF_INET6)
		port->target2 = port->target;
	port->target = parent;
	return 0;
}

/* The address to listen on in the namespace as well (childListenIP), with the parent port's number.
 * The socket serves one family alone: who wants both publishes twice, as Docker does. */
static int resolve_inside(const struct proto *proto, const struct port_spec *spec,
			  struct port_route *port, struct err *e)
{
	const char *ip = spec->child_listen_ip;

	memset(&port->inside, 0, sizeof(port->inside));
	if (!ip[0])
		return 0;
	if (set_ip(&port->inside, ip, (uint16_t)spec->parent_port) < 0)
		return err_set(e, -EINVAL, "invalid ChildListenIP: \"%s\"", ip);
	if (proto->family != AF_UNSPEC && proto->family != port->inside.ss_family)
		return err_set(e, -EINVAL, "ChildListenIP %s does not suit %s", ip, spec->proto);
	return 0;
}

int port_address_resolve(const struct port_spec *spec, struct port_route *port, struct err *e)
{
	const struct proto *proto = proto_find(spec->proto);
	int code;

	if (!proto)
		return err_set(
			e, -EINVAL,
			"spec was not validated?: proto %s is not supported: tcp and udp are",
			spec->proto);
	port->proto = proto->proto;
	code = resolve_listen(proto, spec, port, e);
	code = code ? code : resolve_inside(proto, spec, port, e);
	return code ? code : resolve_target(spec, port, e);
}

bool port_address_without_ipv6(struct port_route *port)
{
	if (port->listen.ss_family != AF_INET6 || port->v6only || !is_wildcard(&port->listen))
		return false;
	set_any4(&port->listen, ntohs(((struct sockaddr_in6 *)&port->listen)->sin6_port));
	return true;
}

/* The parent address as Go writes it: canonical, IPv6 in brackets, nothing when none was given. */
static void format_addr(const struct port_spec *spec, char *buf, size_t size)
{
	const struct proto *proto = proto_find(spec->proto);
	struct sockaddr_storage ss = {0};
	char ip[INET6_ADDRSTRLEN] = "";

	if (spec->parent_ip[0] && proto && listen_addr(proto, spec, &ss, NULL) == 0) {
		if (ss.ss_family == AF_INET)
			inet_ntop(AF_INET, &((struct sockaddr_in *)&ss)->sin_addr, ip, sizeof(ip));
		else
			inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&ss)->sin6_addr, ip,
				  sizeof(ip));
	}
	snprintf(buf, size, strchr(ip, ':') ? "[%s]:%lld" : "%s:%lld", ip, spec->parent_port);
}

/* The name of the system call that failed with this errno, as Go's messages name it. */
static const char *failed_call(int code)
{
	switch (-code) {
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ENOMEM:
	case EAFNOSUPPORT:
		return "socket";
	default:
		return "bind";
	}
}

int port_address_error(const struct port_spec *spec, int code, long long unprivileged_start,
		       struct err *e)
{
	char addr[INET6_ADDRSTRLEN + 16], text[128], hint[128] = "";

	format_addr(spec, addr, sizeof(addr));
	/* Go's words for an errno are the C library's with a small letter. */
	snprintf(text, sizeof(text), "%s", strerror(-code));
	text[0] = (char)tolower((unsigned char)text[0]);
	if (code == -EMFILE)
		snprintf(hint, sizeof(hint),
			 " (of %u, some are kept for connections; a higher hard limit helps: "
			 "ulimit -Hn, or LimitNOFILE= of systemd)",
			 fd_limit());
	err_set(e, code, "listen %s %s: %s: %s%s", spec->proto, addr, failed_call(code), text,
		hint);
	if ((code == -EACCES || code == -EPERM) && unprivileged_start >= 0 &&
	    spec->parent_port < unprivileged_start)
		err_wrap(e, code,
			 "cannot expose privileged port %lld, you can add "
			 "'net.ipv4.ip_unprivileged_port_start=%lld' to /etc/sysctl.conf "
			 "(currently %lld), or set CAP_NET_BIND_SERVICE on rootlesskit binary, or "
			 "choose a larger port number (>= %lld)",
			 spec->parent_port, spec->parent_port, unprivileged_start,
			 unprivileged_start);
	return code;
}

int port_address_inside_error(const struct port_spec *spec, int code, struct err *e)
{
	return err_errno(e, code, "cannot listen in the namespace: %s %s, port %lld", spec->proto,
			 spec->child_listen_ip, spec->parent_port);
}

long long port_address_unprivileged_start(void)
{
	char text[32];

	if (fd_read_file("/proc/sys/net/ipv4/ip_unprivileged_port_start", text, sizeof(text)) <= 0)
		return -1;
	return strtoll(text, NULL, 10);
}
