/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Dirty logs against a model that is too simple to be wrong: one byte per page and reader. Random calls, each compared in full:
 * ranges, return value, where to go on, counts. One thread, fixed seeds; with membarrier and without.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <guestmem/dirty.h>

#include "dirty/dirty.h"

#include "base/base.h"
#include "sys/fault.h"

#define PAGES_MAX   70000 /* more than two summary words */
#define READERS_MAX 4
#define RANGES_MAX  40000
#define STEPS       4000

struct model {
	struct gm_dirty *dirty;
	struct gm_dirty_reader *readers[READERS_MAX]; /* NULL: not there */
	unsigned char marked[READERS_MAX][PAGES_MAX];
	uint64_t bytes;
	uint64_t page_bytes;
	uint64_t random;
};

static struct model model;

/* A log and all readers that it has. */
static void free_log(struct gm_dirty *log)
{
	while (log->readers_count > 0)
		gm_dirty_reader_free(log->readers[0]);
	gm_dirty_free(log);
}

static uint64_t pick(uint64_t below)
{
	model.random ^= model.random << 13;
	model.random ^= model.random >> 7;
	model.random ^= model.random << 17;
	return (model.random >> 11) % below;
}

/* Mostly small numbers, now and then any. */
static uint64_t pick_size(uint64_t below)
{
	static const uint64_t scales[] = { 2, 70, 600, 40000 };
	uint64_t scale = scales[pick(GMI_COUNT(scales))] * model.page_bytes;

	return pick(GMI_MIN(scale, below));
}

static void model_mark(uint64_t offset, uint64_t bytes)
{
	uint64_t page, last;
	size_t i;

	if (bytes == 0 || offset >= model.bytes)
		return;
	last = (bytes > model.bytes - offset ? model.bytes : offset + bytes) - 1;
	for (page = offset / model.page_bytes; page <= last / model.page_bytes; page++) {
		for (i = 0; i < READERS_MAX; i++)
			model.marked[i][page] = model.readers[i] != NULL;
	}
}

static void step_mark(void)
{
	uint64_t offset = pick(model.bytes + 10 * model.page_bytes), bytes = pick_size(UINT64_MAX);

	if (pick(50) == 0)
		bytes = UINT64_MAX - pick(3);
	gm_dirty_mark(model.dirty, gm_offset(offset), bytes);
	model_mark(offset, bytes);
}

static void step_merge(void)
{
	static unsigned char bitmap[512];
	uint64_t page_bytes = UINT64_C(512) << pick(14), bits = pick(sizeof(bitmap) * 8 + 1), i, at;
	uint64_t offset = pick(model.bytes + page_bytes) & ~(page_bytes - 1);
	unsigned density = (unsigned)pick(4);
	int expected = 0;

	for (i = 0; i < sizeof(bitmap); i++)
		bitmap[i] = density == 0 ? 0xff : density == 1 && pick(20) != 0 ? 0 : (unsigned char)pick(256);
	for (i = 0; i < bits; i++) {
		if ((bitmap[i / 8] >> (i % 8) & 1) == 0)
			continue;
		at = offset + i * page_bytes;
		if (at >= model.bytes)
			expected = -ERANGE;
		else
			model_mark(at, page_bytes);
	}
	assert_int_equal(gm_dirty_merge(model.dirty, gm_offset(offset), bitmap, bits, page_bytes), expected);
}

/* Takes from the model what a collect should give. */
static int model_collect(unsigned char *marked, uint64_t from, uint64_t bytes, size_t max,
			 struct gm_dirty_range *ranges, size_t *ret_count, uint64_t *ret_next)
{
	uint64_t page, stop;
	bool open = false;
	size_t count = 0;

	*ret_count = 0;
	*ret_next = from;
	if (bytes == 0 || from >= model.bytes)
		return 0;
	*ret_next = stop = bytes > model.bytes - from ? model.bytes : from + bytes;
	for (page = from / model.page_bytes; page <= (stop - 1) / model.page_bytes; page++) {
		if (marked[page] && !open) {
			if (count == max) {
				*ret_next = page * model.page_bytes;
				*ret_count = count;
				return 1;
			}
			ranges[count++].first.value = page * model.page_bytes;
		}
		open = marked[page];
		marked[page] = 0;
		if (open)
			ranges[count - 1].last.value = GMI_MIN((page + 1) * model.page_bytes, model.bytes) - 1;
	}
	*ret_count = count;
	return 0;
}

