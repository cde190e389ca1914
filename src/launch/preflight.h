/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_LAUNCH_PREFLIGHT_H
#define RINGKIT_LAUNCH_PREFLIGHT_H

#include <stddef.h>

/*
 * What to tell a user on whose system namespaces are not to be had. Called when a step has been
 * refused: a look at the sysctls costs nothing where all is well.
 */

/*
 * The hint for the negative errno of a refused step into buf, "" when there is none to give.
 * proc_sys: the directory of the sysctls, "/proc/sys" but for tests; exe: the path of our binary
 * for an AppArmor profile.
 */
const char *preflight_hint_text(const char *proc_sys, const char *exe, int code, char *buf,
				size_t size);

/* Logs the hint, each of its lines as a line of the log. */
void preflight_hint(int code);

#endif
