/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Plans: a PC of one, two and eight nodes, sizes around its hole, each refusal, and what can be asked of a plan. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <guestmem/layout.h>

#include "base/base.h"
#include "sys/fault.h"

#define TOP UINT64_MAX

/* A PC of 40 bits whose host can back all of it. */
static struct gm_layout pc(void)
{
	struct gm_layout layout;

	assert_int_equal(gm_layout_x86_64_pc(40, &layout), 0);
	layout.usable_last = layout.physical.last;
	return layout;
}

static struct gm_node node_of(int guest_node, uint64_t bytes)
{
	struct gm_node node;

	memset(&node, 0, sizeof(node));
	node.bytes = bytes;
	node.guest_node = guest_node;
	node.host_node = -1;
	return node;
}

static struct gm_plan *plan_of(const struct gm_layout *layout, const struct gm_node *nodes, size_t count)
{
	struct gm_plan *plan = NULL;
	struct gm_error error;
	int r = gm_plan_new(layout, nodes, count, &plan, &error);

	if (r != 0)
		fail_msg("%d: %s", r, error.text);
	assert_non_null(plan);
	return plan;
}

static void assert_refused(const struct gm_layout *layout, const struct gm_node *nodes, size_t count, int code,
			   const char *part)
{
	char mark;
	struct gm_plan *plan = (struct gm_plan *)&mark;
	struct gm_error error = { 0, "" };

	assert_int_equal(gm_plan_new(layout, nodes, count, &plan, &error), code);
	assert_int_equal(error.code, code);
	if (strstr(error.text, part) == NULL)
		fail_msg("\"%s\" lacks \"%s\"", error.text, part);
	assert_int_equal(gm_plan_new(layout, nodes, count, &plan, NULL), code);
	assert_ptr_equal(plan, &mark);
}

/* What a plan must consist of: first address, last address, guest node. */
struct expected {
	uint64_t first, last;
	int node;
};

static void assert_pieces(const struct gm_plan *plan, const struct expected *expected, size_t count)
{
	const struct gm_piece *pieces;
	size_t i;

	assert_int_equal(gm_plan_pieces(plan, &pieces), count);
	for (i = 0; i < count; i++) {
		assert_true(pieces[i].range.first.value == expected[i].first);
		assert_true(pieces[i].range.last.value == expected[i].last);
		assert_int_equal(pieces[i].guest_node, expected[i].node);
	}
	assert_true(gm_plan_last(plan).value == expected[count - 1].last);
}

/* One node of @bytes under @layout, and where it must stand. */
static void assert_single(const struct gm_layout *layout, uint64_t bytes, const struct expected *expected, size_t count)
{
	struct gm_node node = node_of(0, bytes);
	struct gm_plan *plan = plan_of(layout, &node, 1);

	assert_pieces(plan, expected, count);
	gm_plan_free(plan);
}

static void test_one_node_around_the_hole(void **state)
{
	const uint64_t low = 3 * GM_GIB, high = 4 * GM_GIB;
	const struct gm_layout layout = pc();

	(void)state;
	assert_single(&layout, GM_PAGE_BYTES, &(struct expected){ 0, GM_PAGE_BYTES - 1, 0 }, 1);
	assert_single(&layout, low - GM_PAGE_BYTES, &(struct expected){ 0, low - GM_PAGE_BYTES - 1, 0 }, 1);
	assert_single(&layout, low, &(struct expected){ 0, low - 1, 0 }, 1);
	/* One page too many: it stands behind the hole, small as it is. */
	assert_single(&layout, low + GM_PAGE_BYTES,
		      (struct expected[]){ { 0, low - 1, 0 }, { high, high + GM_PAGE_BYTES - 1, 0 } }, 2);
	assert_single(&layout, 8 * GM_GIB, (struct expected[]){ { 0, low - 1, 0 }, { high, 9 * GM_GIB - 1, 0 } }, 2);
}

