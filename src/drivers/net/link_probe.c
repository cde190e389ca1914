/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/net/link_probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <netinet/if_ether.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/exitcode.h"
#include "base/fd.h"
#include "base/loop.h"
#include "base/role.h"
#include "dataplane/sandbox.h"
#include "drivers/net/roles.h"
#include "ns/netif.h"

#define ASK_EVERY_MS 100

int link_probe_start(struct inside *in, const struct net_target *target,
		     const struct link_probe_boot *boot, struct err *e)
{
	return inside_start(in, ROLE_LINK_PROBE, target, boot, sizeof(*boot), -1, e);
}

/* An ARP frame as on the wire. */
struct arp_frame {
	struct ether_header ether;
	struct ether_arp arp;
} __attribute__((packed));

static int open_socket(const char *ifname, uint8_t *mac, int *out, struct err *e)
{
	struct sockaddr_ll a = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ARP)};
	auto_fd int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct ifreq ifr = {0};

	if (fd < 0)
		return err_errno(e, -errno, "packet socket");
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", ifname);
	if (ioctl(fd, SIOCGIFHWADDR, &ifr) < 0)
		return err_errno(e, -errno, "interface %s", ifname);
	memcpy(mac, ifr.ifr_hwaddr.sa_data, ETH_ALEN);
	a.sll_ifindex = (int)if_nametoindex(ifname);
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return err_errno(e, -errno, "packet socket of %s", ifname);
	*out = steal_fd(&fd);
	return 0;
}

/* Sends a request. A lost one is sent again. */
static void ask(int fd, const uint8_t *mac, const struct link_probe_boot *boot)
{
	struct arp_frame f = {
		.ether.ether_type = htons(ETHERTYPE_ARP),
		.arp.ea_hdr = {.ar_hrd = htons(ARPHRD_ETHER),
			       .ar_pro = htons(ETHERTYPE_IP),
			       .ar_hln = ETH_ALEN,
			       .ar_pln = 4,
			       .ar_op = htons(ARPOP_REQUEST)},
	};

	memset(f.ether.ether_dhost, 0xff, ETH_ALEN);
	memcpy(f.ether.ether_shost, mac, ETH_ALEN);
	memcpy(f.arp.arp_sha, mac, ETH_ALEN);
	memcpy(f.arp.arp_spa, &boot->ip, 4);
	memcpy(f.arp.arp_tpa, &boot->gateway, 4);
	if (write(fd, &f, sizeof(f)) < 0)
		return;
}

static bool answered(int fd, const struct link_probe_boot *boot)
{
	struct arp_frame f;
	ssize_t n = read(fd, &f, sizeof(f));

	return n == (ssize_t)sizeof(f) && f.arp.ea_hdr.ar_op == htons(ARPOP_REPLY) &&
	       !memcmp(f.arp.arp_spa, &boot->gateway, 4);
}

static int probe(const struct link_probe_boot *boot, struct err *e)
{
	uint64_t end = loop_now_ms() + (uint64_t)boot->timeout_ms, next_ms = 0;
	uint8_t mac[ETH_ALEN];
	auto_fd int fd = -1;
	int code = netif_up(boot->ifname, e);

	code = code ? code : open_socket(boot->ifname, mac, &fd, e);
	code = code ? code : sandbox_relay(e);
	while (!code) {
		struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = INSIDE_CHANNEL}};
		uint64_t now = loop_now_ms();

		if (now >= end)
			return err_set(e, -EHOSTUNREACH, "the gateway does not answer after %d ms",
				       boot->timeout_ms);
		if (now >= next_ms) {
			ask(fd, mac, boot);
			next_ms = now + ASK_EVERY_MS;
		}
		if (poll(fds, 2, (int)(next_ms - now)) < 0 && errno != EINTR)
			return err_errno(e, -errno, "poll");
		if (fds[1].revents)
			return err_set(e, -ECANCELED, "the parent is gone");
		if (fds[0].revents && answered(fd, boot))
			return 0;
	}
	return code;
}

int link_probe_main(void)
{
	struct inside_answer answer = {0};
	struct link_probe_boot boot;
	struct err e = {0};
	int code = inside_enter(&boot, sizeof(boot), NULL, &e);

	code = code ? code : inside_shield(&e);
	code = code ? code : probe(&boot, &e);
	answer.err = e;
	answer.err.code = code;
	inside_say(&answer, sizeof(answer));
	return code ? EXITCODE_FAILED : EXITCODE_OK;
}
