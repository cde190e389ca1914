/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/exitcode.h"
#include "base/fd.h"
#include "base/fdpass.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/resident.h"
#include "dataplane/boot.h"
#include "dataplane/broker/keeper.h"
#include "dataplane/broker/listen.h"
#include "dataplane/broker/socket.h"
#include "dataplane/dataplane.h"
#include "dataplane/sandbox.h"
#include "dataplane/sockopt.h"
#include "dataplane/wire.h"
#include "ns/netns.h"
#include "ns/sysctl.h"
#include "ns/transparent.h"

/*
 * The socket broker: a process in the user and network namespace of the command. A socket belongs
 * for life to the network namespace that it was made in. So the broker makes sockets there,
 * unconnected, and passes them out to the workers, which connect them from outside. For the parent
 * it makes listening sockets there (broker/listen.c).
 *
 * It starts as the user, joins both namespaces with the rights that the owner of a user namespace
 * has in it (user_namespaces(7)), sets up the routing for transparent connections when it is the
 * first broker, and starts the keeper of that (keeper.h). Before it answers the first request, it
 * gives up its rights, except that of binding privileged ports there.
 */

/* Channels at a time: the workers', and those of an earlier data plane whose end was not seen yet.
 */
#define CHANNELS_MAX (2 * LIMIT_WORKERS)

/* A message from the parent, once the broker is up. */
union parent_message {
	struct broker_channels channels;
	struct broker_listen listen;
	struct broker_turned turned;
};

/* Index of the first channel in polled. */
#define CHANNELS_AT 3

struct broker {
	struct keeper keeper;
	bool told;   /* a warning about too many descriptors in flight was logged */
	bool news;   /* rules have changed, and the parent could not be told yet */
	bool broken; /* a worker would wait for sockets for ever */
	/* The boot channel first, then the keeper's two. */
	struct pollfd polled[CHANNELS_AT + CHANNELS_MAX];
	/* By channel: an answer for which there was no memory; family 0: there is none. */
	struct broker_reply owed[CHANNELS_AT + CHANNELS_MAX];
	nfds_t n;
};

/* The command's processes belong to the same user. If the broker, which is in their namespace, were
 * dumpable, they could trace it. The death signal is set again because a change of credentials
 * clears it (prctl(2)); a parent that died before that has closed the boot channel. */
static int shield(struct err *e)
{
#ifndef __SANITIZE_ADDRESS__ /* LeakSanitizer traces the process */
	if (prctl(PR_SET_DUMPABLE, 0) < 0)
		return err_errno(e, -errno, "PR_SET_DUMPABLE");
#endif
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return err_errno(e, -errno, "PR_SET_PDEATHSIG");
	return 0;
}

static int netns_cookie(uint64_t *cookie, struct err *e)
{
	auto_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int code;

	if (fd < 0)
		return err_errno(e, -errno, "cannot make a socket in the namespace");
	code = sockopt_netns_cookie(fd, cookie);
	return code ? err_errno(e, code, "SO_NETNS_COOKIE") : 0;
}

static void add_channels(struct broker *b, const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (b->n == CHANNELS_AT + CHANNELS_MAX) {
			log_error("more than %d socket channels", CHANNELS_MAX);
			b->broken = true;
			close(fds[i]);
			continue;
		}
		b->polled[b->n++] = (struct pollfd){.fd = fds[i], .events = POLLIN};
	}
}

static void remove_channel(struct broker *b, nfds_t i)
{
	close(b->polled[i].fd);
	b->polled[i] = b->polled[--b->n];
	b->owed[i] = b->owed[b->n];
	b->owed[b->n].family = 0;
}

static bool request_is_valid(const struct broker_request *req)
{
	return (req->family == AF_INET || req->family == AF_INET6) &&
	       (req->proto == IPPROTO_TCP || req->proto == IPPROTO_UDP) && req->count > 0 &&
	       req->count <= FDPASS_MAX;
}

