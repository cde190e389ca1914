/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The role "router": makes the router's namespace (ns/router.h) beside the command's, opens the
 * sockets in it, passes all descriptors to the parent and ends. The descriptors keep the namespace
 * alive.
 *
 * The process belongs to the user who owns the command's user namespace, so it can join that and
 * has every right there. It is not dumpable: the command could not trace it even if it already ran.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>

#include "base/exitcode.h"
#include "base/fd.h"
#include "base/fdpass.h"
#include "base/log.h"
#include "dataplane/outward.h"
#include "dataplane/sandbox.h"
#include "drivers/net/builtin_internal.h"
#include "drivers/net/roles.h"
#include "ns/router.h"

/* The command's namespace, which this process starts in and leaves, and a socket there. */
struct command_netns {
	int fd, socket_fd;
};

static int command_netns_open(struct command_netns *netns, struct err *e)
{
	netns->fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (netns->fd < 0)
		return err_errno(e, -errno, "/proc/thread-self/ns/net");
	netns->socket_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return netns->socket_fd < 0 ? err_errno(e, -errno, "socket of the command's namespace") : 0;
}

/* The configured addresses as text. */
struct texts {
	char v4[3][INET_ADDRSTRLEN], v6[3][INET6_ADDRSTRLEN];
};

static const char *text4(const struct in_addr *a, char *buf)
{
	return inet_ntop(AF_INET, a, buf, INET_ADDRSTRLEN);
}

static const char *text6(const struct in6_addr *a, char *buf)
{
	return inet_ntop(AF_INET6, a, buf, INET6_ADDRSTRLEN);
}

static struct router_config router_config(const struct router_boot *boot,
					  const struct command_netns *netns, struct texts *t)
{
	const struct dp_outward *o = &boot->config;
	struct router_config c = {.netns_fd = netns->fd,
				  .inside_fd = netns->socket_fd,
				  .ifname = boot->ifname,
				  .mtu = boot->mtu,
				  .workers = boot->workers,
				  .gateway4 = text4(&o->gateway4, t->v4[0]),
				  .dns4 = text4(&o->dns4, t->v4[1]),
				  .inside4 = text4(&o->inside4, t->v4[2]),
				  .prefix_len4 = o->prefix_len4,
				  .prefix_len6 = o->prefix_len6};

	if (o->ipv6) {
		c.gateway6 = text6(&o->gateway6, t->v6[0]);
		c.dns6 = text6(&o->dns6, t->v6[1]);
		c.inside6 = text6(&o->inside6, t->v6[2]);
	}
	return c;
}

static int make(const struct router_boot *boot, const struct command_netns *netns,
		struct dataplane_outward *o, enum router_queue *queue, struct err *e)
{
	struct texts texts;
	struct router_config config = router_config(boot, netns, &texts);
	int code = 0;

	router_prepare_inside();
	if (unshare(CLONE_NEWNET) < 0)
		return err_errno(e, -errno, "cannot make the router's network namespace");
	o->netns_fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (o->netns_fd < 0)
		return err_errno(e, -errno, "cannot open the router's network namespace");
	code = router_set_up(&config, queue, e);
	o->workers = boot->workers;
	o->config = boot->config;
	return code ? code : outward_open(o, *queue != ROUTER_QUEUE_NONE, e);
}

static void answer(const struct err *e, enum router_queue queue, const struct dataplane_outward *o,
		   const struct listening_source *listening, int count_fd)
{
	int code, fds[] = {o->netns_fd, count_fd, listening->fd};
	struct router_answer msg;
	size_t n = listening->fd >= 0 ? 3 : 2;

	memset(&msg, 0, sizeof(msg));
	msg.head.err = *e;
	msg.queue = queue;
	msg.listening = *listening;
	code = fdpass_send(INSIDE_CHANNEL, &msg, sizeof(msg), fds, e->code == 0 ? n : 0,
			   MSG_NOSIGNAL);
	if (!code && !e->code)
		code = outward_send(o, INSIDE_CHANNEL, NULL, MSG_NOSIGNAL);
	if (code)
		log_debug("router: message to the parent: %s", strerror(-code));
}

int router_main(void)
{
	static struct dataplane_outward outward;
	enum router_queue queue = ROUTER_QUEUE_NONE;
	struct listening_source listening = {.fd = -1};
	int count_fd = -1;
	struct router_boot boot;
	struct err e = {.code = 0};
	struct command_netns netns = {-1, -1};
	int code = inside_enter(&boot, sizeof(boot), NULL, &e);

	outward_init(&outward);
	if (!code) {
		log_init("router", boot.debug);
		code = inside_shield(&e);
	}
	code = code ? code : sandbox_setup(&e);
	code = code ? code : command_netns_open(&netns, &e);
	if (!code && boot.listening)
		code = listening_open(&listening, &e);
	code = code ? code : make(&boot, &netns, &outward, &queue, &e);
	if (!code) {
		count_fd = router_count_open();
		if (count_fd < 0)
			code = err_errno(&e, count_fd, "socket for the router's counter");
	}
	e.code = code;
	answer(&e, queue, &outward, &listening, count_fd);
	return code ? EXITCODE_FAILED : EXITCODE_OK;
}
