/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_HELP_H
#define RINGKIT_CTL_HELP_H

#include "ctl/commands.h"

/* On stdout: the help of one command, or of rootlessctl for NULL. */
void help_print(const struct ctl_command *command);

void help_print_version(void);

#endif