static void test_small_piece_before_the_hole(void **state)
{
	const uint64_t low = 3 * GM_GIB, high = 4 * GM_GIB, least = GM_PLAN_PIECE_MIN;
	const struct gm_layout layout = pc();
	struct gm_node nodes[] = { node_of(0, low - least), node_of(1, GM_GIB) };
	struct gm_plan *plan = plan_of(&layout, nodes, 2);

	(void)state;
	/* Just enough before the hole. */
	assert_pieces(plan,
		      (struct expected[]){ { 0, low - least - 1, 0 },
					   { low - least, low - 1, 1 },
					   { high, high + GM_GIB - least - 1, 1 } },
		      3);
	gm_plan_free(plan);
	/* A page less than that: all of the node behind the hole. */
	nodes[0].bytes += GM_PAGE_BYTES;
	plan = plan_of(&layout, nodes, 2);
	assert_pieces(plan,
		      (struct expected[]){ { 0, low - least + GM_PAGE_BYTES - 1, 0 }, { high, high + GM_GIB - 1, 1 } },
		      2);
	gm_plan_free(plan);
	/* But a node that fits there does stand there, and the next one does not go back. */
	nodes[1].bytes = GM_PAGE_BYTES;
	plan = plan_of(&layout, nodes, 2);
	assert_pieces(plan,
		      (struct expected[]){ { 0, low - least + GM_PAGE_BYTES - 1, 0 },
					   { low - least + GM_PAGE_BYTES, low - least + 2 * GM_PAGE_BYTES - 1, 1 } },
		      2);
	gm_plan_free(plan);
	/* To the last page: nothing is left over. */
	nodes[1].bytes = least - GM_PAGE_BYTES;
	plan = plan_of(&layout, nodes, 2);
	assert_pieces(plan,
		      (struct expected[]){ { 0, low - least + GM_PAGE_BYTES - 1, 0 },
					   { low - least + GM_PAGE_BYTES, low - 1, 1 } },
		      2);
	gm_plan_free(plan);
}

static void test_two_nodes(void **state)
{
	const struct gm_layout layout = pc();
	const struct gm_node nodes[] = { node_of(1, 2 * GM_GIB), node_of(0, 2 * GM_GIB) };
	struct gm_plan *plan = plan_of(&layout, nodes, 2);
	struct gm_piece pieces[3];

	(void)state;
	/* In the order given, which is not that of the numbers. */
	assert_pieces(plan,
		      (struct expected[]){ { 0, 2 * GM_GIB - 1, 1 },
					   { 2 * GM_GIB, 3 * GM_GIB - 1, 0 },
					   { 4 * GM_GIB, 5 * GM_GIB - 1, 0 } },
		      3);
	memset(pieces, 0x5a, sizeof(pieces));
	assert_int_equal(gm_plan_node_pieces(plan, 0, pieces, 3), 2);
	assert_true(pieces[0].range.first.value == 2 * GM_GIB);
	assert_true(pieces[1].range.first.value == 4 * GM_GIB);
	assert_int_equal(pieces[2].guest_node, 0x5a5a5a5a);
	/* Room for less: as many as fit, and the count of all. */
	memset(pieces, 0x5a, sizeof(pieces));
	assert_int_equal(gm_plan_node_pieces(plan, 0, pieces, 1), 2);
	assert_true(pieces[0].range.first.value == 2 * GM_GIB);
	assert_int_equal(pieces[1].guest_node, 0x5a5a5a5a);
	assert_int_equal(gm_plan_node_pieces(plan, 0, NULL, 0), 2);
	assert_int_equal(gm_plan_node_pieces(plan, 2, pieces, 3), 0);
	assert_int_equal(gm_plan_node_pieces(plan, -1, pieces, 3), 0);

	assert_int_equal(gm_plan_address_node(plan, gm_gpa(0)), 1);
	assert_int_equal(gm_plan_address_node(plan, gm_gpa(2 * GM_GIB - 1)), 1);
	assert_int_equal(gm_plan_address_node(plan, gm_gpa(2 * GM_GIB)), 0);
	assert_int_equal(gm_plan_address_node(plan, gm_gpa(3 * GM_GIB - 1)), 0);
	assert_int_equal(gm_plan_address_node(plan, gm_gpa(3 * GM_GIB)), -1);
	assert_int_equal(gm_plan_address_node(plan, gm_gpa(4 * GM_GIB - 1)), -1);
	assert_int_equal(gm_plan_address_node(plan, gm_gpa(4 * GM_GIB)), 0);
	assert_int_equal(gm_plan_address_node(plan, gm_gpa(5 * GM_GIB - 1)), 0);
	assert_int_equal(gm_plan_address_node(plan, gm_gpa(5 * GM_GIB)), -1);
	assert_int_equal(gm_plan_address_node(plan, gm_gpa(TOP)), -1);
	gm_plan_free(plan);
}

