/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/limits.h"
#include "ns/netlink.h"
#include "ns/nfqueue.h"
#include "ns/router.h"

/*
 * The queues that hold back the first packets of connections (linux/netfilter/nfnetlink_queue.h). A
 * queue lives as long as the socket that it is bound to. Whoever has a copy of the descriptor and
 * owns the user namespace reads packets and gives verdicts.
 */

/* The kernel cuts this down to net.core.rmem_max. A packet that finds no room is lost, and the
 * client sends it again a second later. */
#define QUEUE_BYTES (8 << 20)

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
	/* Whole packets: an echo request is answered from its copy. */
	code = nfqueue_bind(nl, number, 0xffff, LIMIT_OUT_QUEUE_PACKETS);
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
