/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/role.h"

static void test_names(void **state)
{
	(void)state;
	for (unsigned role = 0; role < ROLE_COUNT; role++)
		assert_int_equal(role_find(role_name((enum role)role)), role);
	assert_string_equal(role_name(ROLE_ROUTER_BROKER), "router-broker");
	assert_int_equal(role_find("nobody"), ROLE_COUNT);
	assert_int_equal(role_find(""), ROLE_COUNT);
}

static void test_environ(void **state)
{
	auto_free char **env = NULL;
	unsigned roles = 0, words = 0;

	(void)state;
	assert_int_equal(setenv(ROLE_ENV, "child", 1), 0);
	assert_int_equal(setenv("WORD", "word", 1), 0);
	env = role_environ(ROLE_BROKER);
	assert_non_null(env);
	assert_string_equal(env[0], ROLE_ENV "=broker");
	for (size_t i = 0; env[i]; i++) {
		roles += !strncmp(env[i], ROLE_ENV "=", strlen(ROLE_ENV "="));
		words += !strcmp(env[i], "WORD=word");
	}
	assert_int_equal(roles, 1);
	assert_int_equal(words, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_environ),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
