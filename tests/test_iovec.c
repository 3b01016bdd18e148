/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Spans, lists of iovecs, and giving back what was written through them, in its section and under a pin. */
#include "access_world.h"

#include <sys/uio.h>

#define RAM    UINT64_C(0x10000) /* sixteen adjacent regions of a page */
#define HOLE   UINT64_C(0x20000)
#define RDONLY UINT64_C(0x21000)
#define CALLS  UINT64_C(0x23000)
#define WRONLY UINT64_C(0x25000)
#define DEVICE UINT64_C(0x27000)
#define EXEC   UINT64_C(0x28000)
#define BIG    UINT64_C(0x100000)
#define TOP    (UINT64_MAX - PAGE + 1)
#define SIZE   (16 * PAGE)

static struct world world;

static int setup(void **state)
{
	struct spec specs[32] = { { 0 } };
	unsigned n = 0;

	(void)state;
	for (; n < 16; n++)
		specs[n] = (struct spec){ .first = RAM + n * PAGE, .bytes = PAGE };
	specs[n++] = (struct spec){ .first = RDONLY, .bytes = PAGE, .prot = GM_READ };
	specs[n++] = (struct spec){ .first = RDONLY + PAGE, .bytes = PAGE };
	specs[n++] = (struct spec){ .first = CALLS, .bytes = PAGE, .callbacks = true };
	specs[n++] = (struct spec){ .first = CALLS + PAGE, .bytes = PAGE };
	specs[n++] = (struct spec){ .first = WRONLY, .bytes = PAGE, .prot = GM_WRITE };
	specs[n++] = (struct spec){ .first = WRONLY + PAGE, .bytes = PAGE };
	specs[n++] = (struct spec){ .first = DEVICE, .bytes = PAGE, .kind = GM_DEVICE };
	specs[n++] = (struct spec){ .first = EXEC, .bytes = PAGE, .prot = GM_READ | GM_WRITE | GM_EXEC };
	specs[n++] = (struct spec){ .first = BIG, .bytes = SIZE };
	specs[n++] = (struct spec){ .first = TOP, .bytes = PAGE };
	world_new(&world, specs, n, GM_ONLY_RAM, 0);
	world_reset(&world, 1);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	world_free(&world);
	return 0;
}

static void try_span(uint64_t at, uint64_t bytes, unsigned access, uint64_t expected)
{
	/* Twice: the second time the region is hot. */
	for (int hot = 0; hot < 2; hot++) {
		struct gm_span span;

		assert_int_equal(gm_span(&world.view, gm_gpa(at), bytes, access, &span), 0);
		assert_true(span.first.value == at);
		assert_ptr_equal(span.hva, peek(&world, at));
		assert_true(span.bytes == expected);
	}
}

static void spans(void **state)
{
	(void)state;
	try_span(RAM, 1, GM_READ, 1);
	try_span(RAM, PAGE, GM_READ | GM_WRITE, PAGE);
	try_span(RAM, PAGE + 1, GM_WRITE, PAGE);
	try_span(RAM + 5, UINT64_MAX - RAM - 5, GM_READ, PAGE - 5);
	try_span(BIG + 100, 10 * PAGE, GM_READ, 10 * PAGE);
	try_span(BIG + PAGE, SIZE, GM_READ, SIZE - PAGE);
	try_span(BIG + SIZE - 1, 1, GM_WRITE, 1);
	try_span(BIG + SIZE - 1, 2, GM_WRITE, 1);
	try_span(RDONLY, 100, GM_READ, 100);
	try_span(WRONLY, 100, GM_WRITE, 100);
	/* What stands behind is not looked at. */
	try_span(HOLE - 4, 100, GM_READ, 4);
	try_span(UINT64_MAX, 1, GM_READ, 1);
	try_span(TOP, PAGE, GM_READ, PAGE);
	expect_untouched(&world);
}

static void refuse_span(uint64_t at, uint64_t bytes, unsigned access, int code)
{
	struct gm_span span = { .first = { 1 }, .hva = &span, .bytes = 3 };

	assert_int_equal(gm_span(&world.view, gm_gpa(at), bytes, access, &span), code);
	assert_true(span.first.value == 1 && span.hva == (void *)&span && span.bytes == 3);
}

