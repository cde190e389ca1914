/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_UDP_MESSAGE_H
#define RINGKIT_DATAPLANE_WORKER_UDP_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* Datagrams in one message: the kernel's UDP_MAX_SEGMENTS, udp(7). */
#define UDP_SEGMENTS_MAX 64
/* The largest UDP payload over IPv4. */
#define UDP_PAYLOAD_MAX 65507

/* The buf_id of a payload that is in no receive buffer. */
#define UDP_NO_BUF 0xffff

struct worker;

/* A datagram, or a run of datagrams of segment bytes each (the last may be shorter). segment 0: one
 * datagram. */
struct udp_payload {
	uint8_t *data;
	uint32_t len;
	uint16_t segment;
	uint16_t buf_id; /* the receive buffer, or UDP_NO_BUF */
};

static inline unsigned udp_datagrams(const struct udp_payload *p)
{
	return p->segment ? (p->len + p->segment - 1) / p->segment : 1;
}

/*
 * Consecutive datagrams of equal length from one socket to one address. They leave as one message
 * (UDP_SEGMENT, udp(7)); the payload is not copied.
 */
struct udp_message {
	bool closed; /* a shorter datagram was added: nothing may follow */
	size_t segment, bytes;
	unsigned n, datagrams;
	struct iovec iov[UDP_SEGMENTS_MAX];
	uint16_t buf_ids[UDP_SEGMENTS_MAX];
	unsigned lost; /* datagrams that were lost, once it has been sent */
	size_t lost_bytes;
};

/* Begins a message with the datagrams of p. */
void udp_message_begin(struct udp_message *m, const struct udp_payload *p);

/* Whether the datagrams of p may be appended. */
bool udp_message_takes(const struct udp_message *m, const struct udp_payload *p);
void udp_message_append(struct udp_message *m, const struct udp_payload *p);

/* Sends iov as datagrams of segment bytes each, or as one if segment is 0. 0 or -errno. batch: from
 * udp_message_send. */
typedef int udp_message_send_fn(struct worker *w, const void *batch, struct iovec *iov, unsigned n,
				size_t segment);

/* Sends the message with send, sets lost and lost_bytes, and returns the receive buffers. *plain:
 * the kernel does not segment here, so each datagram is a message of its own; it is set when that
 * shows. Returns 0, or the -errno for which datagrams were lost. */
int udp_message_send(struct worker *w, struct udp_message *m, udp_message_send_fn *send,
		     const void *batch, bool *plain);

#endif
