/* SPDX-License-Identifier: Apache-2.0 */
#include "base/restart.h"

#include "base/array.h"

unsigned restart_delay_ms(unsigned failures)
{
	static const unsigned delay_ms[] = {0, 0, 20, 200, 1000, 5000, 10000};
	const unsigned last = ARRAY_SIZE(delay_ms) - 1;

	return delay_ms[failures < last ? failures : last];
}
