/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Fixed maps: what is refused and how, queries at every border, and KVM's number of regions in one map. */
#include "support.h"

#define PAGE GM_PAGE_BYTES

static struct gm_map *make_map(struct gm_region **regions, size_t count)
{
	struct gm_error error = { 0, "" };
	struct gm_map *map;

	if (gm_map_new(NULL, regions, count, &map, &error) != 0)
		fail_msg("%s", error.text);
	return map;
}

static void unref_all(struct gm_region **regions, size_t count)
{
	while (count-- > 0)
		gm_region_unref(regions[count]);
}

static void expect_refusal(const struct gm_layout *layout, struct gm_region **regions, size_t count, int code,
			   const char *words)
{
	struct gm_map *map = (struct gm_map *)0x1;
	struct gm_error error = { 0, "" };

	assert_int_equal(gm_map_new(layout, regions, count, &map, &error), code);
	assert_int_equal(error.code, code);
	if (strstr(error.text, words) == NULL)
		fail_msg("'%s' does not say '%s'", error.text, words);
	assert_ptr_equal(map, (struct gm_map *)0x1);
}

static void refuses_conflicts(void **state)
{
	struct gm_region *regions[] = {
		test_bare("a", GM_DEVICE, 0x1000, 0x1000),
		test_bare("b", GM_DEVICE, 0x1fff, 1),
		test_bare("a", GM_DEVICE, 0x8000, 0x1000),
		NULL,
	};

	(void)state;
	expect_refusal(NULL, regions, 2, -EEXIST, "'b' [0x1fff, 0x1fff] overlaps device region 'a' [0x1000, 0x1fff]");
	regions[1] = (gm_region_unref(regions[1]), regions[2]);
	expect_refusal(NULL, regions, 2, -EEXIST, "the name is that of");
	expect_refusal(NULL, regions, 4, -EINVAL, "entry 3");
	expect_refusal(NULL, regions, GM_REGIONS_MAX + 1, -E2BIG, "at most 262144");
	gm_region_unref(regions[0]);
	gm_region_unref(regions[1]);
}

static void refuses_what_the_layout_forbids(void **state)
{
	unsigned char *pages = test_pages(PAGE);
	struct gm_region *in_hole = test_ram("ram0", 0xc0000000, PAGE, pages);
	struct gm_layout layout;

	(void)state;
	assert_int_equal(gm_layout_x86_64_pc(40, &layout), 0);
	expect_refusal(&layout, &in_hole, 1, -ERANGE, "ram0");
	layout.holes_count = GM_HOLES_MAX + 1;
	expect_refusal(&layout, &in_hole, 1, -EINVAL, "");
	gm_region_unref(in_hole);
	munmap(pages, PAGE);
}

static struct gm_region *memfd_region(const char *name, uint64_t first, int fd, uint64_t offset, unsigned flags)
{
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = name,
		.kind = GM_RAM,
		.first = gm_gpa(first),
		.bytes = 4 * PAGE,
		.source = GM_SOURCE_FD,
		.fd = fd,
		.fd_offset = offset,
		.flags = flags,
	};
	struct gm_error error = { 0, "" };
	struct gm_region *region;

	if (gm_region_new(&opts, &region, &error) != 0)
		fail_msg("%s", error.text);
	return region;
}

static void refuses_aliases_unless_asked(void **state)
{
	int fd = memfd_create("alias", MFD_CLOEXEC);
	struct gm_region *regions[3];

	(void)state;
	assert_int_equal(ftruncate(fd, 16 * PAGE), 0);
	regions[0] = memfd_region("a", 0, fd, 0, 0);
	regions[1] = memfd_region("b", 0x100000, fd, 3 * PAGE, 0);
	expect_refusal(NULL, regions, 2, -EEXIST, "GM_REGION_ALIAS");
	gm_region_unref(regions[1]);
	/* The next byte is another one. */
	regions[1] = memfd_region("b", 0x100000, fd, 4 * PAGE, 0);
	gm_map_unref(make_map(regions, 2));
	/* One that asks for it may show bytes of both. */
	regions[2] = memfd_region("c", 0x200000, fd, 2 * PAGE, GM_REGION_ALIAS);
	gm_map_unref(make_map(regions, 3));
	gm_region_unref(regions[2]);
	/* A private copy shows other bytes as soon as they are written. */
	regions[2] = memfd_region("c", 0x200000, fd, 2 * PAGE, GM_REGION_COW);
	gm_map_unref(make_map(regions, 3));
	unref_all(regions, 3);
	close(fd);
}

/* ram0 [0x1000, 0x2fff], dev [0x3000, 0x30ff], gap, ram1 [0x10000, 0x10fff], dax at the very end of the address space. */
static struct gm_map *sample(unsigned char *pages)
{
	struct gm_region *regions[] = {
		test_ram("ram1", 0x10000, PAGE, pages + 2 * PAGE),
		test_ram("ram0", 0x1000, 2 * PAGE, pages),
		test_bare("dev", GM_DEVICE, 0x3000, 0x100),
		NULL,
	};
	struct gm_error error = { 0, "" };
	struct gm_map *map;

