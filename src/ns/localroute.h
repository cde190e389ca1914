/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_LOCALROUTE_H
#define RINGKIT_NS_LOCALROUTE_H

#include <libmnl/libmnl.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * A routing table in which every address is local, at lo, and rules that send packets to it: what a
 * transparent socket needs to get packets for addresses that the namespace does not have
 * (Documentation/networking/tproxy.rst of the kernel). For the files of ns/ alone.
 */

/* Of the rules: behind the kernel's own for the local table (0), before all that others are likely
 * to add. */
#define LOCALROUTE_PRIORITY 101

/* lo, in every network namespace. Asking for it would take a socket that the broker cannot make. */
#define LOOPBACK_IFINDEX 1

/* Starts a rule of one family in buf (NETLINK_REQUEST_BYTES), for sources of a prefix as long as
 * src_len, which the caller adds (FRA_SRC) unless it is 0. */
struct nlmsghdr *localroute_rule(void *buf, bool ipv6, uint8_t src_len, uint32_t priority);

/* The same for another table than ours. */
struct nlmsghdr *localroute_rule_for(void *buf, bool ipv6, uint8_t src_len, uint32_t priority,
				     uint32_t table);

/* Sends it. What is there already is no error. 0 or -errno. */
int localroute_talk(struct mnl_socket *nl, const struct nlmsghdr *nlh);

/* The table's route of one family. 0 or -errno. */
int localroute_add(struct mnl_socket *nl, bool ipv6);

/* The rule for packets with this mark. 0 or -errno. */
int localroute_add_mark(struct mnl_socket *nl, bool ipv6, uint32_t mark);

#endif
