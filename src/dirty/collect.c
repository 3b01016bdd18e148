/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Collecting: what is dirty for one reader, as ranges, cleared. Everything here runs with the log's mutex held, so nobody else
 * clears bits; marking goes on meanwhile. The guarantees (A) to (D) are stated in mark.c, and proved in docs/concurrency.md.
 *
 * The unit of work is a group: drain_whole() takes its words out of the primary bits, hand_out() gives them to all other readers,
 * take_pending() adds what is pending for this reader, emit() makes ranges of it, and add_pending() keeps what the ranges had no
 * room for. Costs that shape the code, for a log of 1 TiB in 4 KiB pages: 8192 summary words are looked at if nothing is
 * dirty; 4 million words are cleared if everything is, which a locked operation for each would make five times slower; and if
 * pages here and there are, a branch that guesses wrong costs as much as the locked operation.
 */
#include <string.h>

#include "base/base.h"
#include "dirty/dirty.h"
#include "sys/membarrier.h"

/*
 * Ranges as they grow, seen as a list of edges: first of the first range, last of the first, first of the second, ... The edges of
 * a word are where its bits change, so they come out of it in this order, without a look at what is a first and what is a last.
 */
struct runs {
	uint64_t *edges;
	size_t max;
	size_t count;    /* odd: the last range is open */
	uint64_t behind; /* page behind the open range, as far as it is known */
	uint64_t page_bytes;
};

/* One for each page, one more to close what was open, and one that is written but not counted. */
#define EDGES_PER_GROUP (GMI_DIRTY_PAGES_PER_SUMMARY + 2)

_Static_assert(sizeof(struct gm_dirty_range) == 2 * sizeof(uint64_t), "a range is two edges");

/* What is asked for: by whom, and pages from first to last. */
struct window {
	struct gm_dirty *dirty;
	struct gm_dirty_reader *reader;
	uint64_t first;
	uint64_t last;
};

/* Whether the eight words from @words on are all ones. Spelled out, as is what follows: a loop takes twice as long. */
static inline bool is_full(const uint64_t *words)
{
#define WORD(i) __atomic_load_n(&words[i], __ATOMIC_SEQ_CST)
	return WORD(0) == UINT64_MAX &&
	       (WORD(1) & WORD(2) & WORD(3) & WORD(4) & WORD(5) & WORD(6) & WORD(7)) == UINT64_MAX;
#undef WORD
}

static inline void clear_full(uint64_t *words)
{
#define CLEAR(i) __atomic_store_n(&words[i], 0, __ATOMIC_RELEASE)
	CLEAR(0), CLEAR(1), CLEAR(2), CLEAR(3), CLEAR(4), CLEAR(5), CLEAR(6), CLEAR(7);
#undef CLEAR
}

/* Takes all of a group. Its summary bit was cleared before: (A). Return: it was all ones. */
static inline bool drain_whole(const struct gmi_dirty_head *head, uint64_t group, uint64_t *bits)
{
	uint64_t *words = &head->words[group * GMI_DIRTY_GROUP_WORDS];
	unsigned i, dirty = 0;

	/*
	 * (C) All ones can't become more, and only we clear: a mark between look and store is one of a page that we report, and
	 * its data is there after the membarrier, as in (B). So a plain store does.
	 */
	if (is_full(words) && !head->fence) {
		clear_full(words);
		memset(bits, 0xff, GMI_DIRTY_GROUP_WORDS * sizeof(*bits));
		return true;
	}
	for (i = 0; i < GMI_DIRTY_GROUP_WORDS; i++) {
		bits[i] = __atomic_load_n(&words[i], __ATOMIC_SEQ_CST);
		dirty |= (unsigned)(bits[i] != 0) << i;
	}
	for (; dirty != 0; dirty &= dirty - 1) {
		i = (unsigned)__builtin_ctz(dirty);
		bits[i] = __atomic_exchange_n(&words[i], 0, __ATOMIC_SEQ_CST);
	}
	return false;
}

_Static_assert(GMI_DIRTY_GROUP_WORDS == 8, "is_full() and clear_full() count on it");

