/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_BUDGET_H
#define RINGKIT_DATAPLANE_WORKER_BUDGET_H

struct worker;

/* Whether there are descriptors for another flow, beside those that are held and those that the
 * flows under way will need: one that has only one of its two must get the other. LOW: yes, but
 * accepting should pause. */
enum budget { BUDGET_PLENTY, BUDGET_LOW, BUDGET_OUT };
enum budget budget_left(const struct worker *w);

/* The same for a UDP flow. LOW: yes, but another one should make room. TCP and UDP each have a
 * share of the descriptors that the other cannot take, if there are ports of its kind. */
enum budget budget_udp(const struct worker *w);

/* How many sockets a pool may hold. */
unsigned budget_pool_max(const struct worker *w);

#endif