	if (gm_region_new_dax("dax", gm_gpa(UINT64_MAX - 0xfff), PAGE, &regions[3], &error) != 0)
		fail_msg("%s", error.text);
	map = make_map(regions, 4);
	unref_all(regions, 4);
	return map;
}

static const char *name_at(const struct gm_map *map, uint64_t address)
{
	const struct gm_region *region = gm_map_find(map, gm_gpa(address));

	return region ? gm_region_name(region) : "-";
}

static void finds_at_every_border(void **state)
{
	static const struct {
		uint64_t address;
		const char *at, *next;
	} cases[] = {
		{ 0, "-", "ram0" },           { 0xfff, "-", "ram0" },   { 0x1000, "ram0", "ram0" },
		{ 0x2fff, "ram0", "ram0" },   { 0x3000, "dev", "dev" }, { 0x30ff, "dev", "dev" },
		{ 0x3100, "-", "ram1" },      { 0xffff, "-", "ram1" },  { 0x10000, "ram1", "ram1" },
		{ 0x10fff, "ram1", "ram1" },  { 0x11000, "-", "dax" },  { UINT64_MAX - 0x1000, "-", "dax" },
		{ UINT64_MAX, "dax", "dax" },
	};
	unsigned char *pages = test_pages(3 * PAGE);
	struct gm_map *map = sample(pages);
	struct gm_gpa address;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_string_equal(name_at(map, cases[i].address), cases[i].at);
		assert_string_equal(gm_region_name(gm_map_find_next(map, gm_gpa(cases[i].address))), cases[i].next);
	}
	assert_int_equal(gm_map_count(map), 4);
	assert_true(gm_map_generation(map) > 0);
	assert_string_equal(gm_region_name(gm_map_find_name(map, "dev")), "dev");
	assert_null(gm_map_find_name(map, "de"));
	assert_int_equal(gm_map_find_hva(map, pages + 2 * PAGE + 5, &address), 0);
	assert_int_equal(address.value, 0x10005);
	assert_int_equal(gm_map_find_hva(map, pages - 1, &address), -ENOENT);
	/* The dax window is higher, and does not count. */
	assert_int_equal(gm_map_last(map, &address), 0);
	assert_int_equal(address.value, 0x10fff);
	gm_map_unref(map);
	munmap(pages, 3 * PAGE);
}

static void walks_spans_and_gaps(void **state)
{
	static const struct {
		struct gm_range within;
		int gap;
		struct gm_range first_gap;
		int span;
		struct gm_range first_span;
	} cases[] = {
#define R(first, last) { { first }, { last } }
		{ R(0, UINT64_MAX), 0, R(0, 0xfff), 0, R(0x1000, 0x2fff) },
		{ R(0x1000, 0x30ff), -ENOENT, R(0, 0), 0, R(0x1000, 0x2fff) },
		{ R(0x2000, 0x3100), 0, R(0x3100, 0x3100), 0, R(0x2000, 0x2fff) },
		{ R(0x2fff, 0x20000), 0, R(0x3100, 0xffff), 0, R(0x2fff, 0x2fff) },
		{ R(0x3100, 0xffff), 0, R(0x3100, 0xffff), -ENOENT, R(0, 0) },
		{ R(0x11000, UINT64_MAX), 0, R(0x11000, UINT64_MAX - 0x1000), 0, R(UINT64_MAX - 0xfff, UINT64_MAX) },
		{ R(UINT64_MAX, UINT64_MAX), -ENOENT, R(0, 0), 0, R(UINT64_MAX, UINT64_MAX) },
#undef R
	};
	unsigned char *pages = test_pages(3 * PAGE);
	struct gm_map *map = sample(pages);
	const struct gm_region *region;
	struct gm_range range;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(gm_map_gap(map, cases[i].within, &range), cases[i].gap);
		if (cases[i].gap == 0) {
			assert_int_equal(range.first.value, cases[i].first_gap.first.value);
			assert_int_equal(range.last.value, cases[i].first_gap.last.value);
		}
		assert_int_equal(gm_map_span(map, cases[i].within, &range, &region), cases[i].span);
		if (cases[i].span == 0) {
			assert_int_equal(range.first.value, cases[i].first_span.first.value);
			assert_int_equal(range.last.value, cases[i].first_span.last.value);
			assert_true(gm_region_contains(region, range.first));
		}
	}
	gm_map_unref(map);
	munmap(pages, 3 * PAGE);
}

