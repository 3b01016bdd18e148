/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Dirty logs, call by call: results, errors, the pages at the borders of words, groups and the log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <guestmem/dirty.h>

#include "base/base.h"
#include "dirty/dirty.h"
#include "sys/fault.h"

#define PAGE UINT64_C(4096)

static struct gm_dirty *new_log(uint64_t bytes, uint64_t bytes_max, uint64_t page_bytes)
{
	struct gm_dirty *dirty = NULL;

	assert_int_equal(gm_dirty_new(bytes, bytes_max, page_bytes, &dirty), 0);
	assert_non_null(dirty);
	return dirty;
}

/* A log and all readers that it has. */
static void free_log(struct gm_dirty *log)
{
	while (log->readers_count > 0)
		gm_dirty_reader_free(log->readers[0]);
	gm_dirty_free(log);
}

static struct gm_dirty_reader *new_reader(struct gm_dirty *dirty)
{
	struct gm_dirty_reader *reader = NULL;

	assert_int_equal(gm_dirty_reader_new(dirty, &reader), 0);
	assert_non_null(reader);
	return reader;
}

/* Collects all of the log, which must give exactly one range, or none (first > last). */
static void expect_one(struct gm_dirty_reader *reader, uint64_t first, uint64_t last)
{
	struct gm_dirty_range ranges[4];
	struct gm_offset next;
	size_t count = 99;

	assert_int_equal(gm_dirty_collect(reader, gm_offset(0), UINT64_MAX, ranges, 4, &count, &next), 0);
	if (first > last) {
		assert_int_equal(count, 0);
		return;
	}
	assert_int_equal(count, 1);
	assert_int_equal(ranges[0].first.value, first);
	assert_int_equal(ranges[0].last.value, last);
}

static void expect_none(struct gm_dirty_reader *reader)
{
	expect_one(reader, 1, 0);
}

static void test_new_refuses(void **state)
{
	struct gm_dirty *dirty = (void *)1;

	(void)state;
	assert_int_equal(gm_dirty_new(0, 0, PAGE, &dirty), -EINVAL);
	assert_int_equal(gm_dirty_new(0, PAGE, PAGE, &dirty), -EINVAL);
	assert_int_equal(gm_dirty_new(2 * PAGE, PAGE, PAGE, &dirty), -EINVAL);
	assert_int_equal(gm_dirty_new(PAGE, 0, 0, &dirty), -EINVAL);
	assert_int_equal(gm_dirty_new(PAGE, 0, 2048, &dirty), -EINVAL);
	assert_int_equal(gm_dirty_new(PAGE, 0, 5000, &dirty), -EINVAL);
	assert_int_equal(gm_dirty_new(PAGE, 0, 2 * GM_GIB, &dirty), -EINVAL);
	assert_int_equal(gm_dirty_new(PAGE, 0, PAGE, NULL), -EINVAL);
	assert_int_equal(gm_dirty_new(GM_DIRTY_PAGES_MAX * PAGE + 1, 0, PAGE, &dirty), -E2BIG);
	assert_int_equal(gm_dirty_new(1, GM_DIRTY_PAGES_MAX * PAGE + 1, PAGE, &dirty), -E2BIG);
	assert_int_equal(gm_dirty_new(UINT64_MAX, 0, GM_DIRTY_PAGE_BYTES_MAX, &dirty), -E2BIG);
	assert_ptr_equal(dirty, (void *)1);
	gm_dirty_free(NULL);
	gm_dirty_reader_free(NULL);
}

static void test_new_takes_the_limits(void **state)
{
	struct gm_dirty *dirty = new_log(GM_DIRTY_PAGES_MAX * GM_DIRTY_PAGE_BYTES_MAX, 0, GM_DIRTY_PAGE_BYTES_MAX);
	struct gm_dirty_reader *reader = new_reader(dirty);
	uint64_t last = GM_DIRTY_PAGES_MAX * GM_DIRTY_PAGE_BYTES_MAX - 1;

	(void)state;
	assert_int_equal(gm_dirty_bytes(dirty), last + 1);
	assert_int_equal(gm_dirty_page_bytes(dirty), GM_GIB);
	gm_dirty_mark(dirty, gm_offset(last), UINT64_MAX);
	assert_int_equal(gm_dirty_count(reader), 1);
	expect_one(reader, last - GM_GIB + 1, last);
	free_log(dirty);
}

