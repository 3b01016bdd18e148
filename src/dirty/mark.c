/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Marking: from the data that was written to the bits that say so. Lock-free; never waits for a collect, never makes it wait.
 *
 * W is a word of pages, S its summary word, M a thread that marks, C one that collects. C holds the log's mutex, so there is one C.
 *	M: write data | look at W, set bits | look at S, set bit		from the bottom up
 *	C: clear bit in S | look at W, clear bits | membarrier | read data	from the top down
 *
 * What the files of this directory guarantee; docs/concurrency.md has the proofs, under the same letters:
 *	(A) A bit set in W by a mark that returned is found by the next C, for S has its bit, or C sees W after clearing S.
 *	    Two looks that cross (M: W then S; C: S then W): all four accesses are sequentially consistent.
 *	(B) Data written before a mark that changed nothing, for its bit was set, is seen by loads after the collect that cleared this
 *	    bit. M has no fence between data and look; C's membarrier puts one there. Without membarrier (head.fence) M always
 *	    does the read-modify-write, which C's own on the same word is ordered with.
 *	(C) Whole words are set by plain stores: all ones over anything loses nothing. One fence per range restores (A).
 *	(D) What C takes out of W and does not report to its own reader, it leaves in that reader's pending bits; all that it takes, it
 *	    adds to the pending bits of the others. So each reader is told of each mark.
 */
#include "base/base.h"
#include "dirty/dirty.h"

/* gcc says that its ThreadSanitizer does not model fences. This one orders atomics of our own, which nothing else hangs on. */
#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wtsan"
#endif

/* Sets the summary bits of these pages, whose own bits are set. Second half of (A). */
static void set_summary(const struct gmi_dirty_head *head, uint64_t first_page, uint64_t last_page)
{
	uint64_t first = first_page >> GMI_DIRTY_SUMMARY_SHIFT, last = last_page >> GMI_DIRTY_SUMMARY_SHIFT;
	uint64_t i, mask;

	for (i = first / 64; i <= last / 64; i++) {
		mask = gmi_dirty_mask(i, first, last);
		if ((__atomic_load_n(&head->summary[i], __ATOMIC_SEQ_CST) & mask) != mask)
			(void)__atomic_fetch_or(&head->summary[i], mask, __ATOMIC_SEQ_CST);
	}
}

void gmi_dirty_mark_bits(const struct gmi_dirty_head *head, uint64_t index, uint64_t bits)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST); /* as in gmi_dirty_is_set() */
	if (head->fence || (__atomic_load_n(&head->words[index], __ATOMIC_SEQ_CST) & bits) != bits)
		(void)__atomic_fetch_or(&head->words[index], bits, __ATOMIC_SEQ_CST);
	set_summary(head, index * 64, index * 64);
}

GMI_PUBLIC void gmi_dirty_mark_page(const struct gmi_dirty_head *head, uint64_t page)
{
	if (page < __atomic_load_n(&head->pages, __ATOMIC_RELAXED))
		gmi_dirty_mark_bits(head, page / 64, UINT64_C(1) << (page % 64));
}

void gmi_dirty_mark_pages(const struct gmi_dirty_head *head, uint64_t first, uint64_t last)
{
	bool stored = false;
	uint64_t i, mask, have;

	/* (B): membarrier stands in for the processor's fence, but the compiler too must not look before the data is written. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	for (i = first / 64; i <= last / 64; i++) {
		mask = gmi_dirty_mask(i, first, last);
		have = __atomic_load_n(&head->words[i], __ATOMIC_SEQ_CST);
		if ((have & mask) == mask && !head->fence)
			continue;
		if (mask == UINT64_MAX && !head->fence) {
			/* (C): 3 ns less per word than an exchange. Pairs with the look at W in collect.c. */
			__atomic_store_n(&head->words[i], UINT64_MAX, __ATOMIC_RELEASE);
			stored = true;
		} else {
			(void)__atomic_fetch_or(&head->words[i], mask, __ATOMIC_SEQ_CST);
		}
	}
	/* (A) needs the stores to be out before the look at S. */
	if (stored)
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
	set_summary(head, first, last);
}

GMI_PUBLIC void gmi_dirty_mark_range(struct gm_dirty *dirty, uint64_t offset, uint64_t bytes)
{
	uint64_t total = gm_dirty_bytes(dirty), last;

	if (bytes == 0 || offset >= total)
		return;
	last = offset + GMI_MIN(bytes, total - offset) - 1;
	gmi_dirty_mark_pages(&dirty->head, offset >> dirty->head.page_shift, last >> dirty->head.page_shift);
}
