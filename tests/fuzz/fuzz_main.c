/* SPDX-License-Identifier: Apache-2.0 */
/* Takes the place of libFuzzer's main() in the ordinary build: runs a target once over each file
 * given. So every input that ever found a fault is part of the ordinary tests. */
#include <stdio.h>
#include <stdlib.h>

#include "base/fd.h"
#include "fuzz.h"

#define INPUT_BYTES_MAX 65536

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		auto_file FILE *f = fopen(argv[i], "re");
		/* as large as the input, so that a sanitizer sees reads past its end */
		auto_free unsigned char *big = malloc(INPUT_BYTES_MAX), *data = NULL;
		size_t n;

		if (!f || !big) {
			perror(argv[i]);
			return 1;
		}
		n = fread(big, 1, INPUT_BYTES_MAX, f);
		data = malloc(n ? n : 1);
		for (size_t j = 0; data && j < n; j++)
			data[j] = big[j];
		if (!data || LLVMFuzzerTestOneInput(data, n))
			return 1;
	}
	printf("%d inputs\n", argc - 1);
	return argc > 1 ? 0 : 1;
}
