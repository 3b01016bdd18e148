/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The searches of a tree (in plain C, with AVX2, with AVX-512, and for all addresses) against a linear one: in nodes of any count, and in
 * trees of the sizes where another entry makes another node or level, from addresses at both ends and close to each other.
 */
#include "support.h"

#include "map/search.h"
#include "map/tree.h"
#include "sys/memory.h"

static struct test_random numbers = { 11 };

/* How addresses lie. */
enum spread {
	SPREAD_ANYWHERE,
	SPREAD_FROM_0,
	SPREAD_TO_MAX,
	SPREAD_AROUND_HALF, /* where a signed compare would go wrong */
	SPREADS,
};

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Different ones, ascending; the spread over all has both ends. */
static void choose_addresses(uint64_t *addresses, size_t count, enum spread spread)
{
	size_t i;

	for (i = 0; i < count; i++) {
		if (spread == SPREAD_FROM_0)
			addresses[i] = i;
		else if (spread == SPREAD_TO_MAX)
			addresses[i] = UINT64_MAX - (count - 1 - i);
		else if (spread == SPREAD_AROUND_HALF)
			addresses[i] = (UINT64_C(1) << 63) - count + 2 * i;
		else
			addresses[i] = i == 0 ? UINT64_MAX : i == 1 ? 0 : test_random(&numbers);
	}
	qsort(addresses, count, sizeof(addresses[0]), compare);
	for (i = 1; i < count; i++)
		assert_true(addresses[i - 1] < addresses[i]);
}

#if !defined(__x86_64__)
#define GMI_HAS_AVX512()    false
#define GMI_HAS_AVX2()      false
#define gmi_rank_avx512     gmi_rank_plainly
#define gmi_rank_avx2       gmi_rank_plainly
#define gmi_rank_few_avx512 gmi_rank_few_plainly
#define gmi_rank_few_avx2   gmi_rank_few_plainly
#define gmi_seek_avx512     gmi_seek_plainly
#define gmi_seek_avx2       gmi_seek_plainly
#endif

static void look_in_node(const struct gmi_node *node, uint64_t address)
{
	uint64_t rank = 0;

	while (rank < node->count && node->first[rank] <= address)
		rank++;
	assert_int_equal(gmi_rank(node, address), rank);
	/* That is not searched for in these ways. */
	if (address == UINT64_MAX)
		return;
	assert_int_equal(gmi_rank_plainly(node, address), rank);
	if (GMI_HAS_AVX512())
		assert_int_equal(gmi_rank_avx512(node, address), rank);
	if (GMI_HAS_AVX2())
		assert_int_equal(gmi_rank_avx2(node, address), rank);
	if (node->group[0] != UINT64_MAX)
		return;
	assert_int_equal(gmi_rank_few_plainly(node, address), rank);
	if (GMI_HAS_AVX512())
		assert_int_equal(gmi_rank_few_avx512(node, address), rank);
	if (GMI_HAS_AVX2())
		assert_int_equal(gmi_rank_few_avx2(node, address), rank);
}

static void nodes(void **state)
{
	struct gmi_node *node = gmi_alloc_line(sizeof(*node));
	unsigned count, i, spread;

	(void)state;
	assert_non_null(node);
	for (count = 0; count <= GMI_NODE_SLOTS; count++) {
		for (spread = 0; spread < SPREADS; spread++) {
			memset(node, 0xff, offsetof(struct gmi_node, before));
			node->count = (uint16_t)count;
			choose_addresses(node->first, count, spread);
			for (i = 0; i < 7; i++)
				node->group[i] = node->first[8 * (i + 1)];
			for (i = 0; i < count; i++) {
				look_in_node(node, node->first[i] - 1);
				look_in_node(node, node->first[i]);
				look_in_node(node, node->first[i] + 1);
			}
			for (i = 0; i < 50; i++)
				look_in_node(node, test_random(&numbers));
			look_in_node(node, 0);
			look_in_node(node, UINT64_MAX);
		}
	}
	gmi_free_line(node);
}

static void look_in_tree(const struct gmi_node *root, uint64_t address, struct gm_region *floor)
{
	assert_ptr_equal(gmi_tree_floor(root, address), floor);
	if (address == UINT64_MAX)
		return;
	assert_ptr_equal(gmi_floor(root, address), floor);
	if (root == NULL)
		return;
	assert_ptr_equal(gmi_place_region(gmi_seek_plainly(root, address)), floor);
	if (GMI_HAS_AVX512())
		assert_ptr_equal(gmi_place_region(gmi_seek_avx512(root, address)), floor);
	if (GMI_HAS_AVX2())
		assert_ptr_equal(gmi_place_region(gmi_seek_avx2(root, address)), floor);
}

