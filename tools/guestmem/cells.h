/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Cells: the pieces of guest memory that requests are placed in. A cell is some hundred KiB of addresses without a gap, often
 * across the border of two regions; a request leases one for itself, so that no two requests in flight meet in memory,
 * and puts its buffers anywhere inside. Leasing is by one atomic flag per cell, from any thread.
 */
#ifndef TOOL_CELLS_H
#define TOOL_CELLS_H

#include "ground.h"
#include "random.h"

/* Size of a cell where the memory has room for it. */
#define CELL_BYTES (512u << 10)
/* A smaller one is not worth a request. */
#define CELL_BYTES_MIN 4096u

struct cell {
	struct gm_gpa first;
	uint64_t bytes;
	uint32_t plot;  /* index of the first plot that it touches */
	uint32_t plots; /* how many */
	bool has_slot;
	bool busy;
};

struct cells {
	const struct ground *ground;
	struct cell *cells;
	size_t count;
	size_t with_slot;      /* the first so many of @cells touch a slot */
	struct cell **borders; /* those that touch several plots */
	size_t borders_count;
};

/* @spread: how much guest memory the cells shall have together, at most. */
int cells_new(const struct ground *ground, uint64_t spread, struct random *random, struct cells *ret_cells,
	      struct failure *failure);
void cells_fini(struct cells *cells);

/*
 * A random cell that is free and plugged, or NULL when none was found in a reasonable number of tries.
 * @fixed: only one without slots.
 */
struct cell *cells_lease(struct cells *cells, struct random *random, bool fixed);
void cells_release(struct cells *cells, struct cell *cell);
/* Lets its slots go and nobody else have it: a device may still be at work in it. */
void cells_abandon(struct cells *cells, const struct cell *cell);
/* Whether a slot that the cell touches is being pulled out. The cell is leased. */
bool cells_is_leaving(const struct cells *cells, const struct cell *cell);
/* Takes a cell of fixed memory of at least @bytes out of the game; NULL when there is none. */
const struct cell *cells_reserve(struct cells *cells, uint64_t bytes);

#endif
