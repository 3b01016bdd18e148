/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Making ranges of bits. Ranges as they grow are a list of edges: first of the first range, last of the first, first of the second,
 * ... The edges of a word are where its bits change, so they come out of it in this order, without a look at what is a first and what
 * is a last. Pages are given in ascending order. No locking: the ranges are the caller's own.
 */
#ifndef GMI_EMIT_H
#define GMI_EMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dirty/dirty.h"

struct gmi_runs {
	uint64_t *edges;
	size_t max;
	size_t count;     /* odd: the last range is open */
	uint64_t behind;  /* page behind the open range, as far as it is known */
	size_t per_group; /* edges that a group gave lately, for the caller */
	uint32_t page_shift;
};

/* Edges that are written at once, though not all of them may count. */
#define GMI_RUNS_SLACK 8

/* Whether there is room for whatever @words words give: an edge for each page, one more to close what was open. */
static inline bool gmi_runs_has_room(const struct gmi_runs *runs, size_t words)
{
	return runs->max - runs->count >= words * 64 + 1 + GMI_RUNS_SLACK;
}

/* Words from @page on: whole groups, at most GMI_DIRTY_WINDOW_WORDS; there is room. */
void gmi_runs_add(struct gmi_runs *runs, uint64_t page, const uint64_t *bits, size_t words);
/* The same without AVX-512, which that takes where there is any: half the time of a pass over scattered pages. */
void gmi_runs_add_plain(struct gmi_runs *runs, uint64_t page, const uint64_t *bits, size_t words);

/* One group. False: there was no room; what did not fit stays in @bits, and *ret_page is where to go on. */
bool gmi_runs_add_group(struct gmi_runs *runs, uint64_t page, uint64_t *bits, uint64_t *ret_page);

/* Closes what is open. There is always room for that: an even number of edges. */
void gmi_runs_close(struct gmi_runs *runs);

#endif