/* Sends an answer without sockets; the worker asks again later. When memory is short for that, too,
 * the channel is not read until the answer has left: the worker asks for nothing more of this kind
 * until it has an answer, and nobody opens the channel again while both sides live. Returns whether
 * the channel goes on. */
static bool refuse(struct broker *b, nfds_t i, const struct broker_reply *reply)
{
	int code = fdpass_send(b->polled[i].fd, reply, sizeof(*reply), NULL, 0, MSG_DONTWAIT);
	bool later = fd_is_shortage(code);

	b->owed[i] = *reply;
	if (!later)
		b->owed[i].family = 0;
	b->polled[i].events = later ? 0 : POLLIN;
	return later || code == 0;
}

/* Returns whether the channel goes on. A worker has only a few requests under way, so a channel
 * without room for the answer is one that nobody reads. */
static bool answer(struct broker *b, nfds_t i, const struct broker_request *req)
{
	struct broker_reply reply = {.family = req->family, .proto = req->proto};
	int fds[FDPASS_MAX], code;

	while (reply.count < req->count) {
		int fd = broker_socket_open(req->family, req->proto);

		if (fd < 0) {
			reply.err = fd;
			break;
		}
		fds[reply.count++] = fd;
	}
	code = fdpass_send(b->polled[i].fd, &reply, sizeof(reply), fds, reply.count, MSG_DONTWAIT);
	fdpass_close(fds, reply.count);
	if (code == -ETOOMANYREFS || fd_is_shortage(code)) {
		if (!b->told)
			log_warning("sockets cannot be handed to the data plane: %s",
				    fdpass_strerror(code));
		b->told = true;
		reply.count = 0;
		reply.err = code;
		return refuse(b, i, &reply);
	}
	if (code < 0 && code != -EPIPE && code != -ECONNRESET)
		log_warning("socket channel: %s", strerror(-code));
	return code == 0;
}

/* Returns whether the channel goes on. */
static bool serve_channel(struct broker *b, nfds_t i)
{
	struct broker_request req;
	int fds[FDPASS_MAX];
	size_t n = FDPASS_MAX;
	ssize_t len;

	if (b->owed[i].family)
		return refuse(b, i, &b->owed[i]);
	len = fdpass_recv(b->polled[i].fd, &req, sizeof(req), fds, &n, MSG_DONTWAIT);
	if (len == -EAGAIN)
		return true;
	if (len > 0)
		fdpass_close(fds, n); /* requests come without descriptors */
	if (len == 0 || len == -ECONNRESET)
		return false;
	/* EMSGSIZE and EMFILE are about what the worker has sent. */
	if (len < 0 && len != -EMSGSIZE && len != -EMFILE) {
		/* The worker is there. The next broker has new channels for all. */
		log_error("socket channel: %s", strerror((int)-len));
		b->broken = true;
		return false;
	}
	if (len != sizeof(req) || !request_is_valid(&req)) {
		log_warning("socket channel: a request that makes no sense; closing the channel");
		return false;
	}
	if (req.proto == IPPROTO_TCP)
		keeper_look(&b->keeper, false);
	return answer(b, i, &req);
}

/* 0 or -errno. */
static int tell_parent(const struct broker_turned_reply *reply)
{
	return fdpass_send(WIRE_BOOT_FD, reply, sizeof(*reply), NULL, 0, MSG_DONTWAIT);
}

/* Passes a question on. The parent does without an answer where nobody can give one, and asks again
 * when that is so for a moment. */
static void pass_on(struct broker *b, const struct broker_turned *msg)
{
	struct broker_turned_reply reply = {.port_id = msg->port_id, .seq = msg->seq};
	int code = -ENOSYS;

	if (b->keeper.turned_fd >= 0)
		code = fdpass_send(b->keeper.turned_fd, msg, sizeof(*msg), NULL, 0, MSG_DONTWAIT);
	if (code == 0)
		return;
	reply.err = fd_is_passing(code) ? -EAGAIN : -ENOSYS;
	tell_parent(&reply);
}

/* The parent hears that rules have changed, now or later. */
static void tell_news(struct broker *b)
{
	const struct broker_turned_reply news = {.port_id = 0};

	b->news = fd_is_passing(tell_parent(&news));
}

