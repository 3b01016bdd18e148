/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#include "ours_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct world world;

static struct gm_region *make_region(const char *name, const struct bench_place *place, uint64_t dirty_page_bytes)
{
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = name,
		.kind = GM_RAM,
		.source = GM_SOURCE_POINTER,
		.first = gm_gpa(place->first),
		.bytes = place->bytes,
		.hva = world.area + place->offset,
		.dirty_page_bytes = dirty_page_bytes,
	};
	struct gm_region *region;

	if (world.guarded) {
		opts.source = GM_SOURCE_MEMFD;
		opts.hva = NULL;
		opts.huge = GM_HUGE_NEVER;
	}
	bench_must(gm_region_new(&opts, &region, NULL), "region");
	return region;
}

void world_guard(const struct bench_name *name)
{
	if (strcmp(name->variant, "guarded") != 0)
		return;
	bench_must(gm_fault_guard_install(NULL), "guard");
	world.guarded = true;
}

void world_build(struct bench_places places, uint64_t dirty_page_bytes)
{
	struct gm_update *update;
	char name[32];
	uint64_t i;

	world.places = places;
	world.area = bench_area(places.area_bytes);
	world.regions = calloc(places.count, sizeof(*world.regions));
	if (!world.regions)
		bench_fail("no memory");
	bench_must(gm_space_new(NULL, &world.space, NULL), "space");
	update = gm_update_begin(world.space);
	for (i = 0; i < places.count; i++) {
		snprintf(name, sizeof(name), "ram%u", (unsigned)i);
		world.regions[i] = make_region(name, &places.place[i], dirty_page_bytes);
		bench_must(gm_update_insert(update, world.regions[i]), "insert");
	}
	bench_must(gm_update_commit(update, NULL), "commit");
	bench_must(gm_space_memory(world.space, GM_ONLY_RAM, &world.memory), "memory");
	bench_must(gm_view_init(&world.view, world.memory, "bench", 0), "view");
}

void world_touch(void)
{
	uint64_t *offsets, i;

	for (i = 0; world.guarded && i < world.places.count; i++)
		memset(gm_region_hva(world.regions[i]), 1, world.places.place[i].bytes);
	offsets = malloc(sizeof(world.table));
	if (!offsets)
		bench_fail("no memory");
	memcpy(offsets, world.table, sizeof(world.table));
	bench_to_offsets(&world.places, offsets);
	bench_touch(world.area, offsets);
	free(offsets);
}

void world_add_spare(void)
{
	const struct bench_place *middle = &world.places.place[world.places.count / 2];
	struct bench_place place = { middle->first + middle->bytes, BENCH_PAGE, middle->offset };

	world.spare = make_region("spare", &place, 0);
}

void world_free(void)
{
	uint64_t i;

	gm_view_leave(&world.view);
	bench_must(gm_view_fini(&world.view), "closing the view");
	gm_memory_unref(world.memory);
	gm_space_unref(world.space);
	gm_region_unref(world.spare);
	for (i = 0; world.regions && i < world.places.count; i++)
		gm_region_unref(world.regions[i]);
	free(world.regions);
	if (world.guarded)
		bench_must(gm_fault_guard_remove(), "removing the guard");
	if (world.area)
		bench_area_free(world.area, world.places.area_bytes);
	bench_places_free(&world.places);
	memset(&world, 0, sizeof(world));
}
