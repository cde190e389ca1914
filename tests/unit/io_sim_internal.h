/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_TESTS_IO_SIM_INTERNAL_H
#define RINGKIT_TESTS_IO_SIM_INTERNAL_H

#include "io_sim.h"

/*
 * Inside the simulated kernel:
 *   io_sim.c           objects, operations, the wait
 *   io_sim_call.c      calls that end at once
 *   io_sim_datagram.c  datagrams, both ends
 *   io_sim_channel.c   channels and netlink sockets, both ends
 *   io_sim_far.c       what the test does at the far ends, and the faults that it sets
 *   io_sim_addr.c      addresses of both families
 */

#define FD_BASE 1000
#define OBJECTS 16384
/* How many bytes a socket takes: few, so that everything blocks often, or enough to be spliced. */
#define SOCKET_BYTES_SMALL 4096
#define SOCKET_BYTES_LARGE 32768
#define PIPE_BYTES	   65536
#define OPS_MAX		   16384
#define BUFS		   16
#define BUF_BYTES	   8192
#define OUT_MAX		   4096

#define MSG_BYTES   256
#define MSG_FDS	    253
#define CHANNEL_MAX 256

enum kind { KIND_FREE, KIND_LISTENER, KIND_SOCKET, KIND_DATAGRAM, KIND_PIPE, KIND_CHANNEL };

struct message {
	uint8_t data[MSG_BYTES];
	size_t len, n_fds;
	int fds[MSG_FDS];
	uint8_t *large;	   /* in place of data */
	unsigned fds_lost; /* the receiver was out of descriptors for the last of them */
};

/* The worker's end of a channel. */
struct channel {
	struct message in[CHANNEL_MAX], out[CHANNEL_MAX];
	unsigned n_in, n_out;
	unsigned room; /* messages in out beyond which it is full */
	bool shortage; /* there is no memory for what is sent */
	bool ended;
};

struct queue {
	uint8_t data[PIPE_BYTES];
	size_t len;
};

struct object {
	enum kind kind;
	bool open;	   /* the worker's descriptor */
	bool write_end;	   /* of a pipe */
	int pipe_peer;	   /* object of the other end */
	struct queue *in;  /* to the worker; of a pipe: its content, on both ends */
	struct queue *out; /* from the worker */
	bool in_end, in_reset, out_end, out_reset;
	bool connected;
	bool flood;	 /* the far end sends without an end, and swallows what it gets */
	int64_t urgent;	 /* bytes before the mark, -1: none */
	int backlog[64]; /* listener: objects of connections to accept */
	unsigned n_backlog;
	int family;
	bool dual;	       /* listener of IPv6 that takes IPv4 clients, too */
	union sock_addr peer;  /* of a datagram socket; of an accepted connection */
	union sock_addr local; /* of an accepted connection: the address that it was made to */
	union sock_addr bound;
	bool outside;		/* made by the worker */
	bool connecting;	/* connect(2) has begun */
	int error;		/* what SO_ERROR has */
	struct io_error queued; /* what MSG_ERRQUEUE has; err 0: nothing */
	uint8_t answer[64];	/* of a ping socket: what recv gets */
	size_t answer_len;	/* 0: nothing */
	uint32_t mark;
	uint64_t since_ns;  /* a client's connection: when it was made */
	uint64_t silent_ns; /* since when the far end owes an answer; 0: it does not */
	struct io_sock is;  /* the kind of a socket of the broker's */
	bool used;
	unsigned shared; /* descriptors beside the first one: another worker's, or in a message */
	struct channel *channel;
};

struct op {
	uint64_t handle;
	enum { OP_NONE, OP_ACCEPT, OP_CONNECT, OP_POLL, OP_RECVMSG } type;
	int object;
	uint32_t events;
	uint16_t port;
	bool cancelled;
};

/* The operations of the worker that does not run just now. */
struct aside {
	struct op ops[OPS_MAX];
	unsigned n_ops;
	struct io_event ready[OPS_MAX];
	unsigned n_ready;
};

struct sim {
	struct io io; /* first */
	struct aside *aside;
	uint64_t rng, now_ns;
	uint64_t until_ns; /* the clock goes no further */
	unsigned fault_percent;
	size_t socket_bytes;
	bool exhausted, hold_cancelled;
	int accept_error, send_error, segments_refused;
	uint16_t refused_port, silent_port, rejected_port;
	int refusal, no_ipv6;
	uint64_t splice_ns; /* the time that a splice takes */
	uint32_t (*source_for)(uint32_t to);
	int bind_error, bound_error;
	int no_segments;
	unsigned local_ports, ports_refused;
	uint16_t unreachable_port;
	int last_server, held_object;
	int first_free; /* no object before this one is free */
	int used;	/* none from this one on has been used */
	struct object objects[OBJECTS];
	struct op ops[OPS_MAX];
	unsigned n_ops;
	struct io_event ready[OPS_MAX];
	unsigned n_ready;
	uint8_t bufs[BUFS][BUF_BYTES] __attribute__((aligned(16)));
	bool buf_used[BUFS];
	struct sim_datagram *sent;
	unsigned n_sent, sent_taken;
};

