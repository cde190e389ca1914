/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WIRE_H
#define RINGKIT_DATAPLANE_WIRE_H

#include <assert.h>
#include <errno.h>
#include <net/if.h>
#include <stdint.h>

#include "base/fdpass.h"
#include "base/sockaddr.h"

/*
 * Messages between parent, workers and brokers, over SOCK_SEQPACKET pairs. Both ends are the same
 * program, except after a reload: then the parent is older, and so was the data plane that hands
 * its flows over. WIRE_VERSION says whether the two understand each other.
 *
 *   parent  <-> data plane main   boot channel, descriptor 3: one dp_boot; with a way out one
 *                                 dp_outward and a dp_outward_worker for each worker; then one
 *                                 dp_boot_reply comes back
 *   parent  <-> worker i          control channel i
 *   worker  <-> broker            socket channel i (made by the parent, an end to each); with a
 *                                 way out another one to the router's broker
 *   worker  <-> worker            during a reload: the flows (worker/handover_record.h)
 *   parent  <-> broker            boot channel, descriptor 3: one broker_boot, one reply, then a
 *                                 broker_channels for each new data plane, and broker_listen and
 *                                 broker_turned, each with its reply
 *   broker  <-> keeper            broker_turned and its replies, passed on (broker/keeper.h)
 */

/* Must be raised with every change of a layout or of what a message means, those of the hand-over
 * (worker/handover.h) included. A boot message begins with it: a process of another version refuses
 * before it has done anything. */
#define WIRE_VERSION 4

/* Room for a boot message of another version. */
#define WIRE_BOOT_MAX 4096

/* The beginning of every answer to a boot message, whatever the version. */
struct wire_reply {
	int32_t err; /* 0 or -errno; -EPROTONOSUPPORT: the boot message is of another version */
	uint32_t version; /* WIRE_VERSION of the process that answers */
	char program[32]; /* RINGKIT_VERSION of the process that answers */
};

/* The descriptor of the boot channel, in a data plane and in a broker. */
#define WIRE_BOOT_FD 3

/* An error that another process has sent: 0 or -errno. Any other value makes no sense and becomes
 * -EPROTO. */
static inline int wire_err(int32_t err)
{
	return err <= 0 && err >= -4095 ? err : -EPROTO;
}

/* Parent to data plane. Descriptors that come with it: the statistics memfd, then a control channel
 * and a socket channel for each worker. */
struct dp_boot {
	uint32_t version; /* WIRE_VERSION */
	uint32_t workers;
	uint32_t backend; /* enum dataplane_backend */
	uint32_t sandbox, debug;
	uint32_t udp_timeout_ms;
	uint32_t udp_ports;    /* how many ports of the namespace UDP flows may take at a time */
	uint32_t transparent;  /* mask of what works, ns/transparent.h */
	uint64_t netns_cookie; /* SO_NETNS_COOKIE of the child's namespace; 0: unknown */
	uint32_t outward;      /* dp_outward and the dp_outward_worker messages follow */
	uint32_t hold;	       /* take over from another data plane: wait for DP_MSG_TAKE_OVER, then
				  DP_MSG_GO */
};

/* A rule about where the command may connect to. The matching rule with the longest prefix decides;
 * of two that are equally long, the one that denies. Without a matching rule: allowed. */
struct dp_outward_rule {
	uint8_t family, prefix_len, deny, zero;
	uint16_t port_first, port_last; /* in host order */
	uint8_t addr[16];		/* IPv4: the first 4 */
};

#define DP_OUTWARD_RULES 64
#define DP_RESOLVERS	 3

/* Parent to data plane, after dp_boot: the way out of the command's namespace, through the router's
 * namespace. Descriptors: for each family that the router has, IPv4 first, a raw socket of the
 * router's namespace (IPPROTO_RAW, IP_HDRINCL or IPV6_HDRINCL). */
