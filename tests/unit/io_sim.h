/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_TESTS_IO_SIM_H
#define RINGKIT_TESTS_IO_SIM_H

#include "base/sockaddr.h"
#include "dataplane/io/io.h"

/*
 * A kernel for tests of the worker: connections, pipes and datagrams in memory, and a clock that
 * the test moves. A seeded generator decides what may differ from run to run: short reads and
 * writes, the order of completions, operations that end early. The test plays the far ends, clients
 * and servers.
 *
 * Sockets are of IPv4 or IPv6, and the rules of each family hold: an address must be of its
 * socket's family, a link-local address needs a scope, and an IPv4 client of a dual-stack listener
 * has a mapped address.
 */
struct sim;

/* Hosts have numbers: in IPv4 the address in host order, in IPv6 the last 32 bits of an address in
 * 2001:db8::/32. There, all of 127.0.0.0/8 is ::1, and 0 is ::. */
union sock_addr sim_addr(int family, uint32_t host, uint16_t port);
uint32_t sim_host_of(const union sock_addr *a);

/* fault_percent: how often a call does less than it could. */
struct sim *sim_open(uint64_t seed, unsigned fault_percent);
void sim_close(struct sim *s);
struct io *sim_io(struct sim *s);
uint32_t sim_random(struct sim *s, uint32_t below);

/* The clock. When nothing is ready, the worker's wait moves the clock to its deadline. If that is
 * later than the test lets pass, the wait ends with -ETIME instead. */
uint64_t sim_now(const struct sim *s);
void sim_let_pass(struct sim *s, uint64_t ns);
/* Other processes have the CPU for this long. */
void sim_stall(struct sim *s, uint64_t ns);

/* How many descriptors are open: for leak checks. */
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
/* The same for the operations of one socket, by its far end; -1: none. */
void sim_hold_cancelled_of(struct sim *s, int far);
/* Completes an operation with this handle, which need not have been started. */
void sim_inject(struct sim *s, uint64_t handle, int res);
/* The same, but the connect ends with this error. */
void sim_refuse_port_with(struct sim *s, uint16_t port, int err);
/* From now on sockets take enough for the worker to splice. */
void sim_large_sockets(struct sim *s);
/* How far each splice moves the clock. */
void sim_splice_takes(struct sim *s, uint64_t ns);
/* Where a connection that waits to be accepted comes from, in its listener's family. Without this
 * it comes from the loopback address. */
void sim_client_from(struct sim *s, int far, uint32_t host, uint16_t port);
/* The same with any address. */
void sim_client_is(struct sim *s, int far, const union sock_addr *from);
/* Sets which host the namespace is on the way to another; 0: there is no way. */
void sim_routes(struct sim *s, uint32_t (*source_for)(uint32_t to));
/* While set, the host has no IPv6. -EAFNOSUPPORT: it has no such sockets either; otherwise connects
 * end with this. */
void sim_no_ipv6(struct sim *s, int err);
/* While set, bind_as fails with this; -EADDRINUSE: only where a port is asked for. */
void sim_fail_bind(struct sim *s, int err);
/* While set, the connect of a socket that was bound fails with this; -EINPROGRESS: never ends. */
void sim_fail_bound(struct sim *s, int err);
/* The address that the worker has connected a socket to. */
union sock_addr sim_connected_to(const struct sim *s, int far);
/* The address that a socket was given (sa_family 0: none), and its mark. */
union sock_addr sim_bound(const struct sim *s, int far, uint32_t *mark);
/* The worker has stopped: forgets its operations, as a ring that is closed does. */
void sim_stop(struct sim *s);
/* How many operations are in flight. */
unsigned sim_in_flight(const struct sim *s);

/* A listening socket, for TCP or UDP. That of IPv6 takes IPv6 clients alone. */
int sim_listener(struct sim *s, int family);
/* A listening socket of IPv6 that takes IPv4 clients, too. */
int sim_listener_dual(struct sim *s);
/* The cookie of the command's network namespace. */
#define SIM_NETNS 4711
/* An unconnected socket as the broker makes them, of IPv4. */
int sim_socket(struct sim *s, bool datagram);
/* A socket of any kind. used: it is bound, connected or listening. */
int sim_socket_like(struct sim *s, const struct io_sock *is, bool used);

/* Opens a channel and returns the worker's end. The other functions are what the far end does. */
int sim_channel(struct sim *s);
bool sim_channel_open(struct sim *s, int fd); /* the worker has not closed it */
void sim_channel_put(struct sim *s, int fd, const void *data, size_t len, const int *fds,
		     size_t n_fds);
/* Adds to the message that was put last, if the worker has not read it and it has less than max
 * parts of this length. Otherwise puts another. */
void sim_channel_add(struct sim *s, int fd, const void *part, size_t len, unsigned max,
		     const int *fds, size_t n_fds);
