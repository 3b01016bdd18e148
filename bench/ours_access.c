/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Rows 1 to 5, 7 and 8: objects and bytes through a view. The section is entered once per repetition. */
#include "ours_world.h"

#include <stdlib.h>
#include <string.h>

static unsigned char *buffer;
static size_t buffer_bytes;

static void set_up_load(const struct bench_name *name)
{
	struct bench_places places = bench_places_of(name);

	bench_addresses(name, &places, world.table);
	world_guard(name);
	world_build(places, 0);
	world_touch();
}

static void set_up_same(const struct bench_name *name)
{
	struct bench_places places = bench_places_of(name);

	bench_addresses_same(&places, world.table);
	world_build(places, 0);
	world_touch();
}

static void load(uint64_t count)
{
	uint64_t at, number = 0, sum = 0;
	int r = 0;

	gm_view_enter(&world.view);
	BENCH_OVER(world.table, count, at)
	{
		r |= gm_load_u64(&world.view, gm_gpa(at), GM_RELAXED, &number);
		sum += number;
	}
	gm_view_leave(&world.view);
	bench_must(r, "load");
	bench_keep(sum);
}

static void set_up_store(const struct bench_name *name)
{
	struct bench_places places = bench_places_of(name);
	uint64_t i;

	bench_addresses(name, &places, world.table);
	world_guard(name);
	world_build(places, BENCH_PAGE);
	world_touch();
	for (i = 0; i < world.places.count; i++)
		gm_dirty_mark(gm_region_dirty(world.regions[i]), gm_offset(0), world.places.place[i].bytes);
}

static void store(uint64_t count)
{
	uint64_t at;
	int r = 0;

	gm_view_enter(&world.view);
	BENCH_OVER(world.table, count, at)
	r |= gm_store_u64(&world.view, gm_gpa(at), GM_RELAXED, at);
	gm_view_leave(&world.view);
	bench_must(r, "store");
}

static void new_buffer(size_t bytes)
{
	buffer_bytes = bytes;
	buffer = bench_area(bytes);
	memset(buffer, 1, bytes);
}

static void set_up_read(const struct bench_name *name)
{
	if (name->number < 1 || name->number > BENCH_PAGE)
		bench_fail("from 1 to %u bytes", (unsigned)BENCH_PAGE);
	world_guard(name);
	world_build(bench_regular(1, BENCH_PAGE), 0);
	world_touch();
	new_buffer(name->number);
}

/* Regions without gaps, whose bytes lie in another order: every second page of the area, backwards. */
static void set_up_16_regions(const struct bench_name *name)
{
	struct bench_places places = bench_regular(16, BENCH_PAGE);
	uint64_t i;

	(void)name;
	places.area_bytes = 2 * 16 * BENCH_PAGE;
	for (i = 0; i < 16; i++) {
		places.place[i].first = i * BENCH_PAGE;
		places.place[i].offset = 2 * (15 - i) * BENCH_PAGE;
	}
	world_build(places, 0);
	memset(world.area, 1, places.area_bytes);
	new_buffer(16 * BENCH_PAGE);
}

static void read_bytes(uint64_t count)
{
	uint64_t i;
	int r = 0;

	gm_view_enter(&world.view);
	for (i = 0; i < count; i++) {
		r |= gm_read(&world.view, gm_gpa(bench_hide(0)), buffer, buffer_bytes);
		bench_keep_memory(buffer);
	}
	gm_view_leave(&world.view);
	bench_must(r, "read");
}

static void tear_down_read(void)
{
	bench_area_free(buffer, buffer_bytes);
	world_free();
}

const struct bench_row ours_access_rows[] = {
	{ .base = "load", .listed = "/1 /1/guarded", .set_up = set_up_load, .run = load, .tear_down = world_free },
	{ .base = "load_same", .listed = "/8 /512", .set_up = set_up_same, .run = load, .tear_down = world_free },
	{
		.base = "load_scattered",
		.listed = BENCH_CURVE " /8/irregular /512/irregular /8/hostile /512/hostile /512/guarded",
		.set_up = set_up_load,
		.run = load,
		.tear_down = world_free,
	},
	{ .base = "store_dirty",
	  .listed = "/1 /1/guarded",
	  .set_up = set_up_store,
	  .run = store,
	  .tear_down = world_free },
	{ .base = "read",
	  .listed = "/64 /4096 /64/guarded",
	  .set_up = set_up_read,
	  .run = read_bytes,
	  .tear_down = tear_down_read },
	{
		.base = "read_16_regions",
		.listed = "",
		.set_up = set_up_16_regions,
		.run = read_bytes,
		.tear_down = tear_down_read,
	},
	{ .base = NULL },
};
