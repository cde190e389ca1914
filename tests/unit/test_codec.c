/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/codec.h"
#include "base/array.h"

static void test_specs_that_go_reads(void **state)
{
	static const struct {
		const char *body;
		struct port_spec want;
	} cases[] = {
		{"{\"proto\":\"tcp\",\"parentIP\":\"127.0.0.1\",\"parentPort\":1,\"childPort\":2}",
		 {"tcp", "127.0.0.1", "", 1, 2, .child_listen_ip = ""}},
		{"{\"PROTO\":\"udp\",\"ParentPort\":3,\"childip\":\"::1\"}",
		 {"udp", "", "::1", 3, 0, .child_listen_ip = ""}},
		{"{\"proto\":\"tcp\",\"proto\":\"udp\"}",
		 {"udp", "", "", 0, 0, .child_listen_ip = ""}},
		{"{\"proto\":\"tcp\",\"other\":[1,{}]} trailing",
		 {"tcp", "", "", 0, 0, .child_listen_ip = ""}},
		{"{\"proto\":null,\"parentPort\":null}", {"", "", "", 0, 0, .child_listen_ip = ""}},
		{"null", {"", "", "", 0, 0, .child_listen_ip = ""}},
		{"{\"childListenIP\":\"::\"}", {"", "", "", 0, 0, .child_listen_ip = "::"}},
		{" {} ", {"", "", "", 0, 0, .child_listen_ip = ""}},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct port_spec got;
		struct err e = {.code = 0};

		print_message("%s\n", cases[i].body);
		assert_int_equal(codec_spec_decode(cases[i].body, strlen(cases[i].body), &got, &e),
				 0);
		assert_string_equal(got.proto, cases[i].want.proto);
		assert_string_equal(got.parent_ip, cases[i].want.parent_ip);
		assert_string_equal(got.child_ip, cases[i].want.child_ip);
		assert_int_equal(got.parent_port, cases[i].want.parent_port);
		assert_int_equal(got.child_port, cases[i].want.child_port);
		assert_string_equal(got.child_listen_ip, cases[i].want.child_listen_ip);
	}
}

static void test_specs_that_go_refuses(void **state)
{
	static const char *const cases[][2] = {
		{"", "EOF"},
		{" \n", "EOF"},
		{"{\"proto\":", "unexpected EOF"},
		{"{bad", "invalid JSON at byte "},
		{"[]", "json: cannot unmarshal array into Go value of type port.Spec"},
		{"1", "json: cannot unmarshal number into Go value of type port.Spec"},
		{"\"x\"", "json: cannot unmarshal string into Go value of type port.Spec"},
		{"true", "json: cannot unmarshal bool into Go value of type port.Spec"},
		{"{\"parentPort\":\"1\"}",
		 "json: cannot unmarshal string into Go struct field Spec.parentPort of type int"},
		{"{\"parentPort\":19118.5}", "json: cannot unmarshal number 19118.5 into Go struct "
					     "field Spec.parentPort of type int"},
		{"{\"proto\":1}",
		 "json: cannot unmarshal number into Go struct field Spec.proto of type string"},
		{"{\"childListenIP\":{}}", "json: cannot unmarshal object into Go struct field "
					   "Spec.childListenIP of type string"},
		{"{\"parentPort\":99999999999999999999}", "invalid JSON at byte "},
		{"{\"proto\":\"0123456789012345678901234567890123456789012345678901234567890123\"}",
		 "invalid proto: 64 bytes"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct port_spec got;
		struct err e = {.code = 0};

		print_message("%s\n", cases[i][0]);
		assert_int_equal(codec_spec_decode(cases[i][0], strlen(cases[i][0]), &got, &e),
				 -EINVAL);
		e.msg[strlen(cases[i][1])] = '\0';
		assert_string_equal(e.msg, cases[i][1]);
	}
}

static void assert_json(json_t *v, const char *want)
{
	char *text = json_dumps(v, JSON_COMPACT);

	assert_string_equal(text, want);
	free(text);
	json_decref(v);
}

static void test_encoding(void **state)
{
	struct port_spec spec = {"tcp", "127.0.0.1", "", 1, 2, .child_listen_ip = ""},
			 bare = {"udp", "", "10.0.2.100", 3, 0, .child_listen_ip = ""};

	(void)state;
	assert_json(
		codec_port_encode(7, &spec),
		"{\"id\":7,\"spec\":{\"proto\":\"tcp\",\"parentIP\":\"127.0.0.1\",\"parentPort\":1,"
		"\"childPort\":2}}");
	assert_json(codec_spec_encode(&bare),
		    "{\"proto\":\"udp\",\"parentPort\":3,\"childIP\":\"10.0.2.100\"}");
	snprintf(bare.child_listen_ip, sizeof(bare.child_listen_ip), "0.0.0.0");
	assert_json(codec_spec_encode(&bare), "{\"proto\":\"udp\",\"parentPort\":3,\"childIP\":"
					      "\"10.0.2.100\",\"childListenIP\":\"0.0.0.0\"}");
	assert_json(codec_message_encode("it's \"so\""), "{\"message\":\"it's \\\"so\\\"\"}");
	assert_json(codec_message_encode("a\xff"), "{\"message\":\"a?\"}");
}

static void test_ids(void **state)
{
	struct err e;
	long long id;

	(void)state;
	assert_int_equal(codec_id_decode("+2", &id, &e), 0);
	assert_int_equal(id, 2);
	assert_int_equal(codec_id_decode("-1", &id, &e), 0);
	assert_int_equal(id, -1);
	assert_int_equal(codec_id_decode("abc", &id, &e), -EINVAL);
	assert_string_equal(e.msg, "bad id abc: strconv.Atoi: parsing \"abc\": invalid syntax");
	assert_int_equal(codec_id_decode("99999999999999999999", &id, &e), -EINVAL);
	assert_string_equal(e.msg, "bad id 99999999999999999999: strconv.Atoi: parsing "
				   "\"99999999999999999999\": value out of range");
	assert_int_equal(codec_id_decode("", &id, &e), -EINVAL);
	assert_int_equal(codec_id_decode("1 ", &id, &e), -EINVAL);
	assert_int_equal(codec_id_decode("-", &id, &e), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_specs_that_go_reads),
		cmocka_unit_test(test_specs_that_go_refuses),
		cmocka_unit_test(test_encoding),
		cmocka_unit_test(test_ids),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
