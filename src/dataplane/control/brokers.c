/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/fdpass.h"
#include "dataplane/boot.h"
#include "dataplane/control/control_internal.h"
#include "dataplane/outward.h"

/*
 * What the parent tells a socket broker, and the channels between brokers and workers. There is one
 * broker in the command's namespace and, with a way out, one in the router's.
 */

/* Pause before a worker that had no descriptor for its channel is sent another one. */
#define CHANNEL_AGAIN_MS 100

bool dp_is_broker(const struct dp_child *child)
{
	return child == &child->dp->broker || child == &child->dp->reload.broker;
}

int dp_socketpair_open(int *ours, int *theirs)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	*ours = fds[0];
	*theirs = fds[1];
	return 0;
}

void dp_fds_init(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		fds[i] = -1;
}

void dp_fds_close(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		close_fd(&fds[i]);
}

/* Opens n socket pairs, a[i] with b[i]. 0 or -errno. */
int dp_pairs_open(int *a, int *b, unsigned n)
{
	int code = 0;

	dp_fds_init(a, n);
	dp_fds_init(b, n);
	for (unsigned i = 0; i < n && !code; i++)
		code = dp_socketpair_open(&a[i], &b[i]);
	if (code) {
		dp_fds_close(a, n);
		dp_fds_close(b, n);
	}
	return code;
}

int dp_send_flags(const struct dataplane *dp)
{
	return dp->starting ? 0 : MSG_DONTWAIT;
}

/* A broker */

static int broker_boot(struct dp_child *broker, const int *theirs)
{
	struct dataplane *dp = broker->dp;
	struct broker_boot boot = {.version = WIRE_VERSION,
				   .workers = dp->workers,
				   .sandbox = dp->config.sandbox,
				   .debug = dp->config.debug,
				   .transparent = dp_is_broker(broker) && dp->config.transparent,
				   /* the first broker's set-up stays for the later ones */
				   .first = !broker->known};
	int fds[LIMIT_WORKERS + 2];

	if (dp->config.outward)
		memcpy(boot.ifname, dp->config.outward->ifname, sizeof(boot.ifname));
	memcpy(fds, theirs, dp->workers * sizeof(fds[0]));
	fds[dp->workers] = dp->config.userns_fd;
	fds[dp->workers + 1] = broker->netns_fd;
	return fdpass_send(broker->boot_fd, &boot, sizeof(boot), fds, dp->workers + 2,
			   dp_send_flags(dp));
}

/* When this cannot be sent, the keeper looks the next time that sockets are asked for. */
static void send_look(void *arg, uint32_t events)
{
	const struct broker_channels msg = {.workers = 0};
	struct dataplane *dp = arg;

	(void)events;
	dp->look = NULL; /* the loop has removed the timer */
	if (dp->broker.state == DP_CHILD_UP)
		fdpass_send(dp->broker.boot_fd, &msg, sizeof(msg), NULL, 0, MSG_DONTWAIT);
}

/* Tells the broker once for all ports of a turn of the loop: a range may have thousands. The look
 * comes in time: the first port has no client before the workers have answered, in a later turn. */
void dp_broker_look(struct dataplane *dp)
{
	if (!dp->look)
		dp->look = loop_add_timer(dp->loop, 0, send_look, dp);
}

/* Opens socket channels. The workers' ends stay in broker->channels until they are handed over. */
static int broker_pairs(struct dp_child *broker, int *theirs)
{
	/* Old ends are left when the broker had not answered before the next data plane was
	 * started. */
	dp_fds_close(broker->channels, broker->dp->workers);
	memset(broker->lacking, 0, sizeof(broker->lacking));
	return dp_pairs_open(broker->channels, theirs, broker->dp->workers);
}

/* Makes socket channels to a new data plane. Without a broker their other ends are closed; the next
 * broker brings new channels. */
int dp_broker_add_channels(struct dp_child *broker)
{
	struct broker_channels msg = {.workers = broker->dp->workers};
	int theirs[LIMIT_WORKERS];
	int code = broker_pairs(broker, theirs);

	if (code)
		return code;
	if (broker->state != DP_CHILD_DOWN)
		code = fdpass_send(broker->boot_fd, &msg, sizeof(msg), theirs, msg.workers,
				   MSG_DONTWAIT);
	dp_fds_close(theirs, msg.workers);
	return code == -EPIPE ? 0 : code;
}

/* Sends a running worker its channel to the broker. */
static void announce(struct dp_child *broker, unsigned worker, int fd)
{
	struct dp_msg msg = {.type = dp_is_broker(broker) ? DP_MSG_NEW_BROKER : DP_MSG_NEW_ROUTER};
	struct dataplane *dp = broker->dp;

	if (dp_channel_post(&dp->channels[worker], &msg, fd, true) < 0)
		dp_channel_missed(&dp->plane);
}

/* A new broker has come: sends the running workers their channels to it. */
void dp_broker_announce(struct dp_child *broker)
{
	for (unsigned i = 0; i < broker->dp->workers; i++)
		announce(broker, i, steal_fd(&broker->channels[i]));
}

/* Opens another channel between the broker and a worker. 0 or -errno. */
static int channel_again(struct dp_child *broker, unsigned worker)
{
	const struct broker_channels msg = {.workers = 1};
	auto_fd int ours = -1, theirs = -1;
	int code = dp_socketpair_open(&ours, &theirs);

	if (!code)
		code = fdpass_send(broker->boot_fd, &msg, sizeof(msg), &theirs, 1, MSG_DONTWAIT);
	if (!code)
		announce(broker, worker, steal_fd(&ours));
	return code;
}

static void on_repeat(void *arg, uint32_t events)
{
	struct dp_child *broker = arg;

	(void)events;
	broker->timer = NULL;
	for (unsigned i = 0; i < broker->dp->workers; i++) {
		if (!broker->lacking[i])
			continue;
		broker->lacking[i] = false;
		if (channel_again(broker, i))
			dp_broker_repeat(broker, i);
	}
}

void dp_broker_repeat(struct dp_child *broker, unsigned worker)
{
	/* The next broker brings channels for all. */
	if (broker->state != DP_CHILD_UP)
		return;
	broker->lacking[worker] = true;
	if (!broker->timer)
		broker->timer =
			loop_add_timer(broker->dp->loop, CHANNEL_AGAIN_MS, on_repeat, broker);
}

int dp_broker_take_reply(struct dp_child *broker, struct err *e)
{
	struct dataplane *dp = broker->dp;
	struct broker_boot_reply reply;
	ssize_t len = fdpass_recv(broker->boot_fd, &reply, sizeof(reply), NULL, NULL, MSG_DONTWAIT);
	int code;

	if (len == -EAGAIN)
		return -EAGAIN;
	code = boot_check_reply(&reply, len, sizeof(reply), broker->name, e);
	if (code)
		return code;
	if (broker->known && broker->cookie != reply.netns_cookie)
		return err_set(e, -EXDEV,
			       "the %s is in another network namespace than the one before",
			       broker->name);
	if (dp_is_broker(broker) && !broker->known)
		dp->transparent = reply.transparent;
	if (dp_is_broker(broker))
		dp->local_ports = reply.local_ports;
	broker->cookie = reply.netns_cookie;
	broker->known = true;
	return 0;
}

int dp_broker_prepare(struct dp_child *broker)
{
	int theirs[LIMIT_WORKERS];
	int code = broker_pairs(broker, theirs);

	if (!code)
		code = broker_boot(broker, theirs);
	dp_fds_close(theirs, broker->dp->workers);
	return code;
}
