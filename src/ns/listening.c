/* SPDX-License-Identifier: Apache-2.0 */
#include "ns/listening.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fd.h"
#include "ns/netlink.h"
#include "ns/sysctl.h"

/* The kernel makes no message of a dump longer than this. */
#define DUMP_BYTES 32768

/* Messages of one dump (a protocol of a family). A dump ends by itself; this limit is for a
 * namespace that makes sockets as fast as they are read. */
#define MESSAGES_MAX 4096

static const struct {
	uint8_t family, proto;
	uint32_t states;
} dumps[] = {
	{AF_INET, IPPROTO_TCP, 1u << TCP_LISTEN},
	{AF_INET6, IPPROTO_TCP, 1u << TCP_LISTEN},
	{AF_INET, IPPROTO_UDP, 1u << TCP_CLOSE}, /* an unconnected UDP socket has this state */
	{AF_INET6, IPPROTO_UDP, 1u << TCP_CLOSE},
};

static void ignore(void *arg, const struct listening *l)
{
	(void)arg;
	(void)l;
}

int listening_open(struct listening_source *out, struct err *e)
{
	int code;

	*out = (struct listening_source){.fd = socket(AF_NETLINK,
						      SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
						      NETLINK_SOCK_DIAG)};
	if (out->fd < 0)
		return err_errno(e, -errno, "socket that asks for those that listen");
	sysctl_local_ports(&out->ephemeral_first, &out->ephemeral_last);
	code = listening_each(out, ignore, NULL);
	if (code) {
		close_fd(&out->fd);
		return err_errno(e, code,
				 "the kernel does not say which sockets listen (modprobe -a "
				 "tcp_diag udp_diag)");
	}
	return 0;
}

static int ask(struct listening_source *src, unsigned i)
{
	struct {
		struct nlmsghdr head;
		struct inet_diag_req_v2 body;
	} req = {.head = {.nlmsg_len = sizeof(req),
			  .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			  .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
			  .nlmsg_seq = ++src->seq},
		 .body = {.sdiag_family = dumps[i].family,
			  .sdiag_protocol = dumps[i].proto,
			  .idiag_states = dumps[i].states}};
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	ssize_t n =
		sendto(src->fd, &req, sizeof(req), 0, (struct sockaddr *)&kernel, sizeof(kernel));

	return n < 0 ? -errno : 0;
}

static bool read_socket(const struct nlmsghdr *nlh, uint8_t proto, struct listening *out)
{
	const struct nlattr *attr;
	struct inet_diag_msg msg;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(msg))
		return false;
	memcpy(&msg, mnl_nlmsg_get_payload(nlh), sizeof(msg));
	*out = (struct listening){.proto = proto, .addr.in6 = {.sin6_family = msg.idiag_family}};
	if (msg.idiag_family == AF_INET) {
		out->addr.in4.sin_port = msg.id.idiag_sport;
		memcpy(&out->addr.in4.sin_addr, msg.id.idiag_src, sizeof(struct in_addr));
	} else if (msg.idiag_family == AF_INET6) {
		out->addr.in6.sin6_port = msg.id.idiag_sport;
		memcpy(&out->addr.in6.sin6_addr, msg.id.idiag_src, sizeof(struct in6_addr));
	} else {
		return false;
	}
	for (attr = mnl_nlmsg_get_payload_offset(nlh, sizeof(msg));
	     mnl_attr_ok(attr, netlink_left(nlh, attr)); attr = mnl_attr_next(attr))
		if (mnl_attr_get_type(attr) == INET_DIAG_SKV6ONLY &&
		    mnl_attr_get_payload_len(attr) >= 1)
			out->v6only = mnl_attr_get_u8(attr) != 0;
	return msg.id.idiag_sport != 0 && msg.id.idiag_dport == 0;
}

static int error_of(const struct nlmsghdr *nlh)
{
	struct nlmsgerr err;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(err))
		return -EPROTO;
	memcpy(&err, mnl_nlmsg_get_payload(nlh), sizeof(err));
	return err.error < 0 ? err.error : -EPROTO;
}

int listening_parse(const void *buf, size_t len, uint32_t seq, uint8_t proto, listening_fn *fn,
		    void *arg)
{
	const struct nlmsghdr *nlh = buf;
	int left = (int)len;

	if (!netlink_lengths_fit(buf, len))
		return -EPROTO;
	for (; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
		struct listening l;

		if (nlh->nlmsg_seq != seq)
			continue; /* of an earlier dump that was given up */
		if (nlh->nlmsg_type == NLMSG_DONE)
			return 1;
		if (nlh->nlmsg_type == NLMSG_ERROR)
			return error_of(nlh);
		if (nlh->nlmsg_type == SOCK_DIAG_BY_FAMILY && read_socket(nlh, proto, &l))
			fn(arg, &l);
	}
	return 0;
}

/* Takes messages of the kernel only: root of the namespace can write to the socket, too. */
static int receive(struct listening_source *src, uint8_t proto, listening_fn *fn, void *arg)
{
	static char buf[DUMP_BYTES] __attribute__((aligned(8)));
	struct sockaddr_nl from = {.nl_pid = 0};
	socklen_t from_len = sizeof(from);
	ssize_t n = recvfrom(src->fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &from_len);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	if (from_len != sizeof(from) || from.nl_pid != 0)
		return 0;
	return listening_parse(buf, (size_t)n, src->seq, proto, fn, arg);
}

int listening_each(struct listening_source *src, listening_fn *fn, void *arg)
{
	for (unsigned i = 0; i < ARRAY_SIZE(dumps); i++) {
		int code = ask(src, i);

		/* Never waits long: the kernel has the next part ready when the one before has been
		 * read. */
		for (unsigned n = 0; code == 0; n++)
			code = n < MESSAGES_MAX ? receive(src, dumps[i].proto, fn, arg) : -EMSGSIZE;
		/* A kernel without IPv6 answers like this for its sockets. */
		if (code < 0 && !(code == -ENOENT && dumps[i].family == AF_INET6))
			return code;
	}
	return 0;
}
