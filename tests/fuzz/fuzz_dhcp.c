/* SPDX-License-Identifier: Apache-2.0 */
/* What a DHCP server sends, and what VPNKit sends: its handshake, and then frames. */
#include <string.h>

#include "drivers/net/dhcp.h"
#include "drivers/net/vmn3t.h"
#include "fuzz.h"

static void fuzz_handshake(const uint8_t *data, size_t size)
{
	uint8_t in[VMN3T_ANSWER_BYTES] = {0};
	struct vmn3t_vif vif;
	struct err e = {0};

	memcpy(in, data, size < sizeof(in) ? size : sizeof(in));
	if (vmn3t_parse_answer(in, &vif, &e) == 0)
		fuzz_assert(!(vif.mac[0] & 1));
	else
		fuzz_assert(e.msg[0] && strlen(e.msg) < sizeof(e.msg) && !strchr(e.msg, '\n'));
	vmn3t_check_init(in, &e);
}

static void fuzz_frame(const uint8_t *frame, size_t len)
{
	struct dhcp_answer a;

	if (dhcp_parse(frame, len, &a))
		return;
	fuzz_assert(a.type >= DHCP_DISCOVER && a.type <= DHCP_RELEASE);
	fuzz_assert(a.prefix_len >= -1 && a.prefix_len <= 32);
	fuzz_assert(strlen(a.text) < sizeof(a.text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *frame;
	size_t len, used, at = 0;

	fuzz_handshake(data, size);
	fuzz_frame(data, size);
	while ((used = vmn3t_next_frame(data + at, size - at, &frame, &len))) {
		fuzz_assert(used == len + VMN3T_HEADER_BYTES && at + used <= size);
		fuzz_frame(frame, len);
		at += used;
	}
	return 0;
}
