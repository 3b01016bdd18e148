/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Rows 13 to 17: dirty logs, with one reader. */
#include "ours_world.h"

#include <stdlib.h>
#include <string.h>

#define TIB (UINT64_C(1) << 40)
/* Pages of the log that is marked again: all of it stays in the nearest cache. */
#define SMALL_PAGES UINT64_C(4096)
/* Pages of the log of the curve. */
#define CURVE_PAGES UINT64_C(1000000)
/* What a collect is given room for at once: 1 MiB, as who migrates a large guest would. */
#define RANGES 65536

static struct {
	struct gm_dirty *dirty;
	struct gm_dirty_reader *reader;
	uint64_t pages;   /* of the log */
	uint64_t marked;  /* pages that are marked before each collect */
	uint64_t *bitmap; /* which; NULL for all of them, or for none */
	uint64_t table[BENCH_TABLE];
} log_;

static struct gm_dirty_range ranges[RANGES];

static void new_log(uint64_t pages)
{
	log_.pages = pages;
	bench_must(gm_dirty_new(pages * BENCH_PAGE, 0, BENCH_PAGE, &log_.dirty), "log");
	bench_must(gm_dirty_reader_new(log_.dirty, &log_.reader), "reader");
}

static void tear_down(void)
{
	gm_dirty_reader_free(log_.reader);
	gm_dirty_free(log_.dirty);
	if (log_.bitmap)
		bench_area_free((unsigned char *)log_.bitmap, (log_.pages + 63) / 64 * 8);
	memset(&log_, 0, sizeof(log_));
}

/* So many different pages, at random. Where that is most of them, what is chosen at random is those that are left out. */
static void choose_pages(uint64_t count)
{
	uint64_t words = (log_.pages + 63) / 64, seed = BENCH_SEED, left, page, i;
	uint64_t inverse = count > log_.pages / 2 ? UINT64_MAX : 0;

	log_.marked = count;
	if (count == 0 || count == log_.pages)
		return;
	log_.bitmap = (uint64_t *)bench_area(words * 8);
	for (left = inverse ? log_.pages - count : count; left > 0;) {
		page = (bench_random(&seed) >> 32) % log_.pages;
		if (log_.bitmap[page / 64] >> (page % 64) & 1)
			continue;
		log_.bitmap[page / 64] |= UINT64_C(1) << (page % 64);
		left--;
	}
	for (i = 0; i < words; i++)
		log_.bitmap[i] ^= inverse;
}

/* All of the log, as a migration would: the pages that were dirty. */
static uint64_t collect(void)
{
	struct gm_offset at = gm_offset(0);
	uint64_t bytes = 0;
	size_t count, i;
	int r;

	do {
		r = gm_dirty_collect(log_.reader, at, UINT64_MAX, ranges, RANGES, &count, &at);
		for (i = 0; i < count; i++)
			bytes += ranges[i].last.value - ranges[i].first.value + 1;
	} while (r == 1);
	bench_must(r, "collect");
	return bytes / BENCH_PAGE;
}

static void set_up_again(const struct bench_name *name)
{
	uint64_t seed = BENCH_SEED, i;

	(void)name;
	new_log(SMALL_PAGES);
	gm_dirty_mark(log_.dirty, gm_offset(0), SMALL_PAGES * BENCH_PAGE);
	for (i = 0; i < BENCH_TABLE; i++)
		log_.table[i] = (bench_random(&seed) >> 32) % SMALL_PAGES * BENCH_PAGE;
}

static void mark_again(uint64_t count)
{
	struct gm_dirty *dirty = log_.dirty;
	uint64_t at;

	BENCH_OVER(log_.table, count, at)
	gm_dirty_mark(dirty, gm_offset(at), BENCH_PAGE);
}

static void set_up_1g(const struct bench_name *name)
{
	(void)name;
	new_log(GM_GIB / BENCH_PAGE);
}

static uint64_t mark_1g(uint64_t count)
{
	uint64_t took = 0, start, i;

	for (i = 0; i < count; i++) {
		start = bench_clock();
		gm_dirty_mark(log_.dirty, gm_offset(0), GM_GIB);
		took += bench_clock() - start;
		if (collect() != log_.pages)
			bench_fail("not all pages were marked");
	}
	return took;
}

static void set_up_empty(const struct bench_name *name)
{
	(void)name;
	new_log(TIB / BENCH_PAGE);
}

static void collect_empty(uint64_t count)
{
	uint64_t i;

	for (i = 0; i < count; i++) {
		if (collect() != 0)
			bench_fail("an empty log has pages");
	}
}

static void set_up_1pc(const struct bench_name *name)
{
	(void)name;
	new_log(TIB / BENCH_PAGE);
	choose_pages(log_.pages / 100);
}

static void set_up_all(const struct bench_name *name)
{
	(void)name;
	new_log(TIB / BENCH_PAGE);
	choose_pages(log_.pages);
}

static void set_up_curve(const struct bench_name *name)
{
	if (name->number > CURVE_PAGES)
		bench_fail("the log has %u pages", (unsigned)CURVE_PAGES);
	new_log(CURVE_PAGES);
	choose_pages(name->number);
}

static uint64_t collect_marked(uint64_t count)
{
	uint64_t took = 0, start, pages, i;

	/* Nothing has to be prepared, and the clock takes longer than that. */
	if (log_.marked == 0) {
		start = bench_clock();
		collect_empty(count);
		return bench_clock() - start;
	}
	for (i = 0; i < count; i++) {
		if (log_.bitmap)
			bench_must(gm_dirty_merge(log_.dirty, gm_offset(0), log_.bitmap, log_.pages, BENCH_PAGE),
				   "merge");
		else if (log_.marked)
			gm_dirty_mark(log_.dirty, gm_offset(0), log_.pages * BENCH_PAGE);
		start = bench_clock();
		pages = collect();
		took += bench_clock() - start;
		if (pages != log_.marked)
			bench_fail("%llu pages collected in place of %llu", (unsigned long long)pages,
				   (unsigned long long)log_.marked);
	}
	return took;
}

const struct bench_row ours_dirty_rows[] = {
	{ .base = "mark_again", .listed = "", .set_up = set_up_again, .run = mark_again, .tear_down = tear_down },
	{ .base = "mark_1g", .listed = "", .set_up = set_up_1g, .run_apart = mark_1g, .tear_down = tear_down },
	{ .base = "collect_empty", .listed = "", .set_up = set_up_empty, .run = collect_empty, .tear_down = tear_down },
	{ .base = "collect_1pc",
	  .listed = "",
	  .set_up = set_up_1pc,
	  .run_apart = collect_marked,
	  .tear_down = tear_down },
	{ .base = "collect_all",
	  .listed = "",
	  .set_up = set_up_all,
	  .run_apart = collect_marked,
	  .tear_down = tear_down },
	{
		.base = "collect",
		.listed = "/0 /1 /10 /100 /1000 /10000 /100000 /1000000",
		.set_up = set_up_curve,
		.run_apart = collect_marked,
		.tear_down = tear_down,
	},
	{ .base = NULL },
};
