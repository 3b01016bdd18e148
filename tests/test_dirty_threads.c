/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Dirty logs under contention. Markers write a rising number into a page's cell, mark the page, and only then say so in
 * done[]. Collectors copy the cells of the pages that are reported to them. The promise, checked after each complete pass: whatever
 * done[] said before the pass began, the copy has it. Nothing else ties a copy to the cells, so a bit that is lost, a page that is
 * reported before its data can be seen, and a mark that was left out wrongly all show as a copy that is behind.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <guestmem/dirty.h>

#include "base/base.h"
#include "dirty/dirty.h"
#include "sys/fault.h"

#define PAGE             UINT64_C(4096)
#define PAGES            1600 /* three groups and a bit */
#define PAGES_NOW        1100 /* the log grows from here */
#define MARKERS          2
#define COLLECTORS       2
#define RANGES_MAX       128
#define ROUNDS           50000
#define MILLISECONDS_MAX 1000

struct cell {
	_Alignas(64) _Atomic uint64_t number;
};

static struct gm_dirty *dirty;
static struct cell cells[PAGES];
static _Atomic uint64_t done[PAGES];
static atomic_bool stop;
static atomic_uint behind, failed;

/* A log and all readers that it has. */
static void free_log(struct gm_dirty *log)
{
	while (log->readers_count > 0)
		gm_dirty_reader_free(log->readers[0]);
	gm_dirty_free(log);
}

static uint64_t pick(uint64_t *random, uint64_t below)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return (*random >> 11) % below;
}

/* A page belongs to one marker, so that its number only rises. */
static bool is_mine(uint64_t page, uint64_t id)
{
	return page % MARKERS == id;
}

static void write_pages(uint64_t id, uint64_t first, uint64_t last, uint64_t number)
{
	uint64_t page;

	for (page = first; page <= last; page++) {
		if (is_mine(page, id))
			atomic_store_explicit(&cells[page].number, number, memory_order_relaxed);
	}
	if (first == last)
		gmi_dirty_mark_at(&dirty->head, first * PAGE);
	else
		gm_dirty_mark(dirty, gm_offset(first * PAGE), (last - first + 1) * PAGE);
	for (page = first; page <= last; page++) {
		if (is_mine(page, id))
			atomic_store_explicit(&done[page], number, memory_order_release);
	}
}

static void *mark_many(void *opaque)
{
	uint64_t id = (uintptr_t)opaque, random = id * 77 + 1, number, first, last, pages;

	for (number = 1; !atomic_load_explicit(&stop, memory_order_relaxed); number++) {
		pages = gm_dirty_bytes(dirty) / PAGE;
		switch (pick(&random, 64)) {
		case 0: /* words, groups, all */
			first = pick(&random, pages);
			last = first + pick(&random, pages - first);
			break;
		case 1:
		case 2:
		case 3:
			first = last = pick(&random, pages);
			break;
		default: /* a few hot pages: bits are mostly set, or being cleared */
			first = last = pick(&random, 8) * 150;
			first = last = first < pages ? first : 0;
		}
		write_pages(id, first, last, number);
	}
	return NULL;
}

static void copy_pages(uint64_t *copy, uint64_t first, uint64_t last)
{
	uint64_t page;

	for (page = first; page <= last; page++)
		copy[page] = atomic_load_explicit(&cells[page].number, memory_order_relaxed);
}

