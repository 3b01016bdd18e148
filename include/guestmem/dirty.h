/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Dirty logs: which pages were written since they were last collected. One bit per page, and a summary bit per 512
 * of those (one cache line), so that collecting costs what is dirty and not what exists, and a log of 1 TiB in 4 KiB
 * pages takes 32 MiB and 64 KiB, backed only where it was touched (of address space, twice that). Several readers collect
 * from one log, each seeing every write.
 *
 * What a collect promises: it reports every page that was marked by a call that had returned before the collect
 * began; and data written before such a mark, or before a mark that the collect's clearing raced with, is seen by loads after
 * the collect returns, or the page is reported again by the next one. Nothing is ever lost. A reader that is new has
 * the same promise from its creation: data of marks that it will not be told of is seen by loads after that.
 *
 * Marking never blocks, never fails, never allocates and, where the page is dirty already, writes nothing (but where
 * the kernel has no membarrier: there it is always one locked operation). A filter of system calls that is put up after a
 * log was made has to permit membarrier(2): see <guestmem/space.h>.
 */
#ifndef GUESTMEM_DIRTY_H
#define GUESTMEM_DIRTY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <guestmem/address.h>
#include <guestmem/error.h>

GM_BEGIN_DECLS

struct gm_dirty;
struct gm_dirty_reader;

/* Pages of a log: 2^32, that is 16 TiB in 4 KiB pages, 512 MiB of bits. Choose larger pages beyond. */
#define GM_DIRTY_PAGES_MAX      (UINT64_C(1) << 32)
#define GM_DIRTY_PAGE_BYTES_MIN UINT64_C(4096)
#define GM_DIRTY_PAGE_BYTES_MAX GM_GIB
/* Readers of one log: migration, snapshots, a display, a replica and a few to spare; each costs a log's memory. */
#define GM_DIRTY_READERS_MAX 16

/**
 * gm_dirty_new - an empty log
 * @bytes: bytes that it describes, from offset 0; at least 1
 * @bytes_max: up to where gm_dirty_enlarge() may go; 0 for @bytes. Only address space is spent on it
 * @page_bytes: bytes per bit: a power of two, GM_DIRTY_PAGE_BYTES_MIN to _MAX
 *
 * Context: any thread; may block (memory allocation); one system call (membarrier registration).
 * Return: 0; -EINVAL for arguments out of range; -E2BIG for more than GM_DIRTY_PAGES_MAX pages; -ENOMEM.
 */
GM_CHECKED int gm_dirty_new(uint64_t bytes, uint64_t bytes_max, uint64_t page_bytes, struct gm_dirty **ret_dirty);
/* Nobody may mark any more. Readers may still collect, and are freed by whoever made them. Accepts NULL. */
void gm_dirty_free(struct gm_dirty *dirty);

uint64_t gm_dirty_bytes(const struct gm_dirty *dirty);
uint64_t gm_dirty_page_bytes(const struct gm_dirty *dirty);

/**
 * gm_dirty_enlarge - let the log describe @bytes bytes, more than before; new pages are clean
 *
 * Context: any thread; marking and collecting may go on.
 * Return: 0; -EINVAL when @bytes is less than now; -ERANGE when it is more than @bytes_max.
 */
GM_CHECKED int gm_dirty_enlarge(struct gm_dirty *dirty, uint64_t bytes);

/* Whether the page at @offset is marked and not collected yet by @reader. For tests and pictures. */
bool gm_dirty_is_marked(const struct gm_dirty_reader *reader, struct gm_offset offset);

/**
 * gm_dirty_merge - mark what a foreign bitmap says
 * @bitmap: one bit per page, bit 0 of byte 0 first, bytes in ascending order (KVM_GET_DIRTY_LOG and vhost's log on a
 *	little-endian host are of this form)
 * @pages: bits in @bitmap
 * @page_bytes: bytes per bit there, a power of two, 512 bytes to 1 GiB: finer or coarser than the log's own
 * @offset: where bit 0 stands in the log; a multiple of @page_bytes
 *
 * A set bit marks all pages that its own page touches. It stands outside the log when its first byte does.
 * Context: as gm_dirty_mark(). The bitmap is read once, 8 bytes at a time, at most (@pages + 7) / 8 bytes of it; it is not cleared.
 * Return: 0; -EINVAL for @page_bytes or @offset; -ERANGE when a set bit stands outside the log (the rest is merged).
 */
GM_CHECKED int gm_dirty_merge(struct gm_dirty *dirty, struct gm_offset offset, const void *bitmap, uint64_t pages,
			      uint64_t page_bytes);

/**
 * gm_dirty_reader_new - one more independent reader of a log
 * @dirty: the log
 *
 * It sees what is marked from now on, in its own time, whatever other readers collect. Costs what is dirty.
 * Context: any thread; may block; one system call (membarrier).
 * Return: 0; -ENOSPC at GM_DIRTY_READERS_MAX; -ENOMEM.
 */
GM_CHECKED int gm_dirty_reader_new(struct gm_dirty *dirty, struct gm_dirty_reader **ret_reader);
/* Its log, when the owner has freed that already, goes with its last reader. Accepts NULL. */
void gm_dirty_reader_free(struct gm_dirty_reader *reader);

/* Offsets in the log; for a region's log, in the region: its first address plus these is the guest's. */
struct gm_dirty_range {
	struct gm_offset first;
	struct gm_offset last;
};