static void test_borders(void **state)
{
	static const uint64_t page_sizes[] = { 4096, 65536, 2 * GM_MIB };
	static const uint64_t pages[] = { 0, 1, 63, 64, 65, 511, 512, 513, 32767, 32768, 32999 };
	size_t i, j;

	(void)state;
	for (i = 0; i < GMI_COUNT(page_sizes); i++) {
		uint64_t size = page_sizes[i], bytes = 33000 * size;
		struct gm_dirty *dirty = new_log(bytes, 0, size);
		struct gm_dirty_reader *reader = new_reader(dirty);

		for (j = 0; j < GMI_COUNT(pages); j++) {
			uint64_t first = pages[j] * size, last = first + size - 1;

			gm_dirty_mark(dirty, gm_offset(first), 1);
			assert_true(gm_dirty_is_marked(reader, gm_offset(last)));
			assert_false(gm_dirty_is_marked(reader, gm_offset(last + 1)));
			assert_false(gm_dirty_is_marked(reader, gm_offset(first - 1)));
			assert_int_equal(gm_dirty_count(reader), 1);
			expect_one(reader, first, last);
			expect_none(reader);
			assert_int_equal(gm_dirty_count(reader), 0);
			gm_dirty_mark(dirty, gm_offset(last), 1);
			gm_dirty_mark(dirty, gm_offset(last), 1);
			expect_one(reader, first, last);
			/* Two bytes on two pages; behind the last page there is nothing to mark. */
			gm_dirty_mark(dirty, gm_offset(last), 2);
			expect_one(reader, first, last + 1 == bytes ? last : last + size);
			gm_dirty_mark(dirty, gm_offset(first), UINT64_MAX);
			assert_int_equal(gm_dirty_count(reader), 33000 - pages[j]);
			expect_one(reader, first, bytes - 1);
		}
		gm_dirty_reader_free(reader);
		free_log(dirty);
	}
}

static void test_partial_last_page(void **state)
{
	struct gm_dirty *dirty = new_log(PAGE + 10, 3 * PAGE, PAGE);
	struct gm_dirty_reader *reader = new_reader(dirty);

	(void)state;
	gm_dirty_mark(dirty, gm_offset(PAGE), 1);
	assert_false(gm_dirty_is_marked(reader, gm_offset(PAGE + 10)));
	expect_one(reader, PAGE, PAGE + 9);
	/* Outside the log, if on its last page. */
	gm_dirty_mark(dirty, gm_offset(PAGE + 10), 1);
	gm_dirty_mark(dirty, gm_offset(UINT64_MAX), UINT64_MAX);
	gm_dirty_mark(dirty, gm_offset(UINT64_MAX), 1);
	gm_dirty_mark(dirty, gm_offset(0), 0);
	gmi_dirty_mark_page((const struct gmi_dirty_head *)dirty, 2);
	expect_none(reader);

	assert_int_equal(gm_dirty_enlarge(dirty, PAGE + 9), -EINVAL);
	assert_int_equal(gm_dirty_enlarge(dirty, 3 * PAGE + 1), -ERANGE);
	assert_int_equal(gm_dirty_bytes(dirty), PAGE + 10);
	assert_int_equal(gm_dirty_enlarge(dirty, PAGE + 10), 0);
	gm_dirty_mark(dirty, gm_offset(PAGE), 1);
	assert_int_equal(gm_dirty_enlarge(dirty, 3 * PAGE), 0);
	assert_int_equal(gm_dirty_bytes(dirty), 3 * PAGE);
	expect_one(reader, PAGE, 2 * PAGE - 1);
	gm_dirty_mark(dirty, gm_offset(0), UINT64_MAX);
	expect_one(reader, 0, 3 * PAGE - 1);
	free_log(dirty);
}

