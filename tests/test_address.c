/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* <guestmem/address.h>: each function of the three address types and of ranges, at 0, at 2^64-1, and one to either side. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <guestmem/address.h>

/* What an output must still hold after a call that failed. */
#define UNTOUCHED UINT64_C(0x5a5a5a5a5a5a5a5a)

#define TOP UINT64_MAX

/* One set of tests for the three types: they are made by one macro, but each could be given a mistake of its own. */
#define DEFINE_TESTS(noun)                                                                                             \
	static void test_##noun##_add(void **state)                                                                    \
	{                                                                                                              \
		struct noun ret = { UNTOUCHED };                                                                       \
                                                                                                                       \
		(void)state;                                                                                           \
		assert_int_equal(noun##_add(noun(5), 7, &ret), 0);                                                     \
		assert_int_equal(ret.value, 12);                                                                       \
		assert_int_equal(noun##_add(noun(TOP), 0, &ret), 0);                                                   \
		assert_true(ret.value == TOP);                                                                         \
		assert_int_equal(noun##_add(noun(0), TOP, &ret), 0);                                                   \
		assert_true(ret.value == TOP);                                                                         \
		ret.value = UNTOUCHED;                                                                                 \
		assert_int_equal(noun##_add(noun(TOP), 1, &ret), -GM_EWRAP);                                           \
		assert_int_equal(noun##_add(noun(1), TOP, &ret), -GM_EWRAP);                                           \
		assert_int_equal(noun##_add(noun(TOP), TOP, &ret), -GM_EWRAP);                                         \
		assert_true(ret.value == UNTOUCHED);                                                                   \
	}                                                                                                              \
	static void test_##noun##_sub(void **state)                                                                    \
	{                                                                                                              \
		struct noun ret = { UNTOUCHED };                                                                       \
                                                                                                                       \
		(void)state;                                                                                           \
		assert_int_equal(noun##_sub(noun(12), 7, &ret), 0);                                                    \
		assert_int_equal(ret.value, 5);                                                                        \
		assert_int_equal(noun##_sub(noun(TOP), TOP, &ret), 0);                                                 \
		assert_int_equal(ret.value, 0);                                                                        \
		ret.value = UNTOUCHED;                                                                                 \
		assert_int_equal(noun##_sub(noun(0), 1, &ret), -GM_EWRAP);                                             \
		assert_int_equal(noun##_sub(noun(TOP - 1), TOP, &ret), -GM_EWRAP);                                     \
		assert_true(ret.value == UNTOUCHED);                                                                   \
	}                                                                                                              \
	static void test_##noun##_overflowing(void **state)                                                            \
	{                                                                                                              \
		struct noun ret = { UNTOUCHED };                                                                       \
                                                                                                                       \
		(void)state;                                                                                           \
		assert_false(noun##_add_overflowing(noun(TOP - 1), 1, &ret));                                          \
		assert_true(ret.value == TOP);                                                                         \
		assert_true(noun##_add_overflowing(noun(TOP - 1), 2, &ret));                                           \
		assert_int_equal(ret.value, 0);                                                                        \
		assert_true(noun##_add_overflowing(noun(TOP), TOP, &ret));                                             \
		assert_true(ret.value == TOP - 1);                                                                     \
		assert_false(noun##_sub_overflowing(noun(1), 1, &ret));                                                \
		assert_int_equal(ret.value, 0);                                                                        \
		assert_true(noun##_sub_overflowing(noun(1), 2, &ret));                                                 \
		assert_true(ret.value == TOP);                                                                         \
	}                                                                                                              \
	static void test_##noun##_wrapping(void **state)                                                               \
	{                                                                                                              \
		(void)state;                                                                                           \
		assert_int_equal(noun##_add_wrapping(noun(1), 2).value, 3);                                            \
		assert_int_equal(noun##_add_wrapping(noun(TOP), 1).value, 0);                                          \
		assert_int_equal(noun##_sub_wrapping(noun(3), 2).value, 1);                                            \
		assert_true(noun##_sub_wrapping(noun(0), 1).value == TOP);                                             \
	}                                                                                                              \
	static void test_##noun##_offset_from(void **state)                                                            \
	{                                                                                                              \
		uint64_t bytes = UNTOUCHED;                                                                            \
                                                                                                                       \
		(void)state;                                                                                           \
		assert_int_equal(noun##_offset_from(noun(4), noun(5), &bytes), -GM_EWRAP);                             \
		assert_int_equal(noun##_offset_from(noun(0), noun(TOP), &bytes), -GM_EWRAP);                           \
		assert_true(bytes == UNTOUCHED);                                                                       \
		assert_int_equal(noun##_offset_from(noun(5), noun(5), &bytes), 0);                                     \
		assert_int_equal(bytes, 0);                                                                            \
		assert_int_equal(noun##_offset_from(noun(TOP), noun(0), &bytes), 0);                                   \
		assert_true(bytes == TOP);                                                                             \
	}                                                                                                              \
	static void test_##noun##_align(void **state)                                                                  \
	{                                                                                                              \
		const uint64_t half = UINT64_C(1) << 63;                                                               \
		struct noun ret = { UNTOUCHED };                                                                       \
                                                                                                                       \
		(void)state;                                                                                           \
		assert_int_equal(noun##_align_down(noun(8191), 0, &ret), -EINVAL);                                     \
		assert_int_equal(noun##_align_down(noun(8191), 3, &ret), -EINVAL);                                     \
		assert_int_equal(noun##_align_up(noun(8191), 0, &ret), -EINVAL);                                       \
		assert_int_equal(noun##_align_up(noun(8191), 4097, &ret), -EINVAL);                                    \
		assert_int_equal(noun##_align_up(noun(TOP), 2, &ret), -GM_EWRAP);                                      \
		assert_int_equal(noun##_align_up(noun(TOP - 4094), 4096, &ret), -GM_EWRAP);                            \
		assert_int_equal(noun##_align_up(noun(half + 1), half, &ret), -GM_EWRAP);                              \
		assert_true(ret.value == UNTOUCHED);                                                                   \
		assert_int_equal(noun##_align_down(noun(8191), 4096, &ret), 0);                                        \
		assert_int_equal(ret.value, 4096);                                                                     \
		assert_int_equal(noun##_align_down(noun(4096), 4096, &ret), 0);                                        \
		assert_int_equal(ret.value, 4096);                                                                     \
		assert_int_equal(noun##_align_down(noun(TOP), half, &ret), 0);                                         \
		assert_true(ret.value == half);                                                                        \
		assert_int_equal(noun##_align_up(noun(4097), 4096, &ret), 0);                                          \
		assert_int_equal(ret.value, 8192);                                                                     \
		assert_int_equal(noun##_align_up(noun(4096), 4096, &ret), 0);                                          \
		assert_int_equal(ret.value, 4096);                                                                     \
		assert_int_equal(noun##_align_up(noun(TOP - 4095), 4096, &ret), 0);                                    \
		assert_true(ret.value == TOP - 4095);                                                                  \
		assert_int_equal(noun##_align_up(noun(TOP), 1, &ret), 0);                                              \
		assert_true(ret.value == TOP);                                                                         \
		assert_true(noun##_is_aligned(noun(8192), 4096));                                                      \
		assert_true(noun##_is_aligned(noun(0), half));                                                         \
		assert_false(noun##_is_aligned(noun(8193), 4096));                                                     \
		assert_false(noun##_is_aligned(noun(0), 0));                                                           \
		assert_false(noun##_is_aligned(noun(6), 3));                                                           \
	}                                                                                                              \
	static void test_##noun##_mask_and_compare(void **state)                                                       \
	{                                                                                                              \
		(void)state;                                                                                           \
		assert_int_equal(noun##_mask(noun(0x12345), 0xfff), 0x345);                                            \
		assert_int_equal(noun##_mask(noun(TOP), 0), 0);                                                        \
		assert_true(noun##_compare(noun(1), noun(2)) < 0);                                                     \
		assert_true(noun##_compare(noun(2), noun(1)) > 0);                                                     \
		assert_int_equal(noun##_compare(noun(2), noun(2)), 0);                                                 \
		/* A difference would have the wrong sign here. */                                                     \
		assert_true(noun##_compare(noun(0), noun(TOP)) < 0);                                                   \
		assert_true(noun##_compare(noun(TOP), noun(0)) > 0);                                                   \
	}

DEFINE_TESTS(gm_gpa)
DEFINE_TESTS(gm_iova)
DEFINE_TESTS(gm_offset)

static void test_power_of_2(void **state)
{
	unsigned bit;

	(void)state;
	assert_false(gm_is_power_of_2(0));
	for (bit = 0; bit < 64; bit++) {
		uint64_t power = UINT64_C(1) << bit;

		assert_true(gm_is_power_of_2(power));
		if (bit >= 2) {
			assert_false(gm_is_power_of_2(power + 1));
			assert_false(gm_is_power_of_2(power - 1));
		}
	}
	assert_false(gm_is_power_of_2(TOP));
}

static struct gm_range range_of(uint64_t first, uint64_t last)
{
	struct gm_range range = { gm_gpa(first), gm_gpa(last) };

	return range;
}

static void assert_range(struct gm_range range, uint64_t first, uint64_t last)
{
	assert_true(range.first.value == first);
	assert_true(range.last.value == last);
}

static void test_range_make(void **state)
{
	struct gm_range range = range_of(UNTOUCHED, UNTOUCHED);

	(void)state;
	assert_int_equal(gm_range_make(gm_gpa(1), 0, &range), -EINVAL);
	assert_int_equal(gm_range_make(gm_gpa(TOP), 2, &range), -GM_EWRAP);
	assert_int_equal(gm_range_make(gm_gpa(2), TOP, &range), -GM_EWRAP);
	assert_int_equal(gm_range_make(gm_gpa(TOP), TOP, &range), -GM_EWRAP);
	assert_range(range, UNTOUCHED, UNTOUCHED);
	assert_int_equal(gm_range_make(gm_gpa(TOP), 1, &range), 0);
	assert_range(range, TOP, TOP);
	assert_int_equal(gm_range_make(gm_gpa(1), TOP, &range), 0);
	assert_range(range, 1, TOP);
	assert_int_equal(gm_range_make(gm_gpa(0), TOP, &range), 0);
	assert_range(range, 0, TOP - 1);
	assert_int_equal(gm_range_make(gm_gpa(0x1000), 0x1000, &range), 0);
	assert_range(range, 0x1000, 0x1fff);
}

static void test_range_size(void **state)
{
	(void)state;
	assert_true(gm_range_is_valid(range_of(0, 0)));
	assert_true(gm_range_is_valid(range_of(0, TOP)));
	assert_false(gm_range_is_valid(range_of(1, 0)));
	assert_false(gm_range_is_valid(range_of(TOP, TOP - 1)));
	assert_int_equal(gm_range_bytes(range_of(7, 7)), 1);
	assert_true(gm_range_bytes(range_of(1, TOP)) == TOP);
	assert_int_equal(gm_range_bytes(range_of(0, TOP)), 0);
}

static void test_range_contains(void **state)
{
	struct gm_range range = range_of(10, 20), top = range_of(TOP - 1, TOP);

	(void)state;
	assert_false(gm_range_contains(range, gm_gpa(9)));
	assert_true(gm_range_contains(range, gm_gpa(10)));
	assert_true(gm_range_contains(range, gm_gpa(20)));
	assert_false(gm_range_contains(range, gm_gpa(21)));
	assert_true(gm_range_contains(top, gm_gpa(TOP)));
	assert_false(gm_range_contains(top, gm_gpa(0)));
}

static void test_range_covers(void **state)
{
	struct gm_range range = range_of(10, 20);

	(void)state;
	assert_true(gm_range_covers(range, range));
	assert_true(gm_range_covers(range, range_of(11, 19)));
	assert_false(gm_range_covers(range, range_of(9, 20)));
	assert_false(gm_range_covers(range, range_of(10, 21)));
	assert_false(gm_range_covers(range, range_of(30, 40)));
	assert_true(gm_range_covers(range_of(0, TOP), range_of(TOP, TOP)));
}

static void test_range_intersects(void **state)
{
	struct gm_range range = range_of(10, 20), ret = range_of(UNTOUCHED, UNTOUCHED);

	(void)state;
	assert_false(gm_range_intersects(range, range_of(0, 9)));
	assert_true(gm_range_intersects(range, range_of(0, 10)));
	assert_true(gm_range_intersects(range, range_of(20, TOP)));
	assert_false(gm_range_intersects(range, range_of(21, TOP)));
	assert_true(gm_range_intersects(range, range_of(0, TOP)));
	assert_false(gm_range_intersection(range, range_of(21, TOP), &ret));
	assert_false(gm_range_intersection(range_of(21, TOP), range, &ret));
	assert_range(ret, UNTOUCHED, UNTOUCHED);
	assert_true(gm_range_intersection(range, range_of(20, TOP), &ret));
	assert_range(ret, 20, 20);
	assert_true(gm_range_intersection(range_of(0, 12), range, &ret));
	assert_range(ret, 10, 12);
	assert_true(gm_range_intersection(range, range_of(12, 13), &ret));
	assert_range(ret, 12, 13);
	assert_true(gm_range_intersection(range_of(0, TOP), range_of(0, TOP), &ret));
	assert_range(ret, 0, TOP);
}

#define TESTS(noun)                                                                                                    \
	cmocka_unit_test(test_##noun##_add), cmocka_unit_test(test_##noun##_sub),                                      \
		cmocka_unit_test(test_##noun##_overflowing), cmocka_unit_test(test_##noun##_wrapping),                 \
		cmocka_unit_test(test_##noun##_offset_from), cmocka_unit_test(test_##noun##_align),                    \
		cmocka_unit_test(test_##noun##_mask_and_compare)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TESTS(gm_gpa),
		TESTS(gm_iova),
		TESTS(gm_offset),
		cmocka_unit_test(test_power_of_2),
		cmocka_unit_test(test_range_make),
		cmocka_unit_test(test_range_size),
		cmocka_unit_test(test_range_contains),
		cmocka_unit_test(test_range_covers),
		cmocka_unit_test(test_range_intersects),
	};

	return cmocka_run_group_tests_name("address", tests, NULL, NULL);
}
