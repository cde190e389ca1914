/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_NFT_H
#define RINGKIT_NS_NFT_H

#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/*
 * nftables rules for the namespace that the caller is in, as one transaction of netlink messages
 * (linux/netfilter/nf_tables.h): all of it takes effect, or nothing. For the files of ns/ alone.
 *
 * Every expression that loads a value loads it into register 1, and every one that uses a value
 * takes it from there.
 */

#define NFT_BATCH_BYTES	   65536
#define NFT_BATCH_MESSAGES 256

struct nft_batch {
	char buf[NFT_BATCH_BYTES];
	size_t used;
	uint32_t seq;
	struct nlmsghdr *last; /* command, which is to be acknowledged */
	const char *table;
	/* What each message takes of the kernel, for the error message. */
	const char *needs[NFT_BATCH_MESSAGES];
};

/* A batch on the heap, with a table of this name of the family inet. NULL: out of memory. The
 * caller free()s it. */
struct nft_batch *nft_batch_new(const char *table);

/* A chain of type filter on the hook prerouting. */
void nft_chain(struct nft_batch *b, const char *name, int priority);
/* The same on another hook (NF_INET_LOCAL_OUT); -EEXIST of the batch if it is there already. */
void nft_chain_new(struct nft_batch *b, const char *name, unsigned hook, int priority);

/* A counter that rules may name, by nft_count. */
void nft_counter(struct nft_batch *b, const char *name);

/* Sends it. 0 or -errno; *e says which part of the kernel is missing, as far as that is known. */
int nft_commit(struct nft_batch *b, struct err *e);
/* The same by a netfilter socket of the caller's. */
int nft_commit_by(struct nft_batch *b, struct mnl_socket *nl, struct err *e);

/* A rule under construction. */
struct nft_rule {
	struct nft_batch *batch;
	struct nlmsghdr *nlh;
	struct nlattr *list;
};

/* needs: the kernel's module for the rarest expression of the rule, such as "nft_tproxy". */
struct nft_rule nft_rule_begin(struct nft_batch *b, const char *chain, const char *needs);
void nft_rule_end(struct nft_rule *r);

/* Counts the packet. */
void nft_count(struct nft_rule *r, const char *counter);

/* Loads. */
void nft_meta(struct nft_rule *r, enum nft_meta_keys key);
void nft_payload(struct nft_rule *r, enum nft_payload_bases base, uint32_t offset, uint32_t len);
/* Whether a packet comes from, or goes to, this address, as inet_pton(3) makes it. */
void nft_is_address(struct nft_rule *r, bool ipv6, bool source, const void *addr);
/* The address that a packet comes from, or goes to, is this one from now on; checksums follow. */
void nft_set_address(struct nft_rule *r, bool ipv6, bool source, const void *addr);
void nft_value(struct nft_rule *r, const void *value, size_t len);
/* Whether the packet belongs to a transparent socket: one byte. */
void nft_socket_transparent(struct nft_rule *r);

/* Changes what is loaded: AND with a mask. */
void nft_mask(struct nft_rule *r, const void *mask, size_t len);
/* A hash of the len bytes that are loaded: first to first + modulus - 1. */
void nft_hash(struct nft_rule *r, uint32_t len, uint32_t modulus, uint32_t first);

/* Ends the rule here unless what is loaded compares so. */
void nft_compare(struct nft_rule *r, enum nft_cmp_ops op, const void *value, size_t len);
/* The same for things that are often asked for. */
void nft_compare_meta(struct nft_rule *r, enum nft_meta_keys key, enum nft_cmp_ops op,
		      uint32_t value);
void nft_compare_connection_mark(struct nft_rule *r, uint32_t mark);
void nft_is_proto(struct nft_rule *r, uint8_t proto);	/* meta l4proto */
void nft_is_family(struct nft_rule *r, uint8_t family); /* NFPROTO_IPV4 or NFPROTO_IPV6 */

/* Uses. */
void nft_mark(struct nft_rule *r);		       /* the packet's mark is what is loaded */
void nft_mark_with(struct nft_rule *r, uint32_t mark); /* the same, with this value */
void nft_connection_mark_with(struct nft_rule *r, uint32_t mark);
void nft_tproxy(struct nft_rule *r, uint16_t port); /* of both families */
void nft_reject(struct nft_rule *r, enum nft_reject_types type, uint8_t code);
void nft_verdict(struct nft_rule *r, int verdict); /* NF_ACCEPT, NF_DROP */
/* To a queue of user space, by the expression "queue" or by the target NFQUEUE of iptables, for
 * kernels that have one of them only. */
void nft_queue(struct nft_rule *r, uint16_t number, bool by_target);

#endif
