/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Runs: reader threads, each with a view on every space, which enter a random one, do a handful of loads, leave, and take the
 * time of each such section; and one writer, idle or busy, which removes a region of each space in turn and inserts it again,
 * as fast as it can. What is loaded is checked: a page holds the number of its region, and only the region that comes and goes
 * may be missing.
 *
 * A thread writes nothing that another reads but for the two flags. Public headers only.
 */
#include "scale.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <guestmem/guestmem.h>

#define STRIDE ((uint64_t)2 * GM_PAGE_BYTES)

struct place {
	struct gm_space *space;
	struct gm_memory *memory;
	struct gm_region *passes;
	bool inserted; /* the writer's */
};

struct world {
	const struct scale_options *options;
	struct place *places;
	unsigned char *pages;
	uint64_t cost;     /* of the clock */
	bool stop;         /* atomic */
	uint64_t sections; /* atomic: of all readers, in steps */
};

struct reader {
	_Alignas(64) struct world *world;
	pthread_t thread;
	uint64_t seed;
	int cpu; /* -1: any */
	struct gm_view *views;
	struct histogram times;
	uint64_t loads, holes, moved, wrong, taken_off;
};

struct writer {
	struct world *world;
	pthread_t thread;
	int cpu;
	uint64_t updates; /* atomic */
	uint64_t refused;
	int error;
};

/* Which region comes and goes. */
static unsigned passing(const struct scale_options *options)
{
	return options->regions / 2;
}

static uint64_t stamp(unsigned space, unsigned region)
{
	return (uint64_t)space << 32 | (region + 1);
}

static int region_new(const struct world *world, unsigned space, unsigned region, struct gm_region **ret_region)
{
	uint64_t *page = (uint64_t *)(world->pages +
				      ((size_t)space * world->options->regions + region) * GM_PAGE_BYTES);
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.kind = GM_RAM,
		.source = GM_SOURCE_POINTER,
		.first = gm_gpa(region * STRIDE),
		.bytes = GM_PAGE_BYTES,
		.hva = page,
	};
	char name[32];
	size_t i;

	for (i = 0; i < LOADS; i++)
		page[i] = stamp(space, region);
	snprintf(name, sizeof(name), "ram%u", region);
	opts.name = name;
	return gm_region_new(&opts, ret_region, NULL);
}

static int place_init(const struct world *world, unsigned number)
{
	struct place *place = &world->places[number];
	struct gm_region *region;
	struct gm_update *update;
	unsigned i;
	int r = gm_space_new(NULL, &place->space, NULL);

	if (r < 0)
		return r;
	update = gm_update_begin(place->space);
	for (i = 0; i < world->options->regions && r == 0; i++) {
		r = region_new(world, number, i, &region);
		if (r < 0)
			break;
		r = gm_update_insert(update, region);
		if (i == passing(world->options))
			place->passes = region;
		else
			gm_region_unref(region);
	}
	if (r < 0) {
		gm_update_abort(update);
		return r;
	}
	place->inserted = true;
	r = gm_update_commit(update, NULL);
	return r < 0 ? r : gm_space_memory(place->space, GM_ONLY_RAM, &place->memory);
}

static void world_fini(struct world *world)
{
	unsigned i;

	for (i = 0; world->places != NULL && i < world->options->spaces; i++) {
		gm_memory_unref(world->places[i].memory);
		gm_region_unref(world->places[i].passes);
		gm_space_unref(world->places[i].space);
	}
	free(world->places);
	if (world->pages != MAP_FAILED)
		munmap(world->pages, (size_t)world->options->spaces * world->options->regions * GM_PAGE_BYTES);
}

