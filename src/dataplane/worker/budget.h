/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_BUDGET_H
#define RINGKIT_DATAPLANE_WORKER_BUDGET_H

#include <stdbool.h>

struct worker;
struct listener;

/*
 * Descriptors, and who may have them: those that are held and those that the flows under way will
 * need, since one that has only one of its two must get the other. TCP and UDP each have a share
 * that the other cannot take, if there are ports of its kind. A port has a share that depends on
 * what is left (LIMIT_TCP_TIMES_LEFT).
 */

/* How many connections there are slots and descriptors for; each needs two descriptors. */
unsigned budget_connections(const struct worker *w);

/* Whether one of them is for this port. */
bool budget_has_share(const struct worker *w, const struct listener *l);

/* Whether there is a descriptor for another UDP flow. LOW: there is, but an older flow should make
 * room. */
enum budget { BUDGET_PLENTY, BUDGET_LOW, BUDGET_OUT };
enum budget budget_udp(const struct worker *w);

/* How many sockets a pool may hold. */
unsigned budget_pool_max(const struct worker *w);

#endif
