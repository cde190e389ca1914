/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_HELP_H
#define RINGKIT_CTL_HELP_H

#include "ctl/commands.h"

/* Prints the help of one command on stdout, or with NULL that of rootlessctl. */
void help_print(const struct ctl_command *command);

void help_print_version(void);

#endif