static void refused_spans(void **state)
{
	(void)state;
	refuse_span(HOLE, 1, GM_READ, -GM_EHOLE);
	refuse_span(0, 1, GM_READ, -GM_EHOLE);
	refuse_span(RDONLY, 8, GM_WRITE, -GM_EACCESS);
	try_span(RDONLY, 8, GM_READ, 8);
	refuse_span(RDONLY, 8, GM_WRITE, -GM_EACCESS); /* while hot */
	refuse_span(RDONLY, 8, GM_READ | GM_WRITE, -GM_EACCESS);
	refuse_span(WRONLY, 8, GM_READ, -GM_EACCESS);
	try_span(WRONLY, 8, GM_WRITE, 8);
	refuse_span(WRONLY, 8, GM_READ, -GM_EACCESS);
	refuse_span(CALLS, 8, GM_READ, -GM_EUNMAPPED);
	refuse_span(DEVICE, 8, GM_READ, -GM_ENOTRAM);
	refuse_span(TOP, PAGE + 1, GM_READ, -GM_EWRAP);
	refuse_span(UINT64_MAX, 2, GM_READ, -GM_EWRAP);
	refuse_span(RAM, UINT64_MAX, GM_READ, -GM_EWRAP);
	refuse_span(RAM, 0, GM_READ, -EINVAL);
	refuse_span(RAM, 8, 0, -EINVAL);
	refuse_span(RAM, 8, GM_EXEC, -EINVAL);
	/* A protection, but no access: not where it is permitted either, near or not. */
	refuse_span(EXEC, 8, GM_EXEC, -EINVAL);
	try_span(EXEC, 8, GM_READ | GM_WRITE, 8);
	refuse_span(EXEC, 8, GM_EXEC, -EINVAL);
	refuse_span(EXEC, 8, GM_READ | GM_EXEC, -EINVAL);
	try_span(RAM, 8, GM_READ, 8);
	gm_view_leave(&world.view);
	refuse_span(RAM, 8, GM_READ, -EINVAL); /* though it is near */
	gm_view_enter(&world.view);
}

static void lists(void **state)
{
	struct iovec iovecs[20];
	size_t count;

	(void)state;
	assert_int_equal(gm_iovecs(&world.view, gm_gpa(BIG + 7), 5 * PAGE, GM_READ, iovecs, 1, &count), 0);
	assert_int_equal(count, 1);
	assert_ptr_equal(iovecs[0].iov_base, peek(&world, BIG + 7));
	assert_int_equal(iovecs[0].iov_len, 5 * PAGE);
	assert_int_equal(gm_iovecs(&world.view, gm_gpa(RAM + 100), SIZE - 200, GM_WRITE, iovecs, 20, &count), 0);
	assert_int_equal(count, 16);
	for (unsigned i = 0; i < 16; i++) {
		assert_ptr_equal(iovecs[i].iov_base, peek(&world, RAM + i * PAGE + (i == 0 ? 100 : 0)));
		assert_int_equal(iovecs[i].iov_len, PAGE - (i == 0 || i == 15 ? 100 : 0));
	}
	assert_int_equal(gm_iovecs(&world.view, gm_gpa(TOP), PAGE, GM_READ, iovecs, 20, &count), 0);
	assert_int_equal(count, 1);
	count = 9;
	assert_int_equal(gm_iovecs(&world.view, gm_gpa(HOLE), 0, GM_READ, iovecs, 0, &count), 0);
	assert_int_equal(count, 0);
}

static void refused_lists(void **state)
{
	static const struct {
		uint64_t at, bytes;
		unsigned access;
		size_t max;
		int code;
	} cases[] = {
		{ RAM, SIZE, GM_READ, 15, -ENOBUFS },
		{ RAM, 1, GM_READ, 0, -ENOBUFS },
		{ RAM, SIZE + 1, GM_READ, 20, -GM_EHOLE },
		{ RAM, SIZE + 1, GM_READ, 3, -GM_EHOLE }, /* more room would not help */
		{ HOLE, 1, GM_READ, 20, -GM_EHOLE },
		{ RDONLY, 2 * PAGE, GM_WRITE, 20, -GM_EACCESS },
		{ WRONLY, 2 * PAGE, GM_READ, 20, -GM_EACCESS },
		{ RDONLY + PAGE, 3 * PAGE, GM_READ, 20, -GM_EUNMAPPED },
		{ CALLS, 8, GM_READ, 20, -GM_EUNMAPPED },
		{ WRONLY + PAGE, PAGE + 1, GM_READ, 20, -GM_ENOTRAM },
		{ TOP, PAGE + 1, GM_READ, 20, -GM_EWRAP },
		{ RAM, UINT64_MAX, GM_READ, 20, -GM_EWRAP },
		{ RAM, 8, 0, 20, -EINVAL },
		{ RAM, 8, 8, 20, -EINVAL },
		{ RAM, 0, 0, 20, -EINVAL },
	};
	struct iovec iovecs[20];
	size_t count = 77;

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(gm_iovecs(&world.view, gm_gpa(cases[i].at), cases[i].bytes, cases[i].access, iovecs,
					   cases[i].max, &count),
				 cases[i].code);
		assert_int_equal(count, 77);
	}
	/* No room may come without an array. */
	assert_int_equal(gm_iovecs(&world.view, gm_gpa(RAM), 8, GM_READ, NULL, 0, &count), -ENOBUFS);
	gm_view_leave(&world.view);
	assert_int_equal(gm_iovecs(&world.view, gm_gpa(RAM), 8, GM_READ, iovecs, 20, &count), -EINVAL);
	assert_int_equal(count, 77);
	gm_view_enter(&world.view);
}

