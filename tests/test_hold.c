/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* When a driver is notified: drivers that wait for each request, and that don't, in a time of their own. */
#include "support.h"

#include "blk_hold.h"

struct driver {
	struct blk_hold hold;
	uint64_t now, requests, done, notices, waited_ns, longest_ns;
};

static bool holds(struct driver *driver)
{
	return blk_hold_back(&driver->hold, driver->requests, driver->done, driver->now);
}

static void tell(struct driver *driver)
{
	blk_hold_told(&driver->hold, driver->done, driver->now);
	driver->notices++;
}

/* One that waits for each: it gives the next @ns after it was told of the last one. */
static void wait_for_each(struct driver *driver, unsigned count, uint64_t ns)
{
	while (count-- > 0) {
		uint64_t ready;

		driver->now += ns;
		driver->requests++;
		driver->done++;
		ready = driver->now;
		while (holds(driver)) {
			assert_true(driver->hold.until_ns > driver->now);
			driver->now = driver->hold.until_ns;
		}
		driver->waited_ns += driver->now - ready;
		if (driver->now - ready > driver->longest_ns)
			driver->longest_ns = driver->now - ready;
		tell(driver);
	}
}

/* One that gives the next after @ns, told or not. */
static void go_on(struct driver *driver, unsigned count, uint64_t ns)
{
	while (count-- > 0) {
		driver->now += ns;
		if (driver->hold.until_ns != 0 && driver->hold.until_ns < driver->now && !holds(driver))
			tell(driver);
		driver->requests++;
		driver->done++;
		if (!holds(driver))
			tell(driver);
	}
}

/*
 * As go_on(), with a disk that takes @disk_ns: the next request comes while the last one is in flight, or the one before. What is done is looked
 * at when it is, what was held back too when a request comes and when its time is over.
 */
static void go_on_in_flight(struct driver *driver, unsigned count, uint64_t ns, uint64_t disk_ns)
{
	uint64_t gives = driver->now + ns, ends = 0;
	bool is_due = false;

	while (count > 0) {
		uint64_t next = gives;

		if (driver->done < driver->requests && ends < next)
			next = ends;
		if (is_due && driver->hold.until_ns < next)
			next = driver->hold.until_ns;
		driver->now = next;
		if (next == gives) {
			if (driver->done == driver->requests)
				ends = next + disk_ns;
			driver->requests++;
			gives += ns;
			count--;
		} else if (driver->done < driver->requests && next == ends) {
			driver->done++;
			ends = next + disk_ns;
			is_due = true;
		}
		if (is_due && !holds(driver)) {
			tell(driver);
			is_due = false;
		}
	}
}

/* One that has two in flight, and gives the next for each that it was told of: it waits as one with one does. */
static void wait_for_two(struct driver *driver, unsigned count, uint64_t ns)
{
	driver->requests += 2;
	while (count-- > 0) {
		uint64_t ready;

		driver->now += ns;
		driver->done++;
		ready = driver->now;
		while (holds(driver)) {
			driver->now = driver->hold.until_ns;
			/* The other one is done too meanwhile. */
			if (driver->done < driver->requests)
				driver->done++;
		}
		driver->waited_ns += driver->now - ready;
		tell(driver);
		driver->requests = driver->done + 2;
	}
}

static void one_by_one(void **state)
{
	static const uint64_t times[] = { 2000, 10000, 100000, 2000000 };
	unsigned i;

	(void)state;
	for (i = 0; i < 4; i++) {
		struct driver driver = { .now = 1 };

		wait_for_each(&driver, 100000, times[i]);
		assert_int_equal(driver.notices, 100000);
		assert_true(driver.longest_ns <= BLK_HOLD_NS_MAX);
		/* Less than a hundredth of its time, and less the longer it lasts. */
		assert_true(driver.waited_ns < 100000 * times[i] / 100);
	}
}

static void many_at_once(void **state)
{
	static const uint64_t times[] = { 2000, 10000, 100000 };
	unsigned i;

	(void)state;
	for (i = 0; i < 3; i++) {
		struct driver driver = { .now = 1 };

		go_on(&driver, 100000, times[i]);
		assert_true(driver.notices < 100000 / (BLK_HOLD_MAX - 1));
		assert_true(driver.notices >= 100000 / BLK_HOLD_MAX);
	}
}

