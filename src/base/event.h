/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_EVENT_H
#define RINGKIT_BASE_EVENT_H

/*
 * Events of the parent that no request caused: a process was started again, the network was lost.
 * Whoever notices one posts it, and the API passes it on to its clients (GET /v1/events).
 */

/* event: its kind, in one word ("restart"). what: whom it concerns ("dataplane"). message: for
 * people. */
typedef void event_fn(void *arg, const char *event, const char *what, const char *message);

/* From now on fn is called for every event. With NULL nobody is. */
void event_listen(event_fn *fn, void *arg);

void event_post(const char *event, const char *what, const char *message);

#endif
