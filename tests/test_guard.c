/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Memory that faults: each kind of access to pages of a truncated memfd is refused with one code, says where it was, and leaves alone
 * what is elsewhere. How the guard gets along with its process: test_guard_process.c; with other threads: test_guard_threads.c.
 */
#include "guard_world.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/base.h"

static struct guard_world world;

static void begin(void)
{
	assert_int_equal(gm_fault_guard_install(NULL), 0);
	guard_world_new(&world);
}

static void end(void)
{
	guard_world_free(&world);
	assert_int_equal(gm_fault_guard_remove(), 0);
}

/* The view's hot region becomes the one at @at, and its near one that of @near. */
static void warm(uint64_t at, uint64_t near)
{
	uint8_t byte;
	struct gm_span span;

	gm_view_leave(&world.view);
	gm_view_fini(&world.view);
	assert_int_equal(gm_view_init(&world.view, world.memory, "test", 0), 0);
	gm_view_enter(&world.view);
	assert_int_equal(gm_load_u8(&world.view, gm_gpa(at), GM_RELAXED, &byte), 0);
	assert_int_equal(world.view.hot_hva, gm_region_hva(world.regions[(at - FIRST(0)) / BYTES]));
	assert_int_equal(gm_span(&world.view, gm_gpa(near), 1, GM_READ, &span), 0);
}

static int load8(struct gm_gpa at)
{
	uint8_t number = 77;
	int r = gm_load_u8(&world.view, at, GM_ACQUIRE, &number);

	assert_true(r == 0 || number == 77);
	return r;
}

static int load16(struct gm_gpa at)
{
	uint16_t number = 77;
	int r = gm_load_be16(&world.view, at, GM_RELAXED, &number);

	assert_true(r == 0 || number == 77);
	return r;
}

static int load32(struct gm_gpa at)
{
	uint32_t number = 77;
	int r = gm_load_u32(&world.view, at, GM_SEQ_CST, &number);

	assert_true(r == 0 || number == 77);
	return r;
}

static int load64(struct gm_gpa at)
{
	uint64_t number = 77;
	int r = gm_load_le64(&world.view, at, GM_ACQUIRE, &number);

	assert_true(r == 0 || number == 77);
	return r;
}

/* Not at a multiple of its size. */
static int load_odd(struct gm_gpa at)
{
	uint32_t number = 77;
	int r = gm_load_u32(&world.view, gm_gpa(at.value + 1), GM_RELAXED, &number);

	assert_true(r == 0 || number == 77);
	return r;
}

static int store8(struct gm_gpa at)
{
	return gm_store_u8(&world.view, at, GM_RELAXED, 1);
}

static int store16(struct gm_gpa at)
{
	return gm_store_le16(&world.view, at, GM_RELEASE, 1);
}

static int store32(struct gm_gpa at)
{
	return gm_store_u32(&world.view, at, GM_SEQ_CST, 1);
}

static int store64(struct gm_gpa at)
{
	return gm_store_u64(&world.view, at, GM_RELAXED, 1);
}

static int exchange(struct gm_gpa at)
{
	uint64_t old = 77;
	int r = gm_exchange_u64(&world.view, at, GM_ACQ_REL, 1, &old);

	assert_true(r == 0 || old == 77);
	return r;
}

static int compare_exchange(struct gm_gpa at)
{
	uint32_t old = 77;
	int r = gm_compare_exchange_u32(&world.view, at, GM_RELAXED, 12345, 1, &old);

	assert_true(r == 0 || old == 77);
	return r;
}

static int fetch_or(struct gm_gpa at)
{
	uint8_t old;

	return gm_fetch_or_u8(&world.view, at, GM_SEQ_CST, 1, &old);
}

static int read_short(struct gm_gpa at)
{
	unsigned char data[16];

	return gm_read(&world.view, at, data, sizeof(data));
}

static int read_long(struct gm_gpa at)
{
	unsigned char data[PAGE / 2];

	return gm_read(&world.view, at, data, sizeof(data));
}

static int read_some(struct gm_gpa at)
{
	unsigned char data[100];

	return (int)gm_read_some(&world.view, at, data, sizeof(data));
}

static int write_short(struct gm_gpa at)
{
	unsigned char data[16] = { 1 };

	return gm_write(&world.view, at, data, sizeof(data));
}