static void empty_map_has_nothing(void **state)
{
	struct gm_map *map = make_map(NULL, 0);
	const struct gm_region *region;
	struct gm_gpa address;
	struct gm_range range;

	(void)state;
	assert_null(gm_map_find(map, gm_gpa(0)));
	assert_null(gm_map_find_next(map, gm_gpa(0)));
	assert_null(gm_map_next(map, NULL));
	assert_int_equal(gm_map_last(map, &address), -ENOENT);
	assert_int_equal(gm_map_span(map, test_range(0, UINT64_MAX), &range, &region), -ENOENT);
	assert_int_equal(gm_map_gap(map, test_range(5, UINT64_MAX), &range), 0);
	assert_int_equal(range.first.value, 5);
	assert_int_equal(range.last.value, UINT64_MAX);
	gm_map_unref(map);
	gm_map_unref(NULL);
}

/* 32 764 regions, as many as KVM has slots for, given in random order, walk in order. */
static void holds_as_many_as_kvm(void **state)
{
	enum { COUNT = 32764 };
	static struct gm_region *regions[COUNT];
	struct test_random random = { 42 };
	unsigned char *pages = test_pages((size_t)COUNT * PAGE);
	const struct gm_region *region = NULL;
	struct gm_map *map;
	uint64_t generation;
	size_t i, j;

	(void)state;
	for (i = 0; i < COUNT; i++) {
		char name[16];

		snprintf(name, sizeof(name), "ram%zu", i);
		/* Every other one is followed by a gap. */
		regions[i] = test_ram(name, (i + i / 2) * PAGE, PAGE, pages + i * PAGE);
	}
	for (i = COUNT - 1; i > 0; i--) {
		j = test_below(&random, i + 1);
		region = regions[i];
		regions[i] = regions[j];
		regions[j] = (struct gm_region *)(uintptr_t)region;
	}
	map = make_map(regions, COUNT);
	generation = gm_map_generation(map);
	unref_all(regions, COUNT);
	region = NULL;
	for (i = 0; i < COUNT; i++) {
		region = gm_map_next(map, region);
		assert_non_null(region);
		assert_int_equal(gm_region_first(region).value, (i + i / 2) * PAGE);
		assert_ptr_equal(gm_map_find(map, gm_region_last(region)), region);
	}
	assert_null(gm_map_next(map, region));
	assert_int_equal(gm_map_count(map), COUNT);
	gm_map_unref(map);
	map = make_map(NULL, 0);
	assert_true(gm_map_generation(map) > generation);
	gm_map_unref(map);
	munmap(pages, (size_t)COUNT * PAGE);
}

static void memory_takes_sets_of_kinds(void **state)
{
	struct gm_map *map = make_map(NULL, 0);
	struct gm_memory *memory = NULL;

	(void)state;
	assert_int_equal(gm_map_memory(map, 0, &memory), -EINVAL);
	assert_int_equal(gm_map_memory(map, GM_KIND_BIT(GM_RESERVED) | GM_ONLY_RAM, &memory), -EINVAL);
	assert_int_equal(gm_map_memory(map, 1u << 30, &memory), -EINVAL);
	assert_null(memory);
	gmi_fault_arm(1, ENOMEM);
	assert_int_equal(gm_map_memory(map, GM_ONLY_RAM, &memory), -ENOMEM);
	assert_int_equal(gm_map_memory(map, GM_ONLY_RAM, &memory), 0);
	gm_map_unref(map);
	gm_memory_unref(gm_memory_ref(memory));
	gm_memory_unref(memory);
	gm_memory_unref(NULL);
}

/* The n-th allocation fails, for all n. */
static void survives_want_of_memory(void **state)
{
	unsigned char *pages = test_pages(200 * PAGE);
	struct gm_region *regions[200];
	struct gm_map *map = NULL;
	struct gm_error error;
	long n;
	int r;

	(void)state;
	for (n = 0; n < 200; n++) {
		char name[16];

		snprintf(name, sizeof(name), "ram%ld", n);
		regions[n] = test_ram(name, (uint64_t)n * PAGE, PAGE, pages + n * PAGE);
	}
	for (n = 1;; n++) {
		gmi_fault_arm(n, ENOMEM);
		r = gm_map_new(NULL, regions, 200, &map, &error);
		gmi_fault_arm(0, 0);
		if (r == 0)
			break;
		assert_int_equal(r, -ENOMEM);
		assert_int_equal(error.code, -ENOMEM);
		assert_null(map);
	}
	assert_true(n > 5);
	gm_map_unref(map);
	unref_all(regions, 200);
	munmap(pages, 200 * PAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_conflicts),
		cmocka_unit_test(refuses_what_the_layout_forbids),
		cmocka_unit_test(refuses_aliases_unless_asked),
		cmocka_unit_test(finds_at_every_border),
		cmocka_unit_test(walks_spans_and_gaps),
		cmocka_unit_test(empty_map_has_nothing),
		cmocka_unit_test(holds_as_many_as_kvm),
		cmocka_unit_test(memory_takes_sets_of_kinds),
		cmocka_unit_test(survives_want_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
