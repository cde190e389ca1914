/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The role "lxc-dhcp": gets an address for the interface in the namespace and keeps the lease (RFC
 * 2131 section 4.4). It reports the address to the parent, and each change; the parent puts the
 * address on the interface. The process runs in the user and network namespace of the command. Once
 * it has its socket, it has nothing left but the right to read, write and wait.
 *
 * This is a client of our own, because those of Debian are made for root on a machine of its own.
 * They write /etc/resolv.conf, want a directory for leases and a script, and would have to be
 * installed, which RootlessKit does not ask for. vpnkit needs the messages anyway.
 *
 * The client sends and receives on a packet socket. A filter in the kernel lets through only what a
 * DHCP server sends to a client, so a busy interface does not wake the process.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/array.h"
#include "base/exitcode.h"
#include "base/fd.h"
#include "base/fdpass.h"
#include "base/log.h"
#include "dataplane/sandbox.h"
#include "drivers/net/lxc_internal.h"
#include "drivers/net/roles.h"
#include "ns/netif.h"

#define PORT_CLIENT 68
/* RFC 2131 wants four seconds. On a bridge of this host an answer comes at once, and requests are
 * lost until the port forwards. */
#define RETRY_FIRST_MS 250
#define RETRY_LAST_MS  16000
/* The shortest lease that we believe a server. */
#define LEASE_MIN_S 2
/* The pause between the tries of a renewal, when little time is left. */
#define RENEW_MIN_MS   1000
#define LEASE_FOR_EVER UINT32_MAX
#define NEVER	       UINT64_MAX

struct client {
	int packet;
	int swallow; /* bound to the port, so that the kernel does not refuse what comes there */
	uint8_t mac[ETH_ALEN];
	uint32_t xid;
	struct dhcp_answer lease;
	in_addr_t refused;	       /* an offered address that no host can have; 0: none */
	struct lxc_answer told;	       /* what the parent was last told */
	uint64_t t1_ms, t2_ms, end_ms; /* the times of the lease, in now_ms() */
};

/* Includes the time that the machine sleeps, in which a lease goes on. */
static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* The socket */

/* Lets through IPv4, UDP, no fragments, from port 67 to port 68 (bpf(4) of the BSDs,
 * Documentation/networking/filter.rst). */
static int attach_filter(int fd, struct err *e)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IP, 0, 8),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, ETH_HLEN + 9),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_UDP, 0, 6),
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, ETH_HLEN + 6),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x1fff, 4, 0),
		BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, ETH_HLEN),
		BPF_STMT(BPF_LD | BPF_W | BPF_IND, ETH_HLEN),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 67 << 16 | PORT_CLIENT, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog program = {.len = ARRAY_SIZE(code), .filter = code};

	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0)
		return err_errno(e, -errno, "SO_ATTACH_FILTER");
	return 0;
}

/* Opens the socket with protocol 0, so that nothing comes in before the filter is there. */
static int open_packet_socket(struct client *c, const char *ifname, struct err *e)
{
	struct sockaddr_ll a = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP)};
	struct ifreq ifr = {0};
	int code;

	c->packet = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->packet < 0)
		return err_errno(e, -errno, "packet socket");
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", ifname);
	if (ioctl(c->packet, SIOCGIFHWADDR, &ifr) < 0)
		return err_errno(e, -errno, "lxc-user-nic made no interface %s", ifname);
	memcpy(c->mac, ifr.ifr_hwaddr.sa_data, ETH_ALEN);
	code = attach_filter(c->packet, e);
	if (code)
		return code;
	a.sll_ifindex = (int)if_nametoindex(ifname);
	if (bind(c->packet, (struct sockaddr *)&a, sizeof(a)) < 0)
		return err_errno(e, -errno, "packet socket of %s", ifname);
	return 0;
}

static int open_swallower(struct client *c, struct err *e)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(PORT_CLIENT)};
	int least = 1;

	c->swallow = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (c->swallow < 0 || bind(c->swallow, (struct sockaddr *)&a, sizeof(a)) < 0)
		return err_errno(e, -errno, "UDP port %d", PORT_CLIENT);
	setsockopt(c->swallow, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least));
	return 0;
}

/* Messages */

