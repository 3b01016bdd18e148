/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * What the tests of access share: a world is a fixed map of described regions and a view on it that is inside a section. The
 * tests look at the regions' bytes behind the view's back, and compare all of them, and all dirty pages, with what they
 * expect.
 */
#ifndef TESTS_ACCESS_WORLD_H
#define TESTS_ACCESS_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <guestmem/guestmem.h>

#define PAGE      UINT64_C(4096)
#define WORLD_MAX 160

/* How a region is described. */
struct spec {
	uint64_t first;
	uint64_t bytes;
	enum gm_kind kind;
	unsigned prot;  /* 0: the kind's */
	bool callbacks; /* else mapped, but for devices */
	bool no_log;
	uint64_t tag;
};

/* The far side of callbacks. */
struct store {
	unsigned char *bytes;
	uint64_t size;
	unsigned reads, writes;
	size_t last_bytes;
	uint64_t last_offset;
	unsigned fail_after; /* calls that succeed; UINT_MAX: all */
	int fail_with;
	void (*hook)(void *opaque); /* called from inside each call */
	void *opaque;
};

struct world {
	struct gm_map *map;
	struct gm_memory *memory;
	struct gm_view view;
	struct gm_region *regions[WORLD_MAX];
	struct gm_dirty_reader *readers[WORLD_MAX];
	struct store stores[WORLD_MAX];
	unsigned char *saved[WORLD_MAX];
	unsigned char
		*own[WORLD_MAX]; /* memory of the test's, for mapped regions that the test writes and views may not */
	unsigned count;
};

static inline int store_call(struct store *store, struct gm_offset offset, size_t bytes)
{
	assert_true(offset.value < store->size && bytes <= store->size - offset.value && bytes > 0);
	store->last_bytes = bytes;
	store->last_offset = offset.value;
	if (store->hook != NULL)
		store->hook(store->opaque);
	if (store->fail_after == 0)
		return store->fail_with;
	if (store->fail_after != UINT32_MAX)
		store->fail_after--;
	return 0;
}

static inline int store_read(void *opaque, struct gm_offset offset, void *data, size_t bytes)
{
	struct store *store = opaque;
	int r = store_call(store, offset, bytes);

	store->reads++;
	if (r == 0)
		memcpy(data, store->bytes + offset.value, bytes);
	return r;
}

static inline int store_write(void *opaque, struct gm_offset offset, const void *data, size_t bytes)
{
	struct store *store = opaque;
	int r = store_call(store, offset, bytes);

	store->writes++;
	if (r == 0)
		memcpy(store->bytes + offset.value, data, bytes);
	return r;
}

static const struct gm_region_io store_io = { .read = store_read, .write = store_write };

static inline void world_region(struct world *world, const struct spec *spec)
{
	struct store *store = &world->stores[world->count];
	bool calls = spec->callbacks || spec->kind == GM_DEVICE,
	     pointer = !calls && (spec->prot != 0 || spec->kind == GM_FIRMWARE);
	char name[GM_NAME_MAX];
	struct gm_error error;
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = name,
		.kind = spec->kind,
		.source = calls     ? GM_SOURCE_CALLBACKS
			  : pointer ? GM_SOURCE_POINTER
				    : GM_SOURCE_ANON,
		.first = gm_gpa(spec->first),
		.bytes = spec->bytes,
		.prot = spec->prot,
		.io = calls ? &store_io : NULL,
		.opaque = calls ? store : NULL,
		.dirty_page_bytes = spec->no_log || spec->kind == GM_DEVICE ? 0 : PAGE,
		.tag = spec->tag,
	};
	int r;

	snprintf(name, sizeof(name), "r%u", world->count);
	if (calls) {
		store->bytes = calloc(1, spec->bytes);
		store->size = spec->bytes;
		store->fail_after = UINT32_MAX;
		store->fail_with = -EIO;
		assert_non_null(store->bytes);
	}
	if (pointer) {
		world->own[world->count] = aligned_alloc(PAGE, spec->bytes);
		assert_non_null(world->own[world->count]);
		opts.hva = world->own[world->count];
	}
	r = gm_region_new(&opts, &world->regions[world->count], &error);
	if (r)
		fail_msg("%s", error.text);
	if (opts.dirty_page_bytes != 0)
		assert_int_equal(gm_dirty_reader_new(gm_region_dirty(world->regions[world->count]),
						     &world->readers[world->count]),
				 0);
	world->saved[world->count] = calloc(1, spec->bytes);
	assert_non_null(world->saved[world->count]);
	world->count++;
}

