/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_BUDGET_H
#define RINGKIT_DATAPLANE_WORKER_BUDGET_H

#include <stdbool.h>

struct worker;
struct listener;

/*
 * The worker's budget of descriptors. It counts those that are held and those that flows under way
 * will need: a flow that has one of its two must get the other. TCP and UDP each have a share that
 * the other cannot take, if there are ports of its kind. The share of a single port depends on what
 * is left (LIMIT_TCP_TIMES_LEFT).
 */

/* How many connections there are slots and descriptors for; each needs two descriptors. */
unsigned budget_connections(const struct worker *w);

/* Whether this port may have one of those connections. */
bool budget_has_share(const struct worker *w, const struct listener *l);

/* Whether there is a descriptor for another UDP flow. LOW: there is, but an older flow should make
 * room. */
enum budget { BUDGET_PLENTY, BUDGET_LOW, BUDGET_OUT };
enum budget budget_udp(const struct worker *w);

/* How many sockets a pool may hold. */
unsigned budget_pool_max(const struct worker *w);

#endif
