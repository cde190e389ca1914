/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_TESTS_IO_SIM_H
#define RINGKIT_TESTS_IO_SIM_H

#include <netinet/in.h>

#include "dataplane/io/io.h"

/*
 * A kernel for tests of the worker: connections, pipes and datagrams in memory, a clock that the
 * test moves, and everything that may go otherwise decided by a seeded generator: short reads and
 * writes, order of completions, operations that end early. The far ends (clients and servers) are
 * the test's.
 */
struct sim;

/* fault_percent: how often a call does less than it could. */
struct sim *sim_open(uint64_t seed, unsigned fault_percent);
void sim_close(struct sim *s);
struct io *sim_io(struct sim *s);
uint32_t sim_random(struct sim *s, uint32_t below);

/* The clock. A wait of the worker moves it to its deadline when nothing is ready, but not beyond
 * what the test lets pass: then the wait ends with -ETIME, as a real one would go on. */
uint64_t sim_now(const struct sim *s);
void sim_let_pass(struct sim *s, uint64_t ns);
/* Others have the CPU for so long. */
void sim_stall(struct sim *s, uint64_t ns);

/* Descriptors that are open: for leak checks. */
unsigned sim_open_fds(const struct sim *s);
/* While set, accept and pipe_open fail with -EMFILE. */
void sim_set_exhausted(struct sim *s, bool on);
/* While set, the connect of an address with this port is refused. */
void sim_refuse_port(struct sim *s, uint16_t port);
/* While set, an ICMP error comes for a connect to this port while connect(2) is at work. */
void sim_reject_port(struct sim *s, uint16_t port);
/* The next accept fails with this. */
void sim_fail_accept(struct sim *s, int err);
/* While set, cancelled operations do not complete. */
void sim_hold_cancelled(struct sim *s, bool on);
/* A completion of whatever handle, as of an operation that nobody remembers. */
void sim_inject(struct sim *s, uint64_t handle, int res);
/* The same with another error. */
void sim_refuse_port_with(struct sim *s, uint16_t port, int err);
/* From now on sockets take so much that transfers become bulk ones. */
void sim_large_sockets(struct sim *s);
/* How far each splice moves the clock. */
void sim_splice_takes(struct sim *s, uint64_t ns);
/* Where a connection that waits to be accepted comes from; host order. Without this it is from
 * 127.0.0.1. */
void sim_client_from(struct sim *s, int far, uint32_t address, uint16_t port);
/* Which address the namespace has on the way to another, 0: there is none. */
void sim_routes(struct sim *s, uint32_t (*source_for)(uint32_t to));
/* While set, sockets cannot be given an address; -EADDRINUSE: not with a port. */
void sim_fail_bind(struct sim *s, int err);
/* While set, the connect of one that has been given an address fails; -EINPROGRESS: never ends. */
void sim_fail_bound(struct sim *s, int err);
/* Which address a socket was given (sin_family 0: none), and which mark. */
struct sockaddr_in sim_bound(const struct sim *s, int far, uint32_t *mark);
/* The worker has stopped: what is in flight goes with its io. */
void sim_stop(struct sim *s);
/* Operations in flight. */
unsigned sim_in_flight(const struct sim *s);

int sim_listener(struct sim *s);
/* The cookie of the command's network namespace. */
#define SIM_NETNS 4711
/* An unconnected socket as the broker makes them, of IPv4. */
int sim_socket(struct sim *s, bool datagram);
/* Any other. used: it is bound, connected or listening. */
int sim_socket_like(struct sim *s, const struct io_sock *is, bool used);

/* A channel: the worker's end, and what its far end does. */
int sim_channel(struct sim *s);
bool sim_channel_open(struct sim *s, int fd); /* the worker has not closed it */
void sim_channel_put(struct sim *s, int fd, const void *data, size_t len, const int *fds,
		     size_t n_fds);
/* The worker has no room for the descriptors of the message that was put last. */
void sim_channel_lose_fds(struct sim *s, int fd);
/* The oldest message of the worker's, which must be this long. False: there is none. */
bool sim_channel_get(struct sim *s, int fd, void *data, size_t len);
/* The same for one of any length up to size. Its length; 0: there is none. */
size_t sim_channel_get_any(struct sim *s, int fd, void *data, size_t size);
/* It takes no more than this many messages until some have been taken out. */
void sim_channel_room(struct sim *s, int fd, unsigned messages);
void sim_channel_end(struct sim *s, int fd);

