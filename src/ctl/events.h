/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_EVENTS_H
#define RINGKIT_CTL_EVENTS_H

#include "base/err.h"

struct client;
struct ctl_args;

/* The command "events": prints events until rootlesskit ends. */
int events_run(struct client *client, const struct ctl_args *args, struct err *e);

#endif
