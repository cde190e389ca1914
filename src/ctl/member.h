/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_MEMBER_H
#define RINGKIT_CTL_MEMBER_H

#include <jansson.h>

/*
 * Reads members of the server's answers. One that is missing, or is of another type, counts as
 * empty. object may be NULL.
 */

/* A member that is a text, or "". */
const char *member_text(const json_t *object, const char *key);
/* A member that is a number, or 0. */
double member_number(const json_t *object, const char *key);

/* The port with this id in the list of ports of an earlier answer; NULL when it was not there. Both
 * lists are in the order of their ids, so *at, 0 at first, moves forward with the caller. */
const json_t *member_earlier_port(const json_t *list, size_t *at, json_int_t id);

#endif