static void test_collect_refuses(void **state)
{
	struct gm_dirty *dirty = new_log(8 * PAGE, 0, PAGE);
	struct gm_dirty_reader *reader = new_reader(dirty);
	struct gm_dirty_range range = { { 7 }, { 7 } };
	struct gm_offset next = gm_offset(7);
	size_t count = 7;

	(void)state;
	gm_dirty_mark(dirty, gm_offset(0), PAGE);
	assert_int_equal(gm_dirty_collect(NULL, gm_offset(0), PAGE, &range, 1, &count, &next), -EINVAL);
	assert_int_equal(gm_dirty_collect(reader, gm_offset(0), PAGE, NULL, 1, &count, &next), -EINVAL);
	assert_int_equal(gm_dirty_collect(reader, gm_offset(0), PAGE, &range, 0, &count, &next), -EINVAL);
	assert_int_equal(gm_dirty_collect(reader, gm_offset(0), PAGE, &range, 1, NULL, &next), -EINVAL);
	assert_int_equal(gm_dirty_collect(reader, gm_offset(0), PAGE, &range, 1, &count, NULL), -EINVAL);
	assert_int_equal(count, 7);
	assert_int_equal(next.value, 7);
	/* Nothing asked for, or nothing there: nothing found, and we are where we were. */
	assert_int_equal(gm_dirty_collect(reader, gm_offset(3), 0, &range, 1, &count, &next), 0);
	assert_int_equal(count, 0);
	assert_int_equal(next.value, 3);
	assert_int_equal(gm_dirty_collect(reader, gm_offset(8 * PAGE), 1, &range, 1, &count, &next), 0);
	assert_int_equal(count, 0);
	assert_int_equal(next.value, 8 * PAGE);
	assert_int_equal(gm_dirty_collect(reader, gm_offset(UINT64_MAX), UINT64_MAX, &range, 1, &count, &next), 0);
	assert_int_equal(count, 0);
	assert_int_equal(next.value, UINT64_MAX);
	assert_false(gm_dirty_is_marked(reader, gm_offset(UINT64_MAX)));
	assert_int_equal(range.first.value, 7);
	expect_one(reader, 0, PAGE - 1);
	free_log(dirty);
}

static void test_windows(void **state)
{
	struct gm_dirty *dirty = new_log(2000 * PAGE, 0, PAGE);
	struct gm_dirty_reader *reader = new_reader(dirty);
	struct gm_dirty_range range;
	struct gm_offset next;
	size_t count;

	(void)state;
	gm_dirty_mark(dirty, gm_offset(0), UINT64_MAX);
	/* Unaligned: the pages that it touches. */
	assert_int_equal(gm_dirty_collect(reader, gm_offset(101 * PAGE - 1), 2, &range, 1, &count, &next), 0);
	assert_int_equal(count, 1);
	assert_int_equal(range.first.value, 100 * PAGE);
	assert_int_equal(range.last.value, 102 * PAGE - 1);
	assert_int_equal(next.value, 101 * PAGE + 1);
	assert_int_equal(gm_dirty_count(reader), 1998);
	/* Across groups; and what is asked for may go beyond the log. */
	assert_int_equal(gm_dirty_collect(reader, gm_offset(500 * PAGE), 1500 * PAGE + 1, &range, 1, &count, &next), 0);
	assert_int_equal(range.first.value, 500 * PAGE);
	assert_int_equal(range.last.value, 2000 * PAGE - 1);
	assert_int_equal(next.value, 2000 * PAGE);
	assert_int_equal(gm_dirty_count(reader), 498);
	/* What is left of a group is still found. */
	assert_int_equal(gm_dirty_collect(reader, gm_offset(0), UINT64_MAX, &range, 1, &count, &next), 1);
	assert_int_equal(range.first.value, 0);
	assert_int_equal(range.last.value, 100 * PAGE - 1);
	assert_int_equal(next.value, 102 * PAGE);
	expect_one(reader, 102 * PAGE, 500 * PAGE - 1);
	free_log(dirty);
}