/* Sends a request. A lost one is sent again in time. */
static void send_query(struct client *c, struct dhcp_query *q)
{
	uint8_t frame[DHCP_FRAME_MAX];
	size_t len;

	q->xid = c->xid;
	memcpy(q->mac, c->mac, ETH_ALEN);
	len = dhcp_build(q, frame);
	if (write(c->packet, frame, len) < 0)
		log_debug("sending to the DHCP server: %s", strerror(errno));
}

static int new_exchange(struct client *c, struct err *e)
{
	if (getrandom(&c->xid, sizeof(c->xid), 0) != sizeof(c->xid))
		return err_errno(e, -errno, "getrandom");
	return 0;
}

/* Receives a message of this exchange, until end. 0, -ETIMEDOUT, -ECANCELED when the parent is
 * gone, or -errno. */
static int receive(struct client *c, uint64_t end, struct dhcp_answer *a)
{
	uint8_t frame[2048];

	for (;;) {
		struct pollfd fds[] = {{.fd = c->packet, .events = POLLIN}, {.fd = INSIDE_CHANNEL}};
		uint64_t now = now_ms(), left = now < end ? end - now : 0;
		int n = poll(fds, 2, left < 60000 ? (int)left : 60000);
		ssize_t len;

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0 && now_ms() >= end)
			return -ETIMEDOUT;
		if (n <= 0)
			continue;
		if (fds[1].revents)
			return -ECANCELED;
		len = read(c->packet, frame, sizeof(frame));
		if (len < 0 && errno != EINTR && errno != ENETDOWN && !fd_is_passing(-errno))
			return -errno;
		if (len > 0 && dhcp_parse(frame, (size_t)len, a) == 0 && a->xid == c->xid &&
		    !memcmp(a->mac, c->mac, ETH_ALEN))
			return 0;
	}
}

/* The lease */

static uint64_t seconds(uint64_t from_ms, uint32_t s)
{
	return s == LEASE_FOR_EVER ? NEVER : from_ms + (uint64_t)s * 1000;
}

/* Stores the lease. Its times count from when the request was sent: RFC 2131 section 4.4.1. */
static void take_lease(struct client *c, const struct dhcp_answer *a, uint64_t sent_ms)
{
	uint32_t lease_s = a->lease_s > LEASE_MIN_S ? a->lease_s : LEASE_MIN_S;
	uint32_t t1_s = a->t1_s, t2_s = a->t2_s;

	/* The default when the server names no time, or an impossible one: section 4.4.5. */
	if (!t2_s || t2_s >= lease_s)
		t2_s = lease_s == LEASE_FOR_EVER ? lease_s : (uint32_t)((uint64_t)lease_s * 7 / 8);
	if (!t1_s || t1_s >= t2_s)
		t1_s = lease_s == LEASE_FOR_EVER ? lease_s : lease_s / 2;
	c->lease = *a;
	/* Without a netmask the previous one still holds. */
	if (a->prefix_len < 0)
		c->lease.prefix_len = c->told.prefix_len;
	c->t1_ms = seconds(sent_ms, t1_s);
	c->t2_ms = seconds(sent_ms, t2_s);
	c->end_ms = seconds(sent_ms, lease_s);
	log_debug("lease of %u s, to be renewed after %u s", lease_s, t1_s);
}

/* Requests the offered address. 0: there is a lease; -EAGAIN: start anew; or -errno. */
static int request_offer(struct client *c, const struct dhcp_answer *offer, uint64_t end)
{
	struct dhcp_query q = {
		.type = DHCP_REQUEST, .requested = offer->address, .server = offer->server};
	uint64_t sent_ms = now_ms();
	struct dhcp_answer a = {0};
	int code;

	send_query(c, &q);
	if (end > sent_ms + RETRY_LAST_MS / 4)
		end = sent_ms + RETRY_LAST_MS / 4;
	while (!(code = receive(c, end, &a))) {
		if (!dhcp_same_server(&a, offer))
			continue;
		if (a.type == DHCP_NAK)
			return -EAGAIN;
		if (a.type != DHCP_ACK || a.address != offer->address)
			continue;
		take_lease(c, &a, sent_ms);
		return 0;
	}
	return code == -ETIMEDOUT ? -EAGAIN : code;
}

static bool is_offer(struct client *c, const struct dhcp_answer *a)
{
	if (a->type != DHCP_OFFER || !a->server)
		return false;
	if (dhcp_is_for_hosts(a->address))
		return true;
	c->refused = a->address;
	return false;
}