static int write_long(struct gm_gpa at)
{
	unsigned char data[PAGE / 2] = { 1 };

	return gm_write(&world.view, at, data, sizeof(data));
}

static int write_some(struct gm_gpa at)
{
	unsigned char data[100] = { 1 };

	return (int)gm_write_some(&world.view, at, data, sizeof(data));
}

static int fill(struct gm_gpa at)
{
	return gm_fill(&world.view, at, 1, 1000);
}

static int copy_from(struct gm_gpa at)
{
	return gm_copy(&world.view, gm_gpa(FIRST(2)), at, 200);
}

static int copy_to(struct gm_gpa at)
{
	return gm_copy(&world.view, at, gm_gpa(FIRST(2)), 200);
}

static int copy_some(struct gm_gpa at)
{
	return (int)gm_copy_some(&world.view, at, gm_gpa(FIRST(2)), 200);
}

/* Raw touches read zeros; what tells is asked afterwards. */
static int by_span(struct gm_gpa at)
{
	struct gm_span span;

	assert_int_equal(gm_span(&world.view, at, 8, GM_READ | GM_WRITE, &span), 0);
	if (*(volatile uint64_t *)span.hva == 0)
		*(volatile uint64_t *)span.hva = 5;
	return gm_span_check(&world.view, at, 8);
}

static int by_pin(struct gm_gpa at)
{
	struct gm_span span;
	struct gm_pin pin;
	int r;

	assert_int_equal(gm_span(&world.view, at, 8, GM_READ, &span), 0);
	assert_int_equal(gm_view_pin(&world.view, &pin), 0);
	gm_view_leave(&world.view);
	(void)*(volatile uint64_t *)span.hva;
	r = gm_pin_check(&pin, at, 8);
	gm_view_unpin(&pin);
	gm_view_enter(&world.view);
	return r;
}

static int stream_out(struct gm_gpa at)
{
	int fd = memfd_create("file", MFD_CLOEXEC), error = 1;
	int64_t r = gm_read_to_fd(&world.view, at, 300, fd, 0, &error);

	assert_true(r < 0 || r == 300);
	assert_int_equal(error, 0);
	close(fd);
	return r < 0 ? (int)r : 0;
}

static int stream_in(struct gm_gpa at)
{
	unsigned char data[300] = { 1 };
	int fd = memfd_create("file", MFD_CLOEXEC), error = 1;
	int64_t r;

	assert_int_equal(pwrite(fd, data, sizeof(data), 0), (ssize_t)sizeof(data));
	r = gm_write_from_fd(&world.view, at, sizeof(data), fd, 0, &error);
	assert_true(r < 0 || r == 300);
	assert_int_equal(error, 0);
	close(fd);
	return r < 0 ? (int)r : 0;
}

static const struct {
	const char *name;
	int (*access)(struct gm_gpa at);
	unsigned skip, bytes; /* where the first touched byte is, of how many */
	bool writes;
} accesses[] = {
	{ "load8", load8, 0, 1, false },
	{ "load16", load16, 0, 1, false },
	{ "load32", load32, 0, 1, false },
	{ "load64", load64, 0, 1, false },
	{ "load_odd", load_odd, 1, 4, false },
	{ "store8", store8, 0, 1, true },
	{ "store16", store16, 0, 1, true },
	{ "store32", store32, 0, 1, true },
	{ "store64", store64, 0, 1, true },
	{ "exchange", exchange, 0, 1, true },
	{ "compare_exchange", compare_exchange, 0, 1, false },
	{ "fetch_or", fetch_or, 0, 1, true },
	{ "read_short", read_short, 0, 16, false },
	{ "read_long", read_long, 0, 2048, false },
	{ "read_some", read_some, 0, 100, false },
	{ "write_short", write_short, 0, 16, true },
	{ "write_long", write_long, 0, 2048, true },
	{ "write_some", write_some, 0, 100, true },
	{ "fill", fill, 0, 1000, true },
	{ "copy_from", copy_from, 0, 200, false },
	{ "copy_to", copy_to, 0, 200, true },
	{ "copy_some", copy_some, 0, 200, true },
	{ "by_span", by_span, 0, 1, false },
	{ "by_pin", by_pin, 0, 1, false },
	{ "stream_out", stream_out, 0, 1, false },
	{ "stream_in", stream_in, 0, 1, true },
};

