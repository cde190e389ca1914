/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include "base/checksum.h"

/* The example of RFC 1071, section 3: the sum is 0xddf2. */
static const uint8_t example[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};

static void test_example(void **state)
{
	(void)state;
	assert_int_equal(checksum_of(checksum_add(0, example, sizeof(example))), 0xffff & ~0xddf2);
	assert_int_equal(checksum_of(checksum_add(checksum_add(0, example, 2), example + 2, 6)),
			 0xffff & ~0xddf2);
}

static void test_odd_length(void **state)
{
	static const uint8_t padded[] = {0xff, 0xff, 0x12, 0x00};

	(void)state;
	assert_int_equal(checksum_of(checksum_add(0, padded, 3)),
			 checksum_of(checksum_add(0, padded, 4)));
	assert_int_equal(checksum_of(checksum_add(0, padded, 3)), 0xffff & ~0x1200);
}

static void test_data_with_its_checksum(void **state)
{
	static const uint8_t data[] = {0x12, 0x34, 0xed, 0xcb};

	(void)state;
	assert_int_equal(checksum_of(checksum_add(0, data, 2)), 0xedcb);
	assert_int_equal(checksum_of(checksum_add(0, data, sizeof(data))), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_example),
		cmocka_unit_test(test_odd_length),
		cmocka_unit_test(test_data_with_its_checksum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
