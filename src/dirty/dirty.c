/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Logs and readers: made, grown, freed. Owns their memory. The bits of a log are reserved for the size that it may grow to, so
 * that they never move under a marking thread: growing only moves the limit. Locking: dirty.h.
 */
#include "dirty/dirty.h"

#include "base/base.h"
#include "sys/membarrier.h"
#include "sys/memory.h"

/* From here on bits are mapped, and take memory where they are touched only; smaller ones come from the heap. */
#define RESERVE_MIN (64 * 1024)
#define CACHE_LINE  64

/* @second, or NULL, is a second one in the same memory, which goes with the first. */
static int bits_init(struct gmi_dirty_bits *bits, struct gmi_dirty_bits *second, uint64_t pages)
{
	uint64_t groups = (pages - 1) / GMI_DIRTY_PAGES_PER_SUMMARY + 1;
	size_t words_size = groups * GMI_DIRTY_GROUP_WORDS * sizeof(uint64_t);
	size_t summary_size = ((groups - 1) / 64 + 1) * sizeof(uint64_t);
	size_t one_size = (words_size + summary_size + CACHE_LINE - 1) & ~(size_t)(CACHE_LINE - 1);
	uintptr_t start;

	bits->size = (second != NULL ? 2 : 1) * one_size + CACHE_LINE - 1;
	bits->memory = bits->size >= RESERVE_MIN ? gmi_reserve_pages(bits->size) : gmi_alloc(bits->size);
	if (bits->memory == NULL)
		return -ENOMEM;
	start = ((uintptr_t)bits->memory + CACHE_LINE - 1) & ~(uintptr_t)(CACHE_LINE - 1);
	bits->words = (uint64_t *)start;
	bits->summary = (uint64_t *)(start + words_size);
	if (second != NULL) {
		second->words = (uint64_t *)(start + one_size);
		second->summary = (uint64_t *)(start + one_size + words_size);
	}
	return 0;
}

static void bits_fini(struct gmi_dirty_bits *bits)
{
	if (bits->size >= RESERVE_MIN)
		gmi_release_pages(bits->memory, bits->size);
	else
		gmi_free(bits->memory);
}

static uint64_t pages_of(uint64_t bytes, uint32_t page_shift)
{
	return ((bytes - 1) >> page_shift) + 1;
}

GMI_PUBLIC int gm_dirty_new(uint64_t bytes, uint64_t bytes_max, uint64_t page_bytes, struct gm_dirty **ret_dirty)
{
	struct gm_dirty *dirty;
	uint32_t page_shift;

	if (bytes_max == 0)
		bytes_max = bytes;
	if (bytes == 0 || bytes_max < bytes || ret_dirty == NULL)
		return -EINVAL;
	if (!gm_is_power_of_2(page_bytes) || page_bytes < GM_DIRTY_PAGE_BYTES_MIN ||
	    page_bytes > GM_DIRTY_PAGE_BYTES_MAX)
		return -EINVAL;
	page_shift = (uint32_t)__builtin_ctzll(page_bytes);
	if (pages_of(bytes_max, page_shift) > GM_DIRTY_PAGES_MAX)
		return -E2BIG;

	dirty = gmi_alloc(sizeof(*dirty));
	if (dirty == NULL)
		return -ENOMEM;
	if (bits_init(&dirty->primary, &dirty->late, pages_of(bytes_max, page_shift)) != 0) {
		gmi_free(dirty);
		return -ENOMEM;
	}
	dirty->mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	dirty->bytes = bytes;
	dirty->bytes_max = bytes_max;
	dirty->head.words = dirty->primary.words;
	dirty->head.summary = dirty->primary.summary;
	dirty->head.pages = pages_of(bytes, page_shift);
	dirty->head.page_shift = page_shift;
	dirty->head.page_mask = page_bytes - 1;
	dirty->head.fence = !gmi_membarrier_init();
	if (dirty->head.fence)
		dirty->head.cleared = UINT64_MAX;
	*ret_dirty = dirty;
	return 0;
}

