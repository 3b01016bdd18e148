/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * What the guard has a limited number of: single pages, mappings, events; and pages of other sizes than the host's. The index of what is
 * guarded, against a list.
 */
#include "guard_world.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "base/base.h"
#include "guard/guard.h"
#include "resources.h"

#define MANY     20
#define PLACE(i) (UINT64_C(0x100000000) * ((i) + 1))

static unsigned mappings(void)
{
	static char buffer[1 << 20];
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned count = 0;

	assert_non_null(maps);
	while (fgets(buffer, sizeof(buffer), maps) != NULL)
		count++;
	fclose(maps);
	return count;
}

static void touch(const struct gm_region *region, uint64_t page)
{
	assert_int_equal(((volatile unsigned char *)gm_region_hva(region))[page * PAGE + 9], 0);
}

/* A peer truncates much, and a device touches it here and there: single pages, then all of the region, which is one mapping. */
static void a_region_of_many_lost_pages(void **state)
{
	const uint64_t pages = 65536;
	struct test_random random = { 20261120 };
	struct gm_region *region;
	unsigned before;

	(void)state;
	assert_int_equal(gm_fault_guard_install(NULL), 0);
	region = guard_region("big", PLACE(0), pages * PAGE, 0, 0);
	*(unsigned char *)gm_region_hva(region) = 7;
	lose_from(region, 1);
	before = mappings();
	for (unsigned i = 1; i <= GM_FAULT_PAGES_MAX; i++) {
		/* Not beside each other. */
		touch(region, 100 * i);
		expect_event("big", 0, PLACE(0) + 100 * i * PAGE + 9, 1, PLACE(0) + 100 * i * PAGE, PAGE);
		assert_int_equal(gm_region_faults(region), i);
	}
	assert_in_range(mappings(), before + GM_FAULT_PAGES_MAX, before + 2 * GM_FAULT_PAGES_MAX);
	/* The first page stands. */
	assert_int_equal(*(unsigned char *)gm_region_hva(region), 7);
	touch(region, 50);
	expect_event("big", 0, PLACE(0) + 50 * PAGE + 9, 1, PLACE(0), pages * PAGE);
	assert_in_range(mappings(), before - 1, before + 1);
	for (unsigned i = 0; i < 10000; i++)
		touch(region, test_below(&random, pages));
	assert_in_range(mappings(), before - 1, before + 1);
	assert_int_equal(*(unsigned char *)gm_region_hva(region), 0);
	assert_int_equal(gm_region_faults(region), GM_FAULT_PAGES_MAX + 1);
	expect_no_event();
	gm_region_unref(region);
	assert_int_equal(gm_fault_guard_remove(), 0);
}

/* The pages of all regions together have a limit too, and come back with their regions. */
static void many_regions_of_lost_pages(void **state)
{
	struct gm_region *regions[MANY];
	uint64_t single = 0, whole = 0, missed = 0, events = 0;
	struct gm_fault fault;

	(void)state;
	assert_int_equal(gm_fault_guard_install(NULL), 0);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < MANY; i++) {
			char name[16];

			snprintf(name, sizeof(name), "ram%u", i);
			regions[i] = guard_region(name, PLACE(i), BYTES, i, 0);
			lose_from(regions[i], 0);
		}
		for (unsigned i = 0; i < MANY; i++) {
			for (uint64_t page = 0; page < PAGES; page++)
				touch(regions[i], page);
			single += gm_region_faults(regions[i]) == PAGES;
			whole += gm_region_faults(regions[i]) == 1;
		}
		for (unsigned i = 0; i < MANY; i++)
			gm_region_unref(regions[i]);
	}
	assert_int_equal(single, 2 * (GM_FAULT_PAGES_ALL_MAX / PAGES));
	assert_int_equal(whole, 2 * MANY - single);
	/* Nobody has taken an event: the first ones are there, and the rest is counted before the next that is kept. */
	for (; gm_fault_guard_next(&fault, &missed) == 0; events++) {
		assert_int_equal(missed, 0);
		assert_int_equal(fault.at.value, PLACE(events / PAGES) + events % PAGES * PAGE + 9);
	}
	assert_int_equal(events, GM_FAULT_EVENTS_MAX);
	regions[0] = guard_region("last", PLACE(0), BYTES, 0, 0);
	lose_from(regions[0], 0);
	touch(regions[0], 3);
	touch(regions[0], 4);
	assert_int_equal(gm_fault_guard_next(&fault, &missed), 0);
	assert_string_equal(fault.region, "last");
	assert_int_equal(missed, single * PAGES + whole - GM_FAULT_EVENTS_MAX);
	assert_int_equal(gm_fault_guard_next(&fault, &missed), 0);
	assert_int_equal(missed, 0);
	expect_no_event();
	gm_region_unref(regions[0]);
	assert_int_equal(gm_fault_guard_remove(), 0);
}

