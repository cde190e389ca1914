/* SPDX-License-Identifier: Apache-2.0 */
#include "ns/netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"

int netlink_parse_address(const char *text, struct netlink_address *out, struct err *e)
{
	if (inet_pton(AF_INET, text, out->bytes) == 1) {
		out->family = AF_INET;
		out->len = sizeof(struct in_addr);
		return 0;
	}
	if (inet_pton(AF_INET6, text, out->bytes) == 1) {
		out->family = AF_INET6;
		out->len = sizeof(struct in6_addr);
		return 0;
	}
	return err_set(e, -EINVAL, "%.64s is no IP address", text);
}

struct mnl_socket *netlink_open(int bus)
{
	struct mnl_socket *nl = mnl_socket_open2(bus, SOCK_CLOEXEC);

	if (!nl)
		return NULL;
	if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0) {
		mnl_socket_close(nl);
		return NULL;
	}
	return nl;
}

void netlink_close(struct mnl_socket **nl)
{
	if (*nl)
		mnl_socket_close(*nl);
}

int netlink_open_interface(const char *ifname, struct mnl_socket **nl, unsigned *ifindex,
			   struct err *e)
{
	*nl = netlink_open(NETLINK_ROUTE);
	if (!*nl)
		return err_errno(e, -errno, "cannot open a netlink socket");
	*ifindex = if_nametoindex(ifname);
	if (!*ifindex)
		return err_errno(e, -errno, "cannot find interface %s", ifname);
	return 0;
}

struct nlmsghdr *netlink_request(void *buf, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
	nlh->nlmsg_seq = 1;
	return nlh;
}

ssize_t netlink_receive(struct mnl_socket *nl, void *buf, size_t size)
{
	ssize_t n = fd_retry(mnl_socket_recvfrom(nl, buf, size));

	return n < 0 ? -errno : n;
}

/* recvmsg(2), since the keeper's filter allows no other call for this. */
void netlink_drain(const struct mnl_socket *nl)
{
	char byte;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	while (fd_retry(recvmsg(mnl_socket_get_fd(nl), &msg, MSG_DONTWAIT)) >= 0)
		;
}

bool netlink_lengths_fit(const void *buf, size_t len)
{
	const char *at = buf;
	struct nlmsghdr nlh;

	while (len >= sizeof(nlh)) {
		size_t step;

		memcpy(&nlh, at, sizeof(nlh));
		if (nlh.nlmsg_len < sizeof(nlh) || nlh.nlmsg_len > len)
			return false;
		step = MNL_ALIGN((size_t)nlh.nlmsg_len);
		if (step >= len)
			break;
		at += step;
		len -= step;
	}
	return true;
}

int netlink_left(const struct nlmsghdr *nlh, const struct nlattr *attr)
{
	const char *end = (const char *)nlh + nlh->nlmsg_len;

	return (int)(end - (const char *)attr);
}

int netlink_attributes(const struct nlmsghdr *nlh, unsigned header_len, mnl_attr_cb_t fn, void *arg)
{
	const struct nlattr *attr = mnl_nlmsg_get_payload_offset(nlh, header_len);
	int code = MNL_CB_OK;

	for (; code > MNL_CB_STOP && mnl_attr_ok(attr, netlink_left(nlh, attr));
	     attr = mnl_attr_next(attr))
		code = fn(attr, arg);
	return code;
}

int netlink_read(const void *buf, size_t len, uint32_t seq, uint32_t portid, mnl_cb_t fn, void *arg)
{
	if (!netlink_lengths_fit(buf, len))
		return -EPROTO;
	if (mnl_cb_run(buf, len, seq, portid, fn, arg) < 0)
		return errno > 0 ? -errno : -EPROTO;
	return 0;
}

int netlink_check_ack(const void *buf, size_t len, uint32_t seq, uint32_t portid)
{
	return netlink_read(buf, len, seq, portid, NULL, NULL);
}

ssize_t netlink_ask(struct mnl_socket *nl, const struct nlmsghdr *nlh, void *buf, size_t size)
{
	if (mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	return netlink_receive(nl, buf, size);
}

int netlink_talk(struct mnl_socket *nl, const struct nlmsghdr *nlh)
{
	char buf[NETLINK_ANSWER_BYTES];
	ssize_t n;

	netlink_drain(nl);
	n = netlink_ask(nl, nlh, buf, sizeof(buf));
	if (n < 0)
		return (int)n;
	return netlink_check_ack(buf, (size_t)n, nlh->nlmsg_seq, mnl_socket_get_portid(nl));
}