struct dp_outward {
	uint32_t queue_base;  /* worker i's queue has the number queue_base + i */
	uint32_t mark_accept; /* a packet with this mark plus the worker's number goes to that
				 worker's listener */
	uint32_t mark_refused, mark_unreachable_host, mark_unreachable_net, mark_prohibited;
	uint32_t ipv6; /* the namespace has IPv6 */
	uint32_t zero;
	uint32_t disable_host_loopback;
	uint32_t n_resolvers, n_rules;
	uint64_t netns_cookie; /* of the router's namespace; 0: unknown */
	struct in_addr gateway4, dns4, inside4;
	struct in6_addr gateway6, dns6, inside6;
	uint8_t prefix_len4, prefix_len6;
	union sock_addr outbound4, outbound6; /* source address; family 0: chosen by the kernel */
	union sock_addr resolvers[DP_RESOLVERS]; /* with their ports */
	struct dp_outward_rule rules[DP_OUTWARD_RULES];
};

/* Parent to data plane, one for each worker, in order. Descriptors: one for each bit that is set in
 * has, in the order of the bits. */
enum dp_outward_has {
	DP_OUTWARD_TCP4 = 1 << 0,  /* listening, IP_TRANSPARENT */
	DP_OUTWARD_TCP6 = 1 << 1,  /* listening, IPV6_TRANSPARENT */
	DP_OUTWARD_UDP4 = 1 << 2,  /* IP_TRANSPARENT, IP_RECVORIGDSTADDR, UDP_GRO */
	DP_OUTWARD_UDP6 = 1 << 3,  /* IPV6_TRANSPARENT, IPV6_RECVORIGDSTADDR, UDP_GRO */
	DP_OUTWARD_QUEUE = 1 << 4, /* netfilter netlink, bound to the worker's queue, whole packets;
				      without it clients are accepted first */
	DP_OUTWARD_CHANNEL = 1 << 5, /* to the router's socket service: broker_request, _reply */
};
#define DP_OUTWARD_FDS 6

struct dp_outward_worker {
	uint32_t number;
	uint32_t has; /* enum dp_outward_has */
};

struct dp_boot_reply {
	struct wire_reply head;
	uint32_t backend;  /* the back end that it chose */
	int32_t uring_err; /* why the back end is not io_uring, -errno; 0: it is, or epoll was asked
			      for */
};

enum dp_msg_type {
	DP_MSG_ADD = 1,	   /* parent to worker, with one listening socket */
	DP_MSG_REMOVE,	   /* parent to worker */
	DP_MSG_DONE,	   /* worker to parent: the result err of request seq about port id */
	DP_MSG_NEW_BROKER, /* parent to worker, with a new socket channel. Worker to parent: there
			      was no descriptor for it, so it is lost */
	DP_MSG_NEW_ROUTER, /* the same with a channel to the router's socket service */
	DP_MSG_RESOLVERS,  /* parent to worker: the resolvers are now target, target2 and target3 */
	DP_MSG_HAND_OVER,  /* parent to worker: pass the flows on, over the channel that comes with
			      this (worker/handover.h). DP_MSG_DONE with port id 0 says that they
			      have been sent, or why not */
	DP_MSG_TAKE_OVER,  /* parent to a worker that holds, after its ports: take flows from the
			      channel that comes with this. DP_MSG_DONE with port id 0 says that all
			      have come, with flows and lost */
	DP_MSG_TARGET,	   /* parent to worker: port port_id now leads to target, and where that
			      refuses to target2. Without an answer */
	DP_MSG_GO, /* parent to worker: serve, either the flows that were taken over or those that
		      were to be handed over */
};

/* What is sent over a control channel, either way, is 1 to this many messages at once: 10,000 ports
 * are no longer 10,000 system calls, and as many wake-ups, on each side. */
#define DP_MSGS_MAX 32

struct dp_msg {
	uint32_t type;	 /* enum dp_msg_type */
	uint32_t seq;	 /* number of the request, repeated in DP_MSG_DONE */
	int32_t port_id; /* negative: the socket of port -port_id that listens in the namespace */
	int32_t err;
	uint32_t proto; /* enum port_proto */
	uint32_t listen_family;
	uint32_t slot;	      /* the port's slot in the statistics file */
	uint32_t slot_used;   /* an earlier port has used the slot: zero it */
	uint32_t transparent; /* servers should see the addresses of the port's clients */
	uint32_t literal;     /* the user named the address of target */
	union sock_addr target;
	union sock_addr target2; /* sa_family 0: none */
	union sock_addr target3; /* used by DP_MSG_RESOLVERS alone */
	uint32_t flows, lost; /* DP_MSG_DONE after DP_MSG_TAKE_OVER: flows that were taken over, and
				 flows that were not */
	uint32_t brings_fd;   /* a descriptor comes with this message; those of messages that are
				 sent at once come in the order of the messages */
	uint32_t zero;
};

