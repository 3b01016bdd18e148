/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* The named limits of updates and spaces, reached and passed; and the refusals of the small calls around them. */
#include "support.h"

#define PAGE GM_PAGE_BYTES

static struct gm_space *new_space(void)
{
	struct gm_space *space;

	assert_int_equal(gm_space_new(NULL, &space, NULL), 0);
	return space;
}

static void expect_error(int r, int code, const struct gm_error *error, const char *words)
{
	assert_int_equal(r, code);
	assert_int_equal(error->code, code);
	if (strstr(error->text, words) == NULL)
		fail_msg("'%s' does not say '%s'", error->text, words);
}

/* Nothing of an update that has grown too long is done. */
static void an_update_has_a_last_operation(void **state)
{
	struct gm_region *region = test_bare("a", GM_RESERVED, 0, PAGE);
	struct gm_space *space = new_space();
	struct gm_update *update = gm_update_begin(space);
	struct gm_error error = { 0, "" };
	size_t i;

	(void)state;
	for (i = 0; i < GM_UPDATE_OPS_MAX; i++)
		assert_int_equal(i % 2 ? gm_update_insert(update, region) : gm_update_remove(update, region), 0);
	assert_int_equal(gm_update_insert(update, region), -E2BIG);
	assert_int_equal(gm_update_remove(update, region), -E2BIG);
	assert_int_equal(gm_update_replace(update, region, region), -E2BIG);
	expect_error(gm_update_commit(update, &error), -E2BIG, &error, "524288");
	assert_null(gm_space_find(space, "a"));
	gm_region_unref(region);
	gm_space_unref(space);
}

static void a_space_has_a_last_region(void **state)
{
	struct gm_space *space = new_space();
	struct gm_update *update = gm_update_begin(space);
	struct gm_error error = { 0, "" };
	struct gm_region *region, *found;
	const struct gm_map *map;
	char name[16];
	size_t i;

	(void)state;
	for (i = 0; i < GM_REGIONS_MAX; i++) {
		snprintf(name, sizeof(name), "r%zu", i);
		region = test_bare(name, GM_RESERVED, i * PAGE, PAGE);
		assert_int_equal(gm_update_insert(update, region), 0);
		gm_region_unref(region);
	}
	if (gm_update_commit(update, &error) != 0)
		fail_msg("%s", error.text);
	region = test_bare("more", GM_RESERVED, GM_REGIONS_MAX * PAGE, PAGE);
	update = gm_update_begin(space);
	(void)gm_update_insert(update, region);
	expect_error(gm_update_commit(update, &error), -E2BIG, &error, "'more' would be number 262145");
	/* In the place of another there is room. */
	found = gm_space_find(space, "r7");
	update = gm_update_begin(space);
	(void)gm_update_replace(update, found, region);
	assert_int_equal(gm_update_commit(update, NULL), 0);
	assert_int_equal(gm_space_map(space, "test", &map), 0);
	assert_int_equal(gm_map_count(map), GM_REGIONS_MAX);
	gm_map_unref(map);
	gm_region_unref(found);
	gm_region_unref(region);
	gm_space_unref(space);
}

static void a_completion_has_a_callback(void **state)
{
	struct gm_space *space = new_space();
	struct gm_update *update = gm_update_begin(space);
	struct gm_error error = { 0, "" };

	(void)state;
	assert_int_equal(gm_update_on_released(NULL, NULL, NULL), -ENOMEM);
	assert_int_equal(gm_update_on_released(update, NULL, NULL), -EINVAL);
	expect_error(gm_update_commit(update, &error), -EINVAL, &error, "callback");
	gm_space_unref(space);
}

static void a_holder_has_a_name(void **state)
{
	char longest[GM_NAME_MAX + 1] = { 0 };
	struct gm_space *space = new_space();
	const struct gm_map *map = NULL;

	(void)state;
	memset(longest, 'n', GM_NAME_MAX);
	assert_int_equal(gm_space_map(space, NULL, &map), -EINVAL);
	assert_int_equal(gm_space_map(space, "", &map), -EINVAL);
	assert_int_equal(gm_space_map(space, "a\tb", &map), -EINVAL);
	assert_int_equal(gm_space_map(space, longest, &map), -EINVAL);
	longest[GM_NAME_MAX - 1] = '\0';
	gmi_fault_arm(1, ENOMEM);
	assert_int_equal(gm_space_map(space, longest, &map), -ENOMEM);
	gmi_fault_arm(0, 0);
	assert_null(map);
	assert_int_equal(gm_space_map(space, longest, &map), 0);
	gm_map_unref(map);
	gm_space_unref(space);
}

static int heard;

/* What a listener may not do, or what does nothing from there. */
static void try_what_is_refused(void *opaque, const struct gm_change *change)
{
	heard++;
	assert_int_equal(gm_view_fini(opaque), -EDEADLK);
	assert_int_equal(gm_space_start_reclaimer(change->space), -EDEADLK);
	gm_space_stop_reclaimer(change->space);
}

static void a_listener_closes_no_view(void **state)
{
	struct gm_view view;
	struct gm_listener listener = {
		.size = sizeof(listener), .name = "l", .opaque = &view, .commit = try_what_is_refused
	};
	struct gm_space *space = new_space();
	struct gm_memory *memory;

	(void)state;
	assert_int_equal(gm_space_start_reclaimer(space), 0);
	assert_int_equal(gm_space_memory(space, GM_ONLY_RAM, &memory), 0);
	assert_int_equal(gm_view_init(&view, memory, "view", 0), 0);
	assert_int_equal(gm_space_add_listener(space, &listener, NULL), 0);
	assert_int_equal(heard, 1);
	assert_int_equal(gm_space_start_reclaimer(space), -EALREADY);
	/* It is open still. */
	gm_view_enter(&view);
	assert_int_not_equal(gm_view_generation(&view), 0);
	gm_view_leave(&view);
	assert_int_equal(gm_space_remove_listener(space, "l"), 0);
	assert_int_equal(gm_view_fini(&view), 0);
	gm_memory_unref(memory);
	gm_space_unref(space);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_update_has_a_last_operation), cmocka_unit_test(a_space_has_a_last_region),
		cmocka_unit_test(a_completion_has_a_callback),    cmocka_unit_test(a_holder_has_a_name),
		cmocka_unit_test(a_listener_closes_no_view),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