static void test_eight_nodes(void **state)
{
	const struct gm_layout layout = pc();
	struct gm_node nodes[8];
	struct gm_plan *plan;
	const struct gm_piece *pieces;
	int i;

	(void)state;
	for (i = 0; i < 8; i++) {
		nodes[i] = node_of(i * 100, GM_GIB);
		nodes[i].host_node = i == 5 ? -1 : 7 - i;
	}
	nodes[2].bytes = 0;
	plan = plan_of(&layout, nodes, 8);
	assert_pieces(plan,
		      (struct expected[]){ { 0, GM_GIB - 1, 0 },
					   { GM_GIB, 2 * GM_GIB - 1, 100 },
					   { 2 * GM_GIB, 3 * GM_GIB - 1, 300 },
					   { 4 * GM_GIB, 5 * GM_GIB - 1, 400 },
					   { 5 * GM_GIB, 6 * GM_GIB - 1, 500 },
					   { 6 * GM_GIB, 7 * GM_GIB - 1, 600 },
					   { 7 * GM_GIB, 8 * GM_GIB - 1, 700 } },
		      7);
	assert_int_equal(gm_plan_pieces(plan, &pieces), 7);
	assert_int_equal(pieces[0].host_node, 7);
	assert_int_equal(pieces[2].host_node, 4);
	assert_int_equal(pieces[4].host_node, -1);
	assert_int_equal(gm_plan_node_pieces(plan, 200, NULL, 0), 0);
	gm_plan_free(plan);
}

static void test_vcpus(void **state)
{
	const struct gm_layout layout = pc();
	unsigned first[] = { 3, 0, GM_PLAN_VCPUS_MAX - 1 }, second[] = { 1 };
	const unsigned mark = 0, *vcpus = &mark;
	struct gm_node nodes[] = { node_of(4, GM_GIB), node_of(9, GM_GIB), node_of(2, 0) };
	struct gm_plan *plan;

	(void)state;
	nodes[0].vcpus = first;
	nodes[0].vcpus_count = 3;
	nodes[2].vcpus = second;
	nodes[2].vcpus_count = 1;
	plan = plan_of(&layout, nodes, 3);
	/* The lists were copied. */
	memset(first, 0xff, sizeof(first));
	memset(second, 0xff, sizeof(second));
	memset(nodes, 0xff, sizeof(nodes));
	assert_int_equal(gm_plan_node_vcpus(plan, 4, &vcpus), 3);
	assert_int_equal(vcpus[0], 3);
	assert_int_equal(vcpus[1], 0);
	assert_int_equal(vcpus[2], GM_PLAN_VCPUS_MAX - 1);
	assert_int_equal(gm_plan_node_vcpus(plan, 2, &vcpus), 1);
	assert_int_equal(vcpus[0], 1);
	assert_int_equal(gm_plan_node_vcpus(plan, 9, &vcpus), 0);
	vcpus = &mark;
	assert_int_equal(gm_plan_node_vcpus(plan, 5, &vcpus), 0);
	assert_ptr_equal(vcpus, &mark);
	assert_int_equal(gm_plan_vcpu_node(plan, 0), 4);
	assert_int_equal(gm_plan_vcpu_node(plan, 1), 2);
	assert_int_equal(gm_plan_vcpu_node(plan, 2), -1);
	assert_int_equal(gm_plan_vcpu_node(plan, 3), 4);
	assert_int_equal(gm_plan_vcpu_node(plan, GM_PLAN_VCPUS_MAX - 1), 4);
	assert_int_equal(gm_plan_vcpu_node(plan, GM_PLAN_VCPUS_MAX), -1);
	assert_int_equal(gm_plan_vcpu_node(plan, UINT32_MAX), -1);
	gm_plan_free(plan);
}