/* Two workers on one kernel, for a hand-over: from now on it is the other one that runs, with what
 * it has in flight. */
void sim_other_worker(struct sim *s);
/* Another descriptor of the same, which has the same number: one is closed for each worker. */
int sim_share(struct sim *s, int fd);
/* The oldest message that was sent on one channel arrives at the other. False: there is none. */
bool sim_channel_pass(struct sim *s, int from, int to);

/* A connection that waits to be accepted. Far ends are numbered by their connection. */
int sim_client_connect(struct sim *s, int listener);
/* The near descriptor's far end, once the worker has accepted or connected it. */
size_t sim_far_write(struct sim *s, int far, const void *data, size_t len);
size_t sim_far_read(struct sim *s, int far, void *data, size_t len);
void sim_far_shutdown(struct sim *s, int far);
void sim_far_reset(struct sim *s, int far);
/* Puts an urgent mark where the next byte goes. */
void sim_far_urgent(struct sim *s, int far);
/* It owes an answer, and has said nothing since; 0: it owes none. */
void sim_far_silent(struct sim *s, int far, uint64_t since_ns);
/* From now on its input never ends and its output is swallowed. */
void sim_far_flood(struct sim *s, int far);
bool sim_far_saw_end(struct sim *s, int far); /* and has read everything before it */
bool sim_far_saw_reset(struct sim *s, int far);
/* The server's far end of the connection that the worker made last; -1: none since the last call.
 */
int sim_server_accept(struct sim *s);
/* The far end of a descriptor of the worker's. */
int sim_far_of(int fd);

/* Sockets that the worker makes itself. While set, connects to this port get no answer. */
void sim_silent_port(struct sim *s, uint16_t port);
/* Which address a connection that waits to be accepted was made to. */
void sim_client_to(struct sim *s, int far, const struct sockaddr_in *dest);
/* The far end of one that connects, or has connected, to this port, or -1. */
int sim_outside(const struct sim *s, uint16_t port);
/* What MSG_ERRQUEUE of a datagram socket has. */
void sim_queue_error(struct sim *s, int fd, const struct sockaddr_in *dest, int err);

/* Datagrams. */
struct sim_datagram {
	struct sockaddr_in from, to; /* as the far end sees them */
	uint8_t data[2048];
	size_t len;
	int fd; /* that it was sent on */
};
/* To a listener from a client, who wrote to local. segment: 0 or that of a run. False: no buffer
 * or nobody receives. */
bool sim_datagram_in(struct sim *s, int fd, const struct sockaddr_in *client,
		     const struct in_addr *local, const void *data, size_t len, uint16_t segment);
/* The same, and the destination with its port is told as the original one (IP_ORIGDSTADDR). */
bool sim_datagram_to(struct sim *s, int fd, const struct sockaddr_in *client,
		     const struct sockaddr_in *dest, const void *data, size_t len,
		     uint16_t segment);
/* What the worker sent, oldest first, one by one. */
bool sim_datagram_out(struct sim *s, struct sim_datagram *out);
/* The next sends of more than one segment fail with this. */
void sim_no_segments(struct sim *s, int err);
/* How many did so. */
int sim_segments_refused(const struct sim *s);
/* The next send of a datagram fails with this. */
void sim_fail_send(struct sim *s, int err);
/* Datagram sockets cannot be connected to this port. */
void sim_unreachable_port(struct sim *s, uint16_t port);
/* While this is not 0, so many datagram sockets may be connected: the next one finds no port. */
void sim_local_ports(struct sim *s, unsigned n);
/* Connects of datagram sockets that found none. */
unsigned sim_ports_refused(const struct sim *s);
/* An answer for a ping socket, which has none that waits. */
void sim_ping_answer(struct sim *s, int fd, const void *data, size_t len);
/* What receives on this descriptor ends with an error. False: nobody receives. */
bool sim_datagram_error(struct sim *s, int fd, int err);

#endif
