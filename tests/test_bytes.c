/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* The copies: every size and placement at which one of them goes another way, and that none touches a byte beside its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "access/bytes.h"

/* Around what is copied, and of the largest: more than copies far from the nearest cache are for. */
#define MARGIN 128
#define MOST   (16384 + 65)
#define AREA   (MARGIN + 64 + MOST + MARGIN)

static unsigned char source[AREA], target[AREA];

static void fill_source(void)
{
	uint32_t number = 12345;
	size_t i;

	for (i = 0; i < AREA; i++) {
		number = number * 1664525 + 1013904223;
		source[i] = (unsigned char)(number >> 24);
	}
}

static void expect_copied(size_t to, size_t from, size_t bytes)
{
	size_t i;

	assert_memory_equal(target + MARGIN + to, source + MARGIN + from, bytes);
	for (i = 0; i < MARGIN + to; i++)
		assert_int_equal(target[i], 0xa5);
	for (i = MARGIN + to + bytes; i < AREA; i++)
		assert_int_equal(target[i], 0xa5);
}

static void copy_each_way(size_t to, size_t from, size_t bytes)
{
	unsigned char *there = target + MARGIN + to;
	const unsigned char *here = source + MARGIN + from;

	memset(target, 0xa5, AREA);
	assert_int_equal(gmi_bytes_read(there, here, bytes), 0);
	expect_copied(to, from, bytes);
	memset(target, 0xa5, AREA);
	assert_int_equal(gmi_bytes_write(there, here, bytes), 0);
	expect_copied(to, from, bytes);
	memset(target, 0xa5, AREA);
	assert_int_equal(gmi_bytes_read_cold(there, here, bytes, bytes / 3), 0);
	expect_copied(to, from, bytes);
	memset(target, 0xa5, AREA);
	assert_int_equal(gmi_bytes_write_cold(there, here, bytes), 0);
	expect_copied(to, from, bytes);
}

static void sizes(void **state)
{
	static const size_t borders[] = { 0, 16, 32, 64, 128, 256, 512, 576, 2048, 2048 + 576, 4096, 8192, 16384 };
	size_t i, bytes;

	(void)state;
	fill_source();
	for (i = 0; i < sizeof(borders) / sizeof(borders[0]); i++) {
		for (bytes = borders[i] > 2 ? borders[i] - 2 : 1; bytes <= borders[i] + 2; bytes++) {
			copy_each_way(0, 0, bytes);
			copy_each_way(3, 21, bytes);
		}
	}
}

static void placements(void **state)
{
	static const size_t some[] = { 1, 8, 61, 2048, 2111, 4096, 16384 };
	size_t i, to;

	(void)state;
	fill_source();
	for (i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
		for (to = 0; to < 64; to++) {
			copy_each_way(to, 0, some[i]);
			copy_each_way(to, (to * 7 + 13) % 64, some[i]);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes),
		cmocka_unit_test(placements),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
