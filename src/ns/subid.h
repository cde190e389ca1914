/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_SUBID_H
#define RINGKIT_NS_SUBID_H

#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

/*
 * Subordinate ids of a user: subuid(5), subgid(5), getsubids(1).
 */

/* The kernel takes 340 lines in an id map (user_namespaces(7)); one is the user's own id. */
#define SUBID_RANGES_MAX 339

struct id_range {
	unsigned long start, count;
};

struct id_ranges {
	struct id_range range[SUBID_RANGES_MAX];
	size_t n;
	size_t dropped; /* that were no ranges or overlapped one that was there */
};

struct subids {
	struct id_ranges uids, gids;
};

/*
 * Adds the ranges of the user from text in the form of subuid(5): lines OWNER:START:COUNT, where
 * OWNER is the login name or the decimal user id. Lines of others, comments and lines that are no
 * such thing are skipped; ranges that overlap one that is there (the kernel would refuse the whole
 * map) are counted instead, unless they are the same. name may be NULL. 0, or -E2BIG when there are
 * too many.
 */
int subid_parse(const char *text, const char *name, uid_t uid, struct id_ranges *out);

/* Adds the ranges of getsubids(1)'s output: lines `N: OWNER START COUNT`. As subid_parse. */
int subid_parse_getsubids(const char *text, struct id_ranges *out);

/* Leaves out the last ranges until the map fits in what the kernel takes. How many. */
size_t subid_fit(struct id_ranges *r);

/* The ranges of this user. source: "static" reads /etc/subuid and /etc/subgid, "dynamic" asks
 * getsubids(1), "auto" asks it where nsswitch.conf names a source other than files, and falls back
 * to the files. Given up with -ECANCELED when abort_fd is readable (-1: never). 0 or -errno; *e
 * names the user and the remedy when there are none. */
int subid_lookup(const char *source, uid_t uid, int abort_fd, struct subids *out, struct err *e);

#endif