/* A page can't be replaced, for there are no mappings left, say: then all of the region is. */
static void no_mapping_for_a_page(void **state)
{
	struct gm_region *region;

	(void)state;
	assert_int_equal(gm_fault_guard_install(NULL), 0);
	region = guard_region("ram", PLACE(0), BYTES, 0, 0);
	lose_from(region, 8);
	gmi_fault_arm(1, ENOMEM);
	touch(region, 10);
	assert_true(gmi_fault_fired());
	gmi_fault_arm(0, 0);
	expect_event("ram", 0, PLACE(0) + 10 * PAGE + 9, 1, PLACE(0), BYTES);
	assert_int_equal(gm_region_faults(region), 1);
	gm_region_unref(region);
	assert_int_equal(gm_fault_guard_remove(), 0);
}

/* What the kernel says of a page that the hardware has lost. */
static void lose_by_hardware(const unsigned char *address, short lsb, int code)
{
	siginfo_t info;

	memset(&info, 0, sizeof(info));
	info.si_signo = SIGBUS;
	info.si_code = code;
	info.si_addr = (void *)(uintptr_t)address;
	info.si_addr_lsb = lsb;
	assert_int_equal(syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), SIGBUS, &info), 0);
}

static void expect_poisoned(uint64_t at, uint64_t first, uint64_t bytes)
{
	struct gm_fault fault;

	assert_int_equal(gm_fault_guard_next(&fault, NULL), 0);
	assert_int_equal(fault.kind, GM_FAULT_POISONED);
	assert_int_equal(fault.at.value, at);
	assert_int_equal(fault.lost.first.value, first);
	assert_int_equal(fault.lost.last.value, first + (bytes - 1));
}

/* Anonymous memory, and our own memfds, which nobody can truncate: the hardware can. */
static void pages_that_the_hardware_loses(void **state)
{
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = "ram",
		.kind = GM_RAM,
		.source = GM_SOURCE_ANON,
		.first = gm_gpa(PLACE(0)),
		.bytes = BYTES,
	};
	struct gm_region *region;
	unsigned char *hva;
	uint64_t skip;

	(void)state;
	assert_int_equal(gm_fault_guard_install(NULL), 0);
	assert_int_equal(gm_region_new(&opts, &region, NULL), 0);
	hva = gm_region_hva(region);
	memset(hva, 1, BYTES);
	lose_by_hardware(hva + 5 * PAGE, 12, BUS_MCEERR_AR);
	expect_poisoned(PLACE(0) + 5 * PAGE, PLACE(0) + 5 * PAGE, PAGE);
	assert_int_equal(hva[5 * PAGE], 0);
	assert_int_equal(hva[6 * PAGE], 1);
	/* A larger page that begins before the region, or wherever it does, as far as it is the region's. */
	skip = ((uintptr_t)hva + 20 * PAGE) % (16 * PAGE);
	lose_by_hardware(hva + 20 * PAGE, 16, BUS_MCEERR_AO);
	expect_poisoned(PLACE(0) + 20 * PAGE, PLACE(0) + 20 * PAGE - skip, 16 * PAGE);
	assert_int_equal(hva[20 * PAGE - skip], 0);
	assert_int_equal(hva[20 * PAGE - skip + 16 * PAGE], 1);
	lose_by_hardware(hva, 30, BUS_MCEERR_AR);
	expect_poisoned(PLACE(0), PLACE(0), GMI_MIN(BYTES, (UINT64_C(1) << 30) - (uintptr_t)hva % (UINT64_C(1) << 30)));
	/* Once more, the zeros this time: no news. */
	hva[5 * PAGE] = 3;
	lose_by_hardware(hva + 5 * PAGE, 12, BUS_MCEERR_AR);
	assert_int_equal(hva[5 * PAGE], 0);
	expect_no_event();
	gm_region_unref(region);
	assert_int_equal(gm_fault_guard_remove(), 0);
}

/* A kernel that poisons a page when asked to (Linux 6.6). */
#ifndef UFFD_FEATURE_POISON
#define UFFD_FEATURE_POISON (1 << 14)
#endif
struct poison {
	struct uffdio_range range;
	uint64_t mode;
	int64_t updated;
};
#define POISON _IOWR(UFFDIO, 0x08, struct poison)

