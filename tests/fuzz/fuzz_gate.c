/* SPDX-License-Identifier: Apache-2.0 */
/* What the socket of a netfilter queue brings: messages, and packets in them. An input is tried as
 * a message and as a packet. */
#include <string.h>

#include "dataplane/worker/gate_packet.h"
#include "fuzz.h"

/* The input must be aligned like the buffer that the kernel's messages are read into. */
union messages {
	uint8_t bytes[4096];
	long align;
};

static void check(const uint8_t *data, size_t len)
{
	struct gate_packet packet;

	if (!gate_packet_parse(data, len, &packet))
		return;
	fuzz_assert(packet.source.sa.sa_family == packet.dest.sa.sa_family);
	if (packet.kind == GATE_SYN) {
		fuzz_assert(packet.source.in4.sin_port && packet.dest.in4.sin_port);
		return;
	}
	fuzz_assert(packet.icmp_len >= 8 && packet.icmp >= data &&
		    packet.icmp + packet.icmp_len <= data + len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	union messages *messages = malloc(sizeof(*messages));
	struct gate_message msg;
	size_t at = 0;

	fuzz_assert(messages);
	check(data, size);
	size = size < sizeof(*messages) ? size : sizeof(*messages);
	if (size)
		memcpy(messages->bytes, data, size);
	while (gate_message_next(messages->bytes, size, &at, &msg)) {
		fuzz_assert(msg.len == 0 || (msg.packet >= messages->bytes &&
					     msg.packet + msg.len <= messages->bytes + size));
		check(msg.packet, msg.len);
	}
	free(messages);
	return 0;
}
