/* SPDX-License-Identifier: Apache-2.0 */
/* What a server answers to rootlessctl. Each answer is taken, or refused with a message, and
 * printing it does no harm either way. */
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "ctl/answer.h"
#include "ctl/output.h"
#include "fuzz.h"

static void quiet(void)
{
	static int null = -1;

	if (null < 0)
		null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	fuzz_assert(null >= 0 && dup2(null, STDOUT_FILENO) == STDOUT_FILENO);
}

static void try_info(const json_t *answer)
{
	struct err e = {0};
	json_t *info = answer_normalize_info(answer, &e);

	fuzz_assert(info || e.msg[0]);
	if (info)
		fuzz_assert(output_info(info, &e) == 0 && output_json_indented(info, &e) == 0);
	json_decref(info);
}

static void try_port(const json_t *answer)
{
	struct answer_port port = {0};
	struct err e = {0};

	if (answer_decode_port(answer, &port, &e) < 0) {
		fuzz_assert(e.msg[0]);
		return;
	}
	fuzz_assert(memchr(port.spec.proto, '\0', sizeof(port.spec.proto)));
	fuzz_assert(memchr(port.spec.parent_ip, '\0', sizeof(port.spec.parent_ip)));
	fuzz_assert(memchr(port.spec.child_ip, '\0', sizeof(port.spec.child_ip)));
	fuzz_assert(memchr(port.spec.child_listen_ip, '\0', sizeof(port.spec.child_listen_ip)));
	fuzz_assert(output_table(&port, 1, &e) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *answer = json_loadb((const char *)data, size, JSON_DECODE_ANY, NULL);

	quiet();
	if (answer) {
		try_info(answer);
		try_port(answer);
	}
	json_decref(answer);
	return 0;
}
