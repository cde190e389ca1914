/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --net=builtin: the data plane carries what the command sends out. This is the parent's half. It
 * chooses the addresses, has the role "router" make the namespace between the command's and the
 * data plane (builtin_router.c, ns/router.h), keeps the descriptors from it, and follows the host's
 * resolv.conf. No foreign program runs, and /dev/net/tun is not needed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fd.h"
#include "base/fdpass.h"
#include "base/log.h"
#include "base/role.h"
#include "base/sockaddr.h"
#include "dataplane/dataplane.h"
#include "dataplane/outward.h"
#include "drivers/net/builtin_internal.h"
#include "drivers/net/cidr.h"
#include "drivers/net/egress.h"
#include "drivers/registry_internal.h"
#include "ns/router.h"

#define DEFAULT_MTU 65520

/* What differs between the names of this network: the interface's name, in ops, and the offsets of
 * addresses in --cidr. */
struct flavour {
	const struct net_driver_ops *ops;
	uint32_t gateway, dns;
};

/* The same as slirp4netns's. */
static const struct flavour flavour_builtin = {&net_builtin_ops, CIDR_GATEWAY, CIDR_DNS};

/* RootlessKit's network of that name, with the addresses that its users know. */
static const struct flavour flavour_gvisor = {&net_gvisor_ops, 1, 1};

/* The IPv6 network. Gateway and name server have the same offsets there. */
#define PREFIX6	    "fd00::"
#define PREFIX6_LEN 64

/* With a smaller MTU there is no IPv6 (RFC 8200). */
#define IPV6_MTU_MIN 1280

#define RESOLV_CONF	  "/etc/resolv.conf"
#define RESOLV_CONF_BYTES 16384
#define RESOLV_RETRY_MS	  1000

/* resolv.conf is watched from this time after the start on. At the end of a process that watches a
 * file the kernel waits, 15 ms or more, for a grace period of SRCU (fs/notify/mark.c), which a
 * command that runs for a moment is not to pay for. */
#define WATCH_AFTER_MS 1000

/* The time limit of the set-up: a loaded machine takes a second, and some more if it has to load
 * modules. */
#define READY_TIMEOUT_MS 20000

struct net_driver {
	struct inside router;
	bool follows; /* listening sockets inside are to be followed */
	int abort_fd; /* borrowed */
	struct dataplane_outward outward;
	struct listening_source listening; /* fd -1: listening sockets are not followed */
	enum router_queue queue;
	int count_fd;	   /* for router_count */
	char outbound[64]; /* --outbound-addr; "": none */
	int resolv_fd;	   /* inotify(7) */
	struct loop *loop;
	struct loop_source *resolv_src, *resolv_timer;
};

/* Addresses */

static struct in_addr address4(const struct cidr *cidr, uint32_t offset)
{
	return (struct in_addr){.s_addr = htonl(cidr->base + offset)};
}

static struct in6_addr address6(uint8_t low_high, uint8_t low)
{
	struct in6_addr a;

	inet_pton(AF_INET6, PREFIX6, &a);
	a.s6_addr[14] = low_high;
	a.s6_addr[15] = low;
	return a;
}

/* Whether the host can reach IPv6 addresses of the Internet. connect(2) of a datagram socket sends
 * nothing. */
static bool host_has_ipv6(void)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(53)};
	auto_fd int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	a.sin6_addr.s6_addr[0] = 0x20; /* 2000::/3, the range that addresses are given out from */
	a.sin6_addr.s6_addr[15] = 1;
	return fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
}

static bool wants_ipv6(const struct net_params *params, int mtu)
{
	if (mtu < IPV6_MTU_MIN)
		return false;
	return params->ipv6 || (params->ipv6_auto && host_has_ipv6());
}

/* Returns false when a descriptor or memory is short, and the file must be read again later: until
 * then the resolvers stay, if there are any. Without the file this host is the resolver. */
static bool read_resolvers(struct dp_outward *o)
{
	char text[RESOLV_CONF_BYTES];
	ssize_t len = fd_read_file(RESOLV_CONF, text, sizeof(text));
	bool looked = !fd_is_shortage((int)len);

	if (!looked && o->n_resolvers)
		return false;
	if (len < 0)
		text[0] = '\0';
	memset(o->resolvers, 0, sizeof(o->resolvers));
	o->n_resolvers = builtin_resolvers(text, o->resolvers);
	return looked;
}

static void fill_marks(struct dp_outward *o)
{
	o->mark_accept = ROUTER_MARK_ACCEPT;
	o->mark_refused = ROUTER_MARK_REFUSED;
	o->mark_unreachable_host = ROUTER_MARK_UNREACHABLE_HOST;
	o->mark_unreachable_net = ROUTER_MARK_UNREACHABLE_NET;
	o->mark_prohibited = ROUTER_MARK_PROHIBITED;
}