/* Gets a lease from the start (section 4.4.1), until end. wanted: the address that we had, or 0. 0,
 * -ETIMEDOUT, -ECANCELED, or -errno. */
static int acquire(struct client *c, in_addr_t wanted, uint64_t end, struct err *e)
{
	uint64_t retry_ms = RETRY_FIRST_MS, until;
	struct dhcp_answer a = {0};

	while (now_ms() < end) {
		struct dhcp_query q = {.type = DHCP_DISCOVER, .requested = wanted};
		int code = new_exchange(c, e);

		if (code)
			return code;
		send_query(c, &q);
		until = now_ms() + retry_ms;
		if (until > end)
			until = end;
		while (!(code = receive(c, until, &a)))
			if (is_offer(c, &a))
				break;
		code = code ? code : request_offer(c, &a, end);
		if (code != -ETIMEDOUT && code != -EAGAIN)
			return code;
		if (retry_ms < RETRY_LAST_MS)
			retry_ms *= 2;
	}
	return -ETIMEDOUT;
}

/* Some servers put only the obligatory options into the answer to a renewal; the others stay as
 * they were. */
static void keep_what_is_not_said(const struct client *c, struct dhcp_answer *a)
{
	if (!a->server)
		a->server = c->lease.server;
	if (!a->router)
		a->router = c->lease.router;
	if (!a->dns[0])
		memcpy(a->dns, c->lease.dns, sizeof(a->dns));
}

/* Sends a single request. 1: renewed; 0: no answer in time; otherwise as renew(). */
static int renew_once(struct client *c, uint64_t now)
{
	uint64_t limit = now < c->t2_ms ? c->t2_ms : c->end_ms;
	struct dhcp_query q = {
		.type = DHCP_REQUEST, .ciaddr = c->lease.address, .unicast = now < c->t2_ms};
	uint64_t wait_ms = limit == NEVER ? RETRY_LAST_MS : (limit - now) / 2;
	uint64_t until_ms = now + (wait_ms > RENEW_MIN_MS ? wait_ms : RENEW_MIN_MS);
	in_addr_t server = c->lease.server;
	struct dhcp_answer a = {0};
	int code;

	if (q.unicast) {
		memcpy(q.server_mac, c->lease.server_mac, ETH_ALEN);
		q.server = server; /* the destination; dhcp_build leaves the option out */
	}
	send_query(c, &q);
	while (!(code = receive(c, until_ms, &a))) {
		/* After T2 the request went to every server. */
		if (q.unicast && !dhcp_same_server(&a, &c->lease))
			continue;
		if (a.type == DHCP_NAK)
			return -EAGAIN;
		if (a.type != DHCP_ACK || a.address != c->lease.address)
			continue;
		keep_what_is_not_said(c, &a);
		take_lease(c, &a, now);
		return 1;
	}
	return code == -ETIMEDOUT ? 0 : code;
}

/* Renews the lease. 0: renewed; -ETIMEDOUT: no answer in time; -EAGAIN: refused; -ECANCELED, or
 * -errno. */
static int renew(struct client *c)
{
	struct err e;
	int code = new_exchange(c, &e);
	uint64_t now;

	while (!code && (now = now_ms()) < c->end_ms)
		code = renew_once(c, now);
	if (code > 0)
		return 0;
	return code ? code : -ETIMEDOUT;
}

/* Makes the parent's answer from the lease. */
static void fill_answer(const struct client *c, struct lxc_answer *answer)
{
	memset(answer, 0, sizeof(*answer));
	answer->ip = c->lease.address;
	answer->prefix_len = c->lease.prefix_len;
	answer->router = c->lease.router;
	memcpy(answer->dns, c->lease.dns, sizeof(answer->dns));
}

static bool same_lease(const struct lxc_answer *a, const struct lxc_answer *b)
{
	return a->ip == b->ip && a->prefix_len == b->prefix_len && a->router == b->router &&
	       !memcmp(a->dns, b->dns, sizeof(a->dns));
}

/* Sends the parent the lease, if anything in it has changed. */
static void tell(struct client *c)
{
	struct lxc_answer now;

	fill_answer(c, &now);
	if (same_lease(&now, &c->told))
		return;
	c->told = now;
	inside_say(&now, sizeof(now));
}