/* Makes the world and enters its view. @world must not move from here on. */
static inline void world_new(struct world *world, const struct spec *specs, unsigned count, unsigned kinds,
			     unsigned flags)
{
	struct gm_error error;
	int r;

	assert_true(count <= WORLD_MAX);
	memset(world, 0, sizeof(*world));
	for (unsigned i = 0; i < count; i++)
		world_region(world, &specs[i]);
	r = gm_map_new(NULL, world->regions, count, &world->map, &error);
	if (r)
		fail_msg("%s", error.text);
	assert_int_equal(gm_map_memory(world->map, kinds, &world->memory), 0);
	assert_int_equal(gm_view_init(&world->view, world->memory, "test", flags), 0);
	gm_view_enter(&world->view);
}

static inline void world_free(struct world *world)
{
	gm_view_leave(&world->view);
	assert_int_equal(gm_view_fini(&world->view), 0);
	gm_memory_unref(world->memory);
	gm_map_unref(world->map);
	for (unsigned i = 0; i < world->count; i++) {
		gm_dirty_reader_free(world->readers[i]);
		gm_region_unref(world->regions[i]);
		free(world->stores[i].bytes);
		free(world->saved[i]);
		free(world->own[i]);
	}
}

/* The bytes of a region, behind the view's back. */
static inline unsigned char *world_bytes(struct world *world, unsigned i)
{
	return world->stores[i].bytes ? world->stores[i].bytes : gm_region_hva(world->regions[i]);
}

/* The byte at an address, behind the view's back; NULL in a hole. */
static inline unsigned char *peek(struct world *world, uint64_t address)
{
	for (unsigned i = 0; i < world->count; i++) {
		struct gm_range range = gm_region_range(world->regions[i]);

		if (gm_range_contains(range, gm_gpa(address)))
			return world_bytes(world, i) + (address - range.first.value);
	}
	return NULL;
}

/* Dirty pages of a region since the last call, one bit each; regions here have at most 64 pages. */
static inline uint64_t collect_pages(struct world *world, unsigned i)
{
	struct gm_dirty_range ranges[64];
	struct gm_offset next;
	uint64_t pages = 0;
	size_t count;

	if (world->readers[i] == NULL)
		return 0;
	assert_int_equal(gm_dirty_collect(world->readers[i], gm_offset(0), gm_region_bytes(world->regions[i]), ranges,
					  64, &count, &next),
			 0);
	for (size_t k = 0; k < count; k++) {
		for (uint64_t page = ranges[k].first.value / PAGE; page <= ranges[k].last.value / PAGE; page++) {
			assert_true(page < 64);
			pages |= UINT64_C(1) << page;
		}
	}
	return pages;
}

/* Fills all regions with bytes that depend on @seed, forgets all dirty pages, and remembers this state. */
static inline void world_reset(struct world *world, unsigned seed)
{
	for (unsigned i = 0; i < world->count; i++) {
		unsigned char *bytes = world_bytes(world, i);
		uint64_t size = gm_region_bytes(world->regions[i]);

		for (uint64_t k = 0; k < size; k++)
			bytes[k] = (unsigned char)(seed + i * 37 + k * 11 + k / 251);
		memcpy(world->saved[i], bytes, size);
		(void)collect_pages(world, i);
	}
}

/*
 * All regions are as they were at the last reset, and clean, but that [at, at + bytes) holds @data and its pages, where
 * their regions have logs, are dirty, all of them and no others. Then takes the new state for the remembered one.
 */
static inline void expect_written(struct world *world, uint64_t at, const unsigned char *data, uint64_t bytes)
{
	for (unsigned i = 0; i < world->count; i++) {
		struct gm_range range = gm_region_range(world->regions[i]);
		uint64_t pages = 0, size = gm_region_bytes(world->regions[i]);

		for (uint64_t k = 0; k < size; k++) {
			uint64_t offset = range.first.value + k - at;

			if (offset < bytes) {
				world->saved[i][k] = data[offset];
				pages |= UINT64_C(1) << (k / PAGE);
			}
		}
		assert_memory_equal(world_bytes(world, i), world->saved[i], size);
		assert_true(collect_pages(world, i) == (world->readers[i] ? pages : 0));
	}
}

static inline void expect_untouched(struct world *world)
{
	expect_written(world, 0, NULL, 0);
}

/* What the guest holds at [at, at + bytes), behind the view's back. */
static inline void expect_equal(struct world *world, uint64_t at, const unsigned char *data, uint64_t bytes)
{
	for (uint64_t k = 0; k < bytes; k++)
		assert_int_equal(*peek(world, at + k), data[k]);
}

/* xorshift64*: the same numbers on every run. */
static inline uint64_t random_next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

/*
 * All tests of a group, twice: on memory as ever, and on memory that is guarded against faults, which views remember in another way.
 * None faults here. The guard stays until the program ends: cmocka gives the handlers that it had replaced back without their flags.
 */
#define run_unguarded_and_guarded(tests, setup, teardown)                                                              \
	(cmocka_run_group_tests_name("unguarded", tests, setup, teardown) || gm_fault_guard_install(NULL) != 0 ||      \
	 cmocka_run_group_tests_name("guarded", tests, setup, teardown))

#endif
