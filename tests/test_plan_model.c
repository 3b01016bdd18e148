/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Plans against a slow and obvious model: address space in units of 32 MiB, an array that says whose each unit is, and a pointer
 * that walks over it. 10 000 random layouts and lists of nodes; the seed is fixed and printed with what fails.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <guestmem/layout.h>

#include "base/base.h"

#define UNIT      (32 * GM_MIB)
#define PIECE_MIN (GM_PLAN_PIECE_MIN / UNIT)
#define UNITS_MAX 256
#define NODES_MAX 12
#define ROUNDS    10000

enum { FREE = -1, HOLE = -2 };

struct world {
	uint64_t base;  /* address of unit 0 */
	unsigned units; /* memory is [0, units) */
	unsigned usable;
	int owner[UNITS_MAX];
	struct gm_layout layout;
	struct gm_node nodes[NODES_MAX];
	unsigned nodes_count;
};

static uint64_t random_state;

static unsigned random_below(unsigned limit)
{
	/* xorshift; the high half is the better one. */
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (unsigned)((random_state >> 32) % limit);
}

static struct gm_range units_of(const struct world *world, unsigned first, unsigned last)
{
	struct gm_range range = { gm_gpa(world->base + first * UNIT), gm_gpa(world->base + last * UNIT + (UNIT - 1)) };

	return range;
}

static void make_holes(struct world *world)
{
	unsigned at = random_below(8), unit;

	while (world->layout.holes_count < GM_HOLES_MAX && random_below(6) != 0) {
		/* Short gaps and holes side by side are the interesting ones. */
		unsigned length = 1 + random_below(random_below(2) ? 3 : 20);
		struct gm_hole *hole = &world->layout.holes[world->layout.holes_count];

		if (at + length > world->units)
			return;
		hole->range = units_of(world, at, at + length - 1);
		hole->name = "hole";
		world->layout.holes_count++;
		for (unit = at; unit < at + length; unit++)
			world->owner[unit] = HOLE;
		at += length + random_below(random_below(2) ? 6 : 40);
	}
}

static void make_world(struct world *world)
{
	unsigned i;

	memset(world, 0, sizeof(*world));
	gm_layout_open(&world->layout);
	world->units = 1 + random_below(UNITS_MAX);
	/* Low, anywhere, and so that the last unit ends at 2^64-1. */
	switch (random_below(3)) {
	case 0:
		world->base = 0;
		break;
	case 1:
		world->base = UNIT * (1 + random_below(1u << 30));
		break;
	default:
		world->base = 0 - world->units * UNIT;
	}
	for (i = 0; i < world->units; i++)
		world->owner[i] = FREE;
	world->layout.memory = units_of(world, 0, world->units - 1);
	make_holes(world);
	world->usable = random_below(4) ? world->units : 1 + random_below(world->units);
	world->layout.usable_last = units_of(world, 0, world->usable - 1).last;
	world->nodes_count = 1 + random_below(NODES_MAX);
	for (i = 0; i < world->nodes_count; i++) {
		world->nodes[i].bytes = UNIT * random_below(random_below(2) ? 8 : 60);
		world->nodes[i].guest_node = (int)(i * 7 % NODES_MAX);
		world->nodes[i].host_node = -1;
	}
}

/* Free units one after the other from @at on. */
static unsigned run_length(const struct world *world, unsigned at)
{
	unsigned length = 0;

	while (at + length < world->usable && world->owner[at + length] == FREE)
		length++;
	return length;
}

/* Fills in the owners. What gm_plan_new() must return. */
static int model(struct world *world)
{
	unsigned at = 0, i, placed = 0;

	for (i = 0; i < world->nodes_count; i++) {
		unsigned left = (unsigned)(world->nodes[i].bytes / UNIT);

		while (left > 0) {
			unsigned run = run_length(world, at);

			if (at >= world->usable)
				return -ENOSPC;
			if (run == 0) {
				at++;
			} else if (left > run && run < PIECE_MIN) {
				at += run;
			} else {
				world->owner[at++] = world->nodes[i].guest_node;
				left--;
				placed++;
				/* The rest of this run was judged already: it is taken as far as the node needs it. */
				while (left > 0 && --run > 0) {
					world->owner[at++] = world->nodes[i].guest_node;
					left--;
					placed++;
				}
			}
		}
	}
	return placed > 0 ? 0 : -EINVAL;
}

