/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <string.h>

#include "ctl/docker_proxy_args.h"

#define WORDS_MAX 32

/* A command line, one word a line. If it is taken, its addresses and ports make sense, and it can
 * be passed on to the real docker-proxy. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = calloc(1, size + 1), *argv[WORDS_MAX + 2], *save = NULL;
	struct docker_proxy_args args;
	struct err e = {.code = 0};
	int argc = 0;

	fuzz_assert(text);
	for (size_t i = 0; i < size; i++)
		text[i] = (char)(data[i] ? data[i] : '?');
	argv[argc++] = (char[]){"docker-proxy"};
	for (char *w = strtok_r(text, "\n", &save); w && argc <= WORDS_MAX;
	     w = strtok_r(NULL, "\n", &save))
		argv[argc++] = w;
	argv[argc] = NULL;
	if (docker_proxy_args_parse(argc, argv, &args, &e) < 0) {
		fuzz_assert(e.msg[0]);
	} else if (!args.help && !args.version) {
		const char *real[16];
		char numbers[2][12], proto[16];

		fuzz_assert(args.host_port >= 0 && args.host_port <= 65535);
		fuzz_assert(args.container_port >= 0 && args.container_port <= 65535);
		fuzz_assert(strlen(docker_proxy_args_proto(&args, proto)) < sizeof(proto));
		docker_proxy_args_build(&args, "docker-proxy", "127.0.0.1", real, numbers);
	}
	free(text);
	return 0;
}
