/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_SUBID_H
#define RINGKIT_NS_SUBID_H

#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

/*
 * A user's subordinate ids: subuid(5), subgid(5), getsubids(1).
 */

/* The kernel takes 340 lines in an id map (user_namespaces(7)). One is the user's own id. */
#define SUBID_RANGES_MAX 339

struct id_range {
	unsigned long start, count;
};

struct id_ranges {
	struct id_range range[SUBID_RANGES_MAX];
	size_t n;
	size_t dropped; /* entries that were no ranges, or overlapped an earlier one */
};

struct subids {
	struct id_ranges uids, gids;
};

/*
 * Adds the user's ranges from text in the form of subuid(5): lines OWNER:START:COUNT, where OWNER
 * is the login name or the decimal user id. It skips other users' lines, comments and malformed
 * lines. A range that overlaps an earlier one is dropped and counted, since the kernel would refuse
 * the whole map; a range that is there already is dropped silently. name may be NULL. 0, or -E2BIG
 * when there are too many.
 */
int subid_parse(const char *text, const char *name, uid_t uid, struct id_ranges *out);

/* Adds the ranges of getsubids(1)'s output, lines `N: OWNER START COUNT`, as subid_parse does. */
int subid_parse_getsubids(const char *text, struct id_ranges *out);

/* Drops the last ranges until the map has a size that the kernel takes. Returns how many it
 * dropped. */
size_t subid_fit(struct id_ranges *r);

/* Looks up this user's ranges. source: "static" reads /etc/subuid and /etc/subgid; "dynamic" asks
 * getsubids(1); "auto" asks it where nsswitch.conf names a source other than files, and falls back
 * to the files. -ECANCELED when abort_fd becomes readable (-1: never). 0 or -errno; *e names the
 * user and the remedy when there are none. */
int subid_lookup(const char *source, uid_t uid, int abort_fd, struct subids *out, struct err *e);

#endif