static void pages_that_the_kernel_poisons(void **state)
{
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = "ram",
		.kind = GM_RAM,
		.first = gm_gpa(PLACE(0)),
		.bytes = BYTES,
	};
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_POISON };
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct poison poison = { .mode = 0 };
	struct gm_region *region;
	struct gm_fault fault;

	(void)state;
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) != 0)
		test_skip("no userfaultfd that can poison: %s", strerror(errno));
	assert_int_equal(gm_fault_guard_install(NULL), 0);
	assert_int_equal(gm_region_new(&opts, &region, NULL), 0);
	range.range.start = (uintptr_t)gm_region_hva(region);
	range.range.len = BYTES;
	assert_int_equal(ioctl(uffd, UFFDIO_REGISTER, &range), 0);
	poison.range.start = range.range.start + 7 * PAGE;
	poison.range.len = PAGE;
	assert_int_equal(ioctl(uffd, POISON, &poison), 0);
	touch(region, 7);
	assert_int_equal(gm_fault_guard_next(&fault, NULL), 0);
	assert_int_equal(fault.at.value, PLACE(0) + 7 * PAGE + 9);
	assert_int_equal(fault.lost.first.value, PLACE(0) + 7 * PAGE);
	assert_int_equal(gm_region_faults(region), 1);
	expect_no_event();
	close(uffd);
	gm_region_unref(region);
	assert_int_equal(gm_fault_guard_remove(), 0);
}

/* A pool of huge pages that is empty: what is lost is a huge page. */
static void huge_pages_that_are_not_there(void **state)
{
	const uint64_t huge = UINT64_C(2) << 20;
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = "huge",
		.kind = GM_RAM,
		.source = GM_SOURCE_HUGEMEMFD,
		.huge_bytes = huge,
		.first = gm_gpa(PLACE(0)),
		.bytes = 4 * huge,
		.mmap_flags = MAP_NORESERVE,
	};
	struct gm_region *region;
	int r;

	(void)state;
	if (test_number_in(TEST_POOL) > 0)
		test_skip("the pool of huge pages is not empty");
	assert_int_equal(gm_fault_guard_install(NULL), 0);
	r = gm_region_new(&opts, &region, NULL);
	if (r != 0) {
		assert_int_equal(gm_fault_guard_remove(), 0);
		test_skip("no huge pages on this machine: %s", strerror(-r));
	}
	touch(region, 513);
	expect_event("huge", 0, PLACE(0) + 513 * PAGE + 9, 1, PLACE(0) + huge, huge);
	touch(region, 1023);
	expect_no_event();
	touch(region, 0);
	expect_event("huge", 0, PLACE(0) + 9, 1, PLACE(0), huge);
	gm_region_unref(region);
	assert_int_equal(gm_fault_guard_remove(), 0);
}

/* Mappings that come and go in any order, and questions to all borders of theirs. */
static void the_index_against_a_list(void **state)
{
	enum { PLACES = 300 };
	struct test_random random = { 4711 };
	struct gmi_guarded guarded[PLACES], *root = NULL;

	(void)state;
	memset(guarded, 0, sizeof(guarded));
	for (unsigned i = 0; i < PLACES; i++) {
		guarded[i].hva = (unsigned char *)(uintptr_t)(UINT64_C(0x7f0000000000) + i * 16 * PAGE);
		guarded[i].bytes = (1 + test_below(&random, 16)) * PAGE;
	}
	for (unsigned step = 0; step < 20000; step++) {
		struct gmi_guarded *one = &guarded[test_below(&random, PLACES)];

		if (one->linked)
			gmi_guarded_index_remove(&root, one);
		else if (step < 15000)
			gmi_guarded_index_add(&root, one);
		else
			gmi_guarded_index_remove(&root, one); /* does nothing */
		one = &guarded[test_below(&random, PLACES)];
		assert_ptr_equal(gmi_guarded_index_find(root, one->hva), one->linked ? one : NULL);
		assert_ptr_equal(gmi_guarded_index_find(root, one->hva + one->bytes - 1), one->linked ? one : NULL);
		if (one->bytes < 16 * PAGE)
			assert_null(gmi_guarded_index_find(root, one->hva + one->bytes));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_region_of_many_lost_pages),   cmocka_unit_test(many_regions_of_lost_pages),
		cmocka_unit_test(no_mapping_for_a_page),         cmocka_unit_test(pages_that_the_hardware_loses),
		cmocka_unit_test(pages_that_the_kernel_poisons), cmocka_unit_test(huge_pages_that_are_not_there),
		cmocka_unit_test(the_index_against_a_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
