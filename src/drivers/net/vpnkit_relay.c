/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The role "vpnkit-relay": carries frames from the tap device in the namespace to VPNKit's socket
 * and back. The process runs in the user and network namespace of the command. Once frames flow, it
 * has nothing left but the right to read, write and wait.
 *
 * The socket is a stream, so one read takes all frames that are there and one write carries many; a
 * tap takes and gives one frame a call. Both are read until they are empty before the process
 * waits. When VPNKit does not keep up, the tap is not read, and its queue drops what TCP then
 * repeats. This does not use a ring, because VPNKit reaches its own limit long before these system
 * calls do.
 */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/exitcode.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/loop.h"
#include "dataplane/sandbox.h"
#include "drivers/net/dhcp.h"
#include "drivers/net/roles.h"
#include "drivers/net/vmn3t.h"
#include "drivers/net/vpnkit_internal.h"
#include "ns/netif.h"

/* Room for a batch of some frames of the largest size, each way. */
#define BUFFER_BYTES (4 * (VMN3T_HEADER_BYTES + VMN3T_FRAME_MAX))

/* How often the request for an address is repeated. */
#define DHCP_RETRY_MS 1000

struct buffer {
	uint8_t data[BUFFER_BYTES];
	size_t start, end;
};

struct relay {
	int tap, sock;
	uint64_t deadline_ms;
	struct vmn3t_vif vif;
	struct buffer in;  /* from VPNKit */
	struct buffer out; /* to VPNKit */
};

static void compact(struct buffer *b)
{
	memmove(b->data, b->data + b->start, b->end - b->start);
	b->end -= b->start;
	b->start = 0;
}

static int poll_until(int fd, short events, uint64_t end)
{
	struct pollfd fds[] = {{.fd = fd, .events = events}, {.fd = INSIDE_CHANNEL}};
	uint64_t now = loop_now_ms();
	int n = poll(fds, 2, now < end ? (int)(end - now) : 0);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -ETIMEDOUT;
	return fds[1].revents ? -ECANCELED : 0;
}

/* Reads once into the buffer; waits until end. 0 or -errno; -ECONNRESET at end of file. */
static int fill(struct relay *r, uint64_t end)
{
	int code = poll_until(r->sock, POLLIN, end);
	size_t room;
	ssize_t n;

	if (code)
		return code;
	if (r->in.start)
		compact(&r->in);
	room = r->in.end < BUFFER_BYTES ? BUFFER_BYTES - r->in.end : 0;
	n = fd_retry(read(r->sock, r->in.data + r->in.end, room));
	if (n == 0)
		return -ECONNRESET;
	if (n < 0)
		return fd_is_passing(-errno) ? 0 : -errno;
	r->in.end += (size_t)n;
	return 0;
}

static int handshake_error(int code, const char *what, struct err *e)
{
	if (code == -ECONNRESET)
		return err_set(e, code, "VPNKit closed the connection %s", what);
	if (code == -ETIMEDOUT)
		return err_set(e, code, "VPNKit does not answer %s", what);
	return err_errno(e, code, "VPNKit's socket, %s", what);
}

/* Takes the next len bytes of the handshake; NULL with *e. Valid until the next fill. */
static const uint8_t *take(struct relay *r, size_t len, const char *what, struct err *e)
{
	while (r->in.end - r->in.start < len) {
		int code = fill(r, r->deadline_ms);

		if (code) {
			handshake_error(code, what, e);
			return NULL;
		}
	}
	r->in.start += len;
	return r->in.data + r->in.start - len;
}