static void step_collect(void)
{
	static const size_t rooms[] = { 1, 6, 300, 1200, RANGES_MAX };
	static struct gm_dirty_range ranges[RANGES_MAX + 1], expected[RANGES_MAX];
	size_t which = pick(READERS_MAX), max = 1 + pick(rooms[pick(GMI_COUNT(rooms))]), count = 99, expected_count, i;
	uint64_t from = pick(model.bytes + model.page_bytes), bytes = pick_size(UINT64_MAX), expected_next;
	struct gm_offset next;
	int r;

	if (model.readers[which] == NULL)
		return;
	if (pick(3) == 0) {
		from = 0;
		bytes = UINT64_MAX;
	}
	ranges[max].first.value = 99;
	r = gm_dirty_collect(model.readers[which], gm_offset(from), bytes, ranges, max, &count, &next);
	assert_int_equal(
		r, model_collect(model.marked[which], from, bytes, max, expected, &expected_count, &expected_next));
	assert_int_equal(ranges[max].first.value, 99);
	assert_int_equal(count, expected_count);
	assert_int_equal(next.value, expected_next);
	for (i = 0; i < count; i++) {
		assert_int_equal(ranges[i].first.value, expected[i].first.value);
		assert_int_equal(ranges[i].last.value, expected[i].last.value);
	}
}

static void step_readers(void)
{
	size_t which = pick(READERS_MAX);

	if (model.readers[which] != NULL) {
		gm_dirty_reader_free(model.readers[which]);
		model.readers[which] = NULL;
	} else {
		assert_int_equal(gm_dirty_reader_new(model.dirty, &model.readers[which]), 0);
	}
	memset(model.marked[which], 0, PAGES_MAX);
}

static void step_enlarge(void)
{
	uint64_t bytes = model.bytes + pick(300 * model.page_bytes);
	int r = gm_dirty_enlarge(model.dirty, bytes);

	if (bytes > PAGES_MAX * model.page_bytes) {
		assert_int_equal(r, -ERANGE);
	} else {
		assert_int_equal(r, 0);
		model.bytes = bytes;
	}
	assert_int_equal(gm_dirty_bytes(model.dirty), model.bytes);
}

static void check_readers(void)
{
	uint64_t page, count, offset = pick(model.bytes);
	size_t i;

	for (i = 0; i < READERS_MAX; i++) {
		if (model.readers[i] == NULL)
			continue;
		for (page = count = 0; page < PAGES_MAX; page++)
			count += model.marked[i][page];
		assert_int_equal(gm_dirty_count(model.readers[i]), count);
		assert_int_equal(gm_dirty_is_marked(model.readers[i], gm_offset(offset)),
				 model.marked[i][offset / model.page_bytes]);
	}
}

static void run(uint64_t seed, uint64_t page_bytes, bool fence)
{
	unsigned step;

	memset(&model, 0, sizeof(model));
	model.random = seed;
	model.page_bytes = page_bytes;
	model.bytes = 60000 * page_bytes + 1 + pick(page_bytes);
	if (fence)
		gmi_fault_arm(3, ENOSYS);
	assert_int_equal(gm_dirty_new(model.bytes, PAGES_MAX * page_bytes, page_bytes, &model.dirty), 0);
	assert_int_equal(((const struct gmi_dirty_head *)model.dirty)->fence, fence);
	for (step = 0; step < STEPS; step++) {
		uint64_t what = pick(100);

		if (what < 40)
			step_mark();
		else if (what < 55)
			step_merge();
		else if (what < 90)
			step_collect();
		else if (what < 94)
			step_readers();
		else if (what < 95)
			step_enlarge();
		else
			check_readers();
	}
	free_log(model.dirty);
}

static void test_model(void **state)
{
	static const uint64_t page_sizes[] = { 4096, 65536, 2 * GM_MIB };
	uint64_t seed;

	(void)state;
	for (seed = 1; seed <= 12; seed++)
		run(seed * UINT64_C(0x9e3779b97f4a7c15), page_sizes[seed % GMI_COUNT(page_sizes)], seed % 4 == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_model) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
