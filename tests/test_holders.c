/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Who holds what, asked by visitors that take their time and change what they are told of; and names that do not pile up. */
#include "support.h"

#define PAGE GM_PAGE_BYTES

struct visits {
	struct gm_pin *pins;
	size_t left; /* pins to be let go by the visitor */
	size_t reads, pinned, maps;
};

static void visit(void *opaque, const char *holder, enum gm_hold hold)
{
	struct visits *visits = opaque;

	assert_true(strlen(holder) > 0);
	if (hold == GM_HOLD_READ)
		visits->reads++;
	else if (hold == GM_HOLD_MAP)
		visits->maps++;
	else
		visits->pinned++;
	if (hold == GM_HOLD_PIN && visits->left > 0)
		gm_view_unpin(&visits->pins[--visits->left]);
}

static struct gm_space *new_space(struct gm_region *region)
{
	struct gm_space *space;
	struct gm_update *update;

	assert_int_equal(gm_space_new(NULL, &space, NULL), 0);
	update = gm_update_begin(space);
	(void)gm_update_insert(update, region);
	assert_int_equal(gm_update_commit(update, NULL), 0);
	return space;
}

/* The lock of a view's pins spins: no visitor may be called under it. */
static void a_visitor_may_unpin(void **state)
{
	struct gm_region *region = test_bare("a", GM_RESERVED, 0, PAGE);
	struct gm_space *space = new_space(region);
	struct gm_pin pins[3];
	struct visits visits = { .pins = pins, .left = 3 };
	struct gm_memory *memory;
	struct gm_view view;
	size_t i;

	(void)state;
	assert_int_equal(gm_space_memory(space, GM_ONLY_RAM, &memory), 0);
	assert_int_equal(gm_view_init(&view, memory, "view", 0), 0);
	gm_view_enter(&view);
	for (i = 0; i < 3; i++)
		assert_int_equal(gm_view_pin(&view, &pins[i]), 0);
	gm_view_leave(&view);
	assert_int_equal(gm_space_holders(space, region, visit, &visits), 3);
	assert_int_equal(visits.pinned, 3);
	assert_int_equal(visits.left, 0);
	assert_int_equal(gm_space_holders(space, region, visit, &visits), 0);
	assert_int_equal(gm_view_fini(&view), 0);
	gm_memory_unref(memory);
	gm_region_unref(region);
	gm_space_unref(space);
}

/* While one holder keeps a map for long, another comes and goes: its name is kept once, and not for each time. */
static void names_do_not_pile_up(void **state)
{
	struct gm_region *region = test_bare("a", GM_RESERVED, 0, PAGE);
	struct gm_space *space = new_space(region);
	struct visits visits = { 0 };
	const struct gm_map *keeper, *passing;
	int i;

	(void)state;
	assert_int_equal(gm_space_map(space, "keeper", &keeper), 0);
	for (i = 0; i < 100; i++) {
		assert_int_equal(gm_space_map(space, "passing", &passing), 0);
		gm_map_unref(passing);
	}
	assert_int_equal(gm_space_holders(space, region, visit, &visits), 2);
	assert_int_equal(visits.maps, 2);
	gm_map_unref(keeper);
	assert_int_equal(gm_space_holders(space, region, visit, &visits), 0);
	gm_region_unref(region);
	gm_space_unref(space);
}

static void only_regions_of_the_space_have_holders(void **state)
{
	struct gm_region *region = test_bare("a", GM_RESERVED, 0, PAGE), *other = test_bare("b", GM_RESERVED, 0, PAGE);
	struct gm_space *space = new_space(region);
	struct visits visits = { 0 };

	(void)state;
	assert_int_equal(gm_space_holders(space, other, visit, &visits), -ENOENT);
	gm_region_unref(region);
	gm_region_unref(other);
	gm_space_unref(space);
}

static int change(struct gm_space *space, struct gm_region *removed, struct gm_region *inserted)
{
	struct gm_update *update = gm_update_begin(space);

	if (removed != NULL)
		(void)gm_update_remove(update, removed);
	(void)gm_update_insert(update, inserted);
	return gm_update_commit(update, NULL);
}

/* An update that failed has not taken out anything: readers of later maps still hold what it was to remove. */
static void a_removal_that_failed_did_not_happen(void **state)
{
	struct gm_region *region = test_bare("a", GM_RESERVED, 0, PAGE),
			 *last = test_bare("b", GM_RESERVED, PAGE, PAGE);
	struct gm_region *overlapping = test_bare("c", GM_RESERVED, PAGE, PAGE);
	struct gm_space *space = new_space(region);
	struct visits visits = { 0 };
	struct gm_memory *memory;
	struct gm_view view;

	(void)state;
	assert_int_equal(gm_space_memory(space, GM_ONLY_RAM, &memory), 0);
	assert_int_equal(gm_view_init(&view, memory, "view", 0), 0);
	assert_int_equal(change(space, NULL, last), 0);
	assert_int_equal(change(space, region, overlapping), -EEXIST);
	gm_region_unref(overlapping);
	overlapping = test_bare("d", GM_RESERVED, 2 * PAGE, PAGE);
	assert_int_equal(change(space, NULL, overlapping), 0);
	gm_view_enter(&view);
	assert_int_equal(gm_space_holders(space, region, visit, &visits), 1);
	assert_int_equal(visits.reads, 1);
	gm_view_leave(&view);
	assert_int_equal(gm_view_fini(&view), 0);
	gm_memory_unref(memory);
	gm_region_unref(region);
	gm_region_unref(last);
	gm_region_unref(overlapping);
	gm_space_unref(space);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_visitor_may_unpin),
		cmocka_unit_test(names_do_not_pile_up),
		cmocka_unit_test(a_removal_that_failed_did_not_happen),
		cmocka_unit_test(only_regions_of_the_space_have_holders),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
