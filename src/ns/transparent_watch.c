/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter_ipv4.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/loop.h"
#include "ns/netlink.h"
#include "ns/transparent.h"

/* Docker switches connection tracking on long before its first port. */
#define LOOK_MS 1000

int transparent_watch_open(struct transparent_watch *w, struct err *e)
{
	*w = (struct transparent_watch){.nl = netlink_open(NETLINK_NETFILTER)};
	return w->nl ? 0 : err_errno(e, -errno, "cannot open a netfilter socket");
}

void transparent_watch_close(struct transparent_watch *w)
{
	netlink_close(&w->nl);
	w->nl = NULL;
}

static int tcp_socket(void)
{
	return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
}

/* Finds it out by a connection within the namespace: if it is tracked, the kernel knows its first
 * destination (SO_ORIGINAL_DST, nf_conntrack_proto.c). The port must listen, because tracking
 * forgets a refused connection at once. */
static bool connections_are_tracked(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	auto_fd int listening = tcp_socket(), connecting = tcp_socket();
	socklen_t len = sizeof(at);

	if (listening < 0 || connecting < 0 ||
	    bind(listening, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(listening, 1) < 0 ||
	    getsockname(listening, (struct sockaddr *)&at, &len) < 0)
		return false;
	if (connect(connecting, (struct sockaddr *)&at, sizeof(at)) < 0 && errno != EINPROGRESS)
		return false;
	return getsockopt(connecting, IPPROTO_IP, SO_ORIGINAL_DST, &at, &len) == 0;
}

bool transparent_watch_look(struct transparent_watch *w, bool important, struct err *e)
{
	uint64_t now_ms;
	int code;

	if (!w->nl)
		return false;
	now_ms = loop_now_ms();
	if (!important && now_ms < w->next_ms)
		return false;
	w->next_ms = now_ms + LOOK_MS;
	if (!connections_are_tracked())
		return false;
	code = transparent_mark_turned(w->nl, e);
	if (!fd_is_shortage(code))
		transparent_watch_close(w);
	return code == 0;
}
