/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CLI_VALIDATE_H
#define RINGKIT_CLI_VALIDATE_H

#include "cli/options.h"

/* Checks bounds of values and which options go together. Sets reaper_on. 0 or -EINVAL with *e. */
int options_validate(struct options *o, struct err *e);

#endif
