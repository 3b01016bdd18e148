/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Collecting: what is dirty for one reader, as ranges, cleared. Everything here runs with the log's mutex held, so nobody else
 * clears bits; marking goes on meanwhile. The guarantees (A) to (E) are stated in mark.c, and proved in docs/concurrency.md.
 *
 * The unit of work is a piece of a window: gmi_dirty_take() takes its words out of the primary bits, hand_out() gives them to all
 * other readers, take_pending() adds what is pending for this reader, and what the ranges have no room for goes back: the group that did
 * not fit to this reader's pending bits, the groups behind it to the primary. Costs that shape the code, for a log of 1 TiB in
 * 4 KiB pages: 8192 summary words are looked at if nothing is dirty; 4 million words are cleared if everything is; and if pages here
 * and there are, each branch that guesses wrong costs as much as a locked operation.
 */
#include <string.h>

#include "base/base.h"
#include "dirty/dirty.h"
#include "dirty/emit.h"
#include "sys/membarrier.h"

/* What is asked for: by whom, and pages from first to last. */
struct window {
	struct gm_dirty *dirty;
	struct gm_dirty_reader *reader;
	uint64_t first;
	uint64_t last;
};

/* What is done at once: groups of one summary word, of which the first is a multiple of their number. */
struct piece {
	uint64_t index;   /* of the summary word */
	unsigned start;   /* number of the first group in it */
	unsigned span;    /* how many groups, of which the following are of interest: */
	uint64_t drain;   /* those whose summary bits were set */
	uint64_t pending; /* those whose bits in the pending summary are set */
};

/* The least that is taken at once, where there may be no room for more: little is to be put back then. */
#define SPAN_MIN 4

/* Adds bits of a group to what is pending for a reader. */
static void add_pending(struct gm_dirty_reader *reader, uint64_t group, const uint64_t *bits)
{
	uint64_t *words = &reader->pending.words[group * GMI_DIRTY_GROUP_WORDS];
	unsigned i;

	for (i = 0; i < GMI_DIRTY_GROUP_WORDS; i++)
		words[i] |= bits[i];
	reader->pending.summary[group / 64] |= UINT64_C(1) << (group % 64);
	reader->pending_any = true;
}

/* (D): what one reader takes, the others get. */
static void hand_out(struct gm_dirty *dirty, const struct gm_dirty_reader *except, uint64_t group, const uint64_t *bits)
{
	uint64_t any = 0;
	size_t i;

	/* A summary bit may stand for nothing; do not touch memory for it. */
	for (i = 0; i < GMI_DIRTY_GROUP_WORDS; i++)
		any |= bits[i];
	for (i = 0; any != 0 && i < dirty->readers_count; i++) {
		if (dirty->readers[i] != except)
			add_pending(dirty->readers[i], group, bits);
	}
}

/* Moves what is pending of a group, as far as @masks say, to @bits. */
static void take_pending(struct gm_dirty_reader *reader, uint64_t group, const uint64_t *masks, uint64_t *bits)
{
	uint64_t *words = &reader->pending.words[group * GMI_DIRTY_GROUP_WORDS], left = 0;
	unsigned i;

	for (i = 0; i < GMI_DIRTY_GROUP_WORDS; i++) {
		bits[i] |= words[i] & masks[i];
		words[i] &= ~masks[i];
		left |= words[i];
	}
	if (left == 0)
		reader->pending.summary[group / 64] &= ~(UINT64_C(1) << (group % 64));
}

static inline uint64_t span_mask(const struct piece *piece)
{
	return UINT64_MAX >> (64 - piece->span) << piece->start;
}

/* The groups of summary word @index that are asked for as a whole. */
static uint64_t whole_groups(const struct window *window, uint64_t index)
{
	uint64_t first = (window->first + GMI_DIRTY_PAGES_PER_SUMMARY - 1) >> GMI_DIRTY_SUMMARY_SHIFT;
	uint64_t end = (window->last + 1) >> GMI_DIRTY_SUMMARY_SHIFT;

	if (first >= end || index < first / 64 || index > (end - 1) / 64)
		return 0;
	return gmi_dirty_mask(index, first, end - 1);
}

/* Makes @bits of one group what this reader is to be told. @taken: they are there; else @drain says whether to take some. */
static void complete(const struct window *window, uint64_t group, bool taken, bool drain, bool pending, uint64_t *bits)
{
	uint64_t masks[GMI_DIRTY_GROUP_WORDS], first = group * GMI_DIRTY_GROUP_WORDS, i;

	if (!drain)
		memset(bits, 0, GMI_DIRTY_GROUP_WORDS * sizeof(*bits));
	if (!drain && !pending)
		return;
	for (i = first; i < first + GMI_DIRTY_GROUP_WORDS; i++)
		masks[i - first] = i < window->first / 64 || i > window->last / 64
					   ? 0
					   : gmi_dirty_mask(i, window->first, window->last);
	if (drain && !taken)
		gmi_dirty_take_part(window->dirty, group, masks, bits);
	if (drain && window->dirty->readers_count > 1)
		hand_out(window->dirty, window->reader, group, bits);
	if (pending)
		take_pending(window->reader, group, masks, bits);
}

