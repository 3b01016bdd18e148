/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Sets of pages, and the proof that a dirty log is exact: of each region there are two, the pages that driver and device
 * were asked to write, kept here, and the pages that the region's log named. They have to be the same. Adding is safe from any
 * number of threads; comparing needs them to have stopped.
 */
#ifndef TOOL_PAGES_H
#define TOOL_PAGES_H

#include <guestmem/dirty.h>
#include <stdint.h>

#include "failure.h"

struct pages {
	uint64_t *words;
	uint64_t count; /* pages */
	unsigned shift; /* log2 of their size */
};

/* Return: 0; -1. */
int pages_init(struct pages *pages, uint64_t bytes, uint64_t page_bytes, struct failure *failure);
void pages_fini(struct pages *pages);
/* The pages that [offset, offset + bytes) touches, which lies inside. */
void pages_add(struct pages *pages, uint64_t offset, uint64_t bytes);
uint64_t pages_size(const struct pages *pages);
/* Empties @reader into @pages. Return: 0; -1. */
int pages_collect(struct pages *pages, struct gm_dirty_reader *reader, struct failure *failure);

/* How two sets differ. */
struct pages_difference {
	uint64_t missing, surplus; /* pages in @wanted only, in @got only */
	uint64_t first;            /* offset of the first page that is in one only */
};
/* Return: whether they are the same. */
bool pages_equal(const struct pages *wanted, const struct pages *got, struct pages_difference *ret_difference);

#endif