/* One complete pass over the log, in pieces, and the check. */
static void pass(struct gm_dirty_reader *reader, uint64_t *copy, size_t max, uint64_t window)
{
	struct gm_dirty_range ranges[RANGES_MAX];
	uint64_t before[PAGES], page;
	struct gm_offset next = gm_offset(0);
	size_t count, i;
	int r;

	for (page = 0; page < PAGES; page++)
		before[page] = atomic_load_explicit(&done[page], memory_order_acquire);
	do {
		r = gm_dirty_collect(reader, next, window, ranges, max, &count, &next);
		if (r < 0)
			atomic_fetch_add(&failed, 1);
		for (i = 0; i < count; i++)
			copy_pages(copy, ranges[i].first.value / PAGE, ranges[i].last.value / PAGE);
	} while (r == 1 || (r == 0 && next.value < PAGES_NOW * PAGE));
	/* What the log has grown by, and what was marked again meanwhile. */
	do {
		r = gm_dirty_collect(reader, gm_offset(0), UINT64_MAX, ranges, RANGES_MAX, &count, &next);
		for (i = 0; i < count; i++)
			copy_pages(copy, ranges[i].first.value / PAGE, ranges[i].last.value / PAGE);
	} while (r == 1);
	for (page = 0; page < PAGES; page++) {
		if (copy[page] < before[page])
			atomic_fetch_add(&behind, 1);
	}
}

struct collector {
	pthread_t thread;
	uint64_t copy[PAGES];
	struct gm_dirty_reader *reader;
	uint64_t random;
	unsigned passes;
	bool renew; /* a new reader now and then, and all copied at its start */
};

static void *collect_many(void *opaque)
{
	struct collector *collector = opaque;
	unsigned i;

	for (i = 0; i < collector->passes; i++) {
		if (collector->renew && i % 8 == 0) {
			gm_dirty_reader_free(collector->reader);
			if (gm_dirty_reader_new(dirty, &collector->reader) != 0) {
				collector->reader = NULL;
				atomic_fetch_add(&failed, 1);
				return NULL;
			}
			copy_pages(collector->copy, 0, PAGES - 1);
		}
		pass(collector->reader, collector->copy, 1 + pick(&collector->random, RANGES_MAX),
		     (1 + pick(&collector->random, PAGES)) * PAGE - pick(&collector->random, PAGE));
		if (i % 4 == 0 && gm_dirty_bytes(dirty) < PAGES * PAGE && !collector->renew &&
		    gm_dirty_enlarge(dirty, gm_dirty_bytes(dirty) + PAGE) != 0)
			atomic_fetch_add(&failed, 1);
	}
	return NULL;
}

static void start(bool fence, uint64_t pages)
{
	memset(cells, 0, sizeof(cells));
	memset(done, 0, sizeof(done));
	atomic_store(&stop, false);
	atomic_store(&behind, 0);
	atomic_store(&failed, 0);
	if (fence)
		gmi_fault_arm(3, ENOSYS);
	assert_int_equal(gm_dirty_new(pages * PAGE, PAGES * PAGE, PAGE, &dirty), 0);
	assert_int_equal(dirty->head.fence, fence);
}

static void run_many(bool fence, unsigned passes)
{
	static struct collector collectors[COLLECTORS];
	pthread_t markers[MARKERS];
	uintptr_t i;

	start(fence, PAGES_NOW);
	memset(collectors, 0, sizeof(collectors));
	for (i = 0; i < COLLECTORS; i++) {
		collectors[i].random = i + 5;
		collectors[i].passes = passes;
		collectors[i].renew = i == 1;
		assert_int_equal(gm_dirty_reader_new(dirty, &collectors[i].reader), 0);
	}
	for (i = 0; i < MARKERS; i++)
		assert_int_equal(pthread_create(&markers[i], NULL, mark_many, (void *)i), 0);
	for (i = 0; i < COLLECTORS; i++)
		assert_int_equal(pthread_create(&collectors[i].thread, NULL, collect_many, &collectors[i]), 0);
	for (i = 0; i < COLLECTORS; i++)
		assert_int_equal(pthread_join(collectors[i].thread, NULL), 0);
	atomic_store(&stop, true);
	for (i = 0; i < MARKERS; i++)
		assert_int_equal(pthread_join(markers[i], NULL), 0);

	assert_int_equal(failed, 0);
	assert_int_equal(behind, 0);
	for (i = 0; i < COLLECTORS; i++) {
		pass(collectors[i].reader, collectors[i].copy, RANGES_MAX, UINT64_MAX);
		assert_int_equal(gm_dirty_count(collectors[i].reader), 0);
	}
	assert_int_equal(behind, 0);
	for (i = 0; i < PAGES; i++) {
		assert_int_equal(collectors[0].copy[i], cells[i].number);
		assert_int_equal(collectors[1].copy[i], cells[i].number);
	}
	free_log(dirty);
}

