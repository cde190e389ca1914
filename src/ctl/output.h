/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_OUTPUT_H
#define RINGKIT_CTL_OUTPUT_H

#include <jansson.h>

#include "base/err.h"
#include "ctl/answer.h"

/*
 * Everything that rootlessctl prints on stdout, to the byte like RootlessKit's. Each function
 * flushes its output: scripts read the id of a port while the next one is added. 0, or -errno when
 * nobody takes the output.
 */

/* Flushes what was printed. */
int output_finish(struct err *e);

/* Prints an id, or FIRST-LAST for a range. */
int output_ids(long long first, long long count, struct err *e);

/* Prints JSON on one line. */
int output_json(const json_t *value, struct err *e);

/* Prints JSON with an indent of 4. */
int output_json_indented(const json_t *value, struct err *e);

int output_table(const struct answer_port *ports, size_t n, struct err *e);

/* Prints the info that answer_normalize_info made. */
int output_info(const json_t *info, struct err *e);

#endif
