/* SPDX-License-Identifier: Apache-2.0 */
/* DHCP frames: those that we send, those that are understood, and those that are refused. */
#include "cmocka_all.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "drivers/net/dhcp.h"

#define IP	14
#define UDP	(IP + 20)
#define BOOTP	(UDP + 8)
#define OPTIONS (BOOTP + 240)

static const uint8_t mac[] = {2, 0x50, 0, 0, 0, 1},
		     server_mac[] = {0xf6, 0x16, 0x36, 0xbc, 0xf9, 0xc6};

static unsigned get16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

/* Zero if the bytes hold the right checksum. */
static unsigned checksum(const uint8_t *p, size_t len, uint32_t s)
{
	for (size_t i = 0; i < len; i++)
		s += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return ~s & 0xffff;
}

/* Returns the value of an option in a frame that we built; NULL: it does not have the option. */
static const uint8_t *option(const uint8_t *frame, uint8_t code, uint8_t *len)
{
	const uint8_t *p = frame + OPTIONS;

	while (*p != 255) {
		if (*p == code) {
			*len = p[1];
			return p + 2;
		}
		p += 2 + p[1];
	}
	return NULL;
}

static void test_discover(void **state)
{
	struct dhcp_query q = {.type = DHCP_DISCOVER, .xid = 0x01020304};
	uint8_t f[DHCP_FRAME_MAX], len;
	uint32_t pseudo;
	size_t n;

	(void)state;
	memcpy(q.mac, mac, 6);
	n = dhcp_build(&q, f);
	assert_in_range(n, BOOTP + 300, DHCP_FRAME_MAX);
	assert_memory_equal(f, "\xff\xff\xff\xff\xff\xff\x02\x50\0\0\0\x01\x08\0", 14);
	assert_int_equal(f[IP], 0x45);
	assert_int_equal(get16(f + IP + 2), n - IP);
	assert_int_equal(checksum(f + IP, 20, 0), 0);
	assert_memory_equal(f + IP + 12, "\0\0\0\0\xff\xff\xff\xff", 8);
	assert_int_equal(get16(f + UDP), 68);
	assert_int_equal(get16(f + UDP + 2), 67);
	assert_int_equal(get16(f + UDP + 4), n - UDP);
	/* The checksum covers the pseudo header of RFC 768, too. */
	pseudo = (~checksum(f + IP + 12, 8, 0) & 0xffff) + IPPROTO_UDP + (uint32_t)(n - UDP);
	assert_int_equal(checksum(f + UDP, n - UDP, pseudo), 0);
	assert_memory_equal(f + BOOTP, "\x01\x01\x06\0\x01\x02\x03\x04", 8);
	assert_int_equal(get16(f + BOOTP + 10), 0x8000); /* the answer is to come by broadcast */
	assert_memory_equal(f + BOOTP + 28, mac, 6);
	assert_int_equal(*option(f, 53, &len), DHCP_DISCOVER);
	assert_null(option(f, 50, &len));
	assert_null(option(f, 54, &len));
}

static void test_renewal_goes_to_the_server_alone(void **state)
{
	struct dhcp_query q = {.type = DHCP_REQUEST,
			       .unicast = true,
			       .ciaddr = inet_addr("10.0.3.5"),
			       .server = inet_addr("10.0.3.1")};
	uint8_t f[DHCP_FRAME_MAX], len;

	(void)state;
	memcpy(q.mac, mac, 6);
	memcpy(q.server_mac, server_mac, 6);
	dhcp_build(&q, f);
	assert_memory_equal(f, server_mac, 6);
	assert_memory_equal(f + IP + 12, "\x0a\0\x03\x05\x0a\0\x03\x01", 8);
	assert_int_equal(get16(f + BOOTP + 10), 0);
	assert_memory_equal(f + BOOTP + 12, "\x0a\0\x03\x05", 4);
	assert_null(option(f, 54, &len)); /* RFC 2131 table 4 */
}

/* Builds a server's answer with these options. */
static size_t answer(uint8_t *f, const void *options, size_t options_len)
{
	struct dhcp_query q = {.type = DHCP_DISCOVER, .xid = 77};
	size_t n = OPTIONS + options_len;
	unsigned c;

	memcpy(q.mac, mac, 6);
	dhcp_build(&q, f);
	memcpy(f + 6, server_mac, 6);
	f[UDP + 1] = 67;
	f[UDP + 3] = 68;
	f[BOOTP] = 2;
	memcpy(f + BOOTP + 16, "\xc0\xa8\x41\x03", 4);
	memcpy(f + OPTIONS, options, options_len);
	f[IP + 2] = (uint8_t)((n - IP) >> 8);
	f[IP + 3] = (uint8_t)(n - IP);
	f[UDP + 4] = (uint8_t)((n - UDP) >> 8);
	f[UDP + 5] = (uint8_t)(n - UDP);
	f[IP + 10] = f[IP + 11] = 0;
	c = checksum(f + IP, 20, 0);
	f[IP + 10] = (uint8_t)(c >> 8);
	f[IP + 11] = (uint8_t)c;
	return n;
}