static void test_many(void **state)
{
	(void)state;
	run_many(false, 1500);
}

static void test_many_with_fence(void **state)
{
	(void)state;
	run_many(true, 1500);
}

/*
 * The narrow races, each alone and as often as can be: a few pages, one thing that markers do all the time, one collector.
 */
struct duel {
	bool fence;
	bool renew;       /* a new reader, and all copied, before each collect */
	unsigned markers; /* each has its own range of pages */
	uint64_t first[MARKERS];
	uint64_t last[MARKERS];
	unsigned passes; /* that saw something new */
};

static const struct duel *duel;

/* Races want both sides to run: on a machine that is busy otherwise, give up after this long rather than wait for their number. */
static bool in_time(const struct timespec *since)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - since->tv_sec) * 1000 + (now.tv_nsec - since->tv_nsec) / 1000000 < MILLISECONDS_MAX;
}

static void *mark_range(void *opaque)
{
	uintptr_t id = (uintptr_t)opaque;
	uint64_t number;

	for (number = 1; !atomic_load_explicit(&stop, memory_order_relaxed); number++)
		write_pages(id, duel->first[id], duel->last[id], number);
	return NULL;
}

/* Whether it saw something new. */
static bool duel_pass(struct gm_dirty_reader *reader, uint64_t *copy, const uint64_t *watched)
{
	struct gm_dirty_range ranges[PAGES_NOW];
	struct gm_offset next;
	uint64_t before[MARKERS];
	bool changed = false;
	size_t count = 0, i;

	for (i = 0; i < duel->markers; i++)
		before[i] = atomic_load_explicit(&done[watched[i]], memory_order_acquire);
	for (i = 0; i < duel->markers; i++)
		changed |= copy[watched[i]] < before[i];
	if (gm_dirty_collect(reader, gm_offset(0), UINT64_MAX, ranges, PAGES_NOW, &count, &next) != 0)
		atomic_fetch_add(&failed, 1);
	for (i = 0; i < count; i++)
		copy_pages(copy, ranges[i].first.value / PAGE, ranges[i].last.value / PAGE);
	for (i = 0; i < duel->markers; i++) {
		if (copy[watched[i]] < before[i])
			atomic_fetch_add(&behind, 1);
	}
	return changed || (duel->renew && before[0] != 0);
}

static void run_duel(const struct duel *what)
{
	static uint64_t copy[PAGES];
	struct gm_dirty_reader *reader;
	pthread_t markers[MARKERS];
	uint64_t watched[MARKERS];
	struct timespec since;
	uintptr_t i;

	duel = what;
	start(duel->fence, PAGES_NOW);
	(void)clock_gettime(CLOCK_MONOTONIC, &since);
	memset(copy, 0, sizeof(copy));
	assert_int_equal(gm_dirty_reader_new(dirty, &reader), 0);
	for (i = 0; i < duel->markers; i++) {
		watched[i] = is_mine(duel->last[i], i) ? duel->last[i] : duel->last[i] - 1;
		assert_int_equal(pthread_create(&markers[i], NULL, mark_range, (void *)i), 0);
	}
	for (i = 0; i < duel->passes && failed == 0 && behind == 0 && in_time(&since);) {
		if (duel->renew) {
			gm_dirty_reader_free(reader);
			reader = NULL;
			if (gm_dirty_reader_new(dirty, &reader) != 0) {
				atomic_fetch_add(&failed, 1);
				break;
			}
			copy_pages(copy, 0, 0);
		}
		if (duel_pass(reader, copy, watched))
			i++;
		else
			(void)sched_yield(); /* no race without the other side */
	}
	atomic_store(&stop, true);
	for (i = 0; i < duel->markers; i++)
		assert_int_equal(pthread_join(markers[i], NULL), 0);
	assert_int_equal(failed, 0);
	assert_int_equal(behind, 0);
	free_log(dirty);
}

