/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Marks that meet a collector which clears their words by plain stores: (E) of docs/concurrency.md. First staged: the log is made to
 * look as if a collector had stopped in the middle. Then for real: each page is marked once, by one of some threads, while another one
 * collects all the time, and in the end each page has been reported.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <guestmem/dirty.h>

#include "base/base.h"
#include "dirty/dirty.h"

#define PAGE        UINT64_C(4096)
#define PAGES       (2 * GMI_DIRTY_WINDOW_PAGES + 100)
#define MARKERS     2
#define RANGES_MAX  20000 /* room for a whole window's worth */
#define STRIDE      64    /* pages that a marker marks in a row, one way or another */
#define ROUNDS_FULL 6
#define ROUNDS_TINY 3000

static struct gm_dirty *dirty;
static struct gm_dirty_reader *reader;
static struct gm_dirty_range ranges[RANGES_MAX];
static unsigned char reported[PAGES];

static void start(uint64_t pages)
{
	assert_int_equal(gm_dirty_new(pages * PAGE, 0, PAGE, &dirty), 0);
	assert_int_equal(gm_dirty_reader_new(dirty, &reader), 0);
	memset(reported, 0, sizeof(reported));
}

static void end(void)
{
	gm_dirty_reader_free(reader);
	gm_dirty_free(dirty);
}

/* All that is dirty, with room for @max ranges at once. */
static void collect(size_t max)
{
	struct gm_offset next = gm_offset(0);
	size_t count = 0, i;
	uint64_t page;
	int r;

	do {
		r = gm_dirty_collect(reader, next, UINT64_MAX, ranges, max, &count, &next);
		for (i = 0; i < count; i++) {
			for (page = ranges[i].first.value / PAGE; page <= ranges[i].last.value / PAGE; page++)
				reported[page] = 1;
		}
	} while (r == 1);
}

static uint64_t count_reported(void)
{
	uint64_t page, count = 0;

	for (page = 0; page < PAGES; page++)
		count += reported[page];
	return count;
}

/* A collector has announced a window, and looked at its words. */
static void stop_inside(uint64_t window)
{
	dirty->head.clearing += UINT64_C(1) << GMI_DIRTY_WINDOW_BITS;
	dirty->head.clearing &= ~((UINT64_C(1) << GMI_DIRTY_WINDOW_BITS) - 1);
	dirty->head.clearing |= window;
}

/* It goes on: what it has not seen is overwritten. */
static void go_on(uint64_t window)
{
	memset(&dirty->head.words[window * GMI_DIRTY_WINDOW_WORDS], 0, GMI_DIRTY_WINDOW_WORDS * sizeof(uint64_t));
	dirty->head.cleared = dirty->head.clearing;
}

static void test_marks_inside(void **state)
{
	uint64_t window = GMI_DIRTY_WINDOW_PAGES;
	unsigned char bitmap[16] = { 0x01, [15] = 0x80 };

	(void)state;
	start(PAGES);
	stop_inside(0);
	gmi_dirty_mark_at(&dirty->head, 5 * PAGE);
	gm_dirty_mark(dirty, gm_offset(700 * PAGE), 1);
	gm_dirty_mark(dirty, gm_offset(1000 * PAGE), 1000 * PAGE);
	gm_dirty_mark(dirty, gm_offset((window - 3) * PAGE), 6 * PAGE); /* into the next window */
	assert_int_equal(gm_dirty_merge(dirty, gm_offset(3000 * PAGE), bitmap, 128, PAGE), 0);
	assert_true(dirty->late_any);
	go_on(0);

	assert_true(gm_dirty_is_marked(reader, gm_offset(5 * PAGE)));
	assert_false(dirty->late_any);
	assert_int_equal(gm_dirty_count(reader), 2 + 1000 + 6 + 2);
	collect(RANGES_MAX);
	assert_int_equal(count_reported(), 2 + 1000 + 6 + 2);
	assert_true(reported[5] && reported[700] && reported[1000] && reported[1999]);
	assert_true(reported[window - 3] && reported[window + 2] && reported[3000] && reported[3127]);
	assert_int_equal(gm_dirty_count(reader), 0);
	end();
}