/* The worker has no room for the last n descriptors of the message that was put last. */
void sim_channel_lose_fds(struct sim *s, int fd, unsigned n);
/* Takes the beginning, this long, of the oldest message that the worker has sent, which must
 * consist of such parts. False: there is none.
 */
bool sim_channel_get(struct sim *s, int fd, void *data, size_t len);
/* The same for a message of any length up to size. Returns its length; 0: there is none. */
size_t sim_channel_get_any(struct sim *s, int fd, void *data, size_t size);
/* From now on the channel holds no more than this many of the worker's messages. */
void sim_channel_room(struct sim *s, int fd, unsigned messages);
void sim_channel_end(struct sim *s, int fd);
/* While set, there is no memory for what the worker sends on it, a channel or a netlink socket. */
void sim_channel_short(struct sim *s, int fd, bool on);

/* Two workers on one kernel, for a hand-over: from now on the other one runs, and has its own
 * operations in flight. */
void sim_other_worker(struct sim *s);
/* Makes another descriptor for the other worker. It has the same number; each worker closes it. */
int sim_share(struct sim *s, int fd);
/* Moves the oldest message that was sent on one channel to the other one. False: there is none. */
bool sim_channel_pass(struct sim *s, int from, int to);

/* Makes a connection that waits to be accepted. Returns the number of its far end. */
int sim_client_connect(struct sim *s, int listener);
/* What far ends do. */
size_t sim_far_write(struct sim *s, int far, const void *data, size_t len);
size_t sim_far_read(struct sim *s, int far, void *data, size_t len);
void sim_far_shutdown(struct sim *s, int far);
void sim_far_reset(struct sim *s, int far);
/* Puts an urgent mark where the next byte goes. */
void sim_far_urgent(struct sim *s, int far);
/* The far end owes an answer, and has been silent since then; 0: it owes none. */
void sim_far_silent(struct sim *s, int far, uint64_t since_ns);
/* From now on the far end sends without an end, and swallows what it gets. */
void sim_far_flood(struct sim *s, int far);
bool sim_far_saw_end(struct sim *s, int far); /* and has read everything before it */
bool sim_far_saw_reset(struct sim *s, int far);
/* The far end of the connection that the worker made last; -1: it made none since the last call. */
int sim_server_accept(struct sim *s);
/* The far end of a descriptor of the worker's. */
int sim_far_of(int fd);

/* While set, connects to this port get no answer. */
void sim_silent_port(struct sim *s, uint16_t port);
/* The address that a connection that waits to be accepted was made to. */
void sim_client_to(struct sim *s, int far, const union sock_addr *dest);
/* The far end of a socket of the worker's that connects, or has connected, to this port; -1: there
 * is none. */
int sim_outside(const struct sim *s, uint16_t port);
/* Puts an error into the error queue of a datagram socket. info: with EMSGSIZE, what fits. */
void sim_queue_error(struct sim *s, int fd, const union sock_addr *dest, int err, uint32_t info);

/* Datagrams. */
struct sim_datagram {
	union sock_addr from, to; /* as the far end sees them */
	uint8_t data[2048];
	size_t len;
	int fd; /* that it was sent on */
};
/* A datagram to a socket of the worker's, from a client who wrote to local. With a port in local
 * the socket tells the original destination (IP_ORIGDSTADDR); without one it tells its own address
 * (IP_PKTINFO). segment: the length of each datagram of a run; 0: it is a single one. False: there
 * is no buffer, or nobody receives. */
bool sim_datagram_in(struct sim *s, int fd, const union sock_addr *client,
		     const union sock_addr *local, const void *data, size_t len, uint16_t segment);
/* Takes the oldest datagram that the worker has sent. False: there is none. */
bool sim_datagram_out(struct sim *s, struct sim_datagram *out);
/* The next sends of more than one segment fail with this. */
void sim_no_segments(struct sim *s, int err);
/* How many sends have failed for that. */
int sim_segments_refused(const struct sim *s);
/* The next send of a datagram fails with this. */
void sim_fail_send(struct sim *s, int err);
/* Datagram sockets cannot be connected to this port. */
void sim_unreachable_port(struct sim *s, uint16_t port);
/* While n is not 0, only so many datagram sockets can be connected: the next one finds no port. */
void sim_local_ports(struct sim *s, unsigned n);
/* How many connects of datagram sockets have found no port. */
unsigned sim_ports_refused(const struct sim *s);
/* An answer comes to a ping socket, where no other waits to be read. */
void sim_ping_answer(struct sim *s, int fd, const void *data, size_t len);
/* Ends the receive operation on this descriptor with an error. False: nobody receives. */
bool sim_datagram_error(struct sim *s, int fd, int err);

#endif
