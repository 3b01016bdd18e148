/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * What the tests of the guard share: regions of memfds on a space, which the test truncates as another owner of the file would, and a
 * view that is inside a section. Each test installs the guard itself: cmocka has a handler of its own for the time of a test.
 */
#ifndef TESTS_GUARD_WORLD_H
#define TESTS_GUARD_WORLD_H

#include "support.h"

#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE          GM_PAGE_BYTES
#define PAGES         64
#define BYTES         (PAGES * PAGE)
#define REGIONS       3
#define FIRST(number) (UINT64_C(0x100000000) + (number)*BYTES) /* the regions adjoin */
#define BYTE(number)  (0xa0 + (number))

struct guard_world {
	struct gm_space *space;
	struct gm_memory *memory;
	struct gm_region *regions[REGIONS];
	struct gm_dirty_reader *readers[REGIONS];
	struct gm_view view;
};

static inline struct gm_region *guard_region(const char *name, uint64_t first, uint64_t bytes, uint64_t tag,
					     unsigned flags)
{
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = name,
		.kind = GM_RAM,
		.source = GM_SOURCE_FD,
		.first = gm_gpa(first),
		.bytes = bytes,
		.flags = flags,
		.tag = tag,
		.dirty_page_bytes = PAGE,
	};
	struct gm_error error = { 0, "" };
	struct gm_region *region;

	/* Not one of our own making, which is sealed against it. */
	opts.fd = memfd_create("shared", MFD_CLOEXEC);
	assert_true(opts.fd >= 0);
	assert_int_equal(ftruncate(opts.fd, (off_t)bytes), 0);
	if (gm_region_new(&opts, &region, &error) != 0)
		fail_msg("%s", error.text);
	close(opts.fd);
	return region;
}

static inline void guard_world_new(struct guard_world *world)
{
	struct gm_update *update;

	memset(world, 0, sizeof(*world));
	assert_int_equal(gm_space_new(NULL, &world->space, NULL), 0);
	update = gm_update_begin(world->space);
	for (unsigned i = 0; i < REGIONS; i++) {
		char name[16];

		snprintf(name, sizeof(name), "ram%u", i);
		world->regions[i] = guard_region(name, FIRST(i), BYTES, 100 + i, 0);
		assert_int_equal(gm_dirty_reader_new(gm_region_dirty(world->regions[i]), &world->readers[i]), 0);
		memset(gm_region_hva(world->regions[i]), BYTE(i), BYTES);
		assert_int_equal(gm_update_insert(update, world->regions[i]), 0);
	}
	assert_int_equal(gm_update_commit(update, NULL), 0);
	assert_int_equal(gm_space_memory(world->space, GM_ONLY_RAM, &world->memory), 0);
	assert_int_equal(gm_view_init(&world->view, world->memory, "test", 0), 0);
	gm_view_enter(&world->view);
}

static inline void guard_world_free(struct guard_world *world)
{
	gm_view_leave(&world->view);
	assert_int_equal(gm_view_fini(&world->view), 0);
	gm_memory_unref(world->memory);
	gm_space_unref(world->space);
	for (unsigned i = 0; i < REGIONS; i++) {
		gm_dirty_reader_free(world->readers[i]);
		gm_region_unref(world->regions[i]);
	}
}

/* What the file's other owner does: all pages from @page on are gone. */
static inline void lose_from(const struct gm_region *region, uint64_t page)
{
	assert_int_equal(ftruncate(gm_region_fd(region), (off_t)(page * PAGE)), 0);
}

/* The next event is of these lost bytes, by an access to @at or one of the @bytes from there on. */
static inline void expect_event(const char *name, uint64_t tag, uint64_t at, uint64_t bytes, uint64_t first,
				uint64_t lost_bytes)
{
	struct pollfd events = { .fd = gm_fault_guard_fd(), .events = POLLIN };
	struct gm_fault fault;
	uint64_t missed = 99;

	assert_true(events.fd >= 0);
	assert_int_equal(poll(&events, 1, 0), 1);
	assert_int_equal(gm_fault_guard_next(&fault, &missed), 0);
	assert_string_equal(fault.region, name);
	assert_int_equal(fault.tag, tag);
	assert_in_range(fault.at.value, at, at + (bytes - 1));
	assert_int_equal(fault.lost.first.value, first);
	assert_int_equal(fault.lost.last.value, first + (lost_bytes - 1));
	assert_int_equal(fault.kind, GM_FAULT_GONE);
	assert_int_equal(missed, 0);
}

/* Copies of more than an object touch their bytes in an order of their own. */
static inline void expect_page_event(const struct guard_world *world, uint64_t at, uint64_t bytes)
{
	uint64_t number = (at - FIRST(0)) / BYTES;

	expect_event(gm_region_name(world->regions[number]), 100 + number, at, bytes, at & ~(PAGE - 1), PAGE);
}

static inline void expect_no_event(void)
{
	struct pollfd events = { .fd = gm_fault_guard_fd(), .events = POLLIN };
	struct gm_fault fault;

	assert_int_equal(poll(&events, 1, 0), 0);
	assert_int_equal(gm_fault_guard_next(&fault, NULL), -EAGAIN);
}

/* Events of earlier tests are of no interest. */
static inline void drop_events(void)
{
	struct gm_fault fault;

	while (gm_fault_guard_next(&fault, NULL) == 0)
		;
}

#endif
