/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#include "dirty/emit.h"

#include "base/base.h"

_Static_assert(sizeof(struct gm_dirty_range) == 2 * sizeof(uint64_t), "a range is two edges");

static inline uint64_t edge(const struct gmi_runs *runs, uint64_t page, size_t count)
{
	return (page << runs->page_shift) - (count & 1);
}

void gmi_runs_close(struct gmi_runs *runs)
{
	if ((runs->count & 1) == 0)
		return;
	runs->edges[runs->count] = edge(runs, runs->behind, 1);
	runs->count++;
}

/* What comes next begins at @page. */
static void go_on_at(struct gmi_runs *runs, uint64_t page, size_t words)
{
	if (runs->behind != page)
		gmi_runs_close(runs);
	runs->behind = page + 64 * words;
}

/*
 * The edges of one word, of which there is at least one. Mostly there are no more than four, so these are written, and the count
 * says later how many there were. With a branch for each instead, one page in a hundred takes twice as long.
 */
static inline size_t add_word(const struct gmi_runs *runs, uint64_t base, uint64_t word, size_t count)
{
	uint64_t none = UINT64_C(1) << 63, *edges = &runs->edges[count];
	size_t number = 0;
	unsigned i;

	for (i = 0; i < 4; i++, word &= word - 1) {
		edges[i] = edge(runs, base + (unsigned)__builtin_ctzll(word | none), count + i);
		number += word != 0;
	}
	for (; word != 0; word &= word - 1, number++)
		edges[number] = edge(runs, base + (unsigned)__builtin_ctzll(word), count + number);
	return count + number;
}

void gmi_runs_add(struct gmi_runs *runs, uint64_t page, const uint64_t *bits, size_t words)
{
	uint64_t edges[GMI_DIRTY_WINDOW_WORDS], open;
	uint16_t places[GMI_DIRTY_WINDOW_WORDS];
	size_t count, changed = 0, i;

	go_on_at(runs, page, words);
	count = runs->count;
	open = count & 1;
	/* First which words have any: without a branch, which would guess wrong as often as not. */
	for (i = 0; i < words; i++) {
		edges[changed] = bits[i] ^ (bits[i] << 1 | open);
		places[changed] = (uint16_t)i;
		changed += edges[changed] != 0;
		open = bits[i] >> 63;
	}
	for (i = 0; i < changed; i++)
		count = add_word(runs, page + places[i] * UINT64_C(64), edges[i], count);
	runs->count = count;
}

/* Edge by edge. */
static bool add_some(struct gmi_runs *runs, uint64_t base, uint64_t *bits, uint64_t *ret_page)
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
			runs->edges[runs->count] = edge(runs, *ret_page, runs->count);
			runs->count++;
		}
		bits[i] = 0;
	}
	return true;
}

bool gmi_runs_add_group(struct gmi_runs *runs, uint64_t page, uint64_t *bits, uint64_t *ret_page)
{
	if (gmi_runs_has_room(runs, GMI_DIRTY_GROUP_WORDS)) {
		gmi_runs_add(runs, page, bits, GMI_DIRTY_GROUP_WORDS);
		return true;
	}
	go_on_at(runs, page, GMI_DIRTY_GROUP_WORDS);
	return add_some(runs, page, bits, ret_page);
}
