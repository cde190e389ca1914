/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "base/log.h"
#include "base/restart.h"
#include "dataplane/control/control_internal.h"

/* What the end of a process means, and what the log says about it. */

void dp_death_log(const struct dp_child *child, const char *why, unsigned delay_ms)
{
	const char *rest = child->role == ROLE_DATAPLANE
				   ? "ports stay bound, open connections are lost"
				   : "open connections go on";
	char again[64] = "";

	if (child->failures > 1)
		snprintf(again, sizeof(again), " (%u times in a row)", child->failures);
	if (delay_ms >= RESTART_HOPELESS_MS)
		log_error("the %s ended%s: %s; starting it again in %u s", child->name, again, why,
			  delay_ms / 1000);
	else
		log_warning("the %s ended%s: %s; starting it again, %s", child->name, again, why,
			    rest);
}

/* An end counts as a first failure if it says nothing about the next start: when the process had
 * run for some time, or when somebody else killed it. */
unsigned dp_death_failures(const struct dp_child *child, bool killed)
{
	bool by_others = killed && !child->given_up;

	if (child->state == DP_CHILD_UP &&
	    (by_others || loop_now_ms() - child->started_ms >= RESTART_HEALTHY_MS))
		return 1;
	/* Others kill it again and again while it starts: there is a pause, which does not grow. */
	if (by_others)
		return child->failures ? 2 : 1;
	return child->failures + 1;
}