/* All groups of a piece that is mostly of interest, in one go; there is room for any ranges of it. */
static void collect_dense(const struct window *window, const struct piece *piece, uint64_t taken, uint64_t *bits,
			  struct gmi_runs *runs)
{
	uint64_t todo = span_mask(piece), bit;
	unsigned i;

	/* Where there is nothing to be done but making ranges, leave it at that. */
	if (window->dirty->readers_count == 1 && piece->pending == 0)
		todo &= ~taken;
	for (; todo != 0; todo &= todo - 1) {
		bit = todo & -todo;
		i = (unsigned)__builtin_ctzll(todo);
		complete(window, piece->index * 64 + i, (taken & bit) != 0, (piece->drain & bit) != 0,
			 (piece->pending & bit) != 0, &bits[i * GMI_DIRTY_GROUP_WORDS]);
	}
	gmi_runs_add(runs, (piece->index * 64 + piece->start) * GMI_DIRTY_PAGES_PER_SUMMARY,
		     &bits[piece->start * GMI_DIRTY_GROUP_WORDS], piece->span * GMI_DIRTY_GROUP_WORDS);
}

/* Group by group. False: there was no room, and *ret_page is where to go on. */
static bool collect_sparse(const struct window *window, const struct piece *piece, uint64_t taken, uint64_t *bits,
			   struct gmi_runs *runs, uint64_t *ret_page)
{
	uint64_t todo, bit, group, *here;
	unsigned i;

	for (todo = piece->drain | piece->pending; todo != 0; todo &= todo - 1) {
		bit = todo & -todo;
		i = (unsigned)__builtin_ctzll(todo);
		group = piece->index * 64 + i;
		here = &bits[i * GMI_DIRTY_GROUP_WORDS];
		if ((taken & bit) == 0 || window->dirty->readers_count > 1 || (piece->pending & bit) != 0)
			complete(window, group, (taken & bit) != 0, (piece->drain & bit) != 0,
				 (piece->pending & bit) != 0, here);
		if (gmi_runs_add_group(runs, group * GMI_DIRTY_PAGES_PER_SUMMARY, here, ret_page))
			continue;
		add_pending(window->reader, group, here);
		gmi_dirty_put_back(window->dirty, piece->index, taken & todo & ~bit, bits);
		return false;
	}
	return true;
}

/*
 * How many groups to take at once: many, if there is room for whatever they give; else half of what there is room for if the next
 * ones are like the last ones.
 */
static unsigned choose_span(const struct gmi_runs *runs)
{
	unsigned span;

	for (span = 64; span > 2 * SPAN_MIN; span /= 2) {
		if (gmi_runs_has_room(runs, span * GMI_DIRTY_GROUP_WORDS))
			return span;
	}
	span = 64;
	while (span > SPAN_MIN && 2 * span * runs->per_group > runs->max - runs->count)
		span /= 2;
	return span;
}

/* One summary word's worth of groups. False: there was no room, and *ret_page is where to go on. */
static bool collect_groups(const struct window *window, uint64_t index, uint64_t drain, uint64_t pending,
			   struct gmi_runs *runs, uint64_t *ret_page)
{
	uint64_t bits[GMI_DIRTY_WINDOW_WORDS], whole = whole_groups(window, index), todo = drain | pending;
	uint64_t groups, taken;
	struct piece piece = { .index = index };
	size_t before;

	for (; todo != 0; todo &= ~groups) {
		before = runs->count;
		piece.span = choose_span(runs);
		piece.start = (unsigned)__builtin_ctzll(todo) & ~(piece.span - 1);
		groups = todo & span_mask(&piece);
		piece.drain = drain & groups;
		piece.pending = pending & groups;
		taken = piece.drain & whole;
		if (taken != 0)
			gmi_dirty_take(window->dirty, index, taken, bits);
		if (4 * (unsigned)__builtin_popcountll(groups) >= piece.span &&
		    gmi_runs_has_room(runs, piece.span * GMI_DIRTY_GROUP_WORDS))
			collect_dense(window, &piece, taken, bits, runs);
		else if (!collect_sparse(window, &piece, taken, bits, runs, ret_page))
			return false;
		runs->per_group = (runs->count - before) / (unsigned)__builtin_popcountll(groups) + 1;
	}
	return true;
}

/* All of the window. Return: 0; 1 when there was no room, and *ret_page is where to go on. */
static int collect_window(const struct window *window, struct gmi_runs *runs, uint64_t *ret_page)
{
	uint64_t first = window->first >> GMI_DIRTY_SUMMARY_SHIFT, last = window->last >> GMI_DIRTY_SUMMARY_SHIFT;
	const uint64_t *summary = window->dirty->head.summary, *pending = window->reader->pending.summary;
	bool pending_any = window->reader->pending_any;
	uint64_t i, drain, mine, mask;

	for (i = first / 64; i <= last / 64; i++) {
		drain = __atomic_load_n(&summary[i], __ATOMIC_RELAXED);
		mine = pending_any ? pending[i] : 0;
		if ((drain | mine) == 0)
			continue;
		mask = gmi_dirty_mask(i, first, last);
		if (!collect_groups(window, i, drain & mask, mine & mask, runs, ret_page))
			return 1;
	}
	if (window->first == 0 && window->last + 1 == window->dirty->head.pages)
		window->reader->pending_any = false;
	return 0;
}