/**
 * gm_dirty_collect - take what is dirty for this reader, and make it clean for this reader
 * @from: where to start in the log
 * @bytes: how much to look at, from @from; what goes beyond the log is left out, so UINT64_MAX is all
 * @ranges: receives first and last offset of each run of dirty pages, in ascending order, adjacent runs joined
 * @ranges_max: room, at least 1. Each call has its costs: for a log of many dirty pages, room for 65 536 takes a third of the time of
 *	room for 1024
 * @ret_count: ranges stored
 * @ret_next: where to go on: the collect stopped there because @ranges was full; otherwise behind what was looked at,
 *	which is @from plus @bytes or the log's end; @from when nothing was
 *
 * Every page that [@from, @from + @bytes) touches is looked at, and reported as a whole: the first range may begin before
 * @from, the last one go beyond what was asked for, but not beyond the log.
 * Pages are cleared only if they are reported. Context: any thread, one at a time per log (others wait on its mutex);
 * makes one system call (membarrier) when something was dirty, none otherwise.
 * Return: 0 when all of it was looked at; 1 when there may be more from *@ret_next on; -EINVAL.
 *
 *	struct gm_offset at = gm_offset(0);
 *	do {
 *		r = gm_dirty_collect(reader, at, UINT64_MAX, ranges, 64, &count, &at);
 *		... ranges[0] to ranges[count - 1] ...
 *	} while (r == 1);
 */
GM_CHECKED int gm_dirty_collect(struct gm_dirty_reader *reader, struct gm_offset from, uint64_t bytes,
				struct gm_dirty_range *ranges, size_t ranges_max, size_t *ret_count,
				struct gm_offset *ret_next);

/* Pages that are dirty for @reader; collects nothing. Costs what is dirty. A snapshot only while others mark. */
uint64_t gm_dirty_count(struct gm_dirty_reader *reader);

/*
 * Private, here for the inlined write path of <guestmem/access.h>: the head of every log. The order of the two loads and
 * why a mark that finds both bits set may return at once: docs/concurrency.md, "Dirty logs".
 */
struct gmi_dirty_head {
	uint64_t *words;     /* a bit per page */
	uint64_t *summary;   /* a bit per GMI_DIRTY_PAGES_PER_SUMMARY pages */
	uint64_t page_mask;  /* the page size less 1 */
	uint64_t pages;      /* limit of page numbers; grows only */
	uint32_t page_shift; /* log2 of the page size */
	uint32_t fence; /* no membarrier here: a mark is always a locked operation, which orders the data before it */
	/*
	 * A collector clears by plain stores, which may overwrite bits. Of the last time it began to: a number above
	 * GMI_DIRTY_WINDOW_BITS, below it which summary word's pages; and the same of the last time it ended. Where the inlined
	 * path is closed (fence) they differ for ever.
	 */
	uint64_t clearing;
	uint64_t cleared;
};

#define GMI_DIRTY_PAGES_PER_SUMMARY 512
#define GMI_DIRTY_SUMMARY_SHIFT     9
#define GMI_DIRTY_WINDOW_BITS       17

void gmi_dirty_mark_page(const struct gmi_dirty_head *head, uint64_t page);

/* Whether a mark of this page, which is inside the log, may return at once. */
GM_INLINE bool gmi_dirty_is_set(const struct gmi_dirty_head *head, uint64_t page)
{
	uint64_t group = page >> GMI_DIRTY_SUMMARY_SHIFT, cleared;

	/* The data was written before: keep the compiler from looking first. For the processor, the collector's membarrier does. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	/*
	 * Plain loads on most machines. The two in the middle pair with the clearing in a collect, which goes the other way: summary,
	 * then words. The outer two say that nothing was being cleared meanwhile: a bit that is about to be overwritten is none.
	 */
	cleared = __atomic_load_n(&head->cleared, __ATOMIC_ACQUIRE);
	return (__atomic_load_n(&head->words[page / 64], __ATOMIC_SEQ_CST) >> (page % 64) & 1) &&
	       (__atomic_load_n(&head->summary[group / 64], __ATOMIC_SEQ_CST) >> (group % 64) & 1) &&
	       __atomic_load_n(&head->clearing, __ATOMIC_SEQ_CST) == cleared;
}

/* Marks the one page at @offset, which is inside the log. */
GM_INLINE void gmi_dirty_mark_at(const struct gmi_dirty_head *head, uint64_t offset)
{
	if (GM_LIKELY(gmi_dirty_is_set(head, offset >> head->page_shift)))
		return;
	gmi_dirty_mark_page(head, offset >> head->page_shift);
}

/* What gm_dirty_mark() does where it can't tell at once that there is nothing to do. */
void gmi_dirty_mark_range(struct gm_dirty *dirty, uint64_t offset, uint64_t bytes);

/**
 * gm_dirty_mark - the pages that [offset, offset + bytes) touches are dirty
 *
 * What lies outside the log is left out: a mark can't be refused after the write. Call it after the write.
 * Context: any thread, any number at once; never blocks, no system call.
 */
GM_INLINE void gm_dirty_mark(struct gm_dirty *dirty, struct gm_offset offset, uint64_t bytes)
{
	const struct gmi_dirty_head *head = (const struct gmi_dirty_head *)dirty;
	uint64_t page = offset.value >> head->page_shift;

	/* Zero bytes look like very many here. */
	if (GM_LIKELY(bytes - 1 <= (~offset.value & head->page_mask) &&
		      page < __atomic_load_n(&head->pages, __ATOMIC_RELAXED) && gmi_dirty_is_set(head, page)))
		return;
	gmi_dirty_mark_range(dirty, offset.value, bytes);
}

GM_END_DECLS

#endif
