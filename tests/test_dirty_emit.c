/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Ranges out of bits: with vector instructions where this machine has them, and without, against one page after the other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "dirty/emit.h"

#define WORDS     (2 * GMI_DIRTY_WINDOW_WORDS)
#define PAGES     (WORDS * UINT64_C(64))
#define EDGES_MAX (PAGES + 2)
/* What is behind the room must stay as it is. */
#define GUARD UINT64_C(0x5aa55aa55aa55aa5)

static uint64_t bits[WORDS];
static uint64_t expected[EDGES_MAX], plain[EDGES_MAX + GMI_RUNS_SLACK + 1], any[EDGES_MAX + GMI_RUNS_SLACK + 1];
static uint64_t random_state = 77;

static uint64_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* Pages from @first on, one by one. */
static size_t reference(uint64_t first, uint32_t page_shift)
{
	uint64_t page;
	size_t count = 0;
	uint64_t before = 0, now;

	for (page = 0; page < PAGES; page++, before = now) {
		now = bits[page / 64] >> (page % 64) & 1;
		if (now != before) {
			expected[count] = ((first + page) << page_shift) - (count & 1);
			count++;
		}
	}
	if (before)
		expected[count++] = ((first + page) << page_shift) - 1;
	return count;
}

typedef void add_function(struct gmi_runs *runs, uint64_t page, const uint64_t *words, size_t number);

/* In pieces of @step words. */
static size_t make(add_function *add, uint64_t *edges, uint64_t first, uint32_t page_shift, size_t step)
{
	struct gmi_runs runs = { .edges = edges, .max = EDGES_MAX + GMI_RUNS_SLACK, .page_shift = page_shift };
	size_t i;

	edges[EDGES_MAX + GMI_RUNS_SLACK] = GUARD;
	for (i = 0; i < WORDS; i += step) {
		assert_true(gmi_runs_has_room(&runs, step));
		add(&runs, first + i * 64, &bits[i], step);
	}
	gmi_runs_close(&runs);
	assert_true(edges[EDGES_MAX + GMI_RUNS_SLACK] == GUARD);
	return runs.count;
}

static void compare(uint64_t first, uint32_t page_shift, size_t step)
{
	size_t count = reference(first, page_shift);

	assert_int_equal(make(gmi_runs_add_plain, plain, first, page_shift, step), count);
	assert_memory_equal(plain, expected, count * sizeof(*expected));
	assert_int_equal(make(gmi_runs_add, any, first, page_shift, step), count);
	assert_memory_equal(any, expected, count * sizeof(*expected));
}

/* One bit in 2^@sparse is set, or is clear. */
static void fill(unsigned sparse, bool inverted)
{
	uint64_t word;
	unsigned i, j;

	for (i = 0; i < WORDS; i++) {
		word = UINT64_MAX;
		for (j = 0; j < sparse; j++)
			word &= next_random();
		bits[i] = inverted ? ~word : word;
	}
}

static void test_densities(void **state)
{
	static const size_t steps[] = { 8, 32, GMI_DIRTY_WINDOW_WORDS };
	unsigned sparse, i;

	(void)state;
	for (sparse = 0; sparse < 12; sparse++) {
		for (i = 0; i < 3; i++) {
			fill(sparse, i == 1);
			compare(sparse * PAGES, sparse % 2 == 0 ? 12 : 30 - sparse, steps[i]);
		}
	}
}

/* The most edges that there may be, in both phases. */
static void test_alternating(void **state)
{
	(void)state;
	memset(bits, 0x55, sizeof(bits));
	compare(0, 12, GMI_DIRTY_WINDOW_WORDS);
	memset(bits, 0xaa, sizeof(bits));
	compare(PAGES, 12, GMI_DIRTY_WINDOW_WORDS);
	/* Runs of words, which end where words and groups end. */
	memset(bits, 0, sizeof(bits));
	memset(&bits[5], 0xff, 11 * sizeof(uint64_t));
	memset(&bits[500], 0xff, 20 * sizeof(uint64_t));
	bits[16] = 1;
	bits[4] = UINT64_C(1) << 63;
	compare(0, 21, 8);
}

/* Pieces that do not touch: what was open ends with its piece. */
static void test_gap(void **state)
{
	struct gmi_runs runs = { .edges = any, .max = EDGES_MAX, .page_shift = 12 };

	(void)state;
	memset(bits, 0xff, sizeof(bits));
	gmi_runs_add(&runs, 512, bits, 8);
	gmi_runs_add(&runs, 2048, bits, 16);
	gmi_runs_add(&runs, 3072, bits, 8);
	gmi_runs_close(&runs);
	assert_int_equal(runs.count, 4);
	assert_int_equal(any[0], 512 * 4096);
	assert_int_equal(any[1], 1024 * 4096 - 1);
	assert_int_equal(any[2], 2048 * 4096);
	assert_int_equal(any[3], 3584 * 4096 - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_densities),
		cmocka_unit_test(test_alternating),
		cmocka_unit_test(test_gap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
