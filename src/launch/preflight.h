/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_LAUNCH_PREFLIGHT_H
#define RINGKIT_LAUNCH_PREFLIGHT_H

#include <stddef.h>

/*
 * What to tell a user on whose system namespaces are not to be had. Called when a step has been
 * refused: a look at the sysctls costs nothing where all is well.
 */

/*
 * The sysctl of the first kind of namespace among flags (clone(2)'s) that cannot be had because its
 * limit is used up, or NULL. Tries them in a process of its own, which ends again.
 */
const char *preflight_used_up(int flags);

/*
 * The hint for the negative errno of a refused step into buf, "" when there is none to give.
 * proc_sys: the directory of the sysctls, "/proc/sys" but for tests; exe: the path of our binary
 * for an AppArmor profile; used_up: what preflight_used_up said.
 */
const char *preflight_hint_text(const char *proc_sys, const char *exe, int code,
				const char *used_up, char *buf, size_t size);

/* Logs the hint, each of its lines as a line of the log. flags: the namespaces that were wanted. */
void preflight_hint(int code, int flags);

#endif