/* The option parser allows at most DP_OUTWARD_RULES rules. */
static int fill_policy(const struct net_params *params, struct dp_outward *o, struct err *e)
{
	o->disable_host_loopback = params->disable_host_loopback;
	o->n_rules = (uint32_t)(params->n_egress < DP_OUTWARD_RULES ? params->n_egress
								    : DP_OUTWARD_RULES);
	for (uint32_t i = 0; i < o->n_rules; i++)
		o->rules[i] = params->egress[i];
	if (!params->outbound_addr)
		return 0;
	return egress_outbound(params->outbound_addr, &o->outbound4, &o->outbound6, e);
}

static void fill_config(const struct flavour *flavour, const struct net_params *params,
			const struct cidr *cidr, int mtu, struct dp_outward *o)
{
	fill_marks(o);
	o->gateway4 = address4(cidr, flavour->gateway);
	o->dns4 = address4(cidr, flavour->dns);
	o->inside4 = address4(cidr, CIDR_INSIDE);
	o->prefix_len4 = (uint8_t)cidr->prefix_len;
	o->ipv6 = wants_ipv6(params, mtu);
	if (o->ipv6) {
		o->gateway6 = address6(0, CIDR_GATEWAY);
		o->dns6 = address6(0, CIDR_DNS);
		o->inside6 = address6(1, 0); /* fd00::100 */
		o->prefix_len6 = PREFIX6_LEN;
	}
	read_resolvers(o);
}

/* The router */

/* Takes the descriptors that the router sends. */
static int take_namespace(struct net_driver *drv, struct err *e)
{
	struct router_answer answer;
	int fds[3] = {-1, -1, -1};
	size_t n = 3;
	ssize_t len = fdpass_recv(drv->router.channel, &answer, sizeof(answer), fds, &n, 0);

	if (len == 0 && helper_ends_within(&drv->router.helper, 1000))
		return helper_ended(&drv->router.helper, e);
	if (len != (ssize_t)sizeof(answer))
		return err_errno(e, len < 0 ? (int)len : -EPROTO, "message from the router");
	if (answer.head.err.code) {
		*e = answer.head.err;
		return e->code;
	}
	drv->queue = answer.queue;
	drv->outward.netns_fd = fds[0];
	drv->count_fd = fds[1];
	drv->listening = answer.listening;
	drv->listening.fd = fds[2];
	return n == (drv->follows ? 3 : 2) ? 0 : err_errno(e, -EPROTO, "message from the router");
}

static int take_router(struct net_driver *drv, struct err *e)
{
	struct helper *helper = &drv->router.helper;
	int code = proc_check(&helper->proc, "rootlesskit", e);

	if (!code)
		code = helper_wait(helper, drv->router.channel, drv->abort_fd, READY_TIMEOUT_MS,
				   "is not ready", e);
	if (!code)
		code = take_namespace(drv, e);
	if (code)
		return code;
	code = outward_receive(&drv->outward, drv->router.channel);
	return code ? err_errno(e, code, "sockets of the router") : 0;
}

static void say_queue(enum router_queue queue)
{
	if (queue == ROUTER_QUEUE_NONE)
		log_warning("--net=builtin: the kernel has neither nft_queue nor xt_NFQUEUE with "
			    "nft_compat (modprobe nft_queue): a connection is accepted before its "
			    "server has answered, so one that is refused shows as a reset, and "
			    "pings go nowhere");
}

static void fill_result(const struct dp_outward *o, struct net_result *result)
{
	result->prefix_len = o->prefix_len4;
	inet_ntop(AF_INET, &o->inside4, result->ip, sizeof(result->ip));
	inet_ntop(AF_INET, &o->gateway4, result->gateway, sizeof(result->gateway));
	inet_ntop(AF_INET, &o->dns4, result->dns[0], sizeof(result->dns[0]));
	if (!o->ipv6)
		return;
	result->prefix_len6 = o->prefix_len6;
	inet_ntop(AF_INET6, &o->inside6, result->ip6, sizeof(result->ip6));
	inet_ntop(AF_INET6, &o->gateway6, result->gateway6, sizeof(result->gateway6));
}

static void builtin_stop(struct net_driver *drv)
{
	if (!drv)
		return;
	loop_remove(drv->resolv_src);
	loop_remove(drv->resolv_timer);
	close_fd(&drv->resolv_fd);
	close_fd(&drv->listening.fd);
	close_fd(&drv->count_fd);
	inside_stop(&drv->router);
	outward_close(&drv->outward);
	free(drv);
}

