/* SPDX-License-Identifier: Apache-2.0 */
/* What one data plane sends to the next about its flows. */
#include <string.h>

#include "dataplane/worker/handover_record.h"
#include "dataplane/worker/tcp.h"
#include "fuzz.h"

static void check_tcp(const uint8_t *record, int fds)
{
	struct handover_tcp t;

	memcpy(&t, record, sizeof(t));
	fuzz_assert(t.state > TCP_FLOW_FREE && t.state < TCP_FLOW_CLOSING);
	fuzz_assert(t.survivor < 2 && fds >= 1 && fds <= HANDOVER_TCP_FDS);
	fuzz_assert(t.state == TCP_FLOW_WAITING || t.state == TCP_FLOW_RETRYING || fds >= 2);
	for (unsigned d = 0; d < 2; d++)
		fuzz_assert(t.dir[d].in_pipe == 0 || t.fds & HANDOVER_PIPE0 << d);
}

static void check_datagram(const uint8_t *record, const struct handover_message *m)
{
	struct handover_datagram d;

	memcpy(&d, record, sizeof(d));
	fuzz_assert(m->count == 1 && d.len == m->extra_len && d.segment <= d.len);
}

static void check(uint8_t *data, size_t size)
{
	struct handover_message m;
	size_t record_size;

	if (!handover_parse(data, size, &m))
		return;
	record_size = handover_record_size(m.type);
	fuzz_assert(m.records + m.count * record_size == m.extra);
	fuzz_assert(m.extra + m.extra_len == data + size);
	for (unsigned i = 0; i < m.count; i++) {
		const uint8_t *record = m.records + i * record_size;
		int fds = handover_record_fds(m.type, record, m.extra_len);

		if (fds > 0 && m.type == HANDOVER_TCP)
			check_tcp(record, fds);
		else if (fds >= 0 && m.type == HANDOVER_DATAGRAM)
			check_datagram(record, &m);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	fuzz_assert(copy);
	if (size)
		memcpy(copy, data, size);
	check(copy, size);
	free(copy);
	return 0;
}
