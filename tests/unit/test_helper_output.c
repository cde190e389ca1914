/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <string.h>

#include "drivers/net/helper_output.h"

static void test_output(void **state)
{
	struct helper_output o = HELPER_OUTPUT_NONE;
	char noise[3000];

	(void)state;
	o.name = "x";
	assert_string_equal(helper_output_tail(&o), "");
	helper_output_feed(&o, "one\n\n\r\ntw", 9);
	helper_output_feed(&o, "o\n\033[31mred", 10);
	assert_string_equal(helper_output_tail(&o), "one; two; ?[31mred");
	memset(noise, 'n', sizeof(noise));
	helper_output_feed(&o, noise, sizeof(noise));
	helper_output_feed(&o, "\n", 1);
	assert_true(strlen(helper_output_tail(&o)) < sizeof(o.tail));
	for (int i = 0; i < 100; i++)
		helper_output_feed(&o, "a line of words\n", 16);
	helper_output_feed(&o, "the last\n", 9);
	assert_null(strchr(helper_output_tail(&o), '\n'));
	assert_string_equal(helper_output_tail(&o) + strlen(o.tail) - 10, "; the last");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_output),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