static struct net_driver *driver_new(const struct net_params *params,
				     const struct net_target *target)
{
	struct net_driver *drv = calloc(1, sizeof(*drv));

	if (!drv)
		return NULL;
	inside_init(&drv->router, "the router's set-up", "router");
	drv->router.check_later = true;
	outward_init(&drv->outward);
	drv->outward.workers =
		dataplane_worker_count(params->workers > 0 ? (unsigned)params->workers : 0);
	drv->outward.userns_fd = target->userns_fd;
	drv->abort_fd = target->abort_fd;
	drv->follows = params->auto_ports;
	drv->resolv_fd = drv->listening.fd = drv->count_fd = -1;
	drv->queue = ROUTER_QUEUE_NONE;
	snprintf(drv->outbound, sizeof(drv->outbound), "%s",
		 params->outbound_addr ? params->outbound_addr : "");
	return drv;
}

static int start(const struct flavour *flavour, const struct net_params *params,
		 const struct net_target *target, struct net_driver **out,
		 struct net_result *result, struct err *e)
{
	struct router_boot boot = {.mtu = net_mtu(flavour->ops, params),
				   .debug = log_is_debug(),
				   .listening = params->auto_ports};
	struct net_driver *drv;
	struct cidr cidr;
	int code = cidr_parse(params->cidr ? params->cidr : CIDR_DEFAULT, &cidr, e);

	code = code ? code : fill_policy(params, &boot.config, e);
	if (code)
		return code;
	drv = driver_new(params, target);
	if (!drv)
		return err_errno(e, -ENOMEM, "network driver builtin");
	boot.workers = drv->outward.workers;
	snprintf(boot.ifname, sizeof(boot.ifname), "%s", net_ifname(flavour->ops, params));
	memcpy(drv->outward.ifname, boot.ifname, sizeof(boot.ifname));
	fill_config(flavour, params, &cidr, boot.mtu, &boot.config);
	code = inside_start(&drv->router, ROLE_ROUTER, target, &boot, sizeof(boot), -1, e);
	if (code) {
		builtin_stop(drv);
		return code;
	}
	net_result_init(result, flavour->ops, params);
	result->pair = true;
	fill_result(&boot.config, result);
	*out = drv;
	return 0;
}

/* Meanwhile the parent has started the data plane. */
static int builtin_finish(struct net_driver *drv, struct err *e)
{
	int code = take_router(drv, e);

	/* The process has done its work. */
	inside_stop(&drv->router);
	if (!code)
		say_queue(drv->queue);
	return code;
}

static int builtin_start(const struct net_params *params, const struct net_target *target,
			 struct net_driver **out, struct net_result *result, struct err *e)
{
	return start(&flavour_builtin, params, target, out, result, e);
}

static int gvisor_start(const struct net_params *params, const struct net_target *target,
			struct net_driver **out, struct net_result *result, struct err *e)
{
	int code = start(&flavour_gvisor, params, target, out, result, e);

	if (!code)
		log_info("--net=gvisor-tap-vsock: served by the network builtin, with the "
			 "addresses of gvisor-tap-vsock");
	return code;
}

/* Changes of the name servers. resolv.conf is often replaced, and may be a link to a file that is,
 * so the directories of both are watched. */

static void watch_directory_of(int fd, const char *path)
{
	char dir[PATH_MAX], *slash;

	snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (slash && slash != dir)
		*slash = '\0';
	if (inotify_add_watch(fd, dir, IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE) < 0)
		log_debug("%s is not watched: %s", dir, strerror(errno));
}

static bool same_resolvers(const struct dp_outward *a, const struct dp_outward *b)
{
	if (a->n_resolvers != b->n_resolvers)
		return false;
	for (unsigned i = 0; i < a->n_resolvers; i++)
		if (!sockaddr_same_host(&a->resolvers[i], &b->resolvers[i]))
			return false;
	return true;
}

static void on_resolv_timer(void *arg, uint32_t events);

static void look_at_resolvers(struct net_driver *drv)
{
	struct dp_outward *o = &drv->outward.config;
	struct dp_outward before = *o;

	if (!read_resolvers(o) && !drv->resolv_timer)
		drv->resolv_timer =
			loop_add_timer(drv->loop, RESOLV_RETRY_MS, on_resolv_timer, drv);
	if (same_resolvers(&before, o))
		return;
	log_debug("%s has other name servers now", RESOLV_CONF);
	if (drv->outward.dataplane)
		dataplane_resolvers_changed(drv->outward.dataplane);
}

