/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_TESTS_FUZZ_H
#define RINGKIT_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* libFuzzer's entry: https://llvm.org/docs/LibFuzzer.html. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
