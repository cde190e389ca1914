/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <errno.h>
#include <string.h>

#include "dataplane/worker/udp_message.h"

/* The kernel: what it was given to send, and what it answers to a message of several datagrams, and
 * to any message. */
static struct {
	int to_several, to_each;
	unsigned messages;
	size_t lengths[8], segments[8];
} kernel;

static int sends(struct worker *w, const void *batch, struct iovec *iov, unsigned n, size_t segment)
{
	size_t len = 0;

	(void)w;
	(void)batch;
	for (unsigned i = 0; i < n; i++)
		len += iov[i].iov_len;
	if (segment && kernel.to_several)
		return kernel.to_several;
	assert_true(kernel.messages < 8);
	kernel.lengths[kernel.messages] = len;
	kernel.segments[kernel.messages++] = segment;
	return kernel.to_each;
}

static struct udp_payload payload(uint32_t len, uint16_t segment)
{
	static uint8_t bytes[UDP_PAYLOAD_MAX];

	return (struct udp_payload){
		.data = bytes, .len = len, .segment = segment, .buf_id = UDP_NO_BUF};
}

static void begin(struct udp_message *m, uint32_t len, uint16_t segment)
{
	struct udp_payload p = payload(len, segment);

	udp_message_begin(m, &p);
	memset(&kernel, 0, sizeof(kernel));
}

static bool takes(const struct udp_message *m, uint32_t len, uint16_t segment)
{
	struct udp_payload p = payload(len, segment);

	return udp_message_takes(m, &p);
}

static void append(struct udp_message *m, uint32_t len, uint16_t segment)
{
	struct udp_payload p = payload(len, segment);

	assert_true(udp_message_takes(m, &p));
	udp_message_append(m, &p);
}

/* A message takes datagrams of one length, and a shorter one at its end. */
static void test_what_fits(void **state)
{
	struct udp_message m;

	(void)state;
	begin(&m, 100, 0);
	assert_true(takes(&m, 100, 0));
	assert_true(takes(&m, 250, 100));
	assert_true(takes(&m, 40, 0));
	assert_false(takes(&m, 101, 0));
	assert_false(takes(&m, 160, 80)); /* two datagrams of another length */
	assert_false(takes(&m, 0, 0));
	append(&m, 250, 100);
	assert_int_equal(m.datagrams, 4);
	assert_false(takes(&m, 100, 0));
	begin(&m, 0, 0);
	assert_false(takes(&m, 0, 0));
}

static void test_limits(void **state)
{
	struct udp_message m;

	(void)state;
	begin(&m, 63 * 10, 10);
	assert_false(takes(&m, 20, 10));
	append(&m, 10, 0);
	assert_false(takes(&m, 10, 0));
	begin(&m, 60000, 30000);
	assert_false(takes(&m, 5508, 0));
	assert_true(takes(&m, 5507, 0));
}

static int send_it(struct udp_message *m, bool *plain)
{
	return udp_message_send(NULL, m, sends, NULL, plain);
}

static void test_one_message(void **state)
{
	struct udp_message m;
	bool plain = false;

	(void)state;
	begin(&m, 200, 100);
	append(&m, 50, 0);
	assert_int_equal(send_it(&m, &plain), 0);
	assert_int_equal(kernel.messages, 1);
	assert_int_equal(kernel.lengths[0], 250);
	assert_int_equal(kernel.segments[0], 100);
	assert_int_equal(m.lost, 0);
	assert_false(plain);
	begin(&m, 0, 0); /* an empty datagram leaves, too, and not as a segment */
	assert_int_equal(send_it(&m, &plain), 0);
	assert_int_equal(kernel.messages, 1);
	assert_int_equal(kernel.segments[0], 0);
}

/* When the kernel does not segment, each datagram goes by itself, also in the next message. */
static void test_plain(void **state)
{
	static const int errors[] = {-EINVAL, -EMSGSIZE, -EIO, -EOPNOTSUPP};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct udp_message m;
		bool plain = false;

		begin(&m, 200, 100);
		append(&m, 50, 0);
		kernel.to_several = errors[i];
		assert_int_equal(send_it(&m, &plain), 0);
		assert_true(plain);
		assert_int_equal(kernel.messages, 3);
		assert_int_equal(kernel.lengths[1], 100);
		assert_int_equal(kernel.lengths[2], 50);
		assert_int_equal(m.lost, 0);
		kernel.messages = 0;
		kernel.to_several = 0;
		assert_int_equal(send_it(&m, &plain), 0);
		assert_int_equal(kernel.messages, 3);
	}
}

static void test_lost(void **state)
{
	struct udp_message m;
	bool plain = false;

	(void)state;
	begin(&m, 200, 100);
	append(&m, 50, 0);
	kernel.to_several = -ECONNREFUSED;
	assert_int_equal(send_it(&m, &plain), -ECONNREFUSED);
	assert_int_equal(kernel.messages, 0);
	assert_false(plain);
	assert_int_equal(m.lost, 3);
	assert_int_equal(m.lost_bytes, 250);
	plain = true;
	kernel.to_each = -EPERM;
	assert_int_equal(send_it(&m, &plain), -EPERM);
	assert_int_equal(kernel.messages, 3);
	assert_int_equal(m.lost, 3);
	assert_int_equal(m.lost_bytes, 250);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_fits),   cmocka_unit_test(test_limits),
		cmocka_unit_test(test_one_message), cmocka_unit_test(test_plain),
		cmocka_unit_test(test_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
