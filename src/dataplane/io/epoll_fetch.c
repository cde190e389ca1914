/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "dataplane/io/epoll_internal.h"

/* Accepting connections and receiving datagrams for the epoll back end, as io_uring's multishot
 * operations do. */

/* Connections or datagrams taken from one descriptor before the next has its turn. */
#define TURN 64

struct buffer_head {
	uint8_t name[IO_NAME_BYTES];
	uint8_t control[IO_CONTROL_BYTES];
};

/* The accept or recvmsg operation of the descriptor; NULL: none. */
static struct op *multishot_of(struct slot *s)
{
	for (unsigned i = 0; i < OPS_MAX; i++)
		if (s->ops[i].kind == OP_ACCEPT || s->ops[i].kind == OP_RECVMSG)
			return &s->ops[i];
	return NULL;
}

int bufs_open(struct poller *p, const struct io_config *config)
{
	p->buf_size = config->buf_size;
	p->buf_bytes = (sizeof(struct buffer_head) + config->buf_size + 63) & ~(size_t)63;
	p->n_bufs = p->n_free = config->n_bufs;
	p->bufs = io_sys_map(p->n_bufs * p->buf_bytes);
	p->free_bufs = calloc(p->n_bufs, sizeof(*p->free_bufs));
	if (!p->bufs || !p->free_bufs)
		return -ENOMEM;
	for (unsigned i = 0; i < p->n_bufs; i++)
		p->free_bufs[i] = (uint16_t)i;
	return 0;
}

void bufs_free(struct poller *p)
{
	io_sys_unmap(p->bufs, p->n_bufs * p->buf_bytes);
	free(p->free_bufs);
}

static struct buffer_head *buffer_at(struct poller *p, unsigned id)
{
	return (struct buffer_head *)(p->bufs + (size_t)id * p->buf_bytes);
}

void poller_buf_put(struct io *io, uint16_t buf_id)
{
	struct poller *p = poller_of(io);

	assert(buf_id < p->n_bufs && p->n_free < p->n_bufs);
	p->free_bufs[p->n_free++] = buf_id;
}

/* Receives a datagram. Returns its length, or -errno; -ENOBUFS: no receive buffer is left. */
static int receive_one(struct poller *p, int fd, struct io_event *ev)
{
	struct buffer_head *head;
	struct iovec iov;
	struct msghdr msg;
	uint16_t id;
	ssize_t n;

	if (p->n_free == 0)
		return -ENOBUFS;
	id = p->free_bufs[p->n_free - 1];
	head = buffer_at(p, id);
	iov = (struct iovec){.iov_base = head + 1, .iov_len = p->buf_size};
	msg = (struct msghdr){.msg_name = head->name,
			      .msg_namelen = sizeof(head->name),
			      .msg_control = head->control,
			      .msg_controllen = sizeof(head->control),
			      .msg_iov = &iov,
			      .msg_iovlen = 1};
	n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return -errno;
	p->n_free--;
	ev->has_dgram = true;
	ev->dgram = (struct io_datagram){.name = msg.msg_name,
					 .name_len = msg.msg_namelen,
					 .control = head->control,
					 .control_len = msg.msg_controllen,
					 .payload = iov.iov_base,
					 .len = (size_t)n,
					 .truncated = msg.msg_flags & MSG_TRUNC,
					 .buf_id = id};
	return (int)n;
}

static int accept_one(struct poller *p, int fd, struct io_event *ev)
{
	int conn = io_sys_accept(&p->io, fd, ev->handle, &ev->peer);

	if (conn >= 0)
		poller_renew(p, conn);
	return conn;
}

/* Takes connections or datagrams until there are none, or the turn is over. Returns whether there
 * may be more. */
bool multishot_run(struct poller *p, int fd)
{
	struct slot *s = slot_of(p, fd);
	struct op *op = multishot_of(s);

	for (unsigned i = 0; op && i < TURN; i++) {
		struct io_event ev = {.handle = op->handle, .more = true};

		if (p->n_out == p->max_out)
			return true;
		ev.res = op->kind == OP_ACCEPT ? accept_one(p, fd, &ev) : receive_one(p, fd, &ev);
		if (ev.res == -EAGAIN) {
			s->ready &= ~(uint32_t)EPOLLIN;
			return false;
		}
		if (ev.res < 0) {
			ev.more = false;
			op->kind = OP_NONE;
			op = NULL;
		}
		poller_complete(p, &ev);
	}
	return op != NULL;
}
