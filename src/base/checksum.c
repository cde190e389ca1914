/* SPDX-License-Identifier: Apache-2.0 */
#include "base/checksum.h"

static uint32_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

uint32_t checksum_add(uint32_t sum, const void *data, size_t len)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
	return fold(sum);
}

uint16_t checksum_of(uint32_t sum)
{
	return (uint16_t)~fold(sum);
}
