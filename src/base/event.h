/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_EVENT_H
#define RINGKIT_BASE_EVENT_H

/*
 * What happens in the parent beside requests, for those who watch it (GET /v1/events): a process
 * that is started again, a network that is lost. Whoever sees it posts it; the API passes it on.
 */

/* event: what kind, in one word ("restart"); what: of whom ("dataplane"); message: for people. */
typedef void event_fn(void *arg, const char *event, const char *what, const char *message);

/* From now on fn hears of all; NULL: nobody does. */
void event_listen(event_fn *fn, void *arg);

void event_post(const char *event, const char *what, const char *message);

#endif
