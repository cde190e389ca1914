/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_NFT_H
#define RINGKIT_NS_NFT_H

#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Adds nftables rules to the namespace that the caller is in, as one transaction of netlink
 * messages (linux/netfilter/nf_tables.h): either all of it takes effect, or nothing. For the files
 * of ns/ alone.
 *
 * A rule is a row of expressions. Each that loads a value loads it into register 1, and each that
 * uses a value takes it from there.
 */

#define NFT_BATCH_BYTES	   65536
#define NFT_BATCH_MESSAGES 256

struct nft_batch {
	char buf[NFT_BATCH_BYTES];
	size_t used;
	uint32_t seq;
	struct nlmsghdr *last; /* the last command; the kernel acknowledges it */
	uint8_t family;	       /* the table's family: NFPROTO_INET, ... */
	const char *table;
	/* The part of the kernel that each message needs, for the error message. */
	const char *needs[NFT_BATCH_MESSAGES];
};

/* Makes a batch that adds a table of this name of the family inet. The caller free()s it. NULL: out
 * of memory. */
struct nft_batch *nft_batch_new(const char *table);
/* Like nft_batch_new, with a table of this family. */
struct nft_batch *nft_batch_new_of(uint8_t family, const char *table);

/* Adds a chain of type filter on the hook prerouting. */
void nft_chain(struct nft_batch *b, const char *name, int priority);
/* The same on this hook (NF_INET_LOCAL_OUT); but the batch fails with -EEXIST if the chain is there
 * already. */
void nft_chain_new(struct nft_batch *b, const char *name, unsigned hook, int priority);
/* Adds a chain that gets what comes in by an interface before anybody else does. The table must be
 * of the family NFPROTO_NETDEV. The batch fails with -EEXIST if the chain is there already. */
void nft_chain_ingress(struct nft_batch *b, const char *name, const char *ifname);
/* Adds a rule to such a chain: what has a loopback address (::1, or one of 127.0.0.0/8) as its
 * source or destination is sent on by lo, where it comes in again. */
void nft_loopback_by_lo(struct nft_batch *b, const char *chain, bool ipv6, bool source);

/* Adds a counter, which rules name by nft_count. */
void nft_counter(struct nft_batch *b, const char *name);

/* Sends the batch. 0 or -errno; *e says which part of the kernel is missing, as far as that is
 * known. */
int nft_commit(struct nft_batch *b, struct err *e);
/* Like nft_commit, by a netfilter socket of the caller's. */
int nft_commit_by(struct nft_batch *b, struct mnl_socket *nl, struct err *e);
/* The same for new chains (nft_chain_new, nft_chain_ingress): changes nothing, and returns 0, where
 * one of them exists. e must not be NULL. */
int nft_commit_once(struct nft_batch *b, struct mnl_socket *nl, struct err *e);

/* Whether the kernel has the targets of nft_queue() and nft_fill_checksum(). The question changes
 * nothing, where a batch that fails keeps the caller waiting for milliseconds: the kernel waits for
 * a grace period of RCU before it frees what the batch had made. */
bool nft_has_target_queue(void);
bool nft_has_target_checksum(void);

/* A rule under construction. */
struct nft_rule {
	struct nft_batch *batch;
	struct nlmsghdr *nlh;
	struct nlattr *list;
	bool udp_alone; /* the rule is declared to x_tables as one for UDP */
};

/* Starts a rule. needs: the kernel's module for the rarest of its expressions, such as
 * "nft_tproxy". */
struct nft_rule nft_rule_begin(struct nft_batch *b, const char *chain, const char *needs);
void nft_rule_end(struct nft_rule *r);

/* Counts the packet. */
void nft_count(struct nft_rule *r, const char *counter);

/* Expressions that load a value. */
void nft_meta(struct nft_rule *r, enum nft_meta_keys key);
void nft_payload(struct nft_rule *r, enum nft_payload_bases base, uint32_t offset, uint32_t len);
/* Ends the rule unless the packet's source or destination address is this one (in the form of
 * inet_pton(3)). */
void nft_is_address(struct nft_rule *r, bool ipv6, bool source, const void *addr);
/* The same for loopback addresses: ::1, or those of 127.0.0.0/8. */
void nft_is_loopback(struct nft_rule *r, bool ipv6, bool source);
/* Loads one byte: whether the packet belongs to a transparent socket. */
void nft_socket_transparent(struct nft_rule *r);

/* Expressions that change the loaded value. This one ANDs it with a mask. */
void nft_mask(struct nft_rule *r, const void *mask, size_t len);
/* Replaces the loaded len bytes by their hash: a number from first to first + modulus - 1. */
void nft_hash(struct nft_rule *r, uint32_t len, uint32_t modulus, uint32_t first);

/* Expressions that end the rule unless a comparison of the loaded value holds. */
void nft_compare(struct nft_rule *r, enum nft_cmp_ops op, const void *value, size_t len);
/* Comparisons that many rules need; they load the value as well. */
void nft_compare_meta(struct nft_rule *r, enum nft_meta_keys key, enum nft_cmp_ops op,
		      uint32_t value);
void nft_compare_connection_mark(struct nft_rule *r, uint32_t mark);
void nft_is_proto(struct nft_rule *r, uint8_t proto);	/* meta l4proto */
void nft_is_family(struct nft_rule *r, uint8_t family); /* NFPROTO_IPV4 or NFPROTO_IPV6 */

/* Expressions that use the loaded value, or act. */
void nft_mark(struct nft_rule *r);		       /* the mark becomes the loaded value */
void nft_mark_with(struct nft_rule *r, uint32_t mark); /* the mark becomes this value */
void nft_connection_mark_with(struct nft_rule *r, uint32_t mark);
void nft_tproxy(struct nft_rule *r, uint16_t port); /* for both families */
void nft_reject(struct nft_rule *r, enum nft_reject_types type, uint8_t code);
void nft_verdict(struct nft_rule *r, int verdict); /* NF_ACCEPT, NF_DROP */
/* Sends the packet to a queue of user space, by the expression "queue" or by the target NFQUEUE of
 * iptables: some kernels have only one of the two. */
void nft_queue(struct nft_rule *r, uint16_t number, bool by_target);
/* Fills in the checksum that a UDP packet left to a network card, by the target CHECKSUM of
 * iptables. The rule must be for UDP only, in a table "mangle" of the family ip or ip6. */
void nft_fill_checksum(struct nft_rule *r);

#endif