/* An offer as recorded from vpnkit, which has no mask and little else. */
static const char vpnkit_offer[] = "\x35\x01\x02\x33\x04\x7f\xff\xff\xff\x3a\x04\x3f\xff\xff\xff"
				   "\x3b\x04\x66\x66\x66\x65\x36\x04"
				   "\xc0\xa8\x41\x01\xff";

static void test_offer_of_vpnkit(void **state)
{
	uint8_t f[1000];
	struct dhcp_answer a;
	size_t n = answer(f, vpnkit_offer, sizeof(vpnkit_offer) - 1);

	(void)state;
	assert_int_equal(dhcp_parse(f, n, &a), 0);
	assert_int_equal(a.type, DHCP_OFFER);
	assert_int_equal(a.xid, 77);
	assert_int_equal(a.address, inet_addr("192.168.65.3"));
	assert_int_equal(a.server, inet_addr("192.168.65.1"));
	assert_memory_equal(a.mac, mac, 6);
	assert_memory_equal(a.server_mac, server_mac, 6);
	assert_int_equal(a.lease_s, 0x7fffffff);
	assert_int_equal(a.t1_s, 0x3fffffff);
	assert_int_equal(a.prefix_len, -1);
	assert_int_equal(a.router, 0);
}

static void test_everything(void **state)
{
	static const char options[] =
		"\x35\x01\x05\x01\x04\xff\xff\xff\0\x03\x08\x0a\0\x03\x01\x0a\0\x03\x02\x06\x18"
		"\x01\x01\x01\x01\x02\x02\x02\x02\x03\x03\x03\x03\x04\x04\x04\x04\x05\x05\x05\x05"
		"\x06\x06\x06\x06\0\0\x0c\x02xx\x38\x05no\x1b\xffo\x33\x04\0\0\0\x78\xff\x35";
	uint8_t f[1000];
	struct dhcp_answer a;
	size_t n = answer(f, options, sizeof(options) - 1);

	(void)state;
	assert_int_equal(dhcp_parse(f, n, &a), 0);
	assert_int_equal(a.type, DHCP_ACK);
	assert_int_equal(a.prefix_len, 24);
	assert_int_equal(a.router, inet_addr("10.0.3.1"));
	for (int i = 0; i < DHCP_DNS_MAX; i++)
		assert_int_equal(a.dns[i], htonl(0x01010101U * (uint32_t)(i + 1)));
	assert_int_equal(a.lease_s, 120);
	assert_string_equal(a.text, "no??o");
	/* Bytes after the end option do no harm. The message may end there, too. */
	assert_int_equal(dhcp_parse(f, n + 50, &a), 0);
}

static void test_masks(void **state)
{
	static const struct {
		const char *option;
		int prefix_len;
	} rows[] = {
		{"\x35\x01\x02\x01\x04\0\0\0\0\xff", 0},
		{"\x35\x01\x02\x01\x04\x80\0\0\0\xff", 1},
		{"\x35\x01\x02\x01\x04\xff\xff\xff\xff\xff", 32},
		{"\x35\x01\x02\x01\x04\xff\0\xff\0\xff", -EBADMSG},
		{"\x35\x01\x02\x01\x04\0\0\0\x01\xff", -EBADMSG},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint8_t f[1000];
		struct dhcp_answer a;
		size_t n = answer(f, rows[i].option, 10);
		int code = dhcp_parse(f, n, &a);

		assert_int_equal(code, rows[i].prefix_len < 0 ? rows[i].prefix_len : 0);
		if (!code)
			assert_int_equal(a.prefix_len, rows[i].prefix_len);
	}
}

