/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_LAUNCH_LAUNCH_H
#define RINGKIT_LAUNCH_LAUNCH_H

#include "cli/options.h"

/*
 * The two halves of the launcher. Both return the exit code of the process.
 */

/* The parent: the control plane, in the namespaces of the host, with the privileges of the user.
 * argv: the whole command line, which the child parses again. */
int parent_main(const struct options *options, char **argv);

/* The role "child": root in the new namespaces. Only parent_main starts it. */
int child_main(int argc, char **argv);

#endif