/* io_sim_datagram.c */
ssize_t sim_ping_send(struct sim *s, int fd, const void *buf, size_t len);
ssize_t sim_ping_recv(struct object *o, void *buf, size_t len);

/* io_sim.c */
struct sim *sim_of(struct io *io);
bool sim_fault(struct sim *s);
size_t sim_shorten(struct sim *s, size_t n);
struct object *sim_object_of(struct sim *s, int fd);
int sim_object_new(struct sim *s, enum kind kind, int family);
void sim_object_free(struct sim *s, struct object *o);
struct queue *sim_queue_new(void);
void sim_queue_put(struct queue *q, const void *data, size_t n);
void sim_queue_drop(struct queue *q, size_t n);
int sim_index_of_fd(struct sim *s, int fd);
void sim_emit(struct sim *s, uint64_t handle, int res, bool more);
void sim_make_connection(struct object *o);

/* io_sim_call.c */
uint64_t sim_now_ns(struct io *io);
ssize_t sim_recv(struct io *io, int fd, void *buf, size_t len, int flags);
ssize_t sim_room(struct sim *s, const struct object *o, size_t len);
ssize_t sim_send(struct io *io, int fd, const void *buf, size_t len, int flags);
ssize_t sim_pipe_write(struct io *io, int fd, const void *buf, size_t len);
ssize_t sim_splice(struct io *io, int fd_in, int fd_out, size_t len);
ssize_t sim_pipe_open(struct io *io, int fds[2], size_t size);
int sim_error_of(struct io *io, int fd);
int sim_local_of(struct io *io, int fd, struct sockaddr *addr, socklen_t *len);
int sim_socket_open(struct io *io, int family, int type, int proto);
int sim_bind_from(struct io *io, int fd, const struct sockaddr *addr, socklen_t len);
int sim_shutdown_write(struct io *io, int fd);
void sim_close_fd(struct io *io, int fd);
void sim_reset_fd(struct io *io, int fd);
void sim_tune_accepted(struct io *io, int fd);
size_t sim_unsent(struct io *io, int fd);
uint32_t sim_unanswered_ms(struct io *io, int fd);
int64_t sim_backlog_ms(struct io *io, int fd);
bool sim_is_reset(struct io *io, int fd);
int sim_source_for(struct io *io, int fd, const struct sockaddr *to, socklen_t to_len,
		   struct sockaddr *source, socklen_t *len);
int sim_bind_as(struct io *io, int fd, const struct sockaddr *addr, socklen_t len, uint32_t mark);
bool sim_paces(struct io *io, int fd);
uint64_t sim_io_random(struct io *io);
void sim_adopt(struct io *io, int fd);
bool sim_sock_check(struct io *io, int fd, const struct io_sock *want);

/* io_sim_channel.c */
ssize_t sim_netlink_recv(struct object *o, void *buf, size_t len);
ssize_t sim_netlink_send(struct object *o, const void *buf, size_t len);
void sim_channel_free(struct sim *s, struct object *o);
int sim_msg_send(struct io *io, int fd, const void *buf, size_t len);
int sim_msg_send_fds(struct io *io, int fd, const void *buf, size_t len, const int *fds,
		     size_t n_fds);
ssize_t sim_msg_recv(struct io *io, int fd, void *buf, size_t size, int *fds, size_t *n_fds,
		     bool *lost);

/* io_sim_addr.c */
/* Connects and datagrams: 0, or -errno when the kernel would refuse this address. */
int sim_addr_error(const struct sim *s, const struct object *o, const struct sockaddr *addr,
		   socklen_t len);
/* An address as a socket of this object's family and kind shows it. */
union sock_addr sim_addr_shown(const struct object *o, const union sock_addr *a);

/* io_sim_datagram.c */
int sim_connect_now(struct io *io, int fd, const struct sockaddr *addr, socklen_t len);
int sim_recv_error(struct io *io, int fd, struct io_error *out);
ssize_t sim_sendmsg(struct io *io, int fd, const struct msghdr *msg, int flags);

#endif
