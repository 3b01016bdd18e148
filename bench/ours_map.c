/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Rows 6 and 9 to 12: looking regions up, sections, and updates. */
#include "ours_world.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>

/* Regions of the map that another thread changes all the time. */
#define BUSY_REGIONS 8

static const struct gm_map *map;
static pthread_t other;
static bool stop, has_begun;
static int timed_cpu;

static void set_up_find(const struct bench_name *name)
{
	struct bench_places places = bench_places_of(name);

	bench_addresses(name, &places, world.table);
	world_build(places, 0);
	bench_must(gm_space_map(world.space, "bench", &map), "map");
}

static void find(uint64_t count)
{
	const struct gm_region *region;
	uint64_t at, sum = 0, missing = 0;

	BENCH_OVER(world.table, count, at)
	{
		region = gm_map_find(map, gm_gpa(at));
		missing += region == NULL;
		sum += (uintptr_t)region;
	}
	if (missing)
		bench_fail("a region is not found");
	bench_keep(sum);
}

static void tear_down_find(void)
{
	gm_map_unref(map);
	map = NULL;
	world_free();
}

static void set_up_sections(const struct bench_name *name)
{
	(void)name;
	world_build(bench_regular(BUSY_REGIONS, BENCH_PAGE), 0);
}

static void enter_leave(uint64_t count)
{
	uint64_t i;

	for (i = 0; i < count; i++) {
		gm_view_enter(&world.view);
		bench_keep_memory(&world.view);
		gm_view_leave(&world.view);
	}
}

static void change(bool is_insert)
{
	struct gm_update *update = gm_update_begin(world.space);

	if (is_insert)
		(void)gm_update_insert(update, world.spare);
	else
		(void)gm_update_remove(update, world.spare);
	bench_must(gm_update_commit(update, NULL), is_insert ? "insert" : "remove");
}

/* What was removed can be inserted again when nobody reads a map that has it. */
static void insert_remove_busy(uint64_t count)
{
	uint64_t i;

	for (i = 0; i < count; i++) {
		change(true);
		change(false);
		while (gm_space_reclaim(world.space) > 0)
			;
	}
}

static uint64_t enter_leave_beside(uint64_t count)
{
	return bench_beside(other, enter_leave, count);
}

static uint64_t insert_remove_beside(uint64_t count)
{
	return bench_beside(other, insert_remove_busy, count);
}

static void *write_all_the_time(void *unused)
{
	bench_leave_cpu(timed_cpu);
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		insert_remove_busy(1);
		__atomic_store_n(&has_begun, true, __ATOMIC_RELEASE);
	}
	return unused;
}

/* Another device, on a CPU of its own where there is one. */
static void *read_all_the_time(void *unused)
{
	struct gm_view view;

	bench_leave_cpu(timed_cpu);
	bench_must(gm_view_init(&view, world.memory, "another", 0), "view");
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		gm_view_enter(&view);
		bench_keep_memory(&view);
		gm_view_leave(&view);
		__atomic_store_n(&has_begun, true, __ATOMIC_RELEASE);
	}
	bench_must(gm_view_fini(&view), "closing the view");
	return unused;
}

static void begin(void *(*work)(void *))
{
	stop = has_begun = false;
	timed_cpu = sched_getcpu();
	bench_must(-pthread_create(&other, NULL, work, NULL), "thread");
	while (!__atomic_load_n(&has_begun, __ATOMIC_ACQUIRE))
		sched_yield();
}

static void set_up_busy(const struct bench_name *name)
{
	set_up_sections(name);
	world_add_spare();
	begin(write_all_the_time);
}

static void tear_down_busy(void)
{
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	bench_must(-pthread_join(other, NULL), "join");
	world_free();
}

static void set_up_updates(const struct bench_name *name)
{
	world_build(bench_places_of(name), 0);
	world_add_spare();
}

static void set_up_updates_busy(const struct bench_name *name)
{
	set_up_updates(name);
	begin(read_all_the_time);
}

static void insert_remove(uint64_t count)
{
	uint64_t i;

	for (i = 0; i < count; i++) {
		change(true);
		change(false);
	}
}

const struct bench_row ours_map_rows[] = {
	{
		.base = "find",
		.listed = BENCH_CURVE " /4096/irregular /32768/irregular /4096/hostile /32768/hostile",
		.set_up = set_up_find,
		.run = find,
		.tear_down = tear_down_find,
	},
	{ .base = "enter_leave", .listed = "", .set_up = set_up_sections, .run = enter_leave, .tear_down = world_free },
	{
		.base = "enter_leave_busy",
		.listed = "",
		.set_up = set_up_busy,
		.run_apart = enter_leave_beside,
		.tear_down = tear_down_busy,
	},
	{
		.base = "insert_remove",
		.listed = BENCH_CURVE,
		.set_up = set_up_updates,
		.run = insert_remove,
		.tear_down = world_free,
	},
	{
		.base = "insert_remove_busy",
		.listed = "/512 /32768",
		.set_up = set_up_updates_busy,
		.run_apart = insert_remove_beside,
		.tear_down = tear_down_busy,
	},
	{ .base = NULL },
};
