/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_LOCALROUTE_H
#define RINGKIT_NS_LOCALROUTE_H

#include <libmnl/libmnl.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * A routing table in which every address is local, at lo, and rules that send packets to it. A
 * transparent socket needs both to get packets for addresses that the namespace does not have
 * (Documentation/networking/tproxy.rst of the kernel). For the files of ns/ alone.
 */

/* Priority of the rules: behind the kernel's own rule for the local table (0), before all that
 * others are likely to add. */
#define LOCALROUTE_PRIORITY 101

/* lo has this number in every network namespace. To ask for it would take a socket that the broker
 * cannot make. */
#define LOOPBACK_IFINDEX 1

/* Starts a rule of one family in buf (NETLINK_REQUEST_BYTES). If src_len is not 0, the rule is for
 * sources of a prefix of that length, which the caller adds (FRA_SRC). */
struct nlmsghdr *localroute_rule(void *buf, bool ipv6, uint8_t src_len, uint32_t priority);

/* Like localroute_rule, for another table than ours. */
struct nlmsghdr *localroute_rule_for(void *buf, bool ipv6, uint8_t src_len, uint32_t priority,
				     uint32_t table);

/* Sends a request. It is no error if what it adds is there already. 0 or -errno. */
int localroute_talk(struct mnl_socket *nl, const struct nlmsghdr *nlh);

/* Adds the table's route of one family. 0 or -errno. */
int localroute_add(struct mnl_socket *nl, bool ipv6);

/* Adds the rule for packets with this mark. 0 or -errno. */
int localroute_add_mark(struct mnl_socket *nl, bool ipv6, uint32_t mark);

#endif
