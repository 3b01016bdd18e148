/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Views: opening and closing, sections, pins, and what a view caches over changes of the map. */
#include "support.h"

#define PAGE GM_PAGE_BYTES

static unsigned char *pages;
static struct gm_space *space;
static struct gm_memory *memory;

static int set_up(void **state)
{
	struct gm_region *ram;
	struct gm_update *update;
	struct gm_error error;

	(void)state;
	pages = test_pages(4 * PAGE);
	assert_int_equal(gm_space_new(NULL, &space, &error), 0);
	ram = test_ram("ram", 0, 2 * PAGE, pages);
	update = gm_update_begin(space);
	assert_int_equal(gm_update_insert(update, ram), 0);
	assert_int_equal(gm_update_commit(update, &error), 0);
	gm_region_unref(ram);
	assert_int_equal(gm_space_memory(space, GM_ONLY_RAM, &memory), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	gm_memory_unref(memory);
	gm_space_unref(space);
	munmap(pages, 4 * PAGE);
	return 0;
}

static void refuses_bad_arguments(void **state)
{
	char longest[GM_VIEW_NAME_MAX + 1] = { 0 };
	struct gm_view view;

	(void)state;
	memset(longest, 'n', GM_VIEW_NAME_MAX);
	assert_int_equal(gm_view_init(&view, memory, NULL, 0), -EINVAL);
	assert_int_equal(gm_view_init(&view, memory, "", 0), -EINVAL);
	assert_int_equal(gm_view_init(&view, memory, "a\nb", 0), -EINVAL);
	assert_int_equal(gm_view_init(&view, memory, longest, 0), -EINVAL);
	assert_int_equal(gm_view_init(&view, memory, "view", 2), -EINVAL);
	longest[GM_VIEW_NAME_MAX - 1] = '\0';
	assert_int_equal(gm_view_init(&view, memory, longest, 0), 0);
	assert_int_equal(gm_view_fini(&view), 0);
	/* Twice is once. */
	assert_int_equal(gm_view_fini(&view), 0);
}

static void works_inside_a_section_only(void **state)
{
	struct gm_view view;
	struct gm_pin pin = { NULL, NULL, NULL, NULL };
	uint64_t number = 7;

	(void)state;
	assert_int_equal(gm_view_init(&view, memory, "view", 0), 0);
	assert_int_equal(gm_load_u64(&view, gm_gpa(0), GM_RELAXED, &number), -EINVAL);
	assert_int_equal(gm_view_pin(&view, &pin), -EINVAL);
	gm_view_unpin(&pin);
	assert_int_equal(gm_view_generation(&view), 0);
	gm_view_leave(&view);
	gm_view_enter(&view);
	assert_true(gm_view_generation(&view) != 0);
	assert_int_equal(gm_load_u64(&view, gm_gpa(0), GM_RELAXED, &number), 0);
	assert_int_equal(number, 0);
	assert_int_equal(gm_view_fini(&view), -EBUSY);
	gm_view_leave(&view);
	/* The hot span is there, and may not be used. */
	number = 7;
	assert_int_equal(gm_load_u64(&view, gm_gpa(0), GM_RELAXED, &number), -EINVAL);
	assert_int_equal(gm_store_u64(&view, gm_gpa(0), GM_RELAXED, number), -EINVAL);
	assert_int_equal(number, 7);
	assert_int_equal(gm_view_fini(&view), 0);
}

static void closes_after_its_pins(void **state)
{
	struct gm_view view;
	struct gm_pin pins[3];

	(void)state;
	assert_int_equal(gm_view_init(&view, memory, "view", 0), 0);
	gm_view_enter(&view);
	assert_int_equal(gm_view_pin(&view, &pins[0]) | gm_view_pin(&view, &pins[1]) | gm_view_pin(&view, &pins[2]), 0);
	gm_view_leave(&view);
	assert_int_equal(gm_view_fini(&view), -EBUSY);
	gm_view_unpin(&pins[1]);
	gm_view_unpin(&pins[2]);
	assert_int_equal(gm_view_fini(&view), -EBUSY);
	gm_view_unpin(&pins[0]);
	gm_view_unpin(&pins[0]);
	assert_int_equal(gm_view_fini(&view), 0);
}

/* A section that goes on while the map changes sees the old map; entering again, without leaving, sees the new one. */
static void keeps_its_snapshot(void **state)
{
	struct gm_region *more = test_ram("more", 2 * PAGE, PAGE, pages + 2 * PAGE);
	struct gm_update *update = gm_update_begin(space);
	struct gm_view view;
	uint64_t number, generation;

	(void)state;
	*(uint64_t *)(void *)(pages + 2 * PAGE) = 5;
	assert_int_equal(gm_view_init(&view, memory, "view", 0), 0);
	gm_view_enter(&view);
	generation = gm_view_generation(&view);
	assert_int_equal(gm_update_insert(update, more), 0);
	assert_int_equal(gm_update_commit(update, NULL), 0);
	assert_int_equal(gm_load_u64(&view, gm_gpa(2 * PAGE), GM_RELAXED, &number), -GM_EHOLE);
	assert_int_equal(gm_view_generation(&view), generation);
	gm_view_enter(&view);
	assert_true(gm_view_generation(&view) > generation);
	assert_int_equal(gm_load_u64(&view, gm_gpa(2 * PAGE), GM_RELAXED, &number), 0);
	assert_int_equal(number, 5);
	gm_view_leave(&view);
	assert_int_equal(gm_view_fini(&view), 0);
	gm_region_unref(more);
}

/* A region at the same place, in a map that may be at the same address: what was cached of the old one must not be used. */
static void forgets_what_was_replaced(void **state)
{
	struct gm_view view;
	uint64_t number;
	int i;

	(void)state;
	assert_int_equal(gm_view_init(&view, memory, "view", 0), 0);
	for (i = 0; i < 100; i++) {
		struct gm_region *old = gm_space_find(space, "ram");
		struct gm_region *new_ = test_ram("ram", 0, 2 * PAGE, pages + (i % 2 ? 0 : 2 * PAGE));
		struct gm_update *update = gm_update_begin(space);

		*(uint64_t *)(void *)(pages + (i % 2 ? 0 : 2 * PAGE)) = (uint64_t)i;
		assert_int_equal(gm_update_replace(update, old, new_), 0);
		assert_int_equal(gm_update_commit(update, NULL), 0);
		gm_region_unref(old);
		gm_region_unref(new_);
		gm_view_enter(&view);
		assert_int_equal(gm_load_u64(&view, gm_gpa(0), GM_RELAXED, &number), 0);
		assert_int_equal(number, i);
		gm_view_leave(&view);
	}
	assert_int_equal(gm_view_fini(&view), 0);
}

/* The same consumer code on a map that never changes; the map goes with its last view. */
static void works_on_a_fixed_map(void **state)
{
	struct gm_region *ram = test_ram("ram", PAGE, PAGE, pages);
	struct gm_memory *fixed;
	struct gm_map *map;
	struct gm_view view;
	struct gm_pin pin;
	uint64_t number = 0;

	(void)state;
	assert_int_equal(gm_map_new(NULL, &ram, 1, &map, NULL), 0);
	gm_region_unref(ram);
	assert_int_equal(gm_map_memory(map, GM_ONLY_RAM, &fixed), 0);
	assert_int_equal(gm_view_init(&view, fixed, "view", 0), 0);
	gm_view_enter(&view);
	assert_int_equal(gm_view_generation(&view), gm_map_generation(map));
	gm_map_unref(map);
	gm_memory_unref(fixed);
	assert_int_equal(gm_store_le64(&view, gm_gpa(PAGE), GM_RELAXED, 77), 0);
	assert_int_equal(gm_load_le64(&view, gm_gpa(PAGE), GM_RELAXED, &number), 0);
	assert_int_equal(number, 77);
	assert_int_equal(gm_view_pin(&view, &pin), 0);
	gm_view_leave(&view);
	gm_view_unpin(&pin);
	assert_int_equal(gm_view_fini(&view), 0);
}

/* So many loads, @percent of them in the page at @most and the others in any of the first four. Return: how many of 1000 were in the hot region. */
static unsigned load_mostly(struct gm_view *view, uint64_t most, unsigned percent)
{
	static struct test_random numbers = { 5 };
	const unsigned count = 20000;
	unsigned hits = 0, i;
	uint64_t number = 0;

	for (i = 0; i < count; i++) {
		const uint64_t page = test_below(&numbers, 100) < percent ? most : test_below(&numbers, 4) * PAGE;

		hits += page - view->hot_first < view->hot_room;
		assert_int_equal(gm_load_u64(view, gm_gpa(page), GM_RELAXED, &number), 0);
		assert_int_equal(number, page + 1);
	}
	return hits * 1000 / count;
}

/* The region of most objects is the hot one, also when that is another one later; where there is no such region, none is. */
static void chooses_its_hot_region(void **state)
{
	struct gm_region *ram[4];
	struct gm_memory *fixed;
	struct gm_map *map;
	struct gm_view view;
	char name[] = "ram0";
	unsigned i;

	(void)state;
	for (i = 0; i < 4; i++, name[3]++) {
		*(uint64_t *)(void *)(pages + i * PAGE) = i * PAGE + 1;
		ram[i] = test_ram(name, i * PAGE, PAGE, pages + i * PAGE);
	}
	assert_int_equal(gm_map_new(NULL, ram, 4, &map, NULL), 0);
	for (i = 0; i < 4; i++)
		gm_region_unref(ram[i]);
	assert_int_equal(gm_map_memory(map, GM_ONLY_RAM, &fixed), 0);
	gm_map_unref(map);
	assert_int_equal(gm_view_init(&view, fixed, "view", 0), 0);
	gm_memory_unref(fixed);
	gm_view_enter(&view);
	/* The first one's, at once. */
	assert_true(load_mostly(&view, 2 * PAGE, 100) >= 999);
	assert_true(load_mostly(&view, 2 * PAGE, 90) >= 850);
	/* Each in a random one of four: hits would be a quarter. */
	assert_true(load_mostly(&view, 0, 0) <= 50);
	assert_true(load_mostly(&view, PAGE, 100) >= 900);
	assert_true(load_mostly(&view, PAGE, 90) >= 850);
	for (i = 0; i < 8; i++)
		assert_true(load_mostly(&view, (i & 3) * PAGE, 97) >= 600);
	/* It is remembered from section to section. */
	gm_view_leave(&view);
	gm_view_enter(&view);
	assert_true(load_mostly(&view, 3 * PAGE, 100) >= 999);
	gm_view_leave(&view);
	assert_int_equal(gm_view_fini(&view), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(refuses_bad_arguments, set_up, tear_down),
		cmocka_unit_test_setup_teardown(works_inside_a_section_only, set_up, tear_down),
		cmocka_unit_test_setup_teardown(closes_after_its_pins, set_up, tear_down),
		cmocka_unit_test_setup_teardown(keeps_its_snapshot, set_up, tear_down),
		cmocka_unit_test_setup_teardown(forgets_what_was_replaced, set_up, tear_down),
		cmocka_unit_test_setup_teardown(works_on_a_fixed_map, set_up, tear_down),
		cmocka_unit_test_setup_teardown(chooses_its_hot_region, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