/* Takes those pages of a group that lie in the window; sets the summary bit again when others are left. */
static void drain_part(const struct window *window, uint64_t group, const uint64_t *masks, uint64_t *bits)
{
	const struct gmi_dirty_head *head = &window->dirty->head;
	uint64_t *words = &head->words[group * GMI_DIRTY_GROUP_WORDS], left = 0;
	unsigned i;

	for (i = 0; i < GMI_DIRTY_GROUP_WORDS; i++) {
		bits[i] = __atomic_load_n(&words[i], __ATOMIC_SEQ_CST);
		if ((bits[i] & masks[i]) != 0)
			bits[i] = __atomic_fetch_and(&words[i], ~masks[i], __ATOMIC_SEQ_CST);
		left |= bits[i] & ~masks[i];
		bits[i] &= masks[i];
	}
	/* A mark that we did not see here finds the summary bit clear itself, and sets it: (A). */
	if (left != 0)
		(void)__atomic_fetch_or(&head->summary[group / 64], UINT64_C(1) << (group % 64), __ATOMIC_SEQ_CST);
}

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

static inline uint64_t edge(uint64_t page, uint64_t page_bytes, size_t count)
{
	return page * page_bytes - (count & 1);
}

/*
 * Makes ranges of a group, where there is room for all that it may give. Mostly a word has one run of ones, if any: so two edges are
 * written, of which the count says later how many there were. With a branch instead, one page in a hundred takes twice as long.
 */
static void emit_all(struct runs *runs, uint64_t base, const uint64_t *bits)
{
	uint64_t *edges = runs->edges, page_bytes = runs->page_bytes, none = UINT64_C(1) << 63, open, first, second;
	size_t count = runs->count;
	unsigned i;

	open = count & 1;
	for (i = 0; i < GMI_DIRTY_GROUP_WORDS; i++, base += 64) {
		first = bits[i] ^ (bits[i] << 1 | open);
		open = bits[i] >> 63;
		second = first & (first - 1);
		edges[count] = edge(base + (unsigned)__builtin_ctzll(first | none), page_bytes, count);
		count += first != 0;
		edges[count] = edge(base + (unsigned)__builtin_ctzll(second | none), page_bytes, count);
		count += second != 0;
		for (first = second & (second - 1); first != 0; first &= first - 1, count++)
			edges[count] = edge(base + (unsigned)__builtin_ctzll(first), page_bytes, count);
	}
	runs->count = count;
}

/* The same, edge by edge. What did not fit stays in @bits. False: there was no room, and *ret_page is where to go on. */
static bool emit_some(struct runs *runs, uint64_t base, uint64_t *bits, uint64_t *ret_page)
{
	uint64_t open = runs->count & 1, edges;
	unsigned i;

	for (i = 0; i < GMI_DIRTY_GROUP_WORDS; i++, base += 64) {
		edges = bits[i] ^ (bits[i] << 1 | open);
		open = bits[i] >> 63;
		for (; edges != 0; edges &= edges - 1) {
			*ret_page = base + (unsigned)__builtin_ctzll(edges);
			if (runs->count == runs->max) {
				bits[i] &= -(edges & -edges); /* all before this run is reported */
				return false;
			}
			runs->edges[runs->count] = edge(*ret_page, runs->page_bytes, runs->count);
			runs->count++;
		}
		bits[i] = 0;
	}
	return true;
}

static bool emit(struct runs *runs, uint64_t group, uint64_t *bits, uint64_t *ret_page)
{
	uint64_t base = group * GMI_DIRTY_PAGES_PER_SUMMARY;

	if ((runs->count & 1) != 0 && runs->behind != base) {
		runs->edges[runs->count] = edge(runs->behind, runs->page_bytes, runs->count);
		runs->count++;
	}
	runs->behind = base + GMI_DIRTY_PAGES_PER_SUMMARY;
	if (runs->max - runs->count < EDGES_PER_GROUP)
		return emit_some(runs, base, bits, ret_page);
	emit_all(runs, base, bits);
	return true;
}

/* One group. @drain: its summary bit was set (and is cleared). @pending: its bit in the pending summary is set. */
static bool collect_group(const struct window *window, uint64_t group, bool drain, bool pending, struct runs *runs,
			  uint64_t *ret_page)
{
	uint64_t bits[GMI_DIRTY_GROUP_WORDS], masks[GMI_DIRTY_GROUP_WORDS];
	uint64_t first = group * GMI_DIRTY_GROUP_WORDS, i;
	bool full = false,
	     whole = first * 64 >= window->first && first * 64 + GMI_DIRTY_PAGES_PER_SUMMARY - 1 <= window->last;

	if (!whole || pending) {
		for (i = first; i < first + GMI_DIRTY_GROUP_WORDS; i++)
			masks[i - first] = i < window->first / 64 || i > window->last / 64
						   ? 0
						   : gmi_dirty_mask(i, window->first, window->last);
	}
	if (drain) {
		if (whole)
			full = drain_whole(&window->dirty->head, group, bits);
		else
			drain_part(window, group, masks, bits);
		if (window->dirty->readers_count > 1)
			hand_out(window->dirty, window->reader, group, bits);
	}
	if (!drain)
		memset(bits, 0, sizeof(bits));
	if (pending)
		take_pending(window->reader, group, masks, bits);
	if (full && (runs->count & 1) != 0 && runs->behind == group * GMI_DIRTY_PAGES_PER_SUMMARY) {
		runs->behind += GMI_DIRTY_PAGES_PER_SUMMARY;
		return true;
	}
	if (emit(runs, group, bits, ret_page))
		return true;
	add_pending(window->reader, group, bits);
	return false;
}