/* The window next to it is not concerned, nor is any once the collector has ended. */
static void test_marks_outside(void **state)
{
	(void)state;
	start(PAGES);
	stop_inside(1);
	gmi_dirty_mark_at(&dirty->head, 0);
	gm_dirty_mark(dirty, gm_offset(64 * PAGE), 128 * PAGE);
	assert_false(dirty->late_any);
	go_on(1);
	gmi_dirty_mark_at(&dirty->head, GMI_DIRTY_WINDOW_PAGES * PAGE);
	assert_false(dirty->late_any);
	collect(1);
	assert_int_equal(count_reported(), 130);
	end();
}

/* The bit is set by another thread, behind the collector's look, and will be overwritten: it is not to be relied on. */
static void test_bit_that_goes(void **state)
{
	(void)state;
	start(PAGES);
	gm_dirty_mark(dirty, gm_offset(0), 256 * PAGE);
	stop_inside(0);
	gmi_dirty_mark_at(&dirty->head, 7 * PAGE);
	gm_dirty_mark(dirty, gm_offset(9 * PAGE), 1);
	gm_dirty_mark(dirty, gm_offset(64 * PAGE), 64 * PAGE);
	go_on(0);
	collect(RANGES_MAX);
	assert_true(reported[7] && reported[9] && reported[64] && reported[127]);
	assert_int_equal(count_reported(), 66);
	end();
}

/* A reader that is made meanwhile: what is in the late bits by then is for those who were there before. */
static void test_late_and_new_reader(void **state)
{
	struct gm_dirty_reader *newer;

	(void)state;
	start(PAGES);
	stop_inside(0);
	gm_dirty_mark(dirty, gm_offset(0), PAGE);
	go_on(0);
	assert_int_equal(gm_dirty_reader_new(dirty, &newer), 0);
	assert_int_equal(gm_dirty_count(newer), 0);
	assert_int_equal(gm_dirty_count(reader), 1);
	gm_dirty_reader_free(newer);
	end();
}

/* Little room: what was taken and not reported is dirty still, for this reader and for others. */
static void test_put_back(void **state)
{
	struct gm_dirty_reader *other;
	struct gm_offset next;
	uint64_t page;
	size_t count;

	(void)state;
	start(PAGES);
	assert_int_equal(gm_dirty_reader_new(dirty, &other), 0);
	for (page = 0; page < PAGES; page += 9)
		gm_dirty_mark(dirty, gm_offset(page * PAGE), 1);
	assert_int_equal(gm_dirty_collect(reader, gm_offset(0), UINT64_MAX, ranges, 3, &count, &next), 1);
	assert_int_equal(count, 3);
	assert_int_equal(next.value, 27 * PAGE);
	assert_int_equal(gm_dirty_count(reader), (PAGES + 8) / 9 - 3);
	assert_int_equal(gm_dirty_count(other), (PAGES + 8) / 9);
	collect(2500);
	assert_int_equal(count_reported(), (PAGES + 8) / 9 - 3);
	gm_dirty_reader_free(other);
	end();
}

/* Where a pass begins and ends inside a window and a group, in every mixture of taken, taken in part, and pending. */
static void test_pieces(void **state)
{
	struct gm_dirty_reader *other;
	struct gm_offset next;
	size_t count;
	int r;

	(void)state;
	start(PAGES);
	assert_int_equal(gm_dirty_reader_new(dirty, &other), 0);
	gm_dirty_mark(dirty, gm_offset(0), UINT64_MAX);
	r = gm_dirty_collect(other, gm_offset(300 * PAGE), 40000 * PAGE, ranges, RANGES_MAX, &count, &next);
	assert_int_equal(r, 0);
	assert_int_equal(count, 1);
	assert_int_equal(ranges[0].first.value, 300 * PAGE);
	assert_int_equal(ranges[0].last.value, 40300 * PAGE - 1);
	assert_int_equal(gm_dirty_count(other), PAGES - 40000);
	r = gm_dirty_collect(reader, gm_offset(100 * PAGE), 60000 * PAGE, ranges, RANGES_MAX, &count, &next);
	assert_int_equal(r, 0);
	assert_int_equal(count, 1);
	assert_int_equal(ranges[0].first.value, 100 * PAGE);
	assert_int_equal(ranges[0].last.value, 60100 * PAGE - 1);
	assert_int_equal(gm_dirty_count(reader), PAGES - 60000);
	r = gm_dirty_collect(other, gm_offset(0), UINT64_MAX, ranges, RANGES_MAX, &count, &next);
	assert_int_equal(r, 0);
	assert_int_equal(count, 2);
	assert_int_equal(ranges[0].last.value, 300 * PAGE - 1);
	assert_int_equal(ranges[1].first.value, 40300 * PAGE);
	assert_int_equal(gm_dirty_count(other), 0);
	gm_dirty_reader_free(other);
	end();
}

