/* SPDX-License-Identifier: Apache-2.0 */
#include "ns/nfqueue.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <sys/socket.h>

#include "ns/netlink.h"

struct nlmsghdr *nfqueue_request(void *buf, uint16_t type, uint16_t number)
{
	struct nlmsghdr *nlh = netlink_request(buf, (uint16_t)(NFNL_SUBSYS_QUEUE << 8 | type), 0);
	struct nfgenmsg *nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));

	nfg->nfgen_family = AF_UNSPEC;
	nfg->version = NFNETLINK_V0;
	nfg->res_id = htons(number);
	return nlh;
}

int nfqueue_bind(struct mnl_socket *nl, uint16_t number, uint32_t copy_bytes, uint32_t packets)
{
	struct nfqnl_msg_config_cmd cmd = {.command = NFQNL_CFG_CMD_BIND};
	struct nfqnl_msg_config_params params = {.copy_range = htonl(copy_bytes),
						 .copy_mode = NFQNL_COPY_PACKET};
	char buf[NETLINK_REQUEST_BYTES];
	struct nlmsghdr *nlh = nfqueue_request(buf, NFQNL_MSG_CONFIG, number);
	int code;

	mnl_attr_put(nlh, NFQA_CFG_CMD, sizeof(cmd), &cmd);
	code = netlink_talk(nl, nlh);
	/* EBUSY: this socket has bound it already, in a call that failed later. Others' queues are
	 * EPERM. */
	if (code && code != -EBUSY)
		return code;
	nlh = nfqueue_request(buf, NFQNL_MSG_CONFIG, number);
	mnl_attr_put(nlh, NFQA_CFG_PARAMS, sizeof(params), &params);
	mnl_attr_put_u32(nlh, NFQA_CFG_QUEUE_MAXLEN, htonl(packets));
	return netlink_talk(nl, nlh);
}