static int send_all(struct relay *r, const uint8_t *data, size_t len, const char *what,
		    struct err *e)
{
	while (len) {
		ssize_t n = fd_retry(write(r->sock, data, len));
		int code = n < 0 ? -errno : 0;

		if (code && fd_is_passing(code))
			code = poll_until(r->sock, POLLOUT, r->deadline_ms);
		if (code)
			return handshake_error(code == -EPIPE ? -ECONNRESET : code, what, e);
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/* Makes a random UUID, version 4 of RFC 4122, as text. */
static int make_uuid(char *out, size_t size, struct err *e)
{
	uint8_t b[16];

	if (getrandom(b, sizeof(b), 0) != sizeof(b))
		return err_errno(e, -errno, "getrandom");
	b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
	b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
	snprintf(out, size, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		 b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12],
		 b[13], b[14], b[15]);
	return 0;
}

static int handshake(struct relay *r, struct err *e)
{
	uint8_t init[VMN3T_INIT_BYTES], command[VMN3T_COMMAND_BYTES];
	char uuid[VMN3T_UUID_CHARS + 1];
	const uint8_t *got;
	int code = make_uuid(uuid, sizeof(uuid), e);

	vmn3t_build_init(init);
	code = code ? code : send_all(r, init, sizeof(init), "to the greeting", e);
	got = code ? NULL : take(r, VMN3T_INIT_BYTES, "to the greeting", e);
	if (!got)
		return e->code;
	code = vmn3t_check_init(got, e);
	if (code)
		return code;
	vmn3t_build_command(uuid, command);
	code = send_all(r, command, sizeof(command), "to the request for an interface", e);
	/* A refusal may be all that VPNKit sends. */
	got = code ? NULL : take(r, VMN3T_ANSWER_BYTES, "to the request for an interface", e);
	if (!got)
		return e->code;
	return vmn3t_parse_answer(got, &r->vif, e);
}

static int send_discover(struct relay *r, uint32_t xid, struct err *e)
{
	uint8_t frame[VMN3T_HEADER_BYTES + DHCP_FRAME_MAX];
	struct dhcp_query q = {.type = DHCP_DISCOVER, .xid = xid};
	size_t len;

	memcpy(q.mac, r->vif.mac, ETH_ALEN);
	len = dhcp_build(&q, frame + VMN3T_HEADER_BYTES);
	vmn3t_put_header(frame, len);
	return send_all(r, frame, VMN3T_HEADER_BYTES + len, "to DHCP", e);
}

/* The address that the received frames offer, or 0. VPNKit's first offer is final: it has one
 * address for each UUID, and does not wait for a request. */
static in_addr_t offered(struct relay *r, uint32_t xid)
{
	struct dhcp_answer a;
	const uint8_t *frame;
	size_t len, used;

	while ((used = vmn3t_next_frame(r->in.data + r->in.start, r->in.end - r->in.start, &frame,
					&len))) {
		r->in.start += used;
		if (dhcp_parse(frame, len, &a) == 0 && a.xid == xid && a.address &&
		    (a.type == DHCP_OFFER || a.type == DHCP_ACK) &&
		    !memcmp(a.mac, r->vif.mac, ETH_ALEN))
			return a.address;
	}
	return 0;
}

static int ask_address(struct relay *r, in_addr_t *ip, struct err *e)
{
	uint64_t retry_ms = 0;
	uint32_t xid;

	if (getrandom(&xid, sizeof(xid), 0) != sizeof(xid))
		return err_errno(e, -errno, "getrandom");
	while (!(*ip = offered(r, xid))) {
		uint64_t now = loop_now_ms();
		int code = 0;

		if (now >= retry_ms) {
			code = send_discover(r, xid, e);
			if (code)
				return code;
			retry_ms = now + DHCP_RETRY_MS;
		}
		code = fill(r, retry_ms < r->deadline_ms ? retry_ms : r->deadline_ms);
		if (code == -ETIMEDOUT && loop_now_ms() < r->deadline_ms)
			continue;
		if (code)
			return handshake_error(code, "to DHCP", e);
	}
	return 0;
}

/* Frames */

/* Delivers a frame. One that the tap does not take now (it is down, memory is short) is lost, as on
 * a wire. */
static int deliver(struct relay *r, const uint8_t *frame, size_t len)
{
	if (len < ETH_HLEN)
		return 0;
	if (fd_retry(write(r->tap, frame, len)) >= 0)
		return 0;
	return errno == EBADFD || errno == EBADF || errno == ENODEV ? -errno : 0;
}

static int deliver_all(struct relay *r)
{
	const uint8_t *frame;
	size_t len, used;
	int code = 0;

	while (!code && (used = vmn3t_next_frame(r->in.data + r->in.start, r->in.end - r->in.start,
						 &frame, &len))) {
		r->in.start += used;
		code = deliver(r, frame, len);
	}
	return code;
}

/* Collects all frames that are there, or for which there is room. */
static int collect(struct relay *r)
{
	struct buffer *b = &r->out;

	while (BUFFER_BYTES - b->end >= VMN3T_HEADER_BYTES + VMN3T_FRAME_MAX) {
		ssize_t n = fd_retry(
			read(r->tap, b->data + b->end + VMN3T_HEADER_BYTES, VMN3T_FRAME_MAX));

		if (n < 0)
			return fd_is_passing(-errno) ? 0 : -errno;
		vmn3t_put_header(b->data + b->end, (size_t)n);
		b->end += VMN3T_HEADER_BYTES + (size_t)n;
	}
	return 0;
}

static int flush(struct relay *r)
{
	struct buffer *b = &r->out;

	while (b->start < b->end) {
		ssize_t n = fd_retry(write(r->sock, b->data + b->start, b->end - b->start));

		if (n < 0)
			return fd_is_passing(-errno) ? 0 : -errno;
		b->start += (size_t)n;
	}
	b->start = b->end = 0;
	return 0;
}

/* Runs a turn of the relay. 0, 1 when the parent is gone, or -errno with *e. */
static int turn(struct relay *r, struct err *e)
{
	bool full = r->out.end > 0;
	struct pollfd fds[] = {
		{.fd = r->sock, .events = (short)(POLLIN | (full ? POLLOUT : 0))},
		{.fd = full ? -1 : r->tap, .events = POLLIN},
		{.fd = INSIDE_CHANNEL},
	};
	int code = 0;

	if (fd_retry(poll(fds, 3, -1)) < 0)
		return err_errno(e, -errno, "poll");
	if (fds[2].revents)
		return 1;
	if (fds[0].revents & (POLLIN | POLLHUP | POLLERR)) {
		code = fill(r, 0);
		if (code && code != -ETIMEDOUT)
			return handshake_error(code, "while frames flowed", e);
		code = deliver_all(r);
	}
	if (!code && fds[1].revents)
		code = collect(r);
	if (code)
		return err_errno(e, code, "the tap device is gone");
	code = flush(r);
	return code ? err_errno(e, code, "VPNKit's socket") : 0;
}

static int set_up(struct relay *r, struct vpnkit_answer *answer, struct err *e)
{
	struct vpnkit_boot boot;
	int code = inside_enter(&boot, sizeof(boot), &r->sock, e);

	if (code)
		return code;
	log_init("vpnkit-relay", boot.debug);
	code = inside_shield(e);
	if (code)
		return code;
	r->deadline_ms = loop_now_ms() + (uint64_t)boot.timeout_ms;
	code = fd_set_nonblock(r->sock, true);
	code = code ? err_errno(e, code, "VPNKit's socket") : handshake(r, e);
	code = code ? code : netif_tap_open(boot.ifname, r->vif.mac, &r->tap, e);
	if (!code) {
		code = fd_set_nonblock(r->tap, true);
		code = code ? err_errno(e, code, "tap device %s", boot.ifname) : 0;
	}
	code = code ? code : ask_address(r, &answer->ip, e);
	answer->mtu = r->vif.mtu;
	return code ? code : sandbox_relay(e);
}

int vpnkit_relay_main(void)
{
	static struct relay relay; /* without initial values it takes no room in the file */
	struct vpnkit_answer answer = {0};
	struct err e = {0};
	int code;

	relay.tap = relay.sock = -1;
	code = set_up(&relay, &answer, &e);

	answer.head.err = e;
	answer.head.err.code = code;
	inside_say(&answer, sizeof(answer));
	if (!code && deliver_all(&relay) < 0)
		code = err_set(&e, -ENODEV, "the tap device is gone");
	while (!code)
		code = turn(&relay, &e);
	if (code < 0)
		inside_fail(&e);
	return EXITCODE_OK;
}