/* What must hold of pieces whatever the model says. */
static void check_pieces(const struct world *world, const struct gm_piece *pieces, size_t count)
{
	uint64_t sums[NODES_MAX] = { 0 };
	size_t i, j;

	for (i = 0; i < count; i++) {
		struct gm_range range = pieces[i].range;
		bool more = i + 1 < count && pieces[i + 1].guest_node == pieces[i].guest_node;

		assert_true(gm_range_is_valid(range));
		assert_true(gm_range_covers(world->layout.memory, range));
		assert_true(range.last.value <= world->layout.usable_last.value);
		assert_true(gm_range_bytes(range) % GM_PAGE_BYTES == 0);
		if (i > 0)
			assert_true(pieces[i - 1].range.last.value < range.first.value);
		for (j = 0; j < world->layout.holes_count; j++)
			assert_false(gm_range_intersects(world->layout.holes[j].range, range));
		/* A piece after which its node goes on behind a hole is not a small one. */
		if (more)
			assert_true(gm_range_bytes(range) >= GM_PLAN_PIECE_MIN);
		assert_int_equal(gm_layout_admits(&world->layout, GM_RAM, range, "piece", NULL), 0);
		sums[pieces[i].guest_node] += gm_range_bytes(range);
	}
	for (i = 0; i < world->nodes_count; i++)
		assert_true(sums[world->nodes[i].guest_node] == world->nodes[i].bytes);
}

static void compare(const struct world *world, const struct gm_plan *plan)
{
	const struct gm_piece *pieces;
	size_t count = gm_plan_pieces(plan, &pieces), runs = 0;
	unsigned unit;

	check_pieces(world, pieces, count);
	for (unit = 0; unit < world->units; unit++) {
		struct gm_range range = units_of(world, unit, unit);
		int owner = world->owner[unit] >= 0 ? world->owner[unit] : -1;

		assert_int_equal(gm_plan_address_node(plan, range.first), owner);
		assert_int_equal(gm_plan_address_node(plan, range.last), owner);
		if (owner >= 0 && (unit == 0 || world->owner[unit - 1] != owner))
			runs++;
	}
	/* No more pieces than there must be. */
	assert_int_equal(count, runs);
}

static void test_against_model(void **state)
{
	static struct world world;
	unsigned round, planned = 0, refused = 0, several = 0;

	(void)state;
	random_state = UINT64_C(0x9e3779b97f4a7c15);
	for (round = 0; round < ROUNDS; round++) {
		uint64_t seed = random_state;
		struct gm_plan *plan = NULL;
		const struct gm_piece *pieces;
		int expected, r;

		make_world(&world);
		assert_int_equal(gm_layout_check(&world.layout, NULL), 0);
		expected = model(&world);
		r = gm_plan_new(&world.layout, world.nodes, world.nodes_count, &plan, NULL);
		if (r != expected)
			fail_msg("round %u, seed 0x%llx: %d instead of %d", round, (unsigned long long)seed, r,
				 expected);
		if (r != 0) {
			refused++;
			continue;
		}
		planned++;
		compare(&world, plan);
		if (gm_plan_pieces(plan, &pieces) > world.nodes_count)
			several++;
		gm_plan_free(plan);
	}
	/* That the dice do not leave out what this test is for. */
	assert_true(planned > ROUNDS / 5);
	assert_true(refused > ROUNDS / 5);
	assert_true(several > ROUNDS / 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_against_model) };

	return cmocka_run_group_tests_name("plan_model", tests, NULL, NULL);
}
