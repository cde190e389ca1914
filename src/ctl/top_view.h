/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_TOP_VIEW_H
#define RINGKIT_CTL_TOP_VIEW_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/err.h"

/* What rootlessctl top shows: ports ordered by their traffic, from two answers of GET /v1/stats. */

enum top_order { TOP_BYTES, TOP_FLOWS, TOP_OPENED, TOP_DATAGRAMS, TOP_ERRORS, TOP_ID, TOP_ORDERS };

/* The keys that choose an order, one for each. */
extern const char top_keys[TOP_ORDERS + 1];

/* A port. Rates are per second. */
struct top_row {
	int id;
	char proto[16], parent[80];
	double flows, opened, bytes_in, bytes_out, datagrams, errors;
};

struct top_view {
	struct top_row *rows; /* free them with top_view_free() */
	size_t n;
	char title[200], totals[200];
	enum top_order order;
	bool reversed, paused;
	size_t scroll; /* the number of rows above the first one shown */
};

/* Takes the answer stats; before is the earlier answer, NULL: the rates are 0. 0, -EPROTO or
 * -ENOMEM; on an error the view stays as it was. */
int top_view_take(struct top_view *view, const json_t *stats, const json_t *before, double seconds,
		  struct err *e);

/* Sorts the rows again. Call it when order or reversed have changed. */
void top_view_sort(struct top_view *view);

/* Scrolls by `by` rows, within the rows that there are, for a screen of this many lines. */
void top_view_scroll(struct top_view *view, long by, size_t lines);

/* The number of rows that a screen of this many lines shows. */
size_t top_view_page(size_t lines);

/* Writes exactly `lines` lines, each at most cols wide, with end after each but the last. The last
 * one shows the keys. */
void top_view_put(const struct top_view *view, size_t cols, size_t lines, const char *end,
		  FILE *file);

/* Writes all rows, for output that is no screen. */
void top_view_put_plain(const struct top_view *view, FILE *file);

void top_view_free(struct top_view *view);

#endif
