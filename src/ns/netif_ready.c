/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An end of a veth pair gets its carrier when the other end is brought up, but the kernel lets it
 * send only after a work item of its own (net/core/link_watch.c). Until then it drops packets.
 * Where the machine is busy this takes longer than the start of a command, whose first SYN then is
 * answered after its repetition, a second later. The kernel's lock of all interfaces is held while
 * an end becomes able to send and while it is asked, so an answer that names IF_OPER_UP can be
 * relied on. Since Linux 6.8 the question itself does the work.
 */
#include "ns/netif.h"

#include <errno.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <time.h>

#include "base/log.h"
#include "ns/netlink.h"

#define WAIT_NS	      1000000L /* between two questions */
#define QUESTIONS_MAX 1000

/* Where an interface is: its number in a namespace that the current one knows by number. */
struct place {
	uint32_t ifindex;
	int32_t nsid; /* -1: the current one */
};

struct state {
	bool up;
	struct place peer; /* ifindex 0: none */
};

static int read_attribute(const struct nlattr *attr, void *arg)
{
	struct state *out = arg;

	switch (mnl_attr_get_type(attr)) {
	case IFLA_OPERSTATE:
		if (mnl_attr_validate(attr, MNL_TYPE_U8) < 0)
			return MNL_CB_ERROR;
		out->up = mnl_attr_get_u8(attr) == IF_OPER_UP;
		break;
	case IFLA_LINK:
		if (mnl_attr_validate(attr, MNL_TYPE_U32) < 0)
			return MNL_CB_ERROR;
		out->peer.ifindex = mnl_attr_get_u32(attr);
		break;
	case IFLA_LINK_NETNSID:
		if (mnl_attr_validate(attr, MNL_TYPE_U32) < 0)
			return MNL_CB_ERROR;
		out->peer.nsid = (int32_t)mnl_attr_get_u32(attr);
		break;
	default:
		break;
	}
	return MNL_CB_OK;
}

static int read_message(const struct nlmsghdr *nlh, void *arg)
{
	if (nlh->nlmsg_type != RTM_NEWLINK ||
	    mnl_nlmsg_get_payload_len(nlh) < sizeof(struct ifinfomsg))
		return MNL_CB_OK;
	return netlink_attributes(nlh, sizeof(struct ifinfomsg), read_attribute, arg);
}

/* 0 or -errno. */
static int ask(struct mnl_socket *nl, const struct place *where, struct state *out)
{
	char request[NETLINK_REQUEST_BYTES], answer[NETLINK_ANSWER_BYTES];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(request);
	struct ifinfomsg *link;
	ssize_t n;

	nlh->nlmsg_type = RTM_GETLINK;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	link = mnl_nlmsg_put_extra_header(nlh, sizeof(*link));
	link->ifi_family = AF_UNSPEC;
	link->ifi_index = (int)where->ifindex;
	mnl_attr_put_u32(nlh, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	if (where->nsid >= 0)
		mnl_attr_put_u32(nlh, IFLA_TARGET_NETNSID, (uint32_t)where->nsid);
	n = netlink_ask(nl, nlh, answer, sizeof(answer));
	if (n < 0)
		return (int)n;
	*out = (struct state){.peer.nsid = -1};
	return netlink_read(answer, (size_t)n, 0, 0, read_message, out);
}

/* 0, or -errno: it cannot be asked, or it is not up after a second. */
static int wait_for(struct mnl_socket *nl, const struct place *where, struct state *out)
{
	const struct timespec pause = {.tv_nsec = WAIT_NS};
	int code = ask(nl, where, out);

	for (int i = 1; !code && !out->up; i++) {
		if (i == QUESTIONS_MAX)
			return -ETIMEDOUT;
		nanosleep(&pause, NULL);
		code = ask(nl, where, out);
	}
	return code;
}

int netif_wait_pair(const char *ifname, struct err *e)
{
	auto_netlink struct mnl_socket *nl = NULL;
	struct place where = {.nsid = -1};
	struct state state = {.up = false};
	int code = netlink_open_interface(ifname, &nl, &where.ifindex, e);

	if (code < 0)
		return code;
	code = wait_for(nl, &where, &state);
	if (!code && state.peer.ifindex) {
		where = state.peer;
		code = wait_for(nl, &where, &state);
	}
	return code < 0 ? err_errno(e, code, "%s and its peer do not come up", ifname) : 0;
}
