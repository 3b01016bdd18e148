/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * What tests share: cmocka with its prerequisites, a seeded random number generator, and short ways to make regions.
 */
#ifndef TEST_SUPPORT_H
#define TEST_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <guestmem/guestmem.h>

#include "sys/fault.h"

/* xorshift64*: the same numbers on every run from the same seed. */
struct test_random {
	uint64_t state;
};

static inline uint64_t test_random(struct test_random *random)
{
	random->state ^= random->state >> 12;
	random->state ^= random->state << 25;
	random->state ^= random->state >> 27;
	return random->state * UINT64_C(2685821657736338717);
}

/* 0 to limit-1. */
static inline uint64_t test_below(struct test_random *random, uint64_t limit)
{
	return test_random(random) % limit;
}

/*
 * A sanitizer maps memory of its own as it goes, so mapped bytes are no measure; and it makes mlock(2) do nothing, since
 * its shadow would have to be locked too.
 */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define TEST_SANITIZED 1
#endif
#endif
#ifndef TEST_SANITIZED
#define TEST_SANITIZED 0
#endif

#if defined(__SANITIZE_THREAD__)
#define TEST_THREAD_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TEST_THREAD_SANITIZED 1
#endif
#endif
#ifndef TEST_THREAD_SANITIZED
#define TEST_THREAD_SANITIZED 0
#endif

/* For reasons that a test can't run: a machine that lacks something is a skip that says why, never a pass. */
#define test_skip(...)                                                                                                 \
	do {                                                                                                           \
		print_message("skipped: " __VA_ARGS__);                                                                \
		print_message("\n");                                                                                   \
		skip();                                                                                                \
	} while (0)

/* Memory to make regions from: zeroed, page aligned. */
static inline unsigned char *test_pages(size_t bytes)
{
	void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_ptr_not_equal(pages, MAP_FAILED);
	return pages;
}

/* RAM at @hva, which stays the caller's. */
static inline struct gm_region *test_ram(const char *name, uint64_t first, uint64_t bytes, void *hva)
{
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = name,
		.kind = GM_RAM,
		.first = gm_gpa(first),
		.bytes = bytes,
		.source = GM_SOURCE_POINTER,
		.hva = hva,
	};
	struct gm_region *region;
	struct gm_error error = { 0, "" };

	if (gm_region_new(&opts, &region, &error) != 0)
		fail_msg("%s", error.text);
	return region;
}

/* A region of any kind without bytes. */
static inline struct gm_region *test_bare(const char *name, enum gm_kind kind, uint64_t first, uint64_t bytes)
{
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = name,
		.kind = kind,
		.first = gm_gpa(first),
		.bytes = bytes,
		.source = GM_SOURCE_NONE,
	};
	struct gm_region *region;
	struct gm_error error = { 0, "" };

	if (gm_region_new(&opts, &region, &error) != 0)
		fail_msg("%s", error.text);
	return region;
}

static inline struct gm_range test_range(uint64_t first, uint64_t last)
{
	struct gm_range range = { gm_gpa(first), gm_gpa(last) };

	return range;
}

#endif