static void test_bad_vcpus(void **state)
{
	const struct gm_layout layout = pc();
	unsigned first[] = { 3, 0 }, second[] = { 1, 3 }, twice[] = { 5, 5 }, high[] = { GM_PLAN_VCPUS_MAX };
	static unsigned all[GM_PLAN_VCPUS_MAX + 1];
	struct gm_node nodes[] = { node_of(4, GM_GIB), node_of(9, GM_GIB) };
	size_t i;

	(void)state;
	nodes[0].vcpus = first;
	nodes[0].vcpus_count = 2;
	nodes[1].vcpus = second;
	nodes[1].vcpus_count = 2;
	assert_refused(&layout, nodes, 2, -EINVAL, "vcpu 3 of node 9 is in node 4 already");
	nodes[1].vcpus = twice;
	assert_refused(&layout, nodes, 2, -EINVAL, "vcpu 5 of node 9 is in node 9 already");
	nodes[1].vcpus = high;
	nodes[1].vcpus_count = 1;
	assert_refused(&layout, nodes, 2, -EINVAL, "vcpu 4096 of node 9 is not below 4096");
	nodes[1].vcpus = NULL;
	assert_refused(&layout, nodes, 2, -EINVAL, "node 9 has 1 vcpus, but no list of them");
	nodes[1].vcpus_count = SIZE_MAX;
	assert_refused(&layout, nodes, 2, -EINVAL, "node 9 brings the vcpus to more than 4096");
	/* All there may be, and one more, whichever number that has. */
	for (i = 0; i < GMI_COUNT(all); i++)
		all[i] = (unsigned)i % GM_PLAN_VCPUS_MAX;
	nodes[0].vcpus = all;
	nodes[0].vcpus_count = GM_PLAN_VCPUS_MAX;
	nodes[1].vcpus_count = 0;
	gm_plan_free(plan_of(&layout, nodes, 2));
	nodes[0].vcpus_count++;
	assert_refused(&layout, nodes, 2, -EINVAL, "node 4 brings the vcpus to more than 4096");
	nodes[0].vcpus_count--;
	nodes[1].vcpus = first;
	nodes[1].vcpus_count = 1;
	assert_refused(&layout, nodes, 2, -EINVAL, "node 9 brings the vcpus to more than 4096");
}