/* A mark is left out, for its bit is set, while the data is in the marker's store buffer and the collector clears and copies. */
static void test_left_out(void **state)
{
	(void)state;
	run_duel(&(struct duel){ .markers = 1, .passes = 50000 });
	run_duel(&(struct duel){ .markers = 1, .passes = 20000, .fence = true });
}

/* The same, where the bit is cleared for a reader that is new, and that will not be told of the page. */
static void test_left_out_for_new_reader(void **state)
{
	(void)state;
	run_duel(&(struct duel){ .markers = 1, .passes = 50000, .renew = true });
	run_duel(&(struct duel){ .markers = 1, .passes = 20000, .renew = true, .fence = true });
}

/* Bits of one word set by two threads while it is cleared. */
static void test_one_word(void **state)
{
	(void)state;
	run_duel(&(struct duel){ .markers = 2, .first = { 0, 1 }, .last = { 0, 1 }, .passes = 50000 });
	run_duel(&(struct duel){ .markers = 2, .first = { 0, 1 }, .last = { 0, 1 }, .passes = 20000, .fence = true });
}

/* Whole words are set by plain stores, which must be out before the look at the summary bit: in step, once a round. */
struct round {
	struct gm_dirty_reader *reader;
	atomic_uint arrived;
};

static void meet(struct round *round, unsigned count)
{
	unsigned spins;

	atomic_fetch_add(&round->arrived, 1);
	for (spins = 0; atomic_load(&round->arrived) < count; spins++) {
		if (spins > 1000)
			(void)sched_yield();
	}
}

static void *mark_in_step(void *opaque)
{
	struct round *round = opaque;
	unsigned i;

	for (i = 0; i < ROUNDS; i++) {
		meet(round, i * 4 + 2);
		if (atomic_load(&stop))
			break;
		gm_dirty_mark(dirty, gm_offset(0), 64 * PAGE);
		meet(round, i * 4 + 4);
	}
	return NULL;
}

static void test_whole_word(void **state)
{
	struct round round = { 0 };
	struct gm_dirty_range range;
	struct gm_offset next;
	size_t count, again;
	struct timespec since;
	pthread_t marker;
	unsigned i;

	(void)state;
	start(false, PAGES_NOW);
	assert_int_equal(gm_dirty_reader_new(dirty, &round.reader), 0);
	assert_int_equal(pthread_create(&marker, NULL, mark_in_step, &round), 0);
	(void)clock_gettime(CLOCK_MONOTONIC, &since);
	for (i = 0; i < ROUNDS && !stop; i++) {
		/* Set, and standing for nothing: it is what the marker may find, and must not rely on. */
		__atomic_fetch_or(&dirty->head.summary[0], 1, __ATOMIC_SEQ_CST);
		count = again = 0;
		stop = !in_time(&since);
		meet(&round, i * 4 + 2);
		if (stop)
			break;
		failed |= gm_dirty_collect(round.reader, gm_offset(0), UINT64_MAX, &range, 1, &count, &next) != 0;
		meet(&round, i * 4 + 4);
		failed |= gm_dirty_collect(round.reader, gm_offset(0), UINT64_MAX, &range, 1, &again, &next) != 0;
		behind += count + again == 0;
	}
	assert_int_equal(pthread_join(marker, NULL), 0);
	assert_int_equal(failed, 0);
	assert_int_equal(behind, 0);
	free_log(dirty);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many),     cmocka_unit_test(test_many_with_fence),
		cmocka_unit_test(test_left_out), cmocka_unit_test(test_left_out_for_new_reader),
		cmocka_unit_test(test_one_word), cmocka_unit_test(test_whole_word),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
