/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* The persistent tree against a sorted array: contents, order, sharing between versions, and nodes accounted for. */
#include "support.h"

#include "map/tree.h"
#include "sys/memory.h"

#define REGIONS 5000

/* The tree looks at a region's range only. */
static struct gm_region regions[REGIONS];

static void set_up_regions(void)
{
	size_t i;

	for (i = 0; i < REGIONS; i++)
		regions[i].range = test_range(i * 0x1000, i * 0x1000 + 0xfff);
}

static void free_chain(struct gmi_node *node)
{
	struct gmi_node *next;

	for (; node != NULL; node = next) {
		next = node->dead_next;
		gmi_free_line(node);
	}
}

static void check(const struct gmi_node *root, const bool *present)
{
	const struct gm_region *floor = NULL, *above;
	size_t i, count = 0;

	for (i = 0; i < REGIONS; i++)
		count += present[i];
	assert_true(gmi_tree_is_sound(root, count));
	for (i = 0; i < REGIONS; i++) {
		floor = present[i] ? &regions[i] : floor;
		assert_ptr_equal(gmi_tree_floor(root, i * 0x1000 + 0x800), floor);
	}
	above = NULL;
	for (i = REGIONS; i-- > 0;) {
		assert_ptr_equal(gmi_tree_above(root, i * 0x1000), above);
		above = present[i] ? &regions[i] : above;
	}
}

/* Each version stays what it was while newer ones are made from it. */
static void versions_are_independent(void **state)
{
	static bool present[2][REGIONS];
	struct test_random random = { 7 };
	struct gmi_node *root = NULL;
	size_t count = 0, round, i;

	(void)state;
	set_up_regions();
	for (round = 1; round <= 400; round++) {
		struct gmi_builder builder;
		struct gmi_node *superseded;
		size_t operations = 1 + test_below(&random, round % 8 == 0 ? 200 : 4);
		/* Phases of growing and of shrinking, so that splits and merges both come. */
		bool growing = (round / 50) % 2 == 0;

		memcpy(present[1], present[0], sizeof(present[0]));
		gmi_builder_begin(&builder, round, root, count);
		while (operations-- > 0) {
			i = test_below(&random, REGIONS);
			if (present[1][i] == growing && test_below(&random, 4) != 0)
				continue;
			assert_int_equal(present[1][i] ? gmi_builder_remove(&builder, &regions[i])
						       : gmi_builder_insert(&builder, &regions[i]),
					 0);
			present[1][i] = !present[1][i];
		}
		if (round % 3 == 0) {
			gmi_builder_abort(&builder);
			check(root, present[0]);
			continue;
		}
		superseded = gmi_builder_finish(&builder);
		check(root, present[0]);
		check(builder.root, present[1]);
		free_chain(superseded);
		root = builder.root;
		count = builder.count;
		check(root, present[1]);
		memcpy(present[0], present[1], sizeof(present[0]));
	}
	gmi_tree_free(root);
}

/* An update copies a path and no more: this is what makes it O(log n). */
static void updates_copy_a_path(void **state)
{
	struct gmi_builder builder;
	struct gmi_node *node, *superseded;
	size_t i, copied;

	(void)state;
	set_up_regions();
	gmi_builder_begin(&builder, 1, NULL, 0);
	for (i = 0; i < REGIONS; i += 2)
		assert_int_equal(gmi_builder_insert(&builder, &regions[i]), 0);
	(void)gmi_builder_finish(&builder);
	for (i = 1; i < REGIONS; i += 2) {
		gmi_builder_begin(&builder, 1 + i, builder.root, builder.count);
		assert_int_equal(gmi_builder_insert(&builder, &regions[i]), 0);
		for (copied = 0, node = builder.made; node != NULL; node = node->made_next)
			copied++;
		/* 3 levels hold 5000 regions; a split on each of them and a new root on top are the most there can be. */
		assert_in_range(copied, 1, 7);
		superseded = gmi_builder_finish(&builder);
		free_chain(superseded);
	}
	assert_true(gmi_tree_is_sound(builder.root, REGIONS));
	gmi_tree_free(builder.root);
}

/* Ascending insertion fills nodes; emptying a tree in any order ends in no tree. */
static void fills_and_empties(void **state)
{
	struct gmi_builder builder;
	size_t i;

	(void)state;
	set_up_regions();
	gmi_builder_begin(&builder, 1, NULL, 0);
	for (i = 0; i < REGIONS; i++)
		assert_int_equal(gmi_builder_insert(&builder, &regions[i]), 0);
	assert_int_equal(builder.root->height, 2);
	assert_int_equal(((struct gmi_node *)builder.root->slot[0])->count, GMI_NODE_SLOTS);
	for (i = 0; i < REGIONS; i += 2)
		assert_int_equal(gmi_builder_remove(&builder, &regions[i]), 0);
	assert_true(gmi_tree_is_sound(builder.root, REGIONS / 2));
	for (i = REGIONS - 1; i < REGIONS; i -= 2)
		assert_int_equal(gmi_builder_remove(&builder, &regions[i]), 0);
	assert_null(builder.root);
	assert_int_equal(builder.count, 0);
	(void)gmi_builder_finish(&builder);
}

/* Without memory at any point the old tree is as it was. */
static void survives_want_of_memory(void **state)
{
	static bool present[REGIONS];
	struct gmi_builder builder;
	struct gmi_node *root;
	size_t i, count;
	long n;

	(void)state;
	set_up_regions();
	gmi_builder_begin(&builder, 1, NULL, 0);
	for (i = 0; i < REGIONS; i += 2) {
		assert_int_equal(gmi_builder_insert(&builder, &regions[i]), 0);
		present[i] = true;
	}
	(void)gmi_builder_finish(&builder);
	root = builder.root;
	count = builder.count;
	for (n = 1;; n++) {
		int r = 0;

		gmi_builder_begin(&builder, 2, root, count);
		gmi_fault_arm(n, ENOMEM);
		for (i = 1; i < 1000 && r == 0; i += 2)
			r = gmi_builder_insert(&builder, &regions[i]);
		for (i = 2000; i < 4000 && r == 0; i += 2)
			r = gmi_builder_remove(&builder, &regions[i]);
		gmi_fault_arm(0, 0);
		gmi_builder_abort(&builder);
		check(root, present);
		if (r == 0)
			break;
		assert_int_equal(r, -ENOMEM);
	}
	assert_true(n > 10);
	gmi_tree_free(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(versions_are_independent),
		cmocka_unit_test(updates_copy_a_path),
		cmocka_unit_test(fills_and_empties),
		cmocka_unit_test(survives_want_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