/* For real. Rounds are in step, so that both sides run at once. */
struct torture {
	uint64_t pages;
	unsigned rounds;
	atomic_uint arrived;
	atomic_uint finished;
};

static struct torture torture;

static void meet(unsigned count)
{
	unsigned spins;

	atomic_fetch_add(&torture.arrived, 1);
	for (spins = 0; atomic_load(&torture.arrived) < count; spins++) {
		if (spins > 100)
			(void)sched_yield();
	}
}

/* Pages from @first on, in one of the ways there are. */
static void mark_some(uint64_t first, uint64_t pages, unsigned how)
{
	static const uint64_t ones = UINT64_MAX;
	uint64_t i;

	switch (how % 4) {
	case 0:
		gm_dirty_mark(dirty, gm_offset(first * PAGE), pages * PAGE);
		break;
	case 1:
		if (gm_dirty_merge(dirty, gm_offset(first * PAGE), &ones, pages, PAGE) != 0)
			abort();
		break;
	default:
		for (i = first; i < first + pages; i++)
			gmi_dirty_mark_at(&dirty->head, i * PAGE);
	}
}

static void *mark_all(void *opaque)
{
	uintptr_t id = (uintptr_t)opaque;
	uint64_t first, shift;
	unsigned round;

	for (round = 0; round < torture.rounds; round++) {
		meet((2 * round + 1) * (MARKERS + 1));
		/* Strides of the two alternate, and begin in the middle of a word in some rounds: ranges with and without whole words. */
		shift = round % 3 == 0 ? 0 : 17;
		for (first = id * STRIDE + shift; first < torture.pages; first += MARKERS * STRIDE)
			mark_some(first, GMI_MIN(STRIDE, torture.pages - first),
				  round + (unsigned)(first / STRIDE / 5));
		if (id == 0 && shift != 0)
			mark_some(0, shift, round);
		atomic_fetch_add(&torture.finished, 1);
		meet((2 * round + 2) * (MARKERS + 1));
	}
	return NULL;
}

static uint64_t run_torture(uint64_t pages, unsigned rounds)
{
	pthread_t markers[MARKERS];
	uint64_t lost = 0;
	unsigned round;
	uintptr_t i;

	start(pages);
	torture = (struct torture){ .pages = pages, .rounds = rounds };
	for (i = 0; i < MARKERS; i++)
		assert_int_equal(pthread_create(&markers[i], NULL, mark_all, (void *)i), 0);
	for (round = 0; round < rounds; round++) {
		memset(reported, 0, pages);
		meet((2 * round + 1) * (MARKERS + 1));
		while (atomic_load(&torture.finished) < (round + 1) * MARKERS)
			collect(round % 2 == 0 ? RANGES_MAX : 100);
		collect(RANGES_MAX);
		lost += pages - count_reported();
		meet((2 * round + 2) * (MARKERS + 1));
	}
	for (i = 0; i < MARKERS; i++)
		assert_int_equal(pthread_join(markers[i], NULL), 0);
	end();
	return lost;
}

static void test_torture(void **state)
{
	(void)state;
	assert_int_equal(run_torture(PAGES, ROUNDS_FULL), 0);
}

/* One whole group: marks and collects meet in the same words. */
static void test_torture_of_one_group(void **state)
{
	(void)state;
	assert_int_equal(run_torture(GMI_DIRTY_PAGES_PER_SUMMARY, ROUNDS_TINY), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_marks_inside),  cmocka_unit_test(test_marks_outside),
		cmocka_unit_test(test_bit_that_goes), cmocka_unit_test(test_late_and_new_reader),
		cmocka_unit_test(test_put_back),      cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_torture),       cmocka_unit_test(test_torture_of_one_group),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
