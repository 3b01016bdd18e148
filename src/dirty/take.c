/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Taking bits out of the log: the only place that clears them. Everything here runs with the log's mutex held; marking goes on
 * meanwhile. The guarantees (A) to (E) are stated in mark.c, and proved in docs/concurrency.md.
 *
 * Whole groups are cleared by plain stores, between changes of head.clearing and head.cleared. A locked exchange for each word would take five times
 * as long, most of it because it keeps the processor from fetching the next words meanwhile.
 */
#include "base/base.h"
#include "dirty/dirty.h"

#define EACH_WORD(DO) DO(0), DO(1), DO(2), DO(3), DO(4), DO(5), DO(6), DO(7)

_Static_assert(GMI_DIRTY_GROUP_WORDS == 8, "EACH_WORD() counts on it");

/* (E). No branch on what is there: it would guess wrong as often as not. */
static inline void take_group(uint64_t *words, uint64_t *bits)
{
#define LOAD(i)  (bits[i] = __atomic_load_n(&words[i], __ATOMIC_SEQ_CST))
#define CLEAR(i) __atomic_store_n(&words[i], 0, __ATOMIC_RELAXED)
	EACH_WORD(LOAD);
	EACH_WORD(CLEAR);
#undef LOAD
#undef CLEAR
}

/* Without membarrier each change of a word is a read-modify-write: (B). */
static void exchange_group(uint64_t *words, uint64_t *bits)
{
	unsigned i;

	for (i = 0; i < GMI_DIRTY_GROUP_WORDS; i++) {
		bits[i] = __atomic_load_n(&words[i], __ATOMIC_SEQ_CST);
		if (bits[i] != 0)
			bits[i] = __atomic_exchange_n(&words[i], 0, __ATOMIC_SEQ_CST);
	}
}

void gmi_dirty_take(struct gm_dirty *dirty, uint64_t window, uint64_t groups, uint64_t *bits)
{
	struct gmi_dirty_head *head = &dirty->head;
	uint64_t *words = &head->words[window * GMI_DIRTY_WINDOW_WORDS], todo, at;
	uint64_t number = (head->clearing >> GMI_DIRTY_WINDOW_BITS) + 1;
	uint64_t clearing = number << GMI_DIRTY_WINDOW_BITS | window;

	if (!head->fence)
		__atomic_store_n(&head->clearing, clearing, __ATOMIC_SEQ_CST);
	/* These and no others: marks may be setting more of them, which the next collect is to find. */
	(void)__atomic_fetch_and(&head->summary[window], ~groups, __ATOMIC_SEQ_CST);
	for (todo = groups; todo != 0; todo &= todo - 1) {
		at = (unsigned)__builtin_ctzll(todo) * GMI_DIRTY_GROUP_WORDS;
		if (head->fence) {
			exchange_group(&words[at], &bits[at]);
			continue;
		}
		/* The same group of the next window, which is most likely next; never mind if there is none. */
		__builtin_prefetch((const void *)((uintptr_t)&words[at] + GMI_DIRTY_WINDOW_WORDS * 8), 1);
		take_group(&words[at], &bits[at]);
	}
	if (!head->fence)
		__atomic_store_n(&head->cleared, clearing, __ATOMIC_RELEASE);
}

void gmi_dirty_take_part(struct gm_dirty *dirty, uint64_t group, const uint64_t *masks, uint64_t *bits)
{
	uint64_t *words = &dirty->head.words[group * GMI_DIRTY_GROUP_WORDS], left = 0;
	uint64_t *summary = &dirty->head.summary[group / 64], bit = UINT64_C(1) << (group % 64);
	unsigned i;

	(void)__atomic_fetch_and(summary, ~bit, __ATOMIC_SEQ_CST);
	for (i = 0; i < GMI_DIRTY_GROUP_WORDS; i++) {
		bits[i] = __atomic_load_n(&words[i], __ATOMIC_SEQ_CST);
		if ((bits[i] & masks[i]) != 0)
			bits[i] = __atomic_fetch_and(&words[i], ~masks[i], __ATOMIC_SEQ_CST);
		left |= bits[i] & ~masks[i];
		bits[i] &= masks[i];
	}
	/* A mark that we did not see here finds the summary bit clear itself, and sets it: (A). */
	if (left != 0)
		(void)__atomic_fetch_or(summary, bit, __ATOMIC_SEQ_CST);
}

void gmi_dirty_put_back(struct gm_dirty *dirty, uint64_t window, uint64_t groups, const uint64_t *bits)
{
	uint64_t todo, first, i;

	for (todo = groups; todo != 0; todo &= todo - 1) {
		first = (unsigned)__builtin_ctzll(todo) * GMI_DIRTY_GROUP_WORDS;
		for (i = first; i < first + GMI_DIRTY_GROUP_WORDS; i++) {
			if (bits[i] != 0)
				gmi_dirty_mark_bits(&dirty->head, window * GMI_DIRTY_WINDOW_WORDS + i, bits[i]);
		}
	}
}

/* One group of the late bits. We mark as anybody does; nothing is being cleared, so that can't end in the late bits again. */
static void take_late_group(struct gm_dirty *dirty, uint64_t group)
{
	uint64_t i, bits;

	for (i = group * GMI_DIRTY_GROUP_WORDS; i < (group + 1) * GMI_DIRTY_GROUP_WORDS; i++) {
		bits = __atomic_exchange_n(&dirty->late.words[i], 0, __ATOMIC_SEQ_CST);
		if (bits != 0)
			gmi_dirty_mark_bits(&dirty->head, i, bits);
	}
}

void gmi_dirty_take_late(struct gm_dirty *dirty)
{
	uint64_t last = (dirty->head.pages - 1) / GMI_DIRTY_WINDOW_PAGES, window, todo;

	if (!__atomic_load_n(&dirty->late_any, __ATOMIC_SEQ_CST))
		return;
	/* From the top down, as marks go from the bottom up. */
	__atomic_store_n(&dirty->late_any, false, __ATOMIC_SEQ_CST);
	for (window = 0; window <= last; window++) {
		if (__atomic_load_n(&dirty->late.summary[window], __ATOMIC_SEQ_CST) == 0)
			continue;
		todo = __atomic_exchange_n(&dirty->late.summary[window], 0, __ATOMIC_SEQ_CST);
		for (; todo != 0; todo &= todo - 1)
			take_late_group(dirty, window * 64 + (unsigned)__builtin_ctzll(todo));
	}
}