static void test_full(void **state)
{
	struct gm_dirty *dirty = new_log(40000 * PAGE, 0, PAGE);
	struct gm_dirty_reader *reader = new_reader(dirty), *other = new_reader(dirty);
	struct gm_dirty_range ranges[2];
	struct gm_offset next = gm_offset(0);
	uint64_t page, found = 0;
	size_t count, i;
	int r;

	(void)state;
	for (page = 0; page < 40000; page += 37)
		gm_dirty_mark(dirty, gm_offset(page * PAGE), 1);
	page = 0;
	do {
		r = gm_dirty_collect(reader, next, UINT64_MAX, ranges, 2, &count, &next);
		for (i = 0; i < count; i++, page += 37, found++) {
			assert_int_equal(ranges[i].first.value, page * PAGE);
			assert_int_equal(ranges[i].last.value, page * PAGE + PAGE - 1);
		}
		if (r == 1)
			assert_int_equal(next.value, page * PAGE);
		assert_int_equal(gm_dirty_count(reader), 1082 - found);
		assert_int_equal(gm_dirty_count(other), 1082);
	} while (r == 1);
	assert_int_equal(r, 0);
	assert_int_equal(found, 1082);
	expect_none(reader);
	free_log(dirty);
}

static void test_readers(void **state)
{
	struct gm_dirty *dirty = new_log(1000 * PAGE, 0, PAGE);
	struct gm_dirty_reader *readers[GM_DIRTY_READERS_MAX], *more = (void *)1;
	size_t i;

	(void)state;
	gm_dirty_mark(dirty, gm_offset(0), PAGE); /* before there is a reader: for nobody */
	readers[0] = new_reader(dirty);
	expect_none(readers[0]);
	gm_dirty_mark(dirty, gm_offset(PAGE), PAGE);
	for (i = 1; i < GM_DIRTY_READERS_MAX; i++)
		readers[i] = new_reader(dirty);
	assert_int_equal(gm_dirty_reader_new(dirty, &more), -ENOSPC);
	assert_ptr_equal(more, (void *)1);
	gm_dirty_mark(dirty, gm_offset(2 * PAGE), PAGE);
	for (i = 1; i < GM_DIRTY_READERS_MAX; i++)
		expect_one(readers[i], 2 * PAGE, 3 * PAGE - 1);
	expect_one(readers[0], PAGE, 3 * PAGE - 1);
	for (i = 0; i < GM_DIRTY_READERS_MAX; i++)
		expect_none(readers[i]);

	gm_dirty_mark(dirty, gm_offset(999 * PAGE), PAGE);
	gm_dirty_reader_free(readers[3]);
	readers[3] = new_reader(dirty);
	expect_none(readers[3]);
	expect_one(readers[15], 999 * PAGE, 1000 * PAGE - 1);
	for (i = 0; i < GM_DIRTY_READERS_MAX; i++)
		gm_dirty_reader_free(readers[i]);
	free_log(dirty);
}

/*
 * Another thread has set bits of pages, and not come to their summary bits yet. A mark of the same pages must not rely on it: once
 * it returned, a collect finds them.
 */
static void test_mark_overtakes(void **state)
{
	struct gm_dirty *dirty = new_log(2048 * PAGE, 0, PAGE);
	struct gm_dirty_reader *reader = new_reader(dirty);

	(void)state;
	dirty->head.words[0] = 2;
	gmi_dirty_mark_at(&dirty->head, PAGE);
	expect_one(reader, PAGE, 2 * PAGE - 1);
	dirty->head.words[1] = 2;
	gm_dirty_mark(dirty, gm_offset(65 * PAGE), 1);
	expect_one(reader, 65 * PAGE, 66 * PAGE - 1);
	memset(&dirty->head.words[8], 0xff, 16 * sizeof(uint64_t));
	gm_dirty_mark(dirty, gm_offset(512 * PAGE), 1024 * PAGE);
	expect_one(reader, 512 * PAGE, 1536 * PAGE - 1);
	free_log(dirty);
}

