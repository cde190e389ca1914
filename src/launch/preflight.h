/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_LAUNCH_PREFLIGHT_H
#define RINGKIT_LAUNCH_PREFLIGHT_H

#include <stddef.h>

/*
 * Hints for a user on whose system namespaces cannot be made. Called when a step has been refused,
 * so that nobody looks at the sysctls where all is well.
 */

/*
 * Returns the sysctl of the first kind of namespace among flags (clone(2)'s) that cannot be made
 * because its limit is used up, or NULL. Tries them in a process of its own, which ends again.
 */
const char *preflight_used_up(int flags);

/*
 * Puts the hint for the negative errno of a refused step into buf, "" when there is none. proc_sys:
 * the directory of the sysctls, "/proc/sys" except in tests; exe: the path of our binary, for an
 * AppArmor profile; used_up: the result of preflight_used_up.
 */
const char *preflight_hint_text(const char *proc_sys, const char *exe, int code,
				const char *used_up, char *buf, size_t size);

/* Logs the hint, a log line for each of its lines. flags: the wanted namespaces. */
void preflight_hint(int code, int flags);

#endif
