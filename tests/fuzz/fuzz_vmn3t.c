/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <string.h>

#include "drivers/net/vmn3t.h"

static void stream(const uint8_t *data, size_t size)
{
	size_t at = 0;

	while (at < size) {
		const uint8_t *frame = NULL;
		size_t len = 0, used = vmn3t_next_frame(data + at, size - at, &frame, &len);

		if (!used)
			return;
		/* The frame is all there, and lies within the input. */
		fuzz_assert(used == len + VMN3T_HEADER_BYTES && used <= size - at);
		fuzz_assert(frame == data + at + VMN3T_HEADER_BYTES && len <= VMN3T_FRAME_MAX);
		at += used;
	}
}

/* What VPNKit sends: its init message, its answer, or frames. The first byte says which. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t fixed[VMN3T_ANSWER_BYTES] = {0};
	struct vmn3t_vif vif = {.mtu = 0};
	struct err e = {.code = 0};

	if (!size)
		return 0;
	memcpy(fixed, data + 1, size - 1 < sizeof(fixed) ? size - 1 : sizeof(fixed));
	if (data[0] % 3 == 0)
		fuzz_assert(vmn3t_check_init(fixed, &e) == 0 || e.msg[0]);
	else if (data[0] % 3 == 1)
		fuzz_assert(vmn3t_parse_answer(fixed, &vif, &e) == 0 || e.msg[0]);
	else
		stream(data + 1, size - 1);
	return 0;
}
