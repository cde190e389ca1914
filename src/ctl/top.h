/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_TOP_H
#define RINGKIT_CTL_TOP_H

#include "ctl/args.h"
#include "ctl/client.h"

/*
 * rootlessctl top: a live screen of the ports, the busiest first, until a key or a signal ends it.
 * Where stdin or stdout is no terminal, it prints once, as text, what one second showed.
 */
int top_run(struct client *client, const struct ctl_args *args, struct err *e);

#endif