/* Gets a new lease after the old one was lost: for the same address if possible. */
static int acquire_again(struct client *c, struct err *e)
{
	int code;

	do
		code = acquire(c, c->lease.address, now_ms() + 60000, e);
	while (code == -ETIMEDOUT);
	return code;
}

/* Keeps the lease until the parent is gone (0) or the address is lost (-errno with *e). */
static int keep(struct client *c, struct err *e)
{
	for (;;) {
		struct dhcp_answer stray;
		int code;

		do
			code = receive(c, c->t1_ms, &stray);
		while (!code);
		if (code == -ETIMEDOUT)
			code = renew(c);
		if (code == -ETIMEDOUT || code == -EAGAIN) {
			log_debug("the lease has %s", code == -EAGAIN ? "been refused" : "run out");
			code = acquire_again(c, e);
			if (code && code != -ECANCELED)
				return e->code ? e->code : err_errno(e, code, "DHCP");
		}
		if (code == -ECANCELED)
			return 0;
		if (code)
			return err_errno(e, code, "DHCP");
		tell(c);
	}
}

/* Start */

static int wait_go(struct err *e)
{
	struct lxc_go go;
	size_t no_fds = 0;
	ssize_t n = fdpass_recv(INSIDE_CHANNEL, &go, sizeof(go), NULL, &no_fds, 0);

	/* Without the message the parent is gone, or has failed and said so. */
	return n == sizeof(go) ? 0 : err_errno(e, -ECANCELED, "start-up");
}

/* Joins the namespaces, and stays dumpable until lxc-user-nic is done: it gets our pid, and looks
 * at our namespaces as the user. */
static int join(struct lxc_boot *boot, struct err *e)
{
	struct inside_answer joined = {0};
	int code = inside_enter(boot, sizeof(*boot), NULL, e);

	if (!code && prctl(PR_SET_DUMPABLE, 1) < 0)
		code = err_errno(e, -errno, "PR_SET_DUMPABLE");
	if (code)
		return code;
	log_init("lxc-dhcp", boot->debug);
	inside_say(&joined, sizeof(joined));
	code = wait_go(e);
	return code ? code : inside_shield(e);
}

static int get_first_lease(struct client *c, const struct lxc_boot *boot, struct err *e)
{
	int code = acquire(c, 0, now_ms() + (uint64_t)boot->timeout_ms, e);
	char text[INET_ADDRSTRLEN];

	if (code == -ETIMEDOUT && c->refused)
		return err_set(e, -EPROTO,
			       "the DHCP server on the bridge offers %s, which no host can have",
			       inet_ntop(AF_INET, &c->refused, text, sizeof(text)));
	if (code == -ETIMEDOUT)
		return err_set(e, code,
			       "no DHCP server answered on the bridge within %d s: is one running "
			       "there (dnsmasq; systemctl status lxc-net)?",
			       boot->timeout_ms / 1000);
	if (code)
		return e->code ? e->code : err_errno(e, code, "DHCP");
	if (c->lease.prefix_len < 0)
		return err_set(e, -EPROTO, "the DHCP server gave an address without a netmask");
	return 0;
}

static int set_up(struct client *c, const struct lxc_boot *boot, struct lxc_answer *answer,
		  struct err *e)
{
	int code = netif_up(boot->ifname, e);

	code = code ? code : open_packet_socket(c, boot->ifname, e);
	code = code ? code : open_swallower(c, e);
	code = code ? code : sandbox_relay(e);
	code = code ? code : get_first_lease(c, boot, e);
	fill_answer(c, answer);
	c->told = *answer;
	return code;
}

int lxc_dhcp_main(void)
{
	static struct client client = {.packet = -1, .swallow = -1, .told.prefix_len = -1};
	struct lxc_answer answer = {0};
	struct lxc_boot boot = {0};
	struct err e = {0};
	int code = join(&boot, &e);

	if (code) {
		answer.head.err = e;
		inside_say(&answer.head, sizeof(answer.head));
		return EXITCODE_FAILED;
	}
	code = set_up(&client, &boot, &answer, &e);
	answer.head.err = e;
	answer.head.err.code = code;
	inside_say(&answer, sizeof(answer));
	code = code ? code : keep(&client, &e);
	if (code)
		inside_fail(&e);
	return EXITCODE_OK;
}
