/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/net/dhcp.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/checksum.h"

/* Offsets in a frame without IP options, and in the BOOTP message (RFC 951, RFC 2131 section 2). */
#define IP_HEADER     20
#define UDP_HEADER    8
#define BOOTP_XID     4
#define BOOTP_FLAGS   10
#define BOOTP_CIADDR  12
#define BOOTP_YIADDR  16
#define BOOTP_CHADDR  28
#define BOOTP_COOKIE  236
#define BOOTP_OPTIONS 240
/* Old relay agents drop messages that are shorter (RFC 1542 section 2.1). */
#define BOOTP_MIN 300

#define PORT_SERVER 67
#define PORT_CLIENT 68

enum {
	OPT_PAD = 0,
	OPT_MASK = 1,
	OPT_ROUTER = 3,
	OPT_DNS = 6,
	OPT_REQUESTED = 50,
	OPT_LEASE = 51,
	OPT_TYPE = 53,
	OPT_SERVER = 54,
	OPT_PARAMETERS = 55,
	OPT_TEXT = 56,
	OPT_T1 = 58,
	OPT_T2 = 59,
	OPT_CLIENT_ID = 61,
	OPT_END = 255,
};

static const uint8_t cookie[4] = {99, 130, 83, 99};

static void put16(uint8_t *p, size_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xffff);
}

static unsigned get16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

/* Building */

static uint8_t *option(uint8_t *p, uint8_t code, const void *value, uint8_t len)
{
	*p++ = code;
	*p++ = len;
	memcpy(p, value, len);
	return p + len;
}

static size_t build_options(const struct dhcp_query *q, uint8_t *start)
{
	static const uint8_t parameters[] = {OPT_MASK,	OPT_ROUTER, OPT_DNS,
					     OPT_LEASE, OPT_T1,	    OPT_T2};
	uint8_t type = (uint8_t)q->type, id[1 + ETH_ALEN] = {1}, *p = start;

	memcpy(id + 1, q->mac, ETH_ALEN);
	p = option(p, OPT_TYPE, &type, 1);
	p = option(p, OPT_CLIENT_ID, id, sizeof(id));
	if (q->requested)
		p = option(p, OPT_REQUESTED, &q->requested, 4);
	/* A renewal must not have this option: RFC 2131 table 4. */
	if (q->server && !q->ciaddr)
		p = option(p, OPT_SERVER, &q->server, 4);
	p = option(p, OPT_PARAMETERS, parameters, sizeof(parameters));
	*p++ = OPT_END;
	return (size_t)(p - start);
}

static size_t build_bootp(const struct dhcp_query *q, uint8_t *b)
{
	size_t len;

	b[0] = 1; /* BOOTREQUEST */
	b[1] = 1; /* Ethernet */
	b[2] = ETH_ALEN;
	put32(b + BOOTP_XID, q->xid);
	/* A client without an address can only get the answer by broadcast. */
	if (!q->ciaddr)
		put16(b + BOOTP_FLAGS, 0x8000);
	memcpy(b + BOOTP_CIADDR, &q->ciaddr, 4);
	memcpy(b + BOOTP_CHADDR, q->mac, ETH_ALEN);
	memcpy(b + BOOTP_COOKIE, cookie, sizeof(cookie));
	len = BOOTP_OPTIONS + build_options(q, b + BOOTP_OPTIONS);
	return len < BOOTP_MIN ? BOOTP_MIN : len;
}

static void build_ip(const struct dhcp_query *q, uint8_t *ip, size_t bootp_len)
{
	in_addr_t to = q->unicast ? q->server : INADDR_BROADCAST;
	uint8_t *udp = ip + IP_HEADER;
	size_t udp_len = UDP_HEADER + bootp_len;
	unsigned check;

	ip[0] = 0x45;
	put16(ip + 2, IP_HEADER + udp_len);
	ip[8] = 64;
	ip[9] = IPPROTO_UDP;
	memcpy(ip + 12, &q->ciaddr, 4);
	memcpy(ip + 16, &to, 4);
	put16(ip + 10, checksum_of(checksum_add(0, ip, IP_HEADER)));
	put16(udp, PORT_CLIENT);
	put16(udp + 2, PORT_SERVER);
	put16(udp + 4, udp_len);
	check = checksum_of(checksum_add(
		checksum_add((uint32_t)(IPPROTO_UDP + udp_len), ip + 12, 8), udp, udp_len));
	put16(udp + 6, check ? check : 0xffff); /* RFC 768: zero would mean that there is no
						 * checksum */
}

size_t dhcp_build(const struct dhcp_query *q, uint8_t *buf)
{
	uint8_t *ip = buf + ETH_HLEN;
	size_t bootp_len;

	static_assert(ETH_HLEN + IP_HEADER + UDP_HEADER + BOOTP_MIN <= DHCP_FRAME_MAX, "fits");
	memset(buf, 0, DHCP_FRAME_MAX);
	if (q->unicast)
		memcpy(buf, q->server_mac, ETH_ALEN);
	else
		memset(buf, 0xff, ETH_ALEN);
	memcpy(buf + ETH_ALEN, q->mac, ETH_ALEN);
	put16(buf + 2 * ETH_ALEN, ETHERTYPE_IP);
	bootp_len = build_bootp(q, ip + IP_HEADER + UDP_HEADER);
	build_ip(q, ip, bootp_len);
	return ETH_HLEN + IP_HEADER + UDP_HEADER + bootp_len;
}