static int world_init(struct world *world, const struct scale_options *options)
{
	unsigned i;
	int r = 0;

	world->options = options;
	world->places = calloc(options->spaces, sizeof(*world->places));
	world->pages = mmap(NULL, (size_t)options->spaces * options->regions * GM_PAGE_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (world->places == NULL || world->pages == MAP_FAILED)
		r = -ENOMEM;
	for (i = 0; i < options->spaces && r == 0; i++)
		r = place_init(world, i);
	if (r < 0)
		world_fini(world);
	return r;
}

static void pin_to(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	(void)sched_setaffinity(0, sizeof(set), &set);
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* What is timed, and nothing else. */
static inline uint64_t timed_section(struct gm_view *view, const struct gm_gpa at[LOADS], uint64_t numbers[LOADS],
				     int codes[LOADS], uint64_t *ret_generation)
{
	uint64_t began = clock_ticks();
	unsigned i;

	gm_view_enter(view);
	for (i = 0; i < LOADS; i++)
		codes[i] = gm_load_u64(view, at[i], GM_RELAXED, &numbers[i]);
	*ret_generation = gm_view_generation(view);
	gm_view_leave(view);
	return clock_ticks() - began;
}

static void read_once(struct reader *reader, uint64_t generations[])
{
	const struct scale_options *options = reader->world->options;
	uint64_t random = next_random(&reader->seed), numbers[LOADS], generation, ticks;
	unsigned space = (unsigned)(random >> 32) % options->spaces, regions[LOADS], i;
	struct gm_gpa at[LOADS];
	int codes[LOADS];

	random = next_random(&reader->seed);
	for (i = 0; i < LOADS; i++) {
		regions[i] = (random >> (8 * i) & 255) % options->regions;
		at[i] = gm_gpa(regions[i] * STRIDE + 8 * i);
	}
	ticks = timed_section(&reader->views[space], at, numbers, codes, &generation);
	histogram_record(&reader->times, ticks > reader->world->cost ? ticks - reader->world->cost : 0);
	for (i = 0; i < LOADS; i++) {
		reader->loads++;
		if (codes[i] == -GM_EHOLE && regions[i] == passing(options))
			reader->holes++;
		else if (codes[i] != 0 || numbers[i] != stamp(space, regions[i]))
			reader->wrong++;
	}
	reader->moved += generations[space] != 0 && generations[space] != generation;
	generations[space] = generation;
}

static uint64_t times_taken_off(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_THREAD, &usage) == 0 ? (uint64_t)usage.ru_nivcsw : 0;
}

static void *read_all_the_time(void *opaque)
{
	struct reader *reader = opaque;
	struct world *world = reader->world;
	uint64_t generations[SPACES_MAX] = { 0 }, before;
	unsigned i;

	pin_to(reader->cpu);
	before = times_taken_off();
	while (!__atomic_load_n(&world->stop, __ATOMIC_RELAXED)) {
		for (i = 0; i < 256; i++)
			read_once(reader, generations);
		__atomic_fetch_add(&world->sections, 256, __ATOMIC_RELAXED);
	}
	reader->taken_off = times_taken_off() - before;
	return NULL;
}

/* One update. A region that some section still holds can't be inserted again yet: on to the next space then. */
static int update_once(struct writer *writer, struct place *place)
{
	struct gm_update *update = gm_update_begin(place->space);
	int64_t held;
	int r;

	if (place->inserted)
		(void)gm_update_remove(update, place->passes);
	else
		(void)gm_update_insert(update, place->passes);
	r = gm_update_commit(update, NULL);
	if (r == 0) {
		place->inserted = !place->inserted;
		__atomic_fetch_add(&writer->updates, 1, __ATOMIC_RELAXED);
		return 0;
	}
	if (r != -EBUSY)
		return r;
	writer->refused++;
	held = gm_space_reclaim(place->space);
	return held < 0 ? (int)held : 0;
}

static void *write_all_the_time(void *opaque)
{
	struct writer *writer = opaque;
	struct world *world = writer->world;
	unsigned i = 0;

	pin_to(writer->cpu);
	while (writer->error == 0 && !__atomic_load_n(&world->stop, __ATOMIC_RELAXED)) {
		writer->error = update_once(writer, &world->places[i]);
		i = (i + 1) % world->options->spaces;
	}
	/* After an error there is nothing left to be shown. */
	__atomic_store_n(&world->stop, true, __ATOMIC_RELAXED);
	return NULL;
}

static int reader_init(struct reader *reader, struct world *world, unsigned number, int cpu)
{
	unsigned i;
	int r = 0;

	memset(reader, 0, sizeof(*reader));
	reader->world = world;
	reader->cpu = cpu;
	reader->seed = UINT64_C(88172645463325252) + 2 * number;
	histogram_init(&reader->times);
	reader->views = calloc(world->options->spaces, sizeof(*reader->views));
	if (reader->views == NULL)
		return -ENOMEM;
	for (i = 0; i < world->options->spaces && r == 0; i++)
		r = gm_view_init(&reader->views[i], world->places[i].memory, "reader", 0);
	return r;
}

static void reader_fini(struct reader *reader)
{
	unsigned i;

	for (i = 0; reader->views != NULL && i < reader->world->options->spaces; i++)
		(void)gm_view_fini(&reader->views[i]);
	free(reader->views);
}

/* Long enough, enough sections, and every space changed. */
static bool is_enough(const struct world *world, const struct writer *writer, const struct run *run, double seconds)
{
	if (seconds < world->options->seconds ||
	    __atomic_load_n(&world->sections, __ATOMIC_RELAXED) < world->options->sections_min)
		return false;
	return !run->busy || __atomic_load_n(&writer->updates, __ATOMIC_RELAXED) >= world->options->spaces;
}

static void wait_for_end(struct world *world, const struct writer *writer, const struct run *run)
{
	double began = clock_seconds();

	while (!__atomic_load_n(&world->stop, __ATOMIC_RELAXED) &&
	       !is_enough(world, writer, run, clock_seconds() - began))
		usleep(2000);
	__atomic_store_n(&world->stop, true, __ATOMIC_RELAXED);
}

static void add_up(struct run *run, const struct reader *reader)
{
	histogram_merge(&run->times, &reader->times);
	run->loads += reader->loads;
	run->holes += reader->holes;
	run->moved += reader->moved;
	run->taken_off += reader->taken_off;
}

/* Threads are started and ended here; views and spaces stand already. */
static int run_threads(struct world *world, struct reader *readers, struct writer *writer, struct run *run)
{
	double began = clock_seconds();
	uint64_t wrong = 0;
	unsigned i, started;
	int r = 0;

	for (started = 0; started < run->readers && r == 0; started++)
		r = -pthread_create(&readers[started].thread, NULL, read_all_the_time, &readers[started]);
	if (r == 0 && run->busy)
		r = -pthread_create(&writer->thread, NULL, write_all_the_time, writer);
	if (r < 0) {
		fprintf(stderr, "scale: no thread: %s\n", strerror(-r));
		exit(1);
	}
	wait_for_end(world, writer, run);
	for (i = 0; i < run->readers; i++) {
		pthread_join(readers[i].thread, NULL);
		add_up(run, &readers[i]);
		wrong += readers[i].wrong;
	}
	if (run->busy)
		pthread_join(writer->thread, NULL);
	run->seconds = clock_seconds() - began;
	run->updates = writer->updates;
	run->refused = writer->refused;
	run->done = true;
	if (wrong != 0)
		fprintf(stderr, "scale: %llu loads did not find what stands there\n", (unsigned long long)wrong);
	if (writer->error != 0)
		fprintf(stderr, "scale: the writer failed: %s\n", gm_code_text(writer->error));
	return wrong != 0 ? -EBADMSG : writer->error;
}

/* One run in a world of its own. @cpus: of readers and of the writer; -1 for any. */
static int run_once(const struct scale_options *options, const struct clock *clock, const int cpus[2], struct run *run)
{
	struct world world = { .cost = clock->cost };
	struct writer writer = { .world = &world, .cpu = cpus[1] };
	struct reader *readers;
	unsigned i, made = 0;
	int r = world_init(&world, options);

	if (r < 0)
		return r;
	readers = aligned_alloc(64, run->readers * sizeof(*readers));
	if (readers == NULL) {
		world_fini(&world);
		return -ENOMEM;
	}
	for (; made < run->readers && r == 0; made++)
		r = reader_init(&readers[made], &world, made, cpus[0]);
	if (r == 0)
		r = run_threads(&world, readers, &writer, run);
	for (i = 0; i < made; i++)
		reader_fini(&readers[i]);
	free(readers);
	world_fini(&world);
	return r;
}

/* The first two that this process may run on; -1 where there is none. */
static void find_cpus(int cpus[2])
{
	unsigned found = 0;
	cpu_set_t set;
	int cpu;

	cpus[0] = cpus[1] = -1;
	if (sched_getaffinity(0, sizeof(set), &set) != 0)
		return;
	for (cpu = 0; cpu < CPU_SETSIZE && found < 2; cpu++) {
		if (CPU_ISSET(cpu, &set))
			cpus[found++] = cpu;
	}
}

int sections_run(const struct scale_options *options, const struct clock *clock, struct run runs[RUNS])
{
	static const char *const names[RUNS] = { "many_idle", "many_busy", "one_idle", "one_busy" };
	const int any[2] = { -1, -1 };
	int cpus[2], r;
	unsigned i;

	find_cpus(cpus);
	for (i = 0; i < RUNS; i++) {
		memset(&runs[i], 0, sizeof(runs[i]));
		histogram_init(&runs[i].times);
		runs[i].name = names[i];
		runs[i].busy = i % 2 == 1;
		runs[i].readers = i < 2 ? options->threads : 1;
		/* A reader on a CPU of its own needs another one for the writer. */
		if (i >= 2 && cpus[1] < 0)
			continue;
		r = run_once(options, clock, i < 2 ? any : cpus, &runs[i]);
		if (r < 0)
			return r;
	}
	return 0;
}