/* Regions whose memory happens to be adjacent in this process too: one vector. */
static void joined(void **state)
{
	static _Alignas(4096) unsigned char memory[4 * 4096];
	static const unsigned places[4] = { 0, 1, 3, 2 }; /* the third and fourth the other way round */
	struct gm_region *regions[4];
	struct gm_memory *handle;
	struct iovec iovecs[4];
	struct gm_view view;
	struct gm_map *map;
	size_t count;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		char name[] = { 'p', (char)('0' + i), 0 };
		struct gm_region_opts opts = {
			.size = sizeof(opts),
			.name = name,
			.source = GM_SOURCE_POINTER,
			.first = gm_gpa(i * PAGE),
			.bytes = PAGE,
			.hva = memory + places[i] * PAGE,
		};

		assert_int_equal(gm_region_new(&opts, &regions[i], NULL), 0);
	}
	assert_int_equal(gm_map_new(NULL, regions, 4, &map, NULL), 0);
	assert_int_equal(gm_map_memory(map, GM_ONLY_RAM, &handle), 0);
	assert_int_equal(gm_view_init(&view, handle, "joined", 0), 0);
	gm_view_enter(&view);
	assert_int_equal(gm_iovecs(&view, gm_gpa(10), 4 * PAGE - 20, GM_READ, iovecs, 3, &count), 0);
	assert_int_equal(count, 3);
	assert_ptr_equal(iovecs[0].iov_base, memory + 10);
	assert_int_equal(iovecs[0].iov_len, 2 * PAGE - 10);
	assert_ptr_equal(iovecs[1].iov_base, memory + 3 * PAGE);
	assert_int_equal(iovecs[1].iov_len, PAGE);
	assert_ptr_equal(iovecs[2].iov_base, memory + 2 * PAGE);
	assert_int_equal(iovecs[2].iov_len, PAGE - 10);
	/* Full after the first, and joined none the less. */
	assert_int_equal(gm_iovecs(&view, gm_gpa(0), 2 * PAGE, GM_READ, iovecs, 1, &count), 0);
	assert_int_equal(count, 1);
	gm_view_leave(&view);
	assert_int_equal(gm_view_fini(&view), 0);
	gm_memory_unref(handle);
	gm_map_unref(map);
	for (unsigned i = 0; i < 4; i++)
		gm_region_unref(regions[i]);
}

/* The pages of [at, at + bytes), and no others, are dirty in regions with logs. */
static void expect_dirty(uint64_t at, uint64_t bytes)
{
	for (unsigned i = 0; i < world.count; i++) {
		struct gm_range range = gm_region_range(world.regions[i]);
		uint64_t pages = 0;

		for (uint64_t k = 0; k < gm_region_bytes(world.regions[i]); k += PAGE) {
			uint64_t page = range.first.value + k;

			if (bytes != 0 && page <= at + (bytes - 1) && page + (PAGE - 1) >= at)
				pages |= UINT64_C(1) << (k / PAGE);
		}
		assert_true(collect_pages(&world, i) == (world.readers[i] ? pages : 0));
	}
}

static const struct {
	uint64_t at, bytes;
} written[] = {
	{ RAM, 1 },
	{ RAM + PAGE - 1, 2 },
	{ RAM, SIZE },
	{ BIG + 3 * PAGE + 5, 7 * PAGE },
	{ BIG + PAGE, PAGE },
	{ TOP, PAGE },
	{ UINT64_MAX, 1 },
	{ HOLE - 1, 2 * PAGE }, /* over a hole */
	{ 0, BIG },             /* from below the first region */
	{ HOLE, PAGE },         /* nothing there */
	{ DEVICE - 1, PAGE },   /* into registers */
	{ BIG + SIZE - 1, UINT64_C(1) << 40 },
	{ RAM, 0 },
	{ 0, UINT64_MAX },
};

