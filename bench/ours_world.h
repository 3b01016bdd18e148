/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * What our rows work on: regions on a space, over one area of host memory, a device's memory, and a view on it. One at a time,
 * set up anew for each name.
 */
#ifndef BENCH_OURS_WORLD_H
#define BENCH_OURS_WORLD_H

#include <stdbool.h>

#include <guestmem/guestmem.h>

#include "places.h"
#include "worker.h"

struct world {
	struct bench_places places;
	unsigned char *area;
	struct gm_space *space;
	struct gm_memory *memory;
	struct gm_region **regions; /* as many as places, in their order; then @spare, or NULL */
	struct gm_region *spare; /* made, but not in the space: it fits into the gap behind the region in the middle */
	struct gm_view view;     /* outside a section */
	bool guarded; /* the guard against memory that faults is installed, and the regions are memfds instead of the area */
	uint64_t table[BENCH_TABLE];
};

extern struct world world;

/* Takes over @places. @dirty_page_bytes: of each region's log; 0 for none. */
void world_build(struct bench_places places, uint64_t dirty_page_bytes);
/* From here on, until the world is freed, regions are guarded, if the name's variant says so. */
void world_guard(const struct bench_name *name);
/* Accepts a world that was not built. */
void world_free(void);
/* Touches what the table of addresses names. */
void world_touch(void);
/* Makes @spare. */
void world_add_spare(void);

extern const struct bench_row ours_access_rows[], ours_map_rows[], ours_dirty_rows[], ours_queue_rows[];

#endif