static void on_resolv_timer(void *arg, uint32_t events)
{
	struct net_driver *drv = arg;

	(void)events;
	drv->resolv_timer = NULL;
	look_at_resolvers(drv);
}

static void resolv_changed(void *arg, uint32_t events)
{
	struct net_driver *drv = arg;
	char buf[4096];

	(void)events;
	while (read(drv->resolv_fd, buf, sizeof(buf)) > 0)
		;
	look_at_resolvers(drv);
}

/* Begins to watch, and looks at what has changed since the start. */
static void watch_resolvers(void *arg, uint32_t events)
{
	struct net_driver *drv = arg;
	char real[PATH_MAX];

	(void)events;
	drv->resolv_timer = NULL;
	drv->resolv_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (drv->resolv_fd >= 0)
		drv->resolv_src =
			loop_add_fd(drv->loop, drv->resolv_fd, EPOLLIN, resolv_changed, drv);
	if (!drv->resolv_src) {
		log_warning("changes of %s will not be seen: %s", RESOLV_CONF, strerror(errno));
		close_fd(&drv->resolv_fd);
		return;
	}
	watch_directory_of(drv->resolv_fd, RESOLV_CONF);
	if (realpath(RESOLV_CONF, real) && strcmp(real, RESOLV_CONF) != 0)
		watch_directory_of(drv->resolv_fd, real);
	look_at_resolvers(drv); /* it may have changed, or could not be read at the start */
}

static int builtin_watch(struct net_driver *drv, struct loop *loop, net_died_fn *died, void *arg)
{
	(void)died;
	(void)arg;
	drv->loop = loop;
	drv->resolv_timer = loop_add_timer(loop, WATCH_AFTER_MS, watch_resolvers, drv);
	return drv->resolv_timer ? 0 : -errno;
}

static struct dataplane_outward *builtin_outward(struct net_driver *drv)
{
	return &drv->outward;
}

/* What the API reports of this network */

static int say_facts(const struct net_driver *drv, port_counter_fn *fn, void *arg)
{
	static const char *const ways[] = {
		[ROUTER_QUEUE_EXPR] = "nft_queue",
		[ROUTER_QUEUE_TARGET] = "xt_NFQUEUE with nft_compat",
		[ROUTER_QUEUE_NONE] = "the kernel has no nft_queue, nor nft_compat for xt_NFQUEUE",
	};
	const struct dp_outward *o = &drv->outward.config;
	char rules[EGRESS_TEXT_BYTES];
	struct port_counter facts[] = {
		{.name = "connect", .text = drv->queue == ROUTER_QUEUE_NONE ? "early" : "honest"},
		{.name = "connectReason", .text = ways[drv->queue]},
		{.name = "ipv6", .text = o->ipv6 ? "yes" : "no"},
		{.name = "hostLoopback", .text = o->disable_host_loopback ? "no" : "yes"},
		{.name = "egress", .text = egress_text(o, rules, sizeof(rules))},
		{.name = "outboundAddr", .text = drv->outbound},
	};
	int code = 0;

	for (size_t i = 0; i < ARRAY_SIZE(facts) && !code; i++) {
		facts[i].group = "outward";
		if (facts[i].text[0])
			code = fn(arg, &facts[i]);
	}
	return code;
}

static int builtin_describe(const struct net_driver *drv, port_counter_fn *fn, void *arg)
{
	struct port_counter refused = {
		.scope = COUNTER_TOTAL, .group = "outward", .name = "packetsRefused"};
	int code = say_facts(drv, fn, arg);

	if (!code && router_count(drv->count_fd, &refused.value) == 0)
		code = fn(arg, &refused);
	return code;
}

static struct listening_source *builtin_listening(struct net_driver *drv)
{
	return drv->follows ? &drv->listening : NULL;
}

const struct net_driver_ops net_builtin_ops = {
	.name = "builtin",
	.default_ifname = "eth0",
	.default_mtu = DEFAULT_MTU,
	.takes_cidr = true,
	.takes_ipv6 = true,
	.takes_egress = true,
	.start = builtin_start,
	.finish = builtin_finish,
	.watch = builtin_watch,
	.outward = builtin_outward,
	.listening = builtin_listening,
	.describe = builtin_describe,
	.stop = builtin_stop,
};

const struct net_driver_ops net_gvisor_ops = {
	.name = "gvisor-tap-vsock",
	.default_ifname = "tap0",
	.default_mtu = DEFAULT_MTU,
	.takes_cidr = true,
	.takes_ipv6 = true,
	.takes_egress = true,
	.start = gvisor_start,
	.finish = builtin_finish,
	.watch = builtin_watch,
	.outward = builtin_outward,
	.describe = builtin_describe,
	.stop = builtin_stop,
};
