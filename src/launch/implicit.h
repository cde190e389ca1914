/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_LAUNCH_IMPLICIT_H
#define RINGKIT_LAUNCH_IMPLICIT_H

#include "base/err.h"
#include "base/loop.h"

/*
 * --port-driver=implicit with --net=builtin: what listens inside is published, under the same
 * number, as long as it listens. (With --net=pasta that is pasta's work.)
 */

struct implicit;
struct listening_source;
struct ports;

/* source and ports are borrowed. 0 or -errno. */
int implicit_open(struct loop *loop, struct listening_source *source, struct ports *ports,
		  struct implicit **out, struct err *e);
/* Looks no more. Before the port driver stops. NULL is allowed. */
void implicit_stop(struct implicit *im);
/* After the table has been closed, which answers what is under way. NULL is allowed. */
void implicit_close(struct implicit *im);

#endif