static uint64_t dirty_pages(unsigned number)
{
	struct gm_dirty_range ranges[64];
	struct gm_offset next;
	uint64_t pages = 0;
	size_t count;

	assert_int_equal(gm_dirty_collect(world.readers[number], gm_offset(0), UINT64_MAX, ranges, 64, &count, &next),
			 0);
	for (size_t k = 0; k < count; k++) {
		for (uint64_t page = ranges[k].first.value / PAGE; page <= ranges[k].last.value / PAGE; page++)
			pages |= UINT64_C(1) << page;
	}
	return pages;
}

/*
 * Each kind of access on a page of its own: fine before, refused from the first that meets the page's loss on, wherever the view's
 * remembered regions are. The first tells of it, and where; none tells twice.
 */
static void each_access_is_refused(void **state)
{
	uint64_t page = 8;

	(void)state;
	begin();
	for (size_t i = 0; i < GMI_COUNT(accesses); i++, page++) {
		/* On an odd place of the page. The hot region's, the near one's, and neither. */
		for (unsigned round = 0; round < 3; round++) {
			uint64_t at = FIRST(0) + page * PAGE + 64 * (i + 1);

			guard_world_free(&world);
			guard_world_new(&world);
			drop_events();
			warm(round == 0 ? FIRST(0) : FIRST(1), round == 1 ? FIRST(0) : FIRST(1));
			if (accesses[i].access(gm_gpa(at)) < 0)
				fail_msg("%s is refused before anything is lost", accesses[i].name);
			assert_int_equal(gm_region_faults(world.regions[0]), 0);
			expect_no_event();
			(void)dirty_pages(0);
			lose_from(world.regions[0], 8);
			warm(round == 0 ? FIRST(0) : FIRST(1), round == 1 ? FIRST(0) : FIRST(1));
			for (unsigned again = 0; again < 3; again++) {
				int r = accesses[i].access(gm_gpa(at));

				if (r != -GM_EFAULTED)
					fail_msg("%s, round %u, time %u: %d", accesses[i].name, round, again, r);
			}
			expect_page_event(&world, at + accesses[i].skip, accesses[i].bytes);
			expect_no_event();
			assert_int_equal(gm_region_faults(world.regions[0]), 1);
			/* What may have been written is marked. */
			assert_int_equal(dirty_pages(0), accesses[i].writes ? UINT64_C(1) << page : 0);
		}
	}
	end();
}

/* Other pages of the region, other regions: as before, by each kind of access. */
static void everything_else_goes_on(void **state)
{
	unsigned char data[BYTES];

	(void)state;
	begin();
	lose_from(world.regions[0], 8);
	assert_int_equal(load64(gm_gpa(FIRST(0) + 8 * PAGE)), -GM_EFAULTED);
	expect_page_event(&world, FIRST(0) + 8 * PAGE, 1);
	for (size_t i = 0; i < GMI_COUNT(accesses); i++) {
		for (unsigned number = 0; number < 2; number++) {
			warm(FIRST(number), FIRST(number));
			if (accesses[i].access(gm_gpa(FIRST(number) + 7 * PAGE)) < 0)
				fail_msg("%s of region %u is refused", accesses[i].name, number);
		}
	}
	assert_int_equal(gm_read(&world.view, gm_gpa(FIRST(0)), data, 7 * PAGE), 0);
	for (size_t k = 0; k < 7 * PAGE; k++)
		assert_int_equal(data[k], BYTE(0));
	expect_no_event();
	assert_int_equal(gm_region_faults(world.regions[0]), 1);
	assert_int_equal(gm_region_faults(world.regions[1]), 0);
	end();
}