/* Passes the keeper's answers and news back. Answers for which there is no room are lost: the
 * parent asks again. */
static void pass_back(struct broker *b)
{
	struct broker_turned_reply reply;

	while (fdpass_recv(b->keeper.turned_fd, &reply, sizeof(reply), NULL, NULL, MSG_DONTWAIT) ==
	       sizeof(reply)) {
		if (reply.port_id == 0)
			tell_news(b);
		else
			tell_parent(&reply);
	}
}

/* Returns whether the message made sense and was answered. If so, this has taken over the
 * descriptors. */
static bool serve_parent(struct broker *b, const union parent_message *msg, size_t len,
			 const int *fds, size_t n)
{
	int code;

	if (len == sizeof(msg->channels) && msg->channels.workers == n && n == 0) {
		keeper_look(&b->keeper, true);
		return true;
	}
	if (len == sizeof(msg->channels) && msg->channels.workers == n) {
		log_debug("%u new socket channels", msg->channels.workers);
		add_channels(b, fds, n);
		return true;
	}
	if (len == sizeof(msg->turned) && n == 0) {
		pass_on(b, &msg->turned);
		return true;
	}
	if (len != sizeof(msg->listen) || n > 0)
		return false;
	code = broker_listen_answer(WIRE_BOOT_FD, &msg->listen);
	if (code < 0)
		log_error("boot channel: %s", strerror(-code));
	return code == 0;
}

/* Returns whether the parent still exists. */
static bool serve_boot_channel(struct broker *b)
{
	union parent_message msg;
	int fds[FDPASS_MAX];
	size_t n = FDPASS_MAX;
	ssize_t len = fdpass_recv(WIRE_BOOT_FD, &msg, sizeof(msg), fds, &n, MSG_DONTWAIT);

	if (len == -EAGAIN)
		return true;
	if (len > 0 && serve_parent(b, &msg, (size_t)len, fds, n))
		return true;
	if (len != 0)
		log_error("boot channel: %s",
			  len < 0 ? strerror((int)-len) : "a message that makes no sense");
	fdpass_close(fds, len > 0 ? n : 0);
	return false;
}

/* The longest time to wait; -1: no limit. */
static int patience_ms(const struct broker *b)
{
	if (b->news)
		return FDPASS_RETRY_MS;
	for (nfds_t i = CHANNELS_AT; i < b->n; i++)
		if (b->owed[i].family)
			return FDPASS_RETRY_MS;
	return -1;
}

static int serve(struct broker *b)
{
	for (;;) {
		if (fd_retry(poll(b->polled, b->n, patience_ms(b))) < 0) {
			log_error("poll: %s", strerror(errno));
			return EXITCODE_FAILED;
		}
		if (b->polled[0].revents && !serve_boot_channel(b))
			return EXITCODE_OK;
		/* Answers were read by whoever asked: only the end of the keeper is of interest
		 * here. */
		if (b->polled[1].revents & (POLLHUP | POLLERR)) {
			log_error("the keeper of the rules has ended");
			return EXITCODE_FAILED;
		}
		if (b->news)
			tell_news(b);
		if (b->polled[2].revents)
			pass_back(b);
		for (nfds_t i = b->n - 1; i >= CHANNELS_AT; i--) {
			if ((b->polled[i].revents || b->owed[i].family) && !serve_channel(b, i))
				remove_channel(b, i);
		}
		if (b->broken)
			return EXITCODE_FAILED;
	}
}

static int receive_boot(struct broker *b, struct broker_boot *boot, int *userns_fd, int *netns_fd,
			struct err *e)
{
	int fds[FDPASS_MAX];
	size_t n = FDPASS_MAX;
	int code = boot_receive(boot, sizeof(*boot), fds, &n);