/* Reading */

/* The prefix length of a netmask, or -1 when its ones have a gap. */
static int mask_length(uint32_t mask)
{
	int len = 0;

	while (len < 32 && mask & (0x80000000U >> len))
		len++;
	return len == 32 || !(mask << len) ? len : -1;
}

static void take_text(const uint8_t *value, size_t len, struct dhcp_answer *out)
{
	if (len >= sizeof(out->text))
		len = sizeof(out->text) - 1;
	for (size_t i = 0; i < len; i++)
		out->text[i] = value[i] >= ' ' && value[i] < 0x7f ? (char)value[i] : '?';
	out->text[len] = '\0';
}

static void take_dns(const uint8_t *value, size_t len, struct dhcp_answer *out)
{
	for (size_t i = 0; i < DHCP_DNS_MAX && (i + 1) * 4 <= len; i++)
		memcpy(&out->dns[i], value + i * 4, 4);
}

static int take_option(uint8_t code, const uint8_t *value, size_t len, struct dhcp_answer *out)
{
	switch (code) {
	case OPT_TYPE:
		if (len != 1)
			return -EBADMSG;
		out->type = (enum dhcp_type)value[0];
		return 0;
	case OPT_TEXT:
		take_text(value, len, out);
		return 0;
	case OPT_MASK:
	case OPT_LEASE:
	case OPT_T1:
	case OPT_T2:
	case OPT_SERVER:
		if (len != 4)
			return -EBADMSG;
		break;
	case OPT_ROUTER:
	case OPT_DNS:
		if (!len || len % 4)
			return -EBADMSG;
		break;
	default:
		return 0;
	}
	if (code == OPT_MASK)
		out->prefix_len = mask_length(get32(value));
	else if (code == OPT_LEASE)
		out->lease_s = get32(value);
	else if (code == OPT_T1)
		out->t1_s = get32(value);
	else if (code == OPT_T2)
		out->t2_s = get32(value);
	else if (code == OPT_DNS)
		take_dns(value, len, out);
	else
		memcpy(code == OPT_SERVER ? &out->server : &out->router, value, 4);
	return code == OPT_MASK && out->prefix_len < 0 ? -EBADMSG : 0;
}

/* Parses the options. Only when they do not fit here, a server puts options into the fields of the
 * boot file's name (option 52); those that we ask for do fit. */
static int parse_options(const uint8_t *p, const uint8_t *end, struct dhcp_answer *out)
{
	while (p < end && *p != OPT_END) {
		uint8_t code = *p++;
		size_t len;
		int bad;

		if (code == OPT_PAD)
			continue;
		if (p == end || (size_t)(end - p - 1) < *p)
			return -EBADMSG;
		len = *p++;
		bad = take_option(code, p, len, out);
		if (bad)
			return bad;
		p += len;
	}
	return out->type >= DHCP_DISCOVER && out->type <= DHCP_RELEASE ? 0 : -EBADMSG;
}

static int parse_bootp(const uint8_t *b, size_t len, struct dhcp_answer *out)
{
	if (len < BOOTP_OPTIONS || memcmp(b + BOOTP_COOKIE, cookie, sizeof(cookie)))
		return -EBADMSG;
	if (b[0] != 2 || b[1] != 1 || b[2] != ETH_ALEN)
		return -EBADMSG;
	out->xid = get32(b + BOOTP_XID);
	memcpy(&out->address, b + BOOTP_YIADDR, 4);
	memcpy(out->mac, b + BOOTP_CHADDR, ETH_ALEN);
	return parse_options(b + BOOTP_OPTIONS, b + len, out);
}

int dhcp_parse(const uint8_t *frame, size_t len, struct dhcp_answer *out)
{
	const uint8_t *ip = frame + ETH_HLEN, *udp;
	size_t header, total, udp_len;

	memset(out, 0, sizeof(*out));
	out->prefix_len = -1;
	if (len < ETH_HLEN + IP_HEADER || get16(frame + 2 * ETH_ALEN) != ETHERTYPE_IP)
		return -ENOMSG;
	memcpy(out->server_mac, frame + ETH_ALEN, ETH_ALEN);
	header = (ip[0] & 15U) * 4;
	total = get16(ip + 2);
	/* A frame may be padded at its end. A fragment has no port, and no DHCP server makes
	 * any. */
	if (ip[0] >> 4 != 4 || header < IP_HEADER || total > len - ETH_HLEN ||
	    total < header + UDP_HEADER || get16(ip + 6) & 0x3fff || ip[9] != IPPROTO_UDP)
		return -ENOMSG;
	udp = ip + header;
	udp_len = get16(udp + 4);
	if (get16(udp) != PORT_SERVER || get16(udp + 2) != PORT_CLIENT)
		return -ENOMSG;
	if (checksum_of(checksum_add(0, ip, header)) || udp_len < UDP_HEADER ||
	    udp_len > total - header)
		return -EBADMSG;
	return parse_bootp(udp + UDP_HEADER, udp_len - UDP_HEADER, out);
}

bool dhcp_is_for_hosts(in_addr_t address)
{
	uint32_t first = ntohl(address) >> 24;

	return first != 0 && first != IN_LOOPBACKNET && first < 224;
}

bool dhcp_same_server(const struct dhcp_answer *a, const struct dhcp_answer *b)
{
	if (a->server && b->server)
		return a->server == b->server;
	return !memcmp(a->server_mac, b->server_mac, ETH_ALEN);
}
