/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/handover_record.h"

#include <string.h>

#include "dataplane/worker/client_address.h"
#include "dataplane/worker/out_udp.h"
#include "dataplane/worker/tcp.h"
#include "dataplane/worker/udp.h"

static_assert(sizeof(struct handover_head) == 8, "no padding goes over a socket");
static_assert(sizeof(struct handover_stats) == 8 * STATS_WORDS + 8, "no padding");
static_assert(sizeof(struct handover_port) == 32 + 8 * PORT_STATS_WORDS, "no padding");
static_assert(sizeof(struct handover_tcp) == 16 + 5 * 8 + sizeof(union sock_addr) + 4 + 32 + 0,
	      "no padding");
static_assert(sizeof(struct handover_udp) == 8 + 32 + 8 + 8 + 8, "no padding");
static_assert(sizeof(struct handover_datagram) == 8, "no padding");
static_assert(sizeof(struct handover_map) == 24 + sizeof(union sock_addr) + 4, "no padding");
static_assert(sizeof(struct handover_peer) == 24, "no padding");
static_assert(sizeof(struct handover_head) + sizeof(struct handover_datagram) + UDP_RUN_BYTES <=
		      HANDOVER_BYTES,
	      "a run fits in a message");

size_t handover_record_size(enum handover_type type)
{
	static const uint16_t sizes[HANDOVER_TYPES] = {
		[HANDOVER_STATS] = sizeof(struct handover_stats),
		[HANDOVER_PORT] = sizeof(struct handover_port),
		[HANDOVER_TCP] = sizeof(struct handover_tcp),
		[HANDOVER_UDP] = sizeof(struct handover_udp),
		[HANDOVER_DATAGRAM] = sizeof(struct handover_datagram),
		[HANDOVER_MAP] = sizeof(struct handover_map),
		[HANDOVER_PEER] = sizeof(struct handover_peer),
		[HANDOVER_RESPONDER] = sizeof(struct handover_responder),
		[HANDOVER_OUT_CLIENT] = sizeof(struct handover_out_client),
	};

	return type < HANDOVER_TYPES ? sizes[type] : 0;
}

bool handover_parse(uint8_t *msg, size_t len, struct handover_message *out)
{
	struct handover_head head;
	size_t bytes;

	if (len < sizeof(head) || len > HANDOVER_BYTES)
		return false;
	memcpy(&head, msg, sizeof(head));
	if (head.type == 0 || head.type >= HANDOVER_TYPES ||
	    head.size != handover_record_size((enum handover_type)head.type))
		return false;
	bytes = (size_t)head.count * head.size;
	if (bytes > len - sizeof(head) || (head.type == HANDOVER_END) != (head.count == 0))
		return false;
	*out = (struct handover_message){.type = (enum handover_type)head.type,
					 .count = head.count,
					 .records = msg + sizeof(head),
					 .extra = msg + sizeof(head) + bytes,
					 .extra_len = len - sizeof(head) - bytes};
	if (out->type == HANDOVER_DATAGRAM)
		return out->count == 1;
	return out->extra_len == 0;
}

/* Whether the record has the sockets that a flow in this state has. */
static bool sides_fit(const struct handover_tcp *t)
{
	unsigned sides = t->fds & (HANDOVER_CLIENT | HANDOVER_SERVER);

	switch (t->state) {
	case TCP_FLOW_WAITING:
	case TCP_FLOW_RETRYING:
		return sides == HANDOVER_CLIENT && t->port_id;
	case TCP_FLOW_CONNECTING:
		return sides == (HANDOVER_CLIENT | HANDOVER_SERVER) && t->port_id;
	case TCP_FLOW_OPEN:
	case TCP_FLOW_DRAINING:
		return sides == (HANDOVER_CLIENT | HANDOVER_SERVER);
	default:
		return false;
	}
}

