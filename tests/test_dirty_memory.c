/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * What a dirty log of 1 TiB in 4 KiB pages takes of this machine's memory, as the kernel counts it: next to nothing until pages
 * are marked, and never more than 33 MiB: 32 MiB of bits, and little beside them.
 */
#include "support.h"

#define LOG_BYTES (UINT64_C(1) << 40)
#define PAGE      UINT64_C(4096)
#define LIMIT_KIB (33 * 1024)
/* For the allocator, and for what the kernel adds to the stack. */
#define NOISE_KIB 256
/* Where every mapping is made of huge pages, the first byte of each of a log's two arrays may cost one. */
#define FEW_KIB (NOISE_KIB + 2 * 2048)

/* Bytes of this process in memory, in KiB, now. */
static uint64_t resident_kib(void)
{
	FILE *file = fopen("/proc/self/smaps_rollup", "re");
	unsigned long long kib = 0;
	char line[256];

	if (file == NULL)
		return 0;
	while (kib == 0 && fgets(line, sizeof(line), file) != NULL)
		(void)sscanf(line, "Rss: %llu", &kib);
	fclose(file);
	return kib;
}

static uint64_t grown_kib(uint64_t before)
{
	uint64_t now = resident_kib();

	return now > before ? now - before : 0;
}

/* All of it, as ranges, by one reader. Return: pages. */
static uint64_t collect_all(struct gm_dirty_reader *reader)
{
	static struct gm_dirty_range ranges[1024];
	struct gm_offset at = gm_offset(0);
	uint64_t pages = 0;
	size_t count, i;
	int r;

	do {
		r = gm_dirty_collect(reader, at, UINT64_MAX, ranges, 1024, &count, &at);
		assert_true(r >= 0);
		for (i = 0; i < count; i++)
			pages += (ranges[i].last.value - ranges[i].first.value + 1) / PAGE;
	} while (r == 1);
	return pages;
}

static void one_tebibyte(void **state)
{
	struct test_random random = { 11 };
	struct gm_dirty_reader *reader;
	struct gm_dirty *dirty;
	uint64_t before, i;

	(void)state;
	if (TEST_SANITIZED)
		test_skip("a sanitizer's own memory would be counted too");
	/* The first call has costs of its own. */
	(void)resident_kib();
	before = resident_kib();
	if (before == 0)
		test_skip("no /proc/self/smaps_rollup");
	assert_int_equal(gm_dirty_new(LOG_BYTES, 0, PAGE, &dirty), 0);
	assert_int_equal(gm_dirty_reader_new(dirty, &reader), 0);
	assert_int_equal(collect_all(reader), 0);
	print_message("untouched: %u KiB\n", (unsigned)grown_kib(before));
	/* Looking for dirty pages reads the summary: the kernel may back that with its one page of zeros, or count it. */
	assert_in_range(grown_kib(before), 0, NOISE_KIB);

	gm_dirty_mark(dirty, gm_offset(LOG_BYTES / 2), 1);
	print_message("one page dirty: %u KiB\n", (unsigned)grown_kib(before));
	assert_in_range(grown_kib(before), 0, FEW_KIB);

	for (i = 0; i < LOG_BYTES / PAGE / 100; i++)
		gm_dirty_mark(dirty, gm_offset(test_below(&random, LOG_BYTES / PAGE) * PAGE), 1);
	print_message("1 %% dirty at random: %u KiB\n", (unsigned)grown_kib(before));
	assert_in_range(grown_kib(before), 1, LIMIT_KIB);

	gm_dirty_mark(dirty, gm_offset(0), LOG_BYTES);
	print_message("all dirty: %u KiB\n", (unsigned)grown_kib(before));
	assert_in_range(grown_kib(before), LOG_BYTES / PAGE / 8 / 1024, LIMIT_KIB);
	assert_int_equal(gm_dirty_count(reader), LOG_BYTES / PAGE);
	assert_in_range(grown_kib(before), 1, LIMIT_KIB);

	/* Nothing of it went anywhere else. */
	assert_int_equal(collect_all(reader), LOG_BYTES / PAGE);
	print_message("collected: %u KiB\n", (unsigned)grown_kib(before));
	assert_in_range(grown_kib(before), 0, LIMIT_KIB);

	gm_dirty_reader_free(reader);
	gm_dirty_free(dirty);
	assert_in_range(grown_kib(before), 0, NOISE_KIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_tebibyte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
