/* SPDX-License-Identifier: Apache-2.0 */
#include "base/event.h"

static event_fn *listener;
static void *listener_arg;

void event_listen(event_fn *fn, void *arg)
{
	listener = fn;
	listener_arg = arg;
}

void event_post(const char *event, const char *what, const char *message)
{
	if (listener)
		listener(listener_arg, event, what, message);
}
