/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_CHECKSUM_H
#define RINGKIT_BASE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/*
 * The Internet checksum (RFC 1071).
 */

/* Adds the 16-bit words of data to a sum, which begins with 0. When len is odd, a zero byte
 * follows. */
uint32_t checksum_add(uint32_t sum, const void *data, size_t len);

/* The checksum of a sum, in the host's byte order. Over data that holds its checksum it is 0. */
uint16_t checksum_of(uint32_t sum);

#endif
