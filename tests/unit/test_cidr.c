/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "base/array.h"
#include "drivers/net/cidr.h"

static void test_cidr(void **state)
{
	static const char *const bad[] = {"",
					  "10.0.2.0",
					  "10.0.2.0/",
					  "10.0.2.0/24x",
					  "10.0.2.0/+24",
					  "10.0.2/24",
					  "10.0.2.0/0",
					  "10.0.2.0/26",
					  "10.0.2.0/33",
					  "10.0.2.0/999999999999",
					  "fd00::/64",
					  "10.0.2.1/24",
					  "10.0.2.100/24",
					  "/24",
					  "10.0.2.0.0/24",
					  "256.0.0.0/8",
					  " 10.0.2.0/24",
					  "10.0.2.0/-1",
					  "999.999.999.999999/24"};
	struct cidr c;
	struct err e;
	char buf[INET_ADDRSTRLEN];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (cidr_parse(bad[i], &c, &e) != -EINVAL)
			fail_msg("%s was taken", bad[i]);
	assert_int_equal(cidr_parse("10.0.2.100/24", &c, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "cidr must be like 10.0.2.0/24, not like 10.0.2.100/24"));
	assert_int_equal(cidr_parse("128.0.0.0/1", &c, &e), 0);
	assert_int_equal(cidr_parse("10.0.2.128/25", &c, &e), 0);
	assert_string_equal(cidr_address(&c, 100, buf), "10.0.2.228");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cidr),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
