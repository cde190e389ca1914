/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_OUTPUT_H
#define RINGKIT_CTL_OUTPUT_H

#include <jansson.h>

#include "base/err.h"
#include "ctl/answer.h"

/*
 * Everything that rootlessctl prints on stdout, to the byte as RootlessKit's does. Each function
 * is done when the reader could have it: scripts read the id of a port while the next one is
 * added. 0 or -errno, when nobody takes it.
 */

/* What has been printed goes out. */
int output_finish(struct err *e);

/* An id, or those of a range: FIRST-LAST. */
int output_ids(long long first, long long count, struct err *e);

/* On one line. */
int output_json(const json_t *value, struct err *e);

/* With an indent of 4. */
int output_json_indented(const json_t *value, struct err *e);

int output_table(const struct answer_port *ports, size_t n, struct err *e);

/* info as answer_normalize_info made it. */
int output_info(const json_t *info, struct err *e);

#endif
