/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_EXITCODE_H
#define RINGKIT_BASE_EXITCODE_H

#include <sys/wait.h>

/* How our processes end. Programs that users start are in the manual pages with theirs. */
enum exitcode {
	EXITCODE_OK = 0,
	EXITCODE_FAILED = 1,	      /* why is on standard error, or has been told to the parent */
	EXITCODE_NO_SUCH_COMMAND = 3, /* rootlessctl, as RootlessKit's */
	EXITCODE_NOT_RUN_UNTOLD = 126, /* a program was not run, nor could it be said why */
	EXITCODE_NOT_RUN = 127,	       /* a program was not run */
	EXITCODE_SIGNALED = 255,       /* the command was ended by a signal; as RootlessKit's */
};

/* What to end with when a process for which we stand has ended so (waitpid(2)). */
static inline int exitcode_of(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : EXITCODE_SIGNALED;
}

#endif