static_assert(DP_MSGS_MAX <= FDPASS_MAX, "each of them may bring a descriptor");
static_assert(DP_MSGS_MAX * sizeof(struct dp_msg) <= 4576,
	      "they fit into a socket's buffer, however small it is made (socket(7), SO_SNDBUF)");

/* Parent to broker. Descriptors: one socket channel for each worker, then the user namespace and
 * the network namespace. */
struct broker_boot {
	uint32_t version; /* WIRE_VERSION */
	uint32_t workers;
	uint32_t sandbox, debug;
	uint32_t transparent;  /* connections will bear clients' addresses */
	uint32_t first;	       /* nothing has been set up in the namespace yet */
	char ifname[IFNAMSIZ]; /* the interface to the router of --net=builtin; "": there is none */
};

/* Parent to broker, any time after broker_boot: a new data plane has come. Descriptors: one socket
 * channel for each of its workers. There is no answer. workers 0, without descriptors: servers of a
 * new port are to see the addresses of its clients, so the keeper must look how connections are
 * treated (transparent_watch_look). */
struct broker_channels {
	uint32_t workers;
};

/* Parent to broker, any time after broker_boot: asks for a listening socket in the namespace. The
 * answer repeats port_id and seq, and brings the socket unless err is -errno. The broker tells this
 * message from broker_channels by its length. */
struct broker_listen {
	int32_t port_id;
	uint32_t seq;
	uint32_t proto; /* enum port_proto */
	union sock_addr addr;
};

struct broker_listen_reply {
	int32_t port_id;
	uint32_t seq;
	int32_t err;
};

/* Parent to broker, which passes it on to the keeper: where do rules in the namespace turn a
 * connection that comes in for this loopback address (ns/turned.h)? */
struct broker_turned {
	int32_t port_id;
	uint32_t seq;
	uint32_t proto; /* IPPROTO_TCP, IPPROTO_UDP */
	uint32_t zero;
	union sock_addr addr;
};

/* The keeper's answer, with port_id and seq of the question. addr: the address asked about where
 * nothing turns it. err: -errno, and then there is no addr. Once there has been a question, the
 * keeper also sends this with port_id 0, unasked, when rules have changed. */
struct broker_turned_reply {
	int32_t port_id;
	uint32_t seq;
	int32_t err;
	union sock_addr addr;
};

struct broker_boot_reply {
	struct wire_reply head;
	uint32_t transparent;  /* mask of what works, ns/transparent.h */
	uint64_t netns_cookie; /* 0: the kernel does not tell */
	uint32_t local_ports;  /* how many ports the namespace has for sockets that connect; 0:
				  unknown */
	uint32_t zero;
};

/* Worker to broker: make this many sockets. */
struct broker_request {
	uint8_t family; /* AF_INET, AF_INET6 */
	uint8_t proto;	/* IPPROTO_TCP, IPPROTO_UDP */
	uint16_t count; /* 1 to FDPASS_MAX */
};

/* Broker to worker, with the sockets: unbound, non-blocking, options set (broker/socket.h). err is
 * -errno when fewer than count could be made. */
struct broker_reply {
	uint8_t family, proto;
	uint16_t count;
	int32_t err;
};

static_assert(sizeof(struct broker_request) == 4, "no padding goes over a socket");
static_assert(sizeof(struct broker_reply) == 8, "no padding goes over a socket");
static_assert(sizeof(struct broker_listen) != sizeof(struct broker_channels),
	      "the length tells which it is");
static_assert(sizeof(struct broker_turned) != sizeof(struct broker_listen) &&
		      sizeof(struct broker_turned) != sizeof(struct broker_channels),
	      "the length tells which it is");
static_assert(sizeof(struct broker_turned_reply) != sizeof(struct broker_listen_reply),
	      "the length tells which it is");

#endif