GMI_PUBLIC int gm_dirty_collect(struct gm_dirty_reader *reader, struct gm_offset from, uint64_t bytes,
				struct gm_dirty_range *ranges, size_t ranges_max, size_t *ret_count,
				struct gm_offset *ret_next)
{
	struct gm_dirty *dirty;
	struct gmi_runs runs = { .edges = (uint64_t *)ranges, .per_group = GMI_DIRTY_PAGES_PER_SUMMARY };
	struct window window = { .reader = reader };
	uint64_t total, next = from.value, page;
	uint32_t page_shift;
	int r = 0;

	if (reader == NULL || ranges == NULL || ranges_max == 0 || ret_count == NULL || ret_next == NULL)
		return -EINVAL;
	dirty = window.dirty = reader->dirty;
	page_shift = dirty->head.page_shift;
	runs.page_shift = page_shift;
	runs.max = 2 * GMI_MIN(ranges_max, (size_t)GM_DIRTY_PAGES_MAX);
	(void)pthread_mutex_lock(&dirty->mutex);
	total = dirty->bytes;
	if (bytes > 0 && from.value < total) {
		next = from.value + GMI_MIN(bytes, total - from.value);
		window.first = from.value >> page_shift;
		window.last = (next - 1) >> page_shift;
		gmi_dirty_take_late(dirty);
		r = collect_window(&window, &runs, &page);
		if (r != 0)
			next = page << page_shift;
	}
	(void)pthread_mutex_unlock(&dirty->mutex);
	gmi_runs_close(&runs);
	if (runs.count > 0) {
		/* The last page may reach beyond the log; what is reported does not. */
		runs.edges[runs.count - 1] = GMI_MIN(runs.edges[runs.count - 1], total - 1);
		if (!dirty->head.fence)
			gmi_membarrier(); /* (B) */
	}
	*ret_count = runs.count / 2;
	ret_next->value = next;
	return r;
}

void gmi_dirty_drain_all(struct gm_dirty *dirty)
{
	uint64_t last = (dirty->head.pages - 1) / GMI_DIRTY_WINDOW_PAGES, bits[GMI_DIRTY_WINDOW_WORDS], window, todo;
	unsigned i;

	gmi_dirty_take_late(dirty);
	for (window = 0; window <= last; window++) {
		todo = __atomic_load_n(&dirty->head.summary[window], __ATOMIC_RELAXED);
		if (todo == 0)
			continue;
		gmi_dirty_take(dirty, window, todo, bits);
		for (; todo != 0; todo &= todo - 1) {
			i = (unsigned)__builtin_ctzll(todo);
			hand_out(dirty, NULL, window * 64 + i, &bits[i * GMI_DIRTY_GROUP_WORDS]);
		}
	}
}

GMI_PUBLIC uint64_t gm_dirty_count(struct gm_dirty_reader *reader)
{
	struct gm_dirty *dirty = reader->dirty;
	const struct gmi_dirty_bits *pending = &reader->pending;
	uint64_t last, i, j, todo, group, word, count = 0;

	(void)pthread_mutex_lock(&dirty->mutex);
	gmi_dirty_take_late(dirty);
	last = (dirty->head.pages - 1) >> GMI_DIRTY_SUMMARY_SHIFT;
	for (i = 0; i <= last / 64; i++) {
		todo = __atomic_load_n(&dirty->head.summary[i], __ATOMIC_RELAXED) | pending->summary[i];
		for (; todo != 0; todo &= todo - 1) {
			group = i * 64 + (unsigned)__builtin_ctzll(todo);
			for (j = group * GMI_DIRTY_GROUP_WORDS; j < (group + 1) * GMI_DIRTY_GROUP_WORDS; j++) {
				word = __atomic_load_n(&dirty->head.words[j], __ATOMIC_ACQUIRE);
				if ((pending->summary[i] & todo & -todo) != 0)
					word |= pending->words[j];
				count += (unsigned)__builtin_popcountll(word);
			}
		}
	}
	(void)pthread_mutex_unlock(&dirty->mutex);
	return count;
}

GMI_PUBLIC bool gm_dirty_is_marked(const struct gm_dirty_reader *reader, struct gm_offset offset)
{
	struct gm_dirty *dirty = reader->dirty;
	uint64_t page = offset.value >> dirty->head.page_shift, word = 0;

	(void)pthread_mutex_lock(&dirty->mutex);
	gmi_dirty_take_late(dirty);
	if (offset.value < dirty->bytes)
		word = __atomic_load_n(&dirty->head.words[page / 64], __ATOMIC_ACQUIRE) |
		       reader->pending.words[page / 64];
	(void)pthread_mutex_unlock(&dirty->mutex);
	return word >> (page % 64) & 1;
}
