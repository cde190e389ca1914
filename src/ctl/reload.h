/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_RELOAD_H
#define RINGKIT_CTL_RELOAD_H

#include "ctl/args.h"
#include "ctl/client.h"

/* rootlessctl reload. 0 or -errno. */
int reload_run(struct client *client, const struct ctl_args *args, struct err *e);

#endif
