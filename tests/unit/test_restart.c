/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <limits.h>

#include "base/restart.h"

static void test_pauses_grow_to_a_limit(void **state)
{
	(void)state;
	assert_int_equal(restart_delay_ms(0), 0);
	assert_int_equal(restart_delay_ms(1), 0);
	for (unsigned n = 2; n < 20; n++)
		assert_true(restart_delay_ms(n) >= restart_delay_ms(n - 1));
	assert_true(restart_delay_ms(2) > 0 && restart_delay_ms(2) < RESTART_HOPELESS_MS);
	assert_int_equal(restart_delay_ms(6), 10000);
	assert_int_equal(restart_delay_ms(UINT_MAX), 10000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pauses_grow_to_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
