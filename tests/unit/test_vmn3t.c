/* SPDX-License-Identifier: Apache-2.0 */
/* VPNKit's protocol, against recordings of the real one (tests/golden/vmn3t-*). */
#include "cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "drivers/net/vmn3t.h"

/* Reads the bytes of the line in a recording that begins with prefix. Returns how many there are.
 */
static size_t recorded(const char *file, const char *prefix, uint8_t *out, size_t size)
{
	char path[512], line[4096];
	size_t n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/vmn3t-vpnkit-%s.txt", getenv("RK_GOLDEN"), file);
	f = fopen(path, "r");
	assert_non_null(f);
	while (!n && fgets(line, sizeof(line), f)) {
		char *p = line + strlen(prefix), *end;

		if (strncmp(line, prefix, strlen(prefix)))
			continue;
		for (; n < size; p = end) {
			unsigned long v = strtoul(p, &end, 16);

			if (end == p)
				break;
			out[n++] = (uint8_t)v;
		}
	}
	fclose(f);
	return n;
}

static void test_greeting(void **state)
{
	uint8_t theirs[VMN3T_INIT_BYTES], client[VMN3T_INIT_BYTES], ours[VMN3T_INIT_BYTES];
	struct err e;

	(void)state;
	assert_int_equal(recorded("ok-dhcp", "<<< init", theirs, sizeof(theirs)), sizeof(theirs));
	assert_int_equal(vmn3t_check_init(theirs, &e), 0);
	assert_int_equal(recorded("ok-dhcp", ">>> init", client, sizeof(client)), sizeof(client));
	vmn3t_build_init(ours);
	assert_memory_equal(ours, client,
			    9); /* behind that is the commit of the build, which may differ */
	assert_int_equal(recorded("bad-magic", ">>> init", client, sizeof(client)), sizeof(client));
	assert_int_equal(vmn3t_check_init(client, &e), -EPROTO);
	assert_int_equal(recorded("version-1", ">>> init", client, sizeof(client)), sizeof(client));
	assert_int_equal(vmn3t_check_init(client, &e), -EPROTO);
	assert_string_equal(e.msg, "VPNKit's protocol has version 1, 22 is needed");
}

static void test_command(void **state)
{
	uint8_t recording[VMN3T_COMMAND_BYTES], ours[VMN3T_COMMAND_BYTES];

	(void)state;
	assert_int_equal(recorded("ok-dhcp", ">>> cmd", recording, sizeof(recording)),
			 sizeof(recording));
	vmn3t_build_command("11111111-2222-3333-4444-555555555555", ours);
	assert_memory_equal(ours, recording, sizeof(ours));
}

static void test_answer(void **state)
{
	uint8_t in[VMN3T_ANSWER_BYTES] = {0};
	struct vmn3t_vif vif;
	struct err e;

	(void)state;
	assert_int_equal(recorded("ok-dhcp", "<<< type", in, 1), 1);
	assert_true(recorded("ok-dhcp", "<<< vif", in + 1, sizeof(in) - 1) >= 64);
	assert_int_equal(vmn3t_parse_answer(in, &vif, &e), 0);
	assert_int_equal(vif.mtu, 1500);
	assert_int_equal(vif.max_packet, 1550);
	assert_memory_equal(vif.mac, "\x02\x50\0\0\0\x01", 6);
}

static void test_refusals(void **state)
{
	uint8_t in[VMN3T_ANSWER_BYTES] = {2, 9, 'n', 'o', '\n', 'r', 'o', 'o', 'm', 0x1b, '!'};
	struct vmn3t_vif vif;
	struct err e;

	(void)state;
	assert_int_equal(vmn3t_parse_answer(in, &vif, &e), -ECONNREFUSED);
	assert_string_equal(e.msg, "VPNKit refused: no?room?!");
	in[1] = 255;
	assert_int_equal(vmn3t_parse_answer(in, &vif, &e), -ECONNREFUSED);
	in[0] = 3;
	assert_int_equal(vmn3t_parse_answer(in, &vif, &e), -EPROTO);
	memset(in, 0, sizeof(in));
	in[0] = 1;
	assert_int_equal(vmn3t_parse_answer(in, &vif, &e), -EPROTO); /* the address zero */
	in[5] = 1;
	assert_int_equal(vmn3t_parse_answer(in, &vif, &e), -EPROTO); /* a multicast address */
}

static void test_frames(void **state)
{
	static const size_t lens[] = {0, 1, 255, 256, 65535};
	static uint8_t buf[2 + 65535];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		const uint8_t *frame = NULL;
		size_t len = 1;

		vmn3t_put_header(buf, lens[i]);
		assert_int_equal(vmn3t_next_frame(buf, 2 + lens[i], &frame, &len), 2 + lens[i]);
		assert_ptr_equal(frame, buf + 2);
		assert_int_equal(len, lens[i]);
		assert_int_equal(vmn3t_next_frame(buf, 1 + lens[i], &frame, &len), 0);
	}
	assert_int_equal(vmn3t_next_frame(buf, 0, NULL, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_greeting), cmocka_unit_test(test_command),
		cmocka_unit_test(test_answer),	 cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_frames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