static void test_merge_refuses(void **state)
{
	struct gm_dirty *dirty = new_log(100 * PAGE, 0, PAGE);
	struct gm_dirty_reader *reader = new_reader(dirty);
	unsigned char bitmap[32];

	(void)state;
	memset(bitmap, 0xff, sizeof(bitmap));
	assert_int_equal(gm_dirty_merge(dirty, gm_offset(0), bitmap, 8, 256), -EINVAL);
	assert_int_equal(gm_dirty_merge(dirty, gm_offset(0), bitmap, 8, 2 * GM_GIB), -EINVAL);
	assert_int_equal(gm_dirty_merge(dirty, gm_offset(0), bitmap, 8, 5000), -EINVAL);
	assert_int_equal(gm_dirty_merge(dirty, gm_offset(0), bitmap, 8, 0), -EINVAL);
	assert_int_equal(gm_dirty_merge(dirty, gm_offset(512), bitmap, 8, PAGE), -EINVAL);
	expect_none(reader);
	assert_int_equal(gm_dirty_merge(dirty, gm_offset(0), bitmap, 0, PAGE), 0);
	expect_none(reader);
	/* Bits outside: all, some, none. */
	assert_int_equal(gm_dirty_merge(dirty, gm_offset(UINT64_MAX - PAGE + 1), bitmap, 256, PAGE), -ERANGE);
	assert_int_equal(gm_dirty_merge(dirty, gm_offset(100 * PAGE), bitmap, 1, PAGE), -ERANGE);
	expect_none(reader);
	assert_int_equal(gm_dirty_merge(dirty, gm_offset(99 * PAGE), bitmap, 256, PAGE), -ERANGE);
	expect_one(reader, 99 * PAGE, 100 * PAGE - 1);
	assert_int_equal(gm_dirty_merge(dirty, gm_offset(0), bitmap, 101, PAGE), -ERANGE);
	expect_one(reader, 0, 100 * PAGE - 1);
	assert_int_equal(gm_dirty_merge(dirty, gm_offset(0), bitmap, 256, GM_GIB), -ERANGE);
	expect_one(reader, 0, 100 * PAGE - 1);
	assert_int_equal(gm_dirty_merge(dirty, gm_offset(0), bitmap, 100, PAGE), 0);
	expect_one(reader, 0, 100 * PAGE - 1);
	memset(bitmap, 0, sizeof(bitmap));
	bitmap[31] = 0x80;
	assert_int_equal(gm_dirty_merge(dirty, gm_offset(0), bitmap, 256, PAGE), -ERANGE);
	assert_int_equal(gm_dirty_merge(dirty, gm_offset(0), bitmap, 255, PAGE), 0);
	expect_none(reader);
	free_log(dirty);
}

static void test_merge(void **state)
{
	struct gm_dirty *dirty = new_log(1000 * PAGE + 512, 0, PAGE);
	struct gm_dirty_reader *reader = new_reader(dirty);
	unsigned char *bitmap = calloc(1, 9); /* exactly what is read: a checker of memory sees one byte more */

	(void)state;
	assert_non_null(bitmap);
	bitmap[1] = 0x02; /* bit 9 */
	assert_int_equal(gm_dirty_merge(dirty, gm_offset(3 * PAGE), bitmap, 70, PAGE), 0);
	expect_one(reader, 12 * PAGE, 13 * PAGE - 1);
	/* Finer: bits 9 and 71 of 512 bytes each, from page 3 on. */
	assert_int_equal(gm_dirty_merge(dirty, gm_offset(3 * PAGE), bitmap, 70, 512), 0);
	expect_one(reader, 4 * PAGE, 5 * PAGE - 1);
	/* Coarser: 16 pages per bit. */
	assert_int_equal(gm_dirty_merge(dirty, gm_offset(16 * PAGE), bitmap, 70, 16 * PAGE), 0);
	expect_one(reader, 160 * PAGE, 176 * PAGE - 1);
	/* The coarse page that the log ends in. */
	assert_int_equal(gm_dirty_merge(dirty, gm_offset(0), bitmap, 70, 65536 * 2), 0);
	expect_one(reader, 288 * PAGE, 320 * PAGE - 1);
	bitmap[1] = 0;
	bitmap[7] = 0x80;
	bitmap[8] = 0x01; /* a run across words of the bitmap and, shifted by one page, inside one of the log */
	assert_int_equal(gm_dirty_merge(dirty, gm_offset(PAGE), bitmap, 65, PAGE), 0);
	expect_one(reader, 64 * PAGE, 66 * PAGE - 1);
	memset(bitmap, 0xff, 9);
	assert_int_equal(gm_dirty_merge(dirty, gm_offset(950 * PAGE), bitmap, 51, PAGE), 0);
	expect_one(reader, 950 * PAGE, 1000 * PAGE + 511);
	assert_int_equal(gm_dirty_merge(dirty, gm_offset(0), bitmap, 63, 16 * PAGE), 0);
	expect_one(reader, 0, 1000 * PAGE + 511);
	free(bitmap);
	free_log(dirty);
}