/* One summary word's worth of groups. False: there was no room, and *ret_page is where to go on. */
static bool collect_groups(const struct window *window, uint64_t index, uint64_t drain, uint64_t pending,
			   struct runs *runs, uint64_t *ret_page)
{
	uint64_t *summary = &window->dirty->head.summary[index], todo, bit;

	/* The bits that we saw, and no others: marks may be setting more of them, which the next collect is to find. */
	if (drain != 0)
		(void)__atomic_fetch_and(summary, ~drain, __ATOMIC_SEQ_CST);
	for (todo = drain | pending; todo != 0; todo &= todo - 1) {
		bit = todo & -todo;
		if (collect_group(window, index * 64 + (unsigned)__builtin_ctzll(todo), (drain & bit) != 0,
				  (pending & bit) != 0, runs, ret_page))
			continue;
		/* Groups that we did not come to keep their words, and get their summary bits back. */
		if ((drain & todo & ~bit) != 0)
			(void)__atomic_fetch_or(summary, drain & todo & ~bit, __ATOMIC_SEQ_CST);
		return false;
	}
	return true;
}

/* All of the window. Return: 0; 1 when there was no room, and *ret_page is where to go on. */
static int collect_window(const struct window *window, struct runs *runs, uint64_t *ret_page)
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
	struct runs runs = { .edges = (uint64_t *)ranges };
	struct window window = { .reader = reader };
	uint64_t total, next = from.value, page;
	uint32_t page_shift;
	int r = 0;

	if (reader == NULL || ranges == NULL || ranges_max == 0 || ret_count == NULL || ret_next == NULL)
		return -EINVAL;
	dirty = window.dirty = reader->dirty;
	page_shift = dirty->head.page_shift;
	runs.page_bytes = UINT64_C(1) << page_shift;
	runs.max = 2 * GMI_MIN(ranges_max, (size_t)GM_DIRTY_PAGES_MAX);
	(void)pthread_mutex_lock(&dirty->mutex);
	total = dirty->bytes;
	if (bytes > 0 && from.value < total) {
		next = from.value + GMI_MIN(bytes, total - from.value);
		window.first = from.value >> page_shift;
		window.last = (next - 1) >> page_shift;
		r = collect_window(&window, &runs, &page);
		if (r != 0)
			next = page << page_shift;
	}
	(void)pthread_mutex_unlock(&dirty->mutex);
	if ((runs.count & 1) != 0) {
		runs.edges[runs.count] = edge(runs.behind, runs.page_bytes, runs.count);
		runs.count++;
	}
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
	uint64_t last = (dirty->head.pages - 1) >> GMI_DIRTY_SUMMARY_SHIFT, bits[GMI_DIRTY_GROUP_WORDS], i, todo, group;

	for (i = 0; i <= last / 64; i++) {
		if (__atomic_load_n(&dirty->head.summary[i], __ATOMIC_RELAXED) == 0)
			continue;
		for (todo = __atomic_exchange_n(&dirty->head.summary[i], 0, __ATOMIC_SEQ_CST); todo != 0;
		     todo &= todo - 1) {
			group = i * 64 + (unsigned)__builtin_ctzll(todo);
			(void)drain_whole(&dirty->head, group, bits);
			hand_out(dirty, NULL, group, bits);
		}
	}
}

GMI_PUBLIC uint64_t gm_dirty_count(struct gm_dirty_reader *reader)
{
	struct gm_dirty *dirty = reader->dirty;
	const struct gmi_dirty_bits *pending = &reader->pending;
	uint64_t last, i, j, todo, group, word, count = 0;

	(void)pthread_mutex_lock(&dirty->mutex);
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
	if (offset.value < dirty->bytes)
		word = __atomic_load_n(&dirty->head.words[page / 64], __ATOMIC_ACQUIRE) |
		       reader->pending.words[page / 64];
	(void)pthread_mutex_unlock(&dirty->mutex);
	return word >> (page % 64) & 1;
}
