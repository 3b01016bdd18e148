/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* When a driver is notified: drivers that wait for each request, and that don't, in a time of their own. */
#include "support.h"

#include "blk_hold.h"

struct driver {
	struct blk_hold hold;
	uint64_t now, requests, notices, waited_ns, longest_ns;
};

static void tell(struct driver *driver)
{
	blk_hold_told(&driver->hold, driver->requests, driver->now);
	driver->notices++;
}

/* One that waits for each: it gives the next @ns after it was told of the last one. */
static void wait_for_each(struct driver *driver, unsigned count, uint64_t ns)
{
	while (count-- > 0) {
		uint64_t ready;

		driver->now += ns;
		driver->requests++;
		ready = driver->now;
		while (blk_hold_back(&driver->hold, driver->requests, driver->now)) {
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
		if (driver->hold.until_ns != 0 && driver->hold.until_ns < driver->now &&
		    !blk_hold_back(&driver->hold, driver->requests, driver->now))
			tell(driver);
		driver->requests++;
		if (!blk_hold_back(&driver->hold, driver->requests, driver->now))
			tell(driver);
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
	assert_true(blk_hold_back(&driver.hold, driver.requests, driver.now));
	assert_true(driver.hold.until_ns - last <= BLK_HOLD_NS_MIN + 4000);
	assert_false(blk_hold_back(&driver.hold, driver.requests, driver.hold.until_ns));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_by_one),
		cmocka_unit_test(many_at_once),
		cmocka_unit_test(changes),
		cmocka_unit_test(ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
