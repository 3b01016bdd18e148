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
 *	(C) Whole words are set by plain stores: all ones over anything loses nothing. One fence per window restores (A).
 *	(D) What C takes out of W and does not report to its own reader, it leaves in that reader's pending bits; all that it takes, it
 *	    adds to the pending bits of the others. So each reader is told of each mark.
 *	(E) C clears W by plain stores, which may overwrite what was set since its look. It says so before and after, and M looks
 *	    around whatever it does to W, even if it only finds a bit set: if its window was being cleared meanwhile, M tries again.
 *	    After a while it takes another bitmap, the late bits, that is only cleared by read-modify-writes.
 */
#include "base/base.h"
#include "dirty/dirty.h"

/* gcc says that its ThreadSanitizer does not model fences. This one orders atomics of our own, which nothing else hangs on. */
#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wtsan"
#endif

/* A collector is inside of a window for a microsecond, unless it loses its processor there: then the late bits take the mark. */
#define TRIES_MAX 64
#define TRIES_MORE                                                                                                     \
	4 /* for each word of a window that was not marked by then: collectors of other windows may be in the way */

static inline void relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* First half of (E): false when the window is being cleared. */
static inline bool begin(const struct gmi_dirty_head *head, uint64_t window, uint64_t *ret_clearing)
{
	uint64_t clearing = __atomic_load_n(&head->clearing, __ATOMIC_ACQUIRE);

	*ret_clearing = clearing;
	if ((clearing & ((UINT64_C(1) << GMI_DIRTY_WINDOW_BITS) - 1)) != window ||
	    __atomic_load_n(&head->cleared, __ATOMIC_ACQUIRE) == clearing)
		return true;
	relax();
	return false;
}

/* Second half of (E): whether no clearing has begun since. */
static inline bool is_sure(const struct gmi_dirty_head *head, uint64_t clearing)
{
	return __atomic_load_n(&head->clearing, __ATOMIC_SEQ_CST) == clearing;
}

/* The last resort of (E). Always locked, always all three levels: it is rare, and needs no argument. */
static void mark_late(const struct gmi_dirty_head *head, uint64_t index, uint64_t bits)
{
	struct gm_dirty *dirty = GMI_CONTAINER(head, struct gm_dirty, head);
	uint64_t group = index / GMI_DIRTY_GROUP_WORDS;

	(void)__atomic_fetch_or(&dirty->late.words[index], bits, __ATOMIC_SEQ_CST);
	(void)__atomic_fetch_or(&dirty->late.summary[group / 64], UINT64_C(1) << (group % 64), __ATOMIC_SEQ_CST);
	__atomic_store_n(&dirty->late_any, true, __ATOMIC_SEQ_CST);
}

/* Sets summary bits of pages of one window, whose own bits are set. Second half of (A). */
static void set_summary(const struct gmi_dirty_head *head, uint64_t first_page, uint64_t last_page)
{
	uint64_t first = first_page >> GMI_DIRTY_SUMMARY_SHIFT, last = last_page >> GMI_DIRTY_SUMMARY_SHIFT;
	uint64_t *summary = &head->summary[first / 64], mask = gmi_dirty_mask(first / 64, first, last);

	if ((__atomic_load_n(summary, __ATOMIC_SEQ_CST) & mask) != mask)
		(void)__atomic_fetch_or(summary, mask, __ATOMIC_SEQ_CST);
}

/* False: nobody knows whether they are set. */
static bool set_bits(const struct gmi_dirty_head *head, uint64_t index, uint64_t bits, unsigned tries)
{
	uint64_t *word = &head->words[index], clearing;

	if (head->fence) {
		(void)__atomic_fetch_or(word, bits, __ATOMIC_SEQ_CST);
		return true;
	}
	for (; tries > 0; tries--) {
		if (!begin(head, index / GMI_DIRTY_WINDOW_WORDS, &clearing))
			continue;
		if ((__atomic_load_n(word, __ATOMIC_SEQ_CST) & bits) != bits)
			(void)__atomic_fetch_or(word, bits, __ATOMIC_SEQ_CST);
		if (is_sure(head, clearing))
			return true;
	}
	return false;
}

static void mark_word(const struct gmi_dirty_head *head, uint64_t index, uint64_t bits, unsigned tries)
{
	if (set_bits(head, index, bits, tries))
		set_summary(head, index * 64, index * 64);
	else
		mark_late(head, index, bits);
}

void gmi_dirty_mark_bits(const struct gmi_dirty_head *head, uint64_t index, uint64_t bits)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST); /* as in gmi_dirty_is_set() */
	mark_word(head, index, bits, TRIES_MAX);
}

GMI_PUBLIC void gmi_dirty_mark_page(const struct gmi_dirty_head *head, uint64_t page)
{
	if (page < __atomic_load_n(&head->pages, __ATOMIC_RELAXED))
		gmi_dirty_mark_bits(head, page / 64, UINT64_C(1) << (page % 64));
}

/* Sets bits of pages of one window, once, ends in a full fence if that needs one. */
static void set_words(const struct gmi_dirty_head *head, uint64_t first, uint64_t last)
{
	bool stored = false;
	uint64_t i, mask, have;

	for (i = first / 64; i <= last / 64; i++) {
		mask = gmi_dirty_mask(i, first, last);
		have = __atomic_load_n(&head->words[i], __ATOMIC_SEQ_CST);
		if ((have & mask) == mask && !head->fence)
			continue;
		if (mask == UINT64_MAX && !head->fence) {
			/* (C): 3 ns less per word than an exchange. Pairs with the look at W in take.c. */
			__atomic_store_n(&head->words[i], UINT64_MAX, __ATOMIC_RELEASE);
			stored = true;
		} else {
			(void)__atomic_fetch_or(&head->words[i], mask, __ATOMIC_SEQ_CST);
		}
	}
	/* (A) needs the stores to be out before the look at S, (E) before the second look at head.clearing. */
	if (stored)
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Pages of one window. */
static void mark_window(const struct gmi_dirty_head *head, uint64_t first, uint64_t last)
{
	uint64_t clearing = 0, i;
	unsigned tries;

	for (tries = 0; tries < TRIES_MAX; tries++) {
		if (!head->fence && !begin(head, first / GMI_DIRTY_WINDOW_PAGES, &clearing))
			continue;
		set_words(head, first, last);
		if (head->fence || is_sure(head, clearing)) {
			set_summary(head, first, last);
			return;
		}
	}
	for (i = first / 64; i <= last / 64; i++)
		mark_word(head, i, gmi_dirty_mask(i, first, last), TRIES_MORE);
}

void gmi_dirty_mark_pages(const struct gmi_dirty_head *head, uint64_t first, uint64_t last)
{
	uint64_t end;

	/* (B): membarrier stands in for the processor's fence, but the compiler too must not look before the data is written. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	for (; first <= last; first = end + 1) {
		end = GMI_MIN(last, first | (GMI_DIRTY_WINDOW_PAGES - 1));
		mark_window(head, first, end);
	}
}

GMI_PUBLIC void gmi_dirty_mark_range(struct gm_dirty *dirty, uint64_t offset, uint64_t bytes)
{
	uint64_t total = gm_dirty_bytes(dirty), last;

	if (bytes == 0 || offset >= total)
		return;
	last = offset + GMI_MIN(bytes, total - offset) - 1;
	offset >>= dirty->head.page_shift;
	last >>= dirty->head.page_shift;
	if (offset == last)
		gmi_dirty_mark_bits(&dirty->head, offset / 64, UINT64_C(1) << (offset % 64));
	else
		gmi_dirty_mark_pages(&dirty->head, offset, last);
}
