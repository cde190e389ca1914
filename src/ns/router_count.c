/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h> /* before linux/netfilter.h, which has the same names */
#include <endian.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "ns/netlink.h"
#include "ns/router.h"

/*
 * Reads the counter of the router's rules: packets of protocols that nothing carries. The socket
 * belongs to the router's namespace, and whoever owns the user namespace may ask by it.
 */

int router_count_open(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER);

	return fd < 0 ? -errno : fd;
}

static int ask(int fd)
{
	char buf[NETLINK_REQUEST_BYTES];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};

	nlh->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETOBJ;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	nfg->nfgen_family = NFPROTO_INET;
	nfg->version = NFNETLINK_V0;
	mnl_attr_put_strz(nlh, NFTA_OBJ_TABLE, ROUTER_TABLE);
	mnl_attr_put_strz(nlh, NFTA_OBJ_NAME, ROUTER_COUNTER);
	mnl_attr_put_u32(nlh, NFTA_OBJ_TYPE, htonl(NFT_OBJECT_COUNTER));
	return sendto(fd, nlh, nlh->nlmsg_len, 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0
		       ? -errno
		       : 0;
}

/* Finds the attribute of this type among those from here to end. */
static const struct nlattr *find(const void *from, const char *end, uint16_t type)
{
	for (const struct nlattr *a = from; mnl_attr_ok(a, (int)(end - (const char *)a));
	     a = mnl_attr_next(a))
		if (mnl_attr_get_type(a) == type)
			return a;
	return NULL;
}

static const char *end_of(const struct nlattr *a)
{
	return (const char *)mnl_attr_get_payload(a) + mnl_attr_get_payload_len(a);
}

static int read_answer(const void *buf, size_t len, uint64_t *out)
{
	const struct nlmsghdr *nlh = buf;
	const struct nlattr *data, *packets = NULL;
	uint64_t value;

	if (!netlink_lengths_fit(buf, len) || !mnl_nlmsg_ok(nlh, (int)len) ||
	    nlh->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWOBJ) ||
	    nlh->nlmsg_len < MNL_NLMSG_HDRLEN + sizeof(struct nfgenmsg))
		return -EPROTO;
	data = find(mnl_nlmsg_get_payload_offset(nlh, sizeof(struct nfgenmsg)),
		    (const char *)nlh + nlh->nlmsg_len, NFTA_OBJ_DATA);
	if (data)
		packets = find(mnl_attr_get_payload(data), end_of(data), NFTA_COUNTER_PACKETS);
	if (!packets || mnl_attr_get_payload_len(packets) != sizeof(value))
		return -EPROTO;
	memcpy(&value, mnl_attr_get_payload(packets), sizeof(value));
	*out = be64toh(value);
	return 0;
}

/* Throws away an answer that could not be read: it would be taken for the next one. */
static void drain(int fd)
{
	char byte;

	while (fd_retry(recv(fd, &byte, sizeof(byte), 0)) >= 0)
		;
}

int router_count(int fd, uint64_t *out)
{
	char buf[NETLINK_ANSWER_BYTES] __attribute__((aligned(8)));
	struct sockaddr_nl from = {.nl_pid = 0};
	socklen_t from_len = sizeof(from);
	ssize_t n;
	int code;

	drain(fd);
	code = ask(fd);
	if (code)
		return code;
	n = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &from_len);
	if (n < 0)
		return -errno;
	if (from_len != sizeof(from) || from.nl_pid != 0)
		return -EPROTO;
	return read_answer(buf, (size_t)n, out);
}
