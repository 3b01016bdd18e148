/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The copies: every size and placement at which one of them goes another way, and that none touches a byte beside its own. The move: that it
 * is one where both overlap.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "access/bytes.h"

/* Around what is copied, and of the largest: more than any of the library's own copies is for. */
#define MARGIN 4096
#define MOST   ((1 << 20) + 65)
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

static void clear_target(size_t to, size_t bytes)
{
	memset(target, 0xa5, MARGIN + to + bytes + MARGIN);
}

static void expect_copied(size_t to, size_t from, size_t bytes)
{
	size_t i;

	assert_memory_equal(target + MARGIN + to, source + MARGIN + from, bytes);
	for (i = 0; i < MARGIN + to; i++)
		assert_int_equal(target[i], 0xa5);
	for (i = 0; i < MARGIN; i++)
		assert_int_equal(target[MARGIN + to + bytes + i], 0xa5);
}

static void copy_each_way(size_t to, size_t from, size_t bytes)
{
	unsigned char *there = target + MARGIN + to;
	const unsigned char *here = source + MARGIN + from;

	clear_target(to, bytes);
	assert_int_equal(gmi_bytes_read(there, here, bytes), 0);
	expect_copied(to, from, bytes);
	clear_target(to, bytes);
	assert_int_equal(gmi_bytes_write(there, here, bytes), 0);
	expect_copied(to, from, bytes);
	clear_target(to, bytes);
	assert_int_equal(gmi_bytes_move(there, here, bytes), 0);
	expect_copied(to, from, bytes);
	clear_target(to, bytes);
	assert_int_equal(gmi_bytes_read_cold(there, here, bytes, bytes / 3), 0);
	expect_copied(to, from, bytes);
	clear_target(to, bytes);
	assert_int_equal(gmi_bytes_write_cold(there, here, bytes), 0);
	expect_copied(to, from, bytes);
#if defined(__x86_64__)
	/* Whatever the processor would choose. */
	if (!__builtin_cpu_supports("avx2") || bytes <= 64)
		return;
	clear_target(to, bytes);
	gmi_copy_lines(there, here, bytes);
	expect_copied(to, from, bytes);
	clear_target(to, bytes);
	gmi_copy_cold(there, here, bytes, bytes / 3);
	expect_copied(to, from, bytes);
#endif
}

static void sizes(void **state)
{
	static const size_t borders[] = { 0,   16,   32,         64,   128,  256,   512,
					  576, 2048, 2048 + 576, 4096, 8192, 16384, 1 << 20 };
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

/* In one area, a byte after the other is what it was before. */
static void expect_moved(size_t to, size_t from, size_t bytes)
{
	static unsigned char expected[AREA];
	size_t most = (to > from ? to : from) + bytes;

	memcpy(target, source, most);
	memcpy(expected, source, most);
	memcpy(expected + to, source + from, bytes);
	assert_int_equal(gmi_bytes_move(target + to, target + from, bytes), 0);
	assert_memory_equal(target, expected, most);
#if defined(__x86_64__)
	/* What a move is done by on some processors, where it may be. */
	if (!__builtin_cpu_supports("avx2") || bytes <= 64 || (to > from ? to - from < bytes : from - to < 64))
		return;
	memcpy(target, source, most);
	gmi_copy_lines(target + to, target + from, bytes);
	assert_memory_equal(target, expected, most);
#endif
}

static void moves(void **state)
{
	static const size_t some[] = { 8, 64, 100, 2048, 2111, 4096, 16384 };
	static const size_t near[] = { 0, 1, 8, 31, 63, 64, 65, 100, 256 };
	size_t i, k;

	(void)state;
	fill_source();
	for (i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
		for (k = 0; k < sizeof(near) / sizeof(near[0]); k++) {
			expect_moved(near[k], 0, some[i]);
			expect_moved(0, near[k], some[i]);
			if (near[k] < some[i]) {
				expect_moved(some[i] - near[k], 0, some[i]);
				expect_moved(0, some[i] - near[k], some[i]);
			}
			expect_moved(some[i] + near[k], 0, some[i]);
			expect_moved(0, some[i] + near[k], some[i]);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes),
		cmocka_unit_test(placements),
		cmocka_unit_test(moves),
	};

#if defined(__x86_64__)
	if (!__builtin_cpu_supports("avx2"))
		print_message("no AVX2 here: the copies with it are left out\n");
#endif
	return cmocka_run_group_tests(tests, NULL, NULL);
}