/* @there: which of the regions are in the tree; NULL: all. */
static void check_tree(const struct gmi_node *root, struct gm_region *regions, size_t count, const bool *there)
{
	struct gm_region *floor = NULL;
	size_t i, in = 0;
	uint64_t at;

	for (i = 0; i < count; i++) {
		at = regions[i].range.first.value;
		if (at != 0)
			look_in_tree(root, at - 1, floor);
		if (there == NULL || there[i]) {
			floor = &regions[i];
			in++;
		}
		look_in_tree(root, at, floor);
		if (at != UINT64_MAX && (i + 1 == count || regions[i + 1].range.first.value != at + 1))
			look_in_tree(root, at + 1, floor);
	}
	look_in_tree(root, UINT64_MAX, floor);
	assert_true(gmi_tree_is_sound(root, in));
}

/* Removes every third one, or two of three, from a tree that stays as it is. */
static void check_thinned(struct gmi_builder *builder, struct gm_region *regions, size_t count, bool *there)
{
	struct gmi_node *whole = builder->root, *superseded, *next;
	bool most = count % 2 != 0;
	size_t i;

	gmi_builder_begin(builder, 2, whole, count);
	for (i = 0; i < count; i++) {
		there[i] = (i % 3 == 0) != most;
		if (!there[i])
			assert_int_equal(gmi_builder_remove(builder, &regions[i]), 0);
	}
	superseded = gmi_builder_finish(builder);
	check_tree(whole, regions, count, NULL);
	check_tree(builder->root, regions, count, there);
	for (; superseded != NULL; superseded = next) {
		next = superseded->dead_next;
		gmi_free_line(superseded);
	}
}

/* Turns: 0: ascending, so that nodes are full; 1: descending, so that they are not; 2: in no order. */
static void check_trees_of(size_t count, enum spread spread, unsigned turn)
{
	struct gm_region *regions = calloc(count, sizeof(*regions));
	uint64_t *addresses = calloc(count, sizeof(*addresses));
	size_t *order = calloc(count, sizeof(*order)), i, k, other;
	bool *there = calloc(count, sizeof(*there));
	struct gmi_builder builder;

	assert_true(regions != NULL && addresses != NULL && order != NULL && there != NULL);
	choose_addresses(addresses, count, spread);
	for (i = 0; i < count; i++) {
		regions[i].range = test_range(addresses[i], addresses[i]);
		order[i] = turn == 1 ? count - 1 - i : i;
	}
	for (i = count - 1; turn == 2 && i > 0; i--) {
		k = test_below(&numbers, i + 1);
		other = order[i];
		order[i] = order[k];
		order[k] = other;
	}
	gmi_builder_begin(&builder, 1, NULL, 0);
	for (i = 0; i < count; i++)
		assert_int_equal(gmi_builder_insert(&builder, &regions[order[i]]), 0);
	(void)gmi_builder_finish(&builder);
	check_tree(builder.root, regions, count, NULL);
	check_thinned(&builder, regions, count, there);
	gmi_tree_free(builder.root);
	free(there);
	free(order);
	free(addresses);
	free(regions);
}

static void small_trees(void **state)
{
	static const size_t counts[] = { 1, 2, 7, 8, 9, 10, 63, 64, 65, 66, 511, 512, 513, 2048, 2049 };
	unsigned i, spread, turn;

	(void)state;
	for (i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		for (spread = 0; spread < SPREADS; spread++) {
			for (turn = 0; turn < 3; turn++)
				check_trees_of(counts[i], spread, turn);
		}
	}
}

static void large_trees(void **state)
{
	(void)state;
	check_trees_of(4096, SPREAD_TO_MAX, 0);
	check_trees_of(4097, SPREAD_ANYWHERE, 0);
	check_trees_of(4097, SPREAD_TO_MAX, 1);
	check_trees_of(32768, SPREAD_ANYWHERE, 1);
	check_trees_of(GM_REGIONS_MAX, SPREAD_FROM_0, 0);
	check_trees_of(GM_REGIONS_MAX, SPREAD_ANYWHERE, 2);
}

/* What a tree that is not there holds, for those that don't ask first. */
static void no_tree(void **state)
{
	(void)state;
	look_in_tree(NULL, 0, NULL);
	look_in_tree(NULL, UINT64_MAX, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nodes),
		cmocka_unit_test(small_trees),
		cmocka_unit_test(large_trees),
		cmocka_unit_test(no_tree),
	};

	if (!GMI_HAS_AVX512())
		print_message("no AVX-512 here: the search with it is left out\n");
	if (!GMI_HAS_AVX2())
		print_message("no AVX2 here: the search with it is left out\n");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
