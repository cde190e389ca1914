/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_EXITCODE_H
#define RINGKIT_BASE_EXITCODE_H

#include <sys/wait.h>

/* The exit codes of our processes. The manual pages list those of the programs that users start. */
enum exitcode {
	EXITCODE_OK = 0,
	EXITCODE_FAILED = 1,	       /* the reason is on standard error, or the parent has it */
	EXITCODE_NO_SUCH_COMMAND = 3,  /* of rootlessctl, as RootlessKit's */
	EXITCODE_NOT_RUN_UNTOLD = 126, /* a program was not run; no reason was reported */
	EXITCODE_NOT_RUN = 127,	       /* a program was not run */
	EXITCODE_SIGNALED = 255,       /* a signal ended the command; as RootlessKit's */
};

/* The exit code of a process that stands for another, from that one's status (waitpid(2)). */
static inline int exitcode_of(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : EXITCODE_SIGNALED;
}

#endif