static void test_bad_nodes(void **state)
{
	const struct gm_layout layout = pc();
	struct gm_layout broken = layout;
	struct gm_node nodes[] = { node_of(0, GM_GIB), node_of(1, GM_GIB) };
	static struct gm_node many[GM_PLAN_NODES_MAX + 1];
	int i;

	(void)state;
	assert_refused(&layout, nodes, 0, -EINVAL, "0 nodes, which is not from 1 to 256");
	for (i = 0; i <= GM_PLAN_NODES_MAX; i++)
		many[i] = node_of(i, GM_PAGE_BYTES);
	gm_plan_free(plan_of(&layout, many, GM_PLAN_NODES_MAX));
	assert_refused(&layout, many, GM_PLAN_NODES_MAX + 1, -EINVAL, "257 nodes, which is not from 1 to 256");
	broken.holes_count = GM_HOLES_MAX + 1;
	assert_refused(&broken, nodes, 2, -EINVAL, "17 holes");

	nodes[1].guest_node = 0;
	assert_refused(&layout, nodes, 2, -EINVAL, "node 0 comes twice");
	nodes[1].guest_node = -1;
	assert_refused(&layout, nodes, 2, -EINVAL, "node 1 of the list has the number -1, which is not from 0 to 1023");
	nodes[1].guest_node = GM_NODES_MAX;
	assert_refused(&layout, nodes, 2, -EINVAL, "has the number 1024");
	nodes[1].guest_node = GM_NODES_MAX - 1;
	gm_plan_free(plan_of(&layout, nodes, 2));
	nodes[1].host_node = -2;
	assert_refused(&layout, nodes, 2, -EINVAL, "node 1023 asks for host node -2");
	nodes[1].host_node = GM_NODES_MAX;
	assert_refused(&layout, nodes, 2, -EINVAL, "node 1023 asks for host node 1024");
	nodes[1].host_node = GM_NODES_MAX - 1;
	gm_plan_free(plan_of(&layout, nodes, 2));
	nodes[1].bytes = GM_GIB + 1;
	assert_refused(&layout, nodes, 2, -EINVAL, "the 0x40000001 bytes of node 1023 are no multiple of 4096");
	nodes[1].bytes = GM_PAGE_BYTES / 2;
	assert_refused(&layout, nodes, 2, -EINVAL, "the 0x800 bytes of node 1023 are no multiple of 4096");
	nodes[0].bytes = 0;
	nodes[1].bytes = 0;
	assert_refused(&layout, nodes, 2, -EINVAL, "none of the 2 nodes has memory");
}

static void test_too_large(void **state)
{
	const uint64_t half = UINT64_C(1) << 39;
	struct gm_layout layout = pc();
	struct gm_node nodes[] = { node_of(0, half - GM_GIB), node_of(1, 0) };

	(void)state;
	/* All there is, to the last page. */
	gm_plan_free(plan_of(&layout, nodes, 2));
	nodes[1].bytes = GM_PAGE_BYTES;
	assert_refused(&layout, nodes, 2, -ENOSPC, "the 0x1000 bytes of node 1 do not fit");
	nodes[0].bytes += GM_PAGE_BYTES;
	assert_refused(&layout, nodes, 1, -ENOSPC, "of node 0 do not fit");
	nodes[0].bytes = TOP - (GM_PAGE_BYTES - 1);
	assert_refused(&layout, nodes, 1, -ENOSPC, "the 0xfffffffffffff000 bytes of node 0 do not fit");
	nodes[1].bytes = nodes[0].bytes;
	assert_refused(&layout, nodes, 2, -ENOSPC, "of node 0 do not fit");
	/* The host ends earlier than the guest, inside of the hole at last. */
	nodes[0].bytes = 4 * GM_GIB;
	layout.usable_last = gm_gpa(5 * GM_GIB - 1);
	gm_plan_free(plan_of(&layout, nodes, 1));
	layout.usable_last = gm_gpa(5 * GM_GIB - 2);
	assert_refused(&layout, nodes, 1, -ENOSPC, "the 0x100000000 bytes of node 0 do not fit");
	layout.usable_last = gm_gpa(4 * GM_GIB - 1);
	assert_refused(&layout, nodes, 1, -ENOSPC, "of node 0 do not fit");
	nodes[0].bytes = 3 * GM_GIB;
	gm_plan_free(plan_of(&layout, nodes, 1));
}