/* A lost page does not come back with its file, and nothing of what was written to it reaches the file. */
static void growing_again_heals_nothing(void **state)
{
	uint64_t at = FIRST(1) + 20 * PAGE, number;

	(void)state;
	begin();
	lose_from(world.regions[1], 20);
	assert_int_equal(store64(gm_gpa(at)), -GM_EFAULTED);
	lose_from(world.regions[1], PAGES);
	assert_int_equal(load64(gm_gpa(at)), -GM_EFAULTED);
	assert_int_equal(store64(gm_gpa(at)), -GM_EFAULTED);
	assert_int_equal(pread(gm_region_fd(world.regions[1]), &number, 8, 20 * PAGE), 8);
	assert_int_equal(number, 0);
	/* The next page was not touched meanwhile. */
	assert_int_equal(load64(gm_gpa(at + PAGE)), 0);
	expect_page_event(&world, at, 1);
	expect_no_event();
	end();
}

/* A walk over three regions, the middle one of which is lost in part. */
static void walks_over_several_regions(void **state)
{
	static unsigned char data[3 * BYTES], before[3 * BYTES];
	uint64_t at = FIRST(0) + 60 * PAGE + 8, bytes = BYTES + 8 * PAGE, lost = 0;

	(void)state;
	begin();
	lose_from(world.regions[1], 50);
	assert_int_equal(gm_read(&world.view, gm_gpa(at), data, bytes), -GM_EFAULTED);
	/* Each page of it, in whatever order they were read. */
	for (uint64_t page = 50; page < PAGES; page++) {
		struct gm_fault fault;
		uint64_t offset;

		assert_int_equal(gm_fault_guard_next(&fault, NULL), 0);
		offset = fault.lost.first.value - FIRST(1);
		assert_in_range(offset / PAGE, 50, PAGES - 1);
		assert_int_equal(lost >> offset / PAGE & 1, 0);
		lost |= UINT64_C(1) << offset / PAGE;
	}
	expect_no_event();
	memset(before, 1, sizeof(before));
	assert_int_equal(gm_write(&world.view, gm_gpa(at), before, bytes), -GM_EFAULTED);
	assert_int_equal(gm_fill(&world.view, gm_gpa(at), 1, bytes), -GM_EFAULTED);
	/* As much as there is: the first region's part. */
	assert_int_equal(gm_read_some(&world.view, gm_gpa(at), data, bytes), 4 * PAGE - 8);
	assert_int_equal(gm_fill_some(&world.view, gm_gpa(at), 3, bytes), 4 * PAGE - 8);
	assert_int_equal(gm_span_check(&world.view, gm_gpa(at), 4 * PAGE - 8), 0);
	assert_int_equal(gm_span_check(&world.view, gm_gpa(at), bytes), -GM_EFAULTED);
	assert_int_equal(gm_span_check(&world.view, gm_gpa(FIRST(2)), BYTES), 0);
	assert_int_equal(gm_span_check(&world.view, gm_gpa(0), UINT64_MAX), -GM_EFAULTED);
	assert_int_equal(gm_span_check(&world.view, gm_gpa(0), FIRST(1) + 50 * PAGE), 0);
	assert_int_equal(gm_span_check(&world.view, gm_gpa(0), FIRST(1) + 50 * PAGE + 1), -GM_EFAULTED);
	assert_int_equal(gm_span_check(&world.view, gm_gpa(FIRST(1)), 0), 0);
	/* Checks ask for permission only. */
	assert_int_equal(gm_check(&world.view, gm_gpa(at), bytes, GM_READ | GM_WRITE), 0);
	end();
}

/* A walk that begins in a region without a guard, and ends in one with it that was lost. */
static void walks_into_guarded_memory(void **state)
{
	unsigned char *plain = test_pages(2 * PAGE);
	struct gm_region *region = test_ram("plain", FIRST(0) - 2 * PAGE, 2 * PAGE, plain);
	struct gm_update *update;
	unsigned char data[4 * PAGE];

	(void)state;
	begin();
	update = gm_update_begin(world.space);
	assert_int_equal(gm_update_insert(update, region), 0);
	assert_int_equal(gm_update_commit(update, NULL), 0);
	gm_region_unref(region);
	gm_view_enter(&world.view);
	assert_int_equal(gm_read(&world.view, gm_gpa(FIRST(0) - PAGE), data, 2 * PAGE), 0);
	assert_int_equal(data[PAGE], BYTE(0));
	lose_from(world.regions[0], 1);
	assert_int_equal(gm_read(&world.view, gm_gpa(FIRST(0) - PAGE), data, 2 * PAGE), 0);
	assert_int_equal(gm_read(&world.view, gm_gpa(FIRST(0) - PAGE), data, 2 * PAGE + 1), -GM_EFAULTED);
	expect_page_event(&world, FIRST(0) + PAGE, 1);
	assert_int_equal(gm_read_some(&world.view, gm_gpa(FIRST(0) - PAGE), data, 2 * PAGE + 1), PAGE);
	assert_int_equal(gm_write(&world.view, gm_gpa(FIRST(0) - PAGE), data, 2 * PAGE + 1), -GM_EFAULTED);
	expect_no_event();
	end();
	munmap(plain, 2 * PAGE);
}

