/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Cells: cut once from the ground, then only leased. Regions usually begin at round addresses, so cells are laid half a cell off:
 * that puts borders into their middle, where buffers cross them.
 */
#include "cells.h"

#include <stdlib.h>

/* Tries before a lease is given up: with half of the cells busy, one in 10^9 fails for bad luck. */
#define LEASE_TRIES 30

/* The last plot of the row without gaps that begins with plot @index. */
static size_t row_end(const struct ground *ground, size_t index)
{
	while (index + 1 < ground->plots_count &&
	       ground->plots[index].range.last.value + 1 == ground->plots[index + 1].range.first.value)
		index++;
	return index;
}

/* Which cells are kept: all that are interesting, and of the plain ones as many as there is room for. */
struct choice {
	struct random *random;
	uint64_t keep, of;
};

static bool wanted(const struct cell *cell, const struct choice *choice)
{
	return cell->plots > 1 || random_below(choice->random, choice->of) < choice->keep;
}

/* What is not kept is written over by the next one: a machine of many TiB has more cells than this host may have room for. */
static void add_cell(struct cells *cells, const struct choice *choice, uint64_t first, uint64_t bytes)
{
	const struct ground *ground = cells->ground;
	const struct plot *low = ground_find(ground, gm_gpa(first)),
			  *high = ground_find(ground, gm_gpa(first + (bytes - 1)));
	struct cell *cell = &cells->cells[cells->count];

	*cell = (struct cell){ .first = gm_gpa(first), .bytes = bytes };
	cell->plot = (uint32_t)(low - ground->plots);
	cell->plots = (uint32_t)(high - low) + 1;
	for (const struct plot *plot = low; plot <= high; plot++)
		cell->has_slot |= plot->is_slot;
	cells->count += wanted(cell, choice);
}

/* Cuts one row of plots. With @choice NULL it only counts. */
static size_t cut_row(struct cells *cells, const struct choice *choice, uint64_t first, uint64_t last)
{
	uint64_t left = last - first, at = first; /* one less than the row's size, which may be 2^64 */
	size_t count = 0;

	while (left >= CELL_BYTES_MIN - 1) {
		uint64_t bytes = at == first && left >= CELL_BYTES ? CELL_BYTES / 2 : CELL_BYTES;

		if (left < bytes)
			bytes = left + 1;
		if (choice)
			add_cell(cells, choice, at, bytes);
		count++;
		if (left < bytes)
			break;
		at += bytes;
		left -= bytes;
	}
	return count;
}

static size_t cut(struct cells *cells, const struct choice *choice)
{
	const struct ground *ground = cells->ground;
	size_t count = 0;

	for (size_t i = 0, end; i < ground->plots_count; i = end + 1) {
		end = row_end(ground, i);
		count += cut_row(cells, choice, ground->plots[i].range.first.value,
				 ground->plots[end].range.last.value);
	}
	return count;
}

static int slots_first(const void *a, const void *b)
{
	const struct cell *one = a, *other = b;

	return (int)other->has_slot - (int)one->has_slot;
}

int cells_new(const struct ground *ground, uint64_t spread, struct random *random, struct cells *ret_cells,
	      struct failure *failure)
{
	struct cells cells = { .ground = ground };
	size_t count = cut(&cells, NULL);
	const struct choice choice = { random, spread / CELL_BYTES + 1, count };

	if (count == 0)
		return fail(failure, STATUS_INPUT, "the machine has no memory that a driver could use");
	cells.cells = calloc(count, sizeof(*cells.cells));
	if (!cells.cells)
		return fail(failure, STATUS_MISSING, "no memory for the requests");
	cut(&cells, &choice);
	qsort(cells.cells, cells.count, sizeof(*cells.cells), slots_first);
	while (cells.with_slot < cells.count && cells.cells[cells.with_slot].has_slot)
		cells.with_slot++;
	cells.borders = calloc(cells.count, sizeof(struct cell *));
	if (!cells.borders) {
		free(cells.cells);
		return fail(failure, STATUS_MISSING, "no memory for the requests");
	}
	for (size_t i = 0; i < cells.count; i++)
		if (cells.cells[i].plots > 1)
			cells.borders[cells.borders_count++] = &cells.cells[i];
	*ret_cells = cells;
	return 0;
}

void cells_fini(struct cells *cells)
{
	free(cells->cells);
	free(cells->borders);
	*cells = (struct cells){ 0 };
}

/* The slots under a cell are used together, or none is. */
static bool use_plots(const struct cells *cells, const struct cell *cell)
{
	struct plot *plots = &cells->ground->plots[cell->plot];
	uint32_t used = 0;

	while (used < cell->plots && plot_use(&plots[used]))
		used++;
	if (used == cell->plots)
		return true;
	while (used--)
		plot_leave(&plots[used]);
	return false;
}

/*
 * Of all cells few stand on a border, and of large machines few in slots. Borders are where sums go wrong, and slots are to be
 * busy when they go: each gets every fourth look.
 */
static struct cell *pick(const struct cells *cells, struct random *random, bool fixed)
{
	uint64_t look = random_below(random, 4);
	size_t first = fixed ? cells->with_slot : 0, limit = cells->count;

	if (look == 0 && cells->borders_count && !fixed)
		return cells->borders[random_below(random, cells->borders_count)];
	if (look == 1 && cells->with_slot && !fixed)
		limit = cells->with_slot;
	return first < limit ? &cells->cells[first + random_below(random, limit - first)] : NULL;
}

struct cell *cells_lease(struct cells *cells, struct random *random, bool fixed)
{
	for (unsigned i = 0; i < LEASE_TRIES; i++) {
		struct cell *cell = pick(cells, random, fixed);

		if (!cell)
			return NULL;
		if (__atomic_exchange_n(&cell->busy, true, __ATOMIC_ACQUIRE))
			continue;
		if (!cell->has_slot || use_plots(cells, cell))
			return cell;
		__atomic_store_n(&cell->busy, false, __ATOMIC_RELEASE);
	}
	return NULL;
}

void cells_abandon(struct cells *cells, const struct cell *cell)
{
	for (uint32_t i = 0; i < cell->plots; i++)
		plot_leave(&cells->ground->plots[cell->plot + i]);
}

void cells_release(struct cells *cells, struct cell *cell)
{
	cells_abandon(cells, cell);
	__atomic_store_n(&cell->busy, false, __ATOMIC_RELEASE);
}

bool cells_is_leaving(const struct cells *cells, const struct cell *cell)
{
	for (uint32_t i = 0; i < cell->plots; i++)
		if (plot_is_leaving(&cells->ground->plots[cell->plot + i]))
			return true;
	return false;
}

const struct cell *cells_reserve(struct cells *cells, uint64_t bytes)
{
	for (size_t i = cells->count; i-- > cells->with_slot;) {
		struct cell *cell = &cells->cells[i];

		if (cell->bytes < bytes || cell->busy)
			continue;
		cell->busy = true;
		return cell;
	}
	return NULL;
}
