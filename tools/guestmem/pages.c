/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Sets of pages: plain bitmaps on purpose. What proves a clever log has to be too simple to share its mistakes. */
#include "pages.h"

#include <stdlib.h>

/* Ranges that one call collects: a stack's worth. */
#define RANGES 256

int pages_init(struct pages *pages, uint64_t bytes, uint64_t page_bytes, struct failure *failure)
{
	pages->shift = (unsigned)__builtin_ctzll(page_bytes);
	pages->count = ((bytes - 1) >> pages->shift) + 1;
	pages->words = calloc(pages->count / 64 + 1, sizeof(*pages->words));
	return pages->words ? 0 : fail(failure, STATUS_MISSING, "no memory to record written pages");
}

void pages_fini(struct pages *pages)
{
	free(pages->words);
	pages->words = NULL;
}

void pages_add(struct pages *pages, uint64_t offset, uint64_t bytes)
{
	uint64_t last = (offset + bytes - 1) >> pages->shift;

	/* Relaxed: the sets are looked at after the threads that add were joined, or handed the region over. */
	for (uint64_t page = offset >> pages->shift; page <= last; page++)
		__atomic_fetch_or(&pages->words[page / 64], UINT64_C(1) << (page % 64), __ATOMIC_RELAXED);
}

uint64_t pages_size(const struct pages *pages)
{
	uint64_t size = 0;

	for (uint64_t i = 0; i <= pages->count / 64; i++)
		size += (uint64_t)__builtin_popcountll(pages->words[i]);
	return size;
}

int pages_collect(struct pages *pages, struct gm_dirty_reader *reader, struct failure *failure)
{
	struct gm_offset from = gm_offset(0), next;
	struct gm_dirty_range ranges[RANGES];
	uint64_t bytes = pages->count << pages->shift;
	size_t count;
	int r;

	do {
		r = gm_dirty_collect(reader, from, bytes - from.value, ranges, RANGES, &count, &next);
		if (r < 0)
			return fail(failure, STATUS_WRONG, "a dirty log can't be collected: error %d", r);
		for (size_t i = 0; i < count; i++)
			pages_add(pages, ranges[i].first.value, ranges[i].last.value - ranges[i].first.value + 1);
		from = next;
	} while (r > 0 && from.value < bytes);
	return 0;
}

bool pages_equal(const struct pages *wanted, const struct pages *got, struct pages_difference *ret_difference)
{
	struct pages_difference difference = { 0 };

	for (uint64_t i = 0; i <= wanted->count / 64; i++) {
		uint64_t either = wanted->words[i] ^ got->words[i];

		if (!either)
			continue;
		if (difference.missing + difference.surplus == 0)
			difference.first = (i * 64 + (uint64_t)__builtin_ctzll(either)) << wanted->shift;
		difference.missing += (uint64_t)__builtin_popcountll(either & wanted->words[i]);
		difference.surplus += (uint64_t)__builtin_popcountll(either & got->words[i]);
	}
	*ret_difference = difference;
	return difference.missing + difference.surplus == 0;
}