/* The same where some are in flight at all times, or most. */
static void many_in_flight(void **state)
{
	static const uint64_t disks[] = { 5000, 40000, 49000, 80000, 200000 };
	unsigned i;

	(void)state;
	for (i = 0; i < 5; i++) {
		struct driver driver = { .now = 1 };

		go_on_in_flight(&driver, 10000, 50000, disks[i]);
		assert_true(driver.notices <= driver.done / (BLK_HOLD_MAX - 1) + 64);
		assert_true(driver.notices >= driver.done / BLK_HOLD_MAX);
	}
}

static void two_at_a_time(void **state)
{
	static const uint64_t times[] = { 2000, 10000, 100000, 2000000 };
	unsigned i;

	(void)state;
	for (i = 0; i < 4; i++) {
		struct driver driver = { .now = 1 };

		wait_for_two(&driver, 100000, times[i]);
		assert_true(driver.waited_ns < 100000 * times[i] / 100);
	}
}

/*
 * A reader that waits for each of its requests, which take 20 us, beside a writer that gives one after each @gap_ns, all of which are done at
 * once, after each @batch_ns: as a disk with a cache of its own does. Return: how many requests the reader had in a second.
 */
static unsigned read_beside(uint64_t gap_ns, uint64_t batch_ns, uint64_t *ret_longest_ns)
{
	const uint64_t end = 1000000000, read_ns = 20000, never = UINT64_MAX;
	struct driver driver = { .now = 1, .requests = 1 };
	uint64_t write_at = gap_ns, batch_at = batch_ns, read_at = read_ns, read_given = 0, longest = 0, written = 0;
	bool is_due = false;
	unsigned reads = 0;

	while (driver.now < end) {
		uint64_t next = write_at < batch_at ? write_at : batch_at;

		next = read_at < next ? read_at : next;
		next = is_due && driver.hold.until_ns < next ? driver.hold.until_ns : next;
		driver.now = next > driver.now ? next : driver.now;
		if (driver.now >= write_at) {
			/* It has room for 1000 that are not done. */
			if (written < 1000) {
				driver.requests++;
				written++;
			}
			write_at += gap_ns;
		}
		if (driver.now >= batch_at) {
			is_due |= written > 0;
			driver.done += written;
			written = 0;
			batch_at += batch_ns;
		}
		if (driver.now >= read_at) {
			driver.done++;
			is_due = true;
			read_at = never;
		}
		if (!is_due || holds(&driver))
			continue;
		tell(&driver);
		is_due = false;
		if (read_at != never)
			continue;
		if (driver.now - read_given > longest)
			longest = driver.now - read_given;
		reads++;
		driver.requests++;
		read_given = driver.now;
		read_at = driver.now + read_ns;
	}
	*ret_longest_ns = longest;
	return reads;
}

/* What is done does not wait for what is not, however much of that comes. */
static void beside_slow_ones(void **state)
{
	static const uint64_t gaps[] = { 10000, 15000, 50000, 150000 }, batches[] = { 5000000, 20000000, 100000000 };
	uint64_t longest_ns;
	unsigned i, k;

	(void)state;
	for (i = 0; i < 4; i++) {
		for (k = 0; k < 3; k++) {
			assert_in_range(read_beside(gaps[i], batches[k], &longest_ns), 45000, 50000);
			assert_in_range(longest_ns, 0, 20000 + 3 * BLK_HOLD_NS_MAX);
		}
	}
}

/* It finds out when one becomes the other. */
static void changes(void **state)
{
	struct driver driver = { .now = 1 };
	uint64_t before;

	(void)state;
	wait_for_each(&driver, 10000, 20000);
	go_on(&driver, 10000, 20000);
	before = driver.notices;
	go_on(&driver, 8000, 20000);
	assert_true(driver.notices - before <= 8000 / BLK_HOLD_MAX + 1);
	before = driver.waited_ns;
	wait_for_each(&driver, 10000, 20000);
	assert_true(driver.waited_ns - before < 10000 * UINT64_C(20000) / 50);
}

/* A row that ends: what is held back then is told after the longest wait. */
static void ends(void **state)
{
	struct driver driver = { .now = 1 };
	uint64_t last;

	(void)state;
	go_on(&driver, 8 * 1000, 1000);
	assert_int_equal(driver.hold.until_ns, 0);
	go_on(&driver, 3, 1000);
	last = driver.now;
	assert_true(holds(&driver));
	assert_true(driver.hold.until_ns - last <= BLK_HOLD_NS_MIN + 4000);
	driver.now = driver.hold.until_ns;
	assert_false(holds(&driver));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_by_one),    cmocka_unit_test(many_at_once),     cmocka_unit_test(many_in_flight),
		cmocka_unit_test(two_at_a_time), cmocka_unit_test(beside_slow_ones), cmocka_unit_test(changes),
		cmocka_unit_test(ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