static void test_refused(void **state)
{
	static const struct {
		const char *options;
		size_t len;
	} rows[] = {
		{"\xff", 1},		 /* no message type */
		{"\x35\x01\x00\xff", 4}, /* a message type that does not exist */
		{"\x35\x01\x09\xff", 4},
		{"\x35\x02\x02\x02\xff", 5}, /* a message type of two bytes */
		{"\x35\x01\x02\x33\x03\1\1\1\xff", 9},
		{"\x35\x01\x02\x03\x00\xff", 6}, /* a list of routers that is empty */
		{"\x35\x01\x02\x06\x05\1\1\1\1\1\xff", 11},
		{"\x35\x01\x02\x36", 4}, /* an option without a length */
		{"\x35\x01\x02\x36\x04\1\1\1", 8},
		{"\x35\x01\x02\x36\xff\1\1\1\1\xff", 10},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		/* An allocated copy lets a sanitizer see reads past the end. */
		uint8_t f[1000], *copy;
		struct dhcp_answer a;
		size_t n = answer(f, rows[i].options, rows[i].len);

		copy = malloc(n);
		assert_non_null(copy);
		memcpy(copy, f, n);
		if (dhcp_parse(copy, n, &a) != -EBADMSG)
			fail_msg("row %zu was taken", i);
		free(copy);
	}
}

static void test_not_for_us(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
		int code;
	} rows[] = {
		{12, 0x86, -ENOMSG},	    /* not IPv4 */
		{IP, 0x65, -ENOMSG},	    /* the version in the header is not 4 */
		{IP, 0x44, -ENOMSG},	    /* the header is too short */
		{IP, 0x4f, -EBADMSG},	    /* a header of 60 bytes, where the rest is elsewhere */
		{IP + 6, 0x20, -ENOMSG},    /* a fragment */
		{IP + 9, 6, -ENOMSG},	    /* TCP */
		{IP + 2, 0x7f, -ENOMSG},    /* longer than the frame */
		{UDP + 1, 53, -ENOMSG},	    /* another port */
		{UDP + 3, 67, -ENOMSG},	    /* to a server's port */
		{IP + 8, 3, -EBADMSG},	    /* the header's checksum is wrong */
		{UDP + 4, 0x7f, -EBADMSG},  /* UDP longer than IP */
		{BOOTP, 1, -EBADMSG},	    /* a client's message */
		{BOOTP + 2, 7, -EBADMSG},   /* the length of an address is not Ethernet's */
		{BOOTP + 236, 0, -EBADMSG}, /* BOOTP without DHCP's options */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint8_t f[1000];
		struct dhcp_answer a;
		size_t n = answer(f, vpnkit_offer, sizeof(vpnkit_offer) - 1);
		int code;

		f[rows[i].at] = rows[i].value;
		code = dhcp_parse(f, n, &a);
		if (code != rows[i].code && !(code == -ENOMSG && rows[i].at == IP))
			fail_msg("row %zu: %d", i, code);
	}
}

static void test_same_server(void **state)
{
	struct dhcp_answer offer = {.server = 1, .server_mac = {2, 0, 0, 0, 0, 1}}, a = offer;

	(void)state;
	assert_true(dhcp_same_server(&a, &offer));
	/* Through a relay the answer comes from another Ethernet address. */
	a.server_mac[5] = 9;
	assert_true(dhcp_same_server(&a, &offer));
	a.server = 2;
	assert_false(dhcp_same_server(&a, &offer));
	/* The answer does not name its server. */
	a.server = 0;
	assert_false(dhcp_same_server(&a, &offer));
	a.server_mac[5] = 1;
	assert_true(dhcp_same_server(&a, &offer));
}

static void test_cut_anywhere(void **state)
{
	uint8_t f[1000];
	size_t n = answer(f, vpnkit_offer, sizeof(vpnkit_offer) - 1);

	(void)state;
	for (size_t len = 0; len < n; len++) {
		struct dhcp_answer a;
		uint8_t *copy = malloc(len ? len : 1);

		assert_non_null(copy);
		memcpy(copy, f, len);
		assert_int_not_equal(dhcp_parse(copy, len, &a), 0);
		free(copy);
	}
}

static void test_addresses_for_hosts(void **state)
{
	static const char *const yes[] = {"10.0.3.2", "1.0.0.1", "223.255.255.254", "169.254.1.1"};
	static const char *const no[] = {"0.0.0.0",	    "0.0.0.9",	 "127.0.0.1",
					 "127.255.255.254", "224.0.0.1", "240.0.0.1",
					 "255.255.255.255"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(yes); i++)
		assert_true(dhcp_is_for_hosts(inet_addr(yes[i])));
	for (size_t i = 0; i < ARRAY_SIZE(no); i++)
		assert_false(dhcp_is_for_hosts(inet_addr(no[i])));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_discover),
		cmocka_unit_test(test_renewal_goes_to_the_server_alone),
		cmocka_unit_test(test_offer_of_vpnkit),
		cmocka_unit_test(test_everything),
		cmocka_unit_test(test_masks),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_not_for_us),
		cmocka_unit_test(test_cut_anywhere),
		cmocka_unit_test(test_same_server),
		cmocka_unit_test(test_addresses_for_hosts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
