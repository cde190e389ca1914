/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/limits.h"
#include "ns/netlink.h"
#include "ns/router.h"

/*
 * The queues that hold back the first packets of connections (linux/netfilter/nfnetlink_queue.h). A
 * queue lives as long as the socket that it is bound to. Whoever has a copy of the descriptor and
 * owns the user namespace reads packets and gives verdicts.
 */

/* The kernel cuts this down to net.core.rmem_max. A packet that finds no room is lost, and the
 * client sends it again a second later. */
#define QUEUE_BYTES (8 << 20)

/* Starts a request about a queue, to which the caller adds attributes. */
static struct nlmsghdr *request(void *buf, uint16_t number)
{
	struct nlmsghdr *nlh = netlink_request(buf, NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_CONFIG, 0);
	struct nfgenmsg *nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));

	nfg->nfgen_family = AF_UNSPEC;
	nfg->version = NFNETLINK_V0;
	nfg->res_id = htons(number);
	return nlh;
}

static int bind_queue(struct mnl_socket *nl, uint16_t number)
{
	struct nfqnl_msg_config_cmd cmd = {.command = NFQNL_CFG_CMD_BIND};
	char buf[NETLINK_REQUEST_BYTES];
	struct nlmsghdr *nlh = request(buf, number);

	mnl_attr_put(nlh, NFQA_CFG_CMD, sizeof(cmd), &cmd);
	return netlink_talk(nl, nlh);
}

/* Asks for whole packets: an echo request is answered from its copy. */
static int set_parameters(struct mnl_socket *nl, uint16_t number)
{
	struct nfqnl_msg_config_params params = {.copy_range = htonl(0xffff),
						 .copy_mode = NFQNL_COPY_PACKET};
	char buf[NETLINK_REQUEST_BYTES];
	struct nlmsghdr *nlh = request(buf, number);

	mnl_attr_put(nlh, NFQA_CFG_PARAMS, sizeof(params), &params);
	mnl_attr_put_u32(nlh, NFQA_CFG_QUEUE_MAXLEN, htonl(LIMIT_OUT_QUEUE_PACKETS));
	return netlink_talk(nl, nlh);
}

static void set_options(int fd)
{
	int on = 1, bytes = QUEUE_BYTES;

	/* Both are optional. With the first, lost packets are no error of the next receive. */
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &on, sizeof(on));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
}

int router_queue_open(uint16_t number, int *out, struct err *e)
{
	auto_netlink struct mnl_socket *nl = netlink_open(NETLINK_NETFILTER);
	auto_fd int fd = -1;
	int code;

	if (!nl)
		return err_errno(e, -errno, "cannot open a netfilter socket");
	code = bind_queue(nl, number);
	if (!code)
		code = set_parameters(nl, number);
	if (code)
		return err_errno(e, code,
				 "cannot bind a queue of packets (modprobe nfnetlink_queue)");
	set_options(mnl_socket_get_fd(nl));
	/* The library closes its own descriptor with its socket, so this takes a copy. */
	fd = fcntl(mnl_socket_get_fd(nl), F_DUPFD_CLOEXEC, 3);
	code = fd < 0 ? -errno : fd_set_nonblock(fd, true);
	if (code)
		return err_errno(e, code, "queue of packets");
	*out = steal_fd(&fd);
	return 0;
}