static bool dir_fits(const struct handover_tcp *t, unsigned d)
{
	bool pipe = t->fds & (HANDOVER_PIPE0 << d);

	if (t->dir[d].flags & ~(uint64_t)HANDOVER_DIR_FLAGS)
		return false;
	if (!pipe)
		return t->dir[d].in_pipe == 0;
	/* A direction has a pipe only while bytes are in it and can still be sent. */
	return t->state == TCP_FLOW_OPEN && !(t->dir[d].flags & HANDOVER_DONE) &&
	       t->dir[d].in_pipe > 0 && t->dir[d].in_pipe <= t->dir[d].pipe_size;
}

static int tcp_fds(const uint8_t *record)
{
	struct handover_tcp t;
	bool outward;

	memcpy(&t, record, sizeof(t));
	outward = t.family == AF_INET || t.family == AF_INET6;
	if (t.port_id == INT32_MIN)
		return -1;
	if (outward != (t.port_id == 0) || (!outward && t.family) || !sides_fit(&t))
		return -1;
	if (t.fds >> 4 || t.flags & ~HANDOVER_TCP_FLAGS || t.survivor > 1 ||
	    t.lost > TCP_LOST_OFF || t.connect_res > 0 || t.connect_res < -4095)
		return -1;
	if ((t.flags & HANDOVER_CONNECT_ENDED) && t.state != TCP_FLOW_CONNECTING)
		return -1;
	if (t.client.sa.sa_family && !sockaddr_len(&t.client.sa))
		return -1;
	for (unsigned d = 0; d < 2; d++)
		if (!dir_fits(&t, d))
			return -1;
	if (t.dir[0].flags & t.dir[1].flags & HANDOVER_DONE && t.state == TCP_FLOW_OPEN)
		return -1;
	return __builtin_popcount(t.fds) + __builtin_popcount(t.fds >> 2);
}

static int udp_fds(const uint8_t *record)
{
	struct handover_udp u;

	memcpy(&u, record, sizeof(u));
	if (u.port_id == 0 || u.port_id == INT32_MIN || u.flags & ~HANDOVER_UDP_FLAGS)
		return -1;
	return u.flags & HANDOVER_UDP_OPEN ? 1 : 0;
}

static int datagram_fds(const uint8_t *record, size_t extra_len)
{
	struct handover_datagram d;

	memcpy(&d, record, sizeof(d));
	if (d.len != extra_len || d.len > UDP_RUN_BYTES)
		return -1;
	if (d.segment && (d.segment >= d.len || d.len > (uint32_t)d.segment * UDP_SEGMENTS_MAX))
		return -1;
	return 0;
}

static int map_fds(const uint8_t *record)
{
	struct handover_map m;

	memcpy(&m, record, sizeof(m));
	if (m.kind >= EGRESS_KINDS || m.age >= OUT_AGES || !sockaddr_len(&m.inside.sa))
		return -1;
	return 1;
}

static int responder_fds(const uint8_t *record)
{
	struct handover_responder r;

	memcpy(&r, record, sizeof(r));
	return sockaddr_len(&r.addr.sa) ? 1 : -1;
}

static int out_client_fds(const uint8_t *record)
{
	struct handover_out_client c;

	memcpy(&c, record, sizeof(c));
	return (c.family == AF_INET || c.family == AF_INET6) && sockaddr_len(&c.client.sa) ? 1 : -1;
}

int handover_record_fds(enum handover_type type, const uint8_t *record, size_t extra_len)
{
	switch (type) {
	case HANDOVER_TCP:
		return tcp_fds(record);
	case HANDOVER_UDP:
		return udp_fds(record);
	case HANDOVER_DATAGRAM:
		return datagram_fds(record, extra_len);
	case HANDOVER_MAP:
		return map_fds(record);
	case HANDOVER_RESPONDER:
		return responder_fds(record);
	case HANDOVER_OUT_CLIENT:
		return out_client_fds(record);
	default:
		return 0;
	}
}