/* The kernel's own access: it stops at what is gone, and whoever asks afterwards is told. */
static void iovecs_with_the_kernel(void **state)
{
	int fd = memfd_create("file", MFD_CLOEXEC), i;
	uint64_t at = FIRST(0) + 10 * PAGE;
	struct iovec iovecs[4];
	struct gm_pin pin = { 0 };
	size_t count;

	(void)state;
	begin();
	assert_int_equal(ftruncate(fd, 4 * PAGE), 0);
	lose_from(world.regions[0], 12);
	assert_int_equal(gm_iovecs(&world.view, gm_gpa(at), 4 * PAGE, GM_WRITE, iovecs, 4, &count), 0);
	assert_int_equal(preadv(fd, iovecs, (int)count, 0), 2 * PAGE);
	/* The kernel raises no signal. */
	assert_int_equal(gm_span_check(&world.view, gm_gpa(at), 4 * PAGE), 0);
	expect_no_event();
	/* Our own streams ask. */
	assert_int_equal(gm_write_from_fd(&world.view, gm_gpa(at), 4 * PAGE, fd, 0, &i), 2 * PAGE);
	assert_int_equal(i, 0);
	assert_int_equal(gm_span_check(&world.view, gm_gpa(at), 4 * PAGE), -GM_EFAULTED);
	expect_page_event(&world, at + 2 * PAGE, 1);
	/* From now on the kernel meets zeros there, and we know it. */
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(gm_read_to_fd(&world.view, gm_gpa(at + 2 * PAGE), PAGE, fd, 0, &i), -GM_EFAULTED);
	assert_int_equal(lseek(fd, 0, SEEK_END), 0);
	assert_int_equal(gm_pin_check(&pin, gm_gpa(at), 1), -EINVAL);
	gm_view_leave(&world.view);
	assert_int_equal(gm_span_check(&world.view, gm_gpa(at), 1), -EINVAL);
	gm_view_enter(&world.view);
	close(fd);
	end();
}

/* Outside of a section nothing is reached, guarded or not. */
static void sections_count(void **state)
{
	unsigned char data[16];

	(void)state;
	begin();
	warm(FIRST(0), FIRST(0));
	gm_view_leave(&world.view);
	assert_int_equal(load64(gm_gpa(FIRST(0))), -EINVAL);
	assert_int_equal(store64(gm_gpa(FIRST(0))), -EINVAL);
	assert_int_equal(gm_read(&world.view, gm_gpa(FIRST(0)), data, 16), -EINVAL);
	assert_int_equal(gm_write(&world.view, gm_gpa(FIRST(0)), data, 16), -EINVAL);
	gm_view_enter(&world.view);
	assert_int_equal(load64(gm_gpa(FIRST(0))), 0);
	/* The last bytes that fit, and the first that don't. */
	assert_int_equal(load64(gm_gpa(FIRST(3) - 8)), 0);
	assert_int_equal(load64(gm_gpa(FIRST(3))), -GM_EHOLE);
	assert_int_equal(load8(gm_gpa(FIRST(3) - 1)), 0);
	warm(FIRST(2), FIRST(1));
	assert_int_equal(gm_read(&world.view, gm_gpa(FIRST(3) - 16), data, 16), 0);
	assert_int_equal(gm_read(&world.view, gm_gpa(FIRST(3) - 15), data, 16), -GM_EHOLE);
	assert_int_equal(gm_write(&world.view, gm_gpa(FIRST(3) - 15), data, 16), -GM_EHOLE);
	end();
}