static void reader_destroy(struct gm_dirty_reader *reader)
{
	bits_fini(&reader->pending);
	gmi_free(reader);
}

static void destroy(struct gm_dirty *dirty)
{
	(void)pthread_mutex_destroy(&dirty->mutex);
	bits_fini(&dirty->primary);
	gmi_free(dirty);
}

GMI_PUBLIC void gm_dirty_free(struct gm_dirty *dirty)
{
	bool last;

	if (dirty == NULL)
		return;
	(void)pthread_mutex_lock(&dirty->mutex);
	dirty->is_freed = true;
	last = dirty->readers_count == 0;
	(void)pthread_mutex_unlock(&dirty->mutex);
	if (last)
		destroy(dirty);
}

GMI_PUBLIC uint64_t gm_dirty_bytes(const struct gm_dirty *dirty)
{
	return __atomic_load_n(&dirty->bytes, __ATOMIC_RELAXED);
}

GMI_PUBLIC uint64_t gm_dirty_page_bytes(const struct gm_dirty *dirty)
{
	return UINT64_C(1) << dirty->head.page_shift;
}

GMI_PUBLIC int gm_dirty_enlarge(struct gm_dirty *dirty, uint64_t bytes)
{
	int r = 0;

	(void)pthread_mutex_lock(&dirty->mutex);
	if (bytes < dirty->bytes) {
		r = -EINVAL;
	} else if (bytes > dirty->bytes_max) {
		r = -ERANGE;
	} else {
		/* Relaxed: the limits guard nothing that is written here; the bits behind them are there since the log is. */
		__atomic_store_n(&dirty->head.pages, pages_of(bytes, dirty->head.page_shift), __ATOMIC_RELAXED);
		__atomic_store_n(&dirty->bytes, bytes, __ATOMIC_RELAXED);
	}
	(void)pthread_mutex_unlock(&dirty->mutex);
	return r;
}

GMI_PUBLIC int gm_dirty_reader_new(struct gm_dirty *dirty, struct gm_dirty_reader **ret_reader)
{
	struct gm_dirty_reader *reader = gmi_alloc(sizeof(*reader));

	if (reader == NULL)
		return -ENOMEM;
	if (bits_init(&reader->pending, NULL, pages_of(dirty->bytes_max, dirty->head.page_shift)) != 0) {
		gmi_free(reader);
		return -ENOMEM;
	}
	reader->dirty = dirty;

	(void)pthread_mutex_lock(&dirty->mutex);
	if (dirty->readers_count == GM_DIRTY_READERS_MAX) {
		(void)pthread_mutex_unlock(&dirty->mutex);
		reader_destroy(reader);
		return -ENOSPC;
	}
	/* What was marked before is for those who were there before. */
	gmi_dirty_drain_all(dirty);
	dirty->readers[dirty->readers_count++] = reader;
	(void)pthread_mutex_unlock(&dirty->mutex);

	/*
	 * A mark may have been left out because of a bit that we have just cleared, and this reader will not be told of that page:
	 * the data behind it must be there for whoever copies everything once the reader exists.
	 */
	if (!dirty->head.fence)
		gmi_membarrier();
	*ret_reader = reader;
	return 0;
}

GMI_PUBLIC void gm_dirty_reader_free(struct gm_dirty_reader *reader)
{
	struct gm_dirty *dirty;
	size_t i = 0;
	bool last;

	if (reader == NULL)
		return;
	dirty = reader->dirty;
	(void)pthread_mutex_lock(&dirty->mutex);
	while (dirty->readers[i] != reader)
		i++;
	dirty->readers[i] = dirty->readers[--dirty->readers_count];
	last = dirty->is_freed && dirty->readers_count == 0;
	(void)pthread_mutex_unlock(&dirty->mutex);
	reader_destroy(reader);
	if (last)
		destroy(dirty);
}
