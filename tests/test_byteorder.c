/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* <guestmem/byteorder.h>: checked against the bytes as they lie in memory, so it holds on either kind of machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <guestmem/byteorder.h>

/* A pattern in which no two bytes are equal, and one whose top bit is set and could be spread by a sign. */
#define DEFINE_TEST(bits, number, ...)                                                                                 \
	static void test_##bits(void **state)                                                                          \
	{                                                                                                              \
		const unsigned char bytes[] = { __VA_ARGS__ };                                                         \
		const uint##bits##_t high = (uint##bits##_t)((uint##bits##_t)1 << (bits - 1));                         \
		struct gm_le##bits le = gm_le##bits(number);                                                           \
		struct gm_be##bits be = gm_be##bits(number);                                                           \
		size_t i;                                                                                              \
                                                                                                                       \
		(void)state;                                                                                           \
		assert_int_equal(sizeof(bytes), bits / 8);                                                             \
		assert_int_equal(sizeof(le), bits / 8);                                                                \
		assert_int_equal(sizeof(be), bits / 8);                                                                \
		assert_int_equal(_Alignof(struct gm_le##bits), _Alignof(uint##bits##_t));                              \
		assert_int_equal(_Alignof(struct gm_be##bits), _Alignof(uint##bits##_t));                              \
		assert_memory_equal(&be, bytes, sizeof(bytes));                                                        \
		for (i = 0; i < sizeof(bytes); i++)                                                                    \
			assert_int_equal(((const unsigned char *)&le)[i], bytes[sizeof(bytes) - 1 - i]);               \
		assert_true(gm_le##bits##_get(le) == (number));                                                        \
		assert_true(gm_be##bits##_get(be) == (number));                                                        \
		assert_true(gm_le##bits##_get(gm_le##bits(high)) == high);                                             \
		assert_true(gm_be##bits##_get(gm_be##bits(high)) == high);                                             \
		le = gm_le##bits(1);                                                                                   \
		be = gm_be##bits(1);                                                                                   \
		assert_int_equal(((const unsigned char *)&le)[0], 1);                                                  \
		assert_int_equal(((const unsigned char *)&be)[bits / 8 - 1], 1);                                       \
	}

DEFINE_TEST(16, UINT16_C(0xfe12), 0xfe, 0x12)
DEFINE_TEST(32, UINT32_C(0xfe123456), 0xfe, 0x12, 0x34, 0x56)
DEFINE_TEST(64, UINT64_C(0xfe123456789abcde), 0xfe, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde)

static void test_gpa(void **state)
{
	const uint64_t number = UINT64_C(0xfe123456789abcde);

	(void)state;
	assert_true(gm_gpa_from_le64(gm_le64(number)).value == number);
	assert_true(gm_gpa_from_be64(gm_be64(number)).value == number);
	assert_true(gm_gpa_from_le64(gm_le64(UINT64_MAX)).value == UINT64_MAX);
	assert_int_equal(gm_gpa_from_be64(gm_be64(0)).value, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_16),
		cmocka_unit_test(test_32),
		cmocka_unit_test(test_64),
		cmocka_unit_test(test_gpa),
	};

	return cmocka_run_group_tests_name("byteorder", tests, NULL, NULL);
}