/* A region that may be read only: its zeros too. */
static void read_only_regions(void **state)
{
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = "rom",
		.kind = GM_FIRMWARE,
		.source = GM_SOURCE_FD,
		.first = gm_gpa(0),
		.bytes = 4 * PAGE,
		.fd_offset = PAGE,
	};
	int fd = memfd_create("file", MFD_CLOEXEC);
	struct gm_region *region;
	struct gm_memory *memory;
	struct gm_map *map;
	unsigned char data[16] = { 1 };
	struct gm_view view;
	uint64_t number;

	(void)state;
	begin();
	assert_int_equal(ftruncate(fd, 5 * PAGE), 0);
	opts.fd = fd;
	assert_int_equal(gm_region_new(&opts, &region, NULL), 0);
	assert_true(gm_region_is_guarded(region));
	assert_int_equal(gm_map_new(NULL, &region, 1, &map, NULL), 0);
	assert_int_equal(gm_map_memory(map, GM_KIND_BIT(GM_FIRMWARE), &memory), 0);
	assert_int_equal(gm_view_init(&view, memory, "test", 0), 0);
	gm_view_enter(&view);
	assert_int_equal(gm_load_u64(&view, gm_gpa(2 * PAGE), GM_RELAXED, &number), 0);
	/* It is the hot region by now, and there is no near one. */
	assert_int_equal(gm_store_u64(&view, gm_gpa(2 * PAGE), GM_RELAXED, 1), -GM_EACCESS);
	assert_int_equal(gm_write(&view, gm_gpa(2 * PAGE), data, sizeof(data)), -GM_EACCESS);
	assert_int_equal(ftruncate(fd, 2 * PAGE), 0);
	assert_int_equal(gm_load_u64(&view, gm_gpa(2 * PAGE + 24), GM_RELAXED, &number), -GM_EFAULTED);
	assert_int_equal(gm_store_u64(&view, gm_gpa(2 * PAGE), GM_RELAXED, 1), -GM_EACCESS);
	assert_int_equal(gm_load_u64(&view, gm_gpa(0), GM_RELAXED, &number), 0);
	expect_event("rom", 0, 2 * PAGE + 24, 1, 2 * PAGE, PAGE);
	gm_view_leave(&view);
	assert_int_equal(gm_view_fini(&view), 0);
	gm_memory_unref(memory);
	/* Not reached at all by who reaches RAM only. */
	assert_int_equal(gm_map_memory(map, GM_ONLY_RAM, &memory), 0);
	assert_int_equal(gm_view_init(&view, memory, "test", 0), 0);
	gm_view_enter(&view);
	assert_int_equal(gm_load_u64(&view, gm_gpa(0), GM_RELAXED, &number), -GM_ENOTRAM);
	assert_int_equal(gm_store_u64(&view, gm_gpa(0), GM_RELAXED, 1), -GM_ENOTRAM);
	gm_view_leave(&view);
	assert_int_equal(gm_view_fini(&view), 0);
	gm_memory_unref(memory);
	gm_map_unref(map);
	gm_region_unref(region);
	close(fd);
	end();
}

/* A hole that is punched reads as zeros, and is no fault. */
static void holes_are_zeros(void **state)
{
	uint64_t number = 1;

	(void)state;
	begin();
	assert_int_equal(
		fallocate(gm_region_fd(world.regions[0]), FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0, BYTES), 0);
	assert_int_equal(gm_load_u64(&world.view, gm_gpa(FIRST(0)), GM_RELAXED, &number), 0);
	assert_int_equal(number, 0);
	expect_no_event();
	/* And what is left of a page is no fault either. */
	assert_int_equal(ftruncate(gm_region_fd(world.regions[0]), 100), 0);
	assert_int_equal(load64(gm_gpa(FIRST(0) + PAGE - 8)), 0);
	assert_int_equal(load64(gm_gpa(FIRST(0) + PAGE)), -GM_EFAULTED);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_access_is_refused),
		cmocka_unit_test(everything_else_goes_on),
		cmocka_unit_test(growing_again_heals_nothing),
		cmocka_unit_test(walks_over_several_regions),
		cmocka_unit_test(walks_into_guarded_memory),
		cmocka_unit_test(iovecs_with_the_kernel),
		cmocka_unit_test(sections_count),
		cmocka_unit_test(read_only_regions),
		cmocka_unit_test(holes_are_zeros),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