/* Nothing wraps where the addresses end. */
static void test_top_of_the_address_space(void **state)
{
	const uint64_t page = GM_PAGE_BYTES, largest = TOP - (page - 1);
	struct gm_layout layout;
	struct gm_node nodes[] = { node_of(0, largest), node_of(1, page), node_of(2, page) };
	struct gm_plan *plan;

	(void)state;
	gm_layout_open(&layout);
	assert_single(&layout, largest, &(struct expected){ 0, largest - 1, 0 }, 1);
	plan = plan_of(&layout, nodes, 2);
	assert_pieces(plan, (struct expected[]){ { 0, largest - 1, 0 }, { largest, TOP, 1 } }, 2);
	assert_int_equal(gm_plan_address_node(plan, gm_gpa(TOP)), 1);
	assert_int_equal(gm_plan_address_node(plan, gm_gpa(largest - 1)), 0);
	gm_plan_free(plan);
	assert_refused(&layout, nodes, 3, -ENOSPC, "of node 2 do not fit");
	layout.memory.first = gm_gpa(TOP - (2 * page - 1));
	assert_single(&layout, 2 * page, &(struct expected){ TOP - (2 * page - 1), TOP, 0 }, 1);
	nodes[0].bytes = 3 * page;
	assert_refused(&layout, nodes, 1, -ENOSPC, "of node 0 do not fit");
}

static void test_bounds_inside_pages(void **state)
{
	struct gm_layout layout;

	(void)state;
	gm_layout_open(&layout);
	layout.memory.first = gm_gpa(1);
	layout.memory.last = gm_gpa(GM_GIB);
	assert_single(&layout, GM_GIB - GM_PAGE_BYTES, &(struct expected){ GM_PAGE_BYTES, GM_GIB - 1, 0 }, 1);
}

static void test_free_accepts_null(void **state)
{
	(void)state;
	gm_plan_free(NULL);
}

/* Without memory, at each allocation in turn, nothing is left behind (the leak checker of a sanitized build looks on). */
static void test_no_memory(void **state)
{
	const struct gm_layout layout = pc();
	const struct gm_node node = node_of(0, GM_GIB);
	struct gm_plan *plan;
	struct gm_error error;
	long n;

	(void)state;
	for (n = 1;; n++) {
		int r;

		plan = NULL;
		gmi_fault_arm(n, ENOMEM);
		r = gm_plan_new(&layout, &node, 1, &plan, &error);
		if (!gmi_fault_fired()) {
			assert_int_equal(r, 0);
			break;
		}
		assert_int_equal(r, -ENOMEM);
		assert_int_equal(error.code, -ENOMEM);
		assert_null(plan);
	}
	assert_int_equal(n, 4);
	gmi_fault_arm(0, 0);
	gm_plan_free(plan);
}

static void counts_without_asking_for_more(void **state)
{
	static const unsigned vcpu = 3;
	const struct gm_node node = {
		.bytes = GM_GIB, .guest_node = 5, .host_node = -1, .vcpus = &vcpu, .vcpus_count = 1
	};
	struct gm_layout layout;
	struct gm_plan *plan;

	(void)state;
	assert_int_equal(gm_layout_x86_64_pc(40, &layout), 0);
	assert_int_equal(gm_plan_new(&layout, &node, 1, &plan, NULL), 0);
	assert_int_equal(gm_plan_pieces(plan, NULL), 1);
	assert_int_equal(gm_plan_node_vcpus(plan, 5, NULL), 1);
	gm_plan_free(plan);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_node_around_the_hole),
		cmocka_unit_test(test_small_piece_before_the_hole),
		cmocka_unit_test(test_two_nodes),
		cmocka_unit_test(test_eight_nodes),
		cmocka_unit_test(test_vcpus),
		cmocka_unit_test(test_bad_vcpus),
		cmocka_unit_test(test_bad_nodes),
		cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_top_of_the_address_space),
		cmocka_unit_test(test_bounds_inside_pages),
		cmocka_unit_test(test_free_accepts_null),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(counts_without_asking_for_more),
	};

	return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
