/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The ground of a run: the machine's space, and one plot for each region of memory in it that the drivers use, fixed or a
 * slot, with the record of what is written there.
 *
 * Slots and their users: whoever is about to use a slot's memory says so first (plot_use()) and takes it back when all is
 * compared and recorded. Memory is pulled out under its users: plot_unplug() does not wait for them to remove the region. But it
 * waits for them before the plot is judged and may be plugged again. So what a request meets at a slot is the region that
 * was there when it was made, or nothing; and a page is recorded for the region that it was written in.
 */
#ifndef TOOL_GROUND_H
#define TOOL_GROUND_H

#include <guestmem/guestmem.h>
#include <stdbool.h>

#include "machine.h"
#include "pages.h"

/* How long a removed region may be held after its users are gone: views are left within a request. */
#define RELEASE_TIMEOUT_MS 10000
/* Page size of the logs of memory whose description asks for none: a run is to prove them. */
#define LOG_PAGE_BYTES 4096

struct plot {
	const struct entry *entry;
	struct gm_range range;
	bool is_slot;
	bool plugged; /* drivers may start to use it. Sequentially consistent, with @users */
	bool leaving; /* set before the region is removed: holes are to be expected from here on */
	unsigned users;
	struct gm_region *region; /* a reference of our own, so that its bytes can be looked at to the end */
	struct gm_dirty_reader *reader;
	struct pages wanted; /* asked to be written */
	struct pages got;    /* named by the log */
};

struct ground {
	const struct machine *machine;
	struct gm_space *space;
	struct gm_memory *memory;
	struct plot *plots; /* in ascending order */
	size_t plots_count;
	size_t slots_count;
	/* Sums over all plots that were judged. */
	uint64_t judged_pages, judged_slot_pages, judged_slots;
};

int ground_new(const struct machine *machine, struct ground *ground, struct failure *failure);
void ground_fini(struct ground *ground);

/* The plot at or behind an address; NULL when there is none. */
struct plot *ground_find(const struct ground *ground, struct gm_gpa at);
/* Notes that a range is being written: it lies in plots without a gap. Return: how many plots it touches. */
unsigned ground_record(const struct ground *ground, struct gm_gpa at, uint64_t bytes);
/*
 * The bytes themselves, past the map and past the logs: also of a slot that is pulled out already, while it is in use.
 * To set one puts a byte all over.
 */
void ground_peek(const struct ground *ground, struct gm_gpa at, void *data, uint64_t bytes);
void ground_poison(const struct ground *ground, struct gm_gpa at, unsigned char byte, uint64_t bytes);

/* Return: false when nothing is plugged there (any more). Always true for fixed memory. */
bool plot_use(struct plot *plot);
void plot_leave(struct plot *plot);
bool plot_is_leaving(const struct plot *plot);

/* Plugging thread only. Return: 0; -1. @ret_in_use: whether somebody used it at the moment that it went. */
int plot_plug(struct ground *ground, struct plot *plot, struct failure *failure);
int plot_unplug(struct ground *ground, struct plot *plot, bool *ret_in_use, struct failure *failure);

/* Collects the logs of fixed memory: any time, from one thread. */
int ground_collect(struct ground *ground, struct failure *failure);
/* Compares what was written to fixed memory with what its logs named, when all is quiet. */
int ground_judge(struct ground *ground, struct failure *failure);

#endif
