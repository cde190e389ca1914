/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_COMMANDS_H
#define RINGKIT_CTL_COMMANDS_H

#include "base/err.h"
#include "ctl/args.h"

/*
 * The commands that talk to the API. Everything on the command line is checked before the first
 * request; requests go out one after the other and the first that fails ends the command. Results
 * are on stdout as they come. 0 or -errno.
 */
int commands_run(const struct ctl_args *args, const char *socket_path, struct err *e);

#endif