static void given_back(void **state)
{
	(void)state;
	world_reset(&world, 2);
	for (unsigned i = 0; i < sizeof(written) / sizeof(written[0]); i++) {
		gm_written(&world.view, gm_gpa(written[i].at), written[i].bytes);
		expect_dirty(written[i].at, written[i].bytes);
	}
	/* A size that wraps: to the end of the address space. */
	gm_written(&world.view, gm_gpa(TOP), UINT64_MAX);
	expect_dirty(TOP, PAGE);
	gm_view_leave(&world.view);
	gm_written(&world.view, gm_gpa(RAM), 8);
	expect_dirty(0, 0);
	gm_view_enter(&world.view);
}

static void given_back_under_a_pin(void **state)
{
	struct gm_pin pin = { 0 };

	(void)state;
	world_reset(&world, 3);
	gm_pin_written(&pin, gm_gpa(RAM), 8);
	expect_dirty(0, 0);
	assert_int_equal(gm_view_pin(&world.view, &pin), 0);
	gm_view_leave(&world.view);
	for (unsigned i = 0; i < sizeof(written) / sizeof(written[0]); i++) {
		gm_pin_written(&pin, gm_gpa(written[i].at), written[i].bytes);
		expect_dirty(written[i].at, written[i].bytes);
	}
	gm_view_unpin(&pin);
	gm_pin_written(&pin, gm_gpa(RAM), 8);
	expect_dirty(0, 0);
	gm_view_enter(&world.view);
}

/* A pin marks the regions of its own snapshot, also when they are no longer in the space. */
static void pinned_and_removed(void **state)
{
	struct gm_dirty_range range;
	struct gm_dirty_reader *reader;
	struct gm_region *region;
	struct gm_memory *memory;
	struct gm_update *update;
	struct gm_offset next;
	struct gm_space *space;
	struct gm_span span;
	struct gm_view view;
	struct gm_pin pin;
	size_t count;

	(void)state;
	assert_int_equal(gm_space_new(NULL, &space, NULL), 0);
	assert_int_equal(gm_region_new(&(struct gm_region_opts){ .size = sizeof(struct gm_region_opts),
								 .name = "ram",
								 .bytes = 2 * PAGE,
								 .source = GM_SOURCE_ANON,
								 .dirty_page_bytes = PAGE },
				       &region, NULL),
			 0);
	assert_int_equal(gm_dirty_reader_new(gm_region_dirty(region), &reader), 0);
	update = gm_update_begin(space);
	assert_int_equal(gm_update_insert(update, region), 0);
	assert_int_equal(gm_update_commit(update, NULL), 0);
	assert_int_equal(gm_space_memory(space, GM_ONLY_RAM, &memory), 0);
	assert_int_equal(gm_view_init(&view, memory, "pinned", 0), 0);
	gm_view_enter(&view);
	assert_int_equal(gm_span(&view, gm_gpa(PAGE), 8, GM_WRITE, &span), 0);
	assert_int_equal(gm_view_pin(&view, &pin), 0);
	gm_view_leave(&view);
	update = gm_update_begin(space);
	assert_int_equal(gm_update_remove(update, region), 0);
	assert_int_equal(gm_update_commit(update, NULL), 0);
	memset(span.hva, 1, 8);
	gm_pin_written(&pin, gm_gpa(PAGE), 8);
	assert_int_equal(gm_dirty_collect(reader, gm_offset(0), 2 * PAGE, &range, 1, &count, &next), 0);
	assert_int_equal(count, 1);
	assert_int_equal(range.first.value, PAGE);
	gm_view_unpin(&pin);
	assert_int_equal(gm_space_wait(space, 1000), 0);
	assert_int_equal(gm_view_fini(&view), 0);
	gm_memory_unref(memory);
	gm_space_unref(space);
	gm_dirty_reader_free(reader);
	gm_region_unref(region);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(spans),
		cmocka_unit_test(refused_spans),
		cmocka_unit_test(lists),
		cmocka_unit_test(refused_lists),
		cmocka_unit_test(joined),
		cmocka_unit_test(given_back),
		cmocka_unit_test(given_back_under_a_pin),
		cmocka_unit_test(pinned_and_removed),
	};

	return run_unguarded_and_guarded(tests, setup, teardown);
}