/* Each allocation failing in turn: -ENOMEM, nothing half done. Without membarrier: a log that marks by locked operations. */
static void test_faults(void **state)
{
	static const uint64_t sizes[] = { 10 * PAGE, GM_TIB };
	struct gm_dirty *dirty;
	struct gm_dirty_reader *reader, *other;
	size_t i;
	long n;

	(void)state;
	for (i = 0; i < GMI_COUNT(sizes); i++) {
		for (n = 1; n <= 2; n++) {
			dirty = (void *)1;
			gmi_fault_arm(n, ENOMEM);
			assert_int_equal(gm_dirty_new(sizes[i], 0, PAGE, &dirty), -ENOMEM);
			assert_true(gmi_fault_fired());
			assert_ptr_equal(dirty, (void *)1);
		}
		gmi_fault_arm(3, ENOSYS);
		dirty = new_log(sizes[i], 0, PAGE);
		assert_true(gmi_fault_fired());
		assert_int_equal(((const struct gmi_dirty_head *)dirty)->fence, 1);
		other = new_reader(dirty);
		gm_dirty_mark(dirty, gm_offset(PAGE), PAGE);
		for (n = 1; n <= 2; n++) {
			reader = (void *)1;
			gmi_fault_arm(n, ENOMEM);
			assert_int_equal(gm_dirty_reader_new(dirty, &reader), -ENOMEM);
			assert_true(gmi_fault_fired());
			assert_ptr_equal(reader, (void *)1);
		}
		gmi_fault_arm(0, 0);
		expect_one(other, PAGE, 2 * PAGE - 1);
		gm_dirty_mark(dirty, gm_offset(PAGE), sizes[i]);
		gm_dirty_mark(dirty, gm_offset(PAGE), sizes[i]);
		expect_one(other, PAGE, sizes[i] - 1);
		expect_none(other);
		free_log(dirty);
	}
}

/* A region's log goes with the region, whenever its last holder lets go: its readers must not care. */
static void readers_outlive_the_log(void **state)
{
	struct gm_dirty_reader *readers[2];
	struct gm_dirty_range range;
	struct gm_offset next;
	struct gm_dirty *log;
	size_t count;

	(void)state;
	assert_int_equal(gm_dirty_new(GM_MIB, 0, 4096, &log), 0);
	assert_int_equal(gm_dirty_reader_new(log, &readers[0]), 0);
	assert_int_equal(gm_dirty_reader_new(log, &readers[1]), 0);
	gm_dirty_mark(log, gm_offset(4096), 1);
	gm_dirty_free(log);
	assert_int_equal(gm_dirty_collect(readers[0], gm_offset(0), UINT64_MAX, &range, 1, &count, &next), 0);
	assert_int_equal(count, 1);
	assert_int_equal(range.first.value, 4096);
	gm_dirty_reader_free(readers[0]);
	assert_int_equal(gm_dirty_count(readers[1]), 1);
	gm_dirty_reader_free(readers[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new_refuses),
		cmocka_unit_test(test_new_takes_the_limits),
		cmocka_unit_test(test_borders),
		cmocka_unit_test(test_partial_last_page),
		cmocka_unit_test(test_collect_refuses),
		cmocka_unit_test(test_windows),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_readers),
		cmocka_unit_test(test_mark_overtakes),
		cmocka_unit_test(test_merge_refuses),
		cmocka_unit_test(test_merge),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(readers_outlive_the_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
