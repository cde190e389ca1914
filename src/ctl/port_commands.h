/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_PORT_COMMANDS_H
#define RINGKIT_CTL_PORT_COMMANDS_H

#include "ctl/args.h"
#include "ctl/client.h"

/* list-ports, add-ports and remove-ports. commands.h says what each returns. RootlessKit's server
 * knows no ranges: there a range is handled port by port. */
int port_commands_list(struct client *client, const struct ctl_args *args, struct err *e);
int port_commands_add(struct client *client, const struct ctl_args *args, struct err *e);
int port_commands_remove(struct client *client, const struct ctl_args *args, struct err *e);

#endif