	if (code < 0)
		return err_errno(e, code, "boot channel");
	if (boot->workers == 0 || boot->workers > LIMIT_WORKERS || n != boot->workers + 2)
		return err_set(e, -EPROTO, "boot channel: a message that makes no sense");
	boot->ifname[sizeof(boot->ifname) - 1] = '\0';
	b->polled[0] = (struct pollfd){.fd = WIRE_BOOT_FD, .events = POLLIN};
	for (unsigned i = 1; i < CHANNELS_AT; i++)
		b->polled[i] = (struct pollfd){.fd = -1};
	b->n = CHANNELS_AT;
	add_channels(b, fds, boot->workers);
	*userns_fd = fds[boot->workers];
	*netns_fd = fds[boot->workers + 1];
	return 0;
}

/* A connection that this side has closed keeps its port for a minute (TIME_WAIT). With this setting
 * a new connection to the same server may use the port after a second. Otherwise a busy server in a
 * container would run out of them, as all its clients have one address of the namespace. */
static void reuse_ports(void)
{
	struct err e = {.code = 0};

	if (sysctl_set("ipv4/tcp_tw_reuse", "1\n", &e) < 0)
		log_debug("%s", e.msg);
}

/* Prepares the namespace for clients' addresses. When that fails, servers see another address, and
 * nothing else is lost. */
static uint32_t set_up_transparent(const char *ifname)
{
	struct err why = {.code = 0};
	uint32_t works = transparent_set_up(ifname, &why);

	if (!(works & TRANSPARENT_BIT(TRANSPARENT_LOOPBACK, false)))
		log_warning("servers will not see the addresses of their clients "
			    "(--source-ip-transparent): %s",
			    why.msg);
	else if (why.code)
		log_debug("transparent connections work in part: %s", why.msg);
	return works;
}

/* Without a keeper the rules stay until somebody removes them. */
static void start_keeper(struct broker *b, const struct broker_boot *boot, char **argv)
{
	struct err e = {.code = 0};

	if (keeper_start(&b->keeper, boot, argv, b->polled, b->n, &e) < 0)
		log_warning("%s: nobody looks after the rules for clients' addresses", e.msg);
	/* Answers make the descriptor readable, too. POLLHUP and POLLERR come without being asked
	 * for. */
	b->polled[1] = (struct pollfd){.fd = b->keeper.fd};
	b->polled[2] = (struct pollfd){.fd = b->keeper.turned_fd, .events = POLLIN};
}

static int set_up(struct broker *b, char **argv, struct broker_boot_reply *reply, struct err *e)
{
	auto_fd int userns_fd = -1, netns_fd = -1;
	struct broker_boot boot;
	uint16_t first, last;
	int code = receive_boot(b, &boot, &userns_fd, &netns_fd, e);

	if (!code) {
		log_init("broker", boot.debug);
		code = netns_join(userns_fd, netns_fd, e);
	}
	close_fd(&userns_fd);
	close_fd(&netns_fd);
	if (!code)
		code = shield(e);
	if (!code)
		code = netns_cookie(&reply->netns_cookie, e);
	if (!code) {
		sysctl_local_ports(&first, &last);
		reply->local_ports = last - first + 1u;
	}
	if (!code && boot.first)
		reuse_ports();
	if (!code && boot.transparent && boot.first)
		reply->transparent = set_up_transparent(boot.ifname);
	if (!code && boot.transparent)
		start_keeper(b, &boot, argv);
	if (!code)
		code = boot.sandbox ? sandbox_broker(e) : sandbox_broker_caps(e);
	return code;
}

int broker_main(int argc, char **argv)
{
	static struct broker broker = {.keeper = {.fd = -1, .turned_fd = -1}};
	struct broker_boot_reply reply = {.zero = 0};
	struct err e = {.code = 0};
	int code;

	(void)argc;
	log_init("broker", false);
	code = set_up(&broker, argv, &reply, &e);
	reply.head = boot_reply(code);
	if (code)
		log_error("%s", e.msg);
	/* When this fails, the parent has ended, and the next poll says so. */
	fdpass_send(WIRE_BOOT_FD, &reply, sizeof(reply), NULL, 0, 0);
	if (code)
		return EXITCODE_FAILED;
	resident_trim();
	return serve(&broker);
}
