/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#include "dirty/emit.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/base.h"

_Static_assert(sizeof(struct gm_dirty_range) == 2 * sizeof(uint64_t), "a range is two edges");

/* Of page @page behind @at. */
static inline uint64_t edge(const struct gmi_runs *runs, uint64_t at, uint64_t page, size_t count)
{
	return at + (page << runs->page_shift) - (count & 1);
}

void gmi_runs_close(struct gmi_runs *runs)
{
	if ((runs->count & 1) == 0)
		return;
	runs->edges[runs->count] = edge(runs, 0, runs->behind, 1);
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
static inline size_t add_word(const struct gmi_runs *runs, uint64_t at, uint64_t word, size_t count)
{
	uint64_t none = UINT64_C(1) << 63, *edges = &runs->edges[count];
	size_t number = 0;
	unsigned i;

	for (i = 0; i < 4; i++, word &= word - 1) {
		edges[i] = edge(runs, at, (unsigned)__builtin_ctzll(word | none), count + i);
		number += word != 0;
	}
	for (; word != 0; word &= word - 1, number++)
		edges[number] = edge(runs, at, (unsigned)__builtin_ctzll(word), count + number);
	return count + number;
}

/* Words that have edges: these, and the offsets that the words stand for. */
struct changes {
	uint64_t edges[GMI_DIRTY_WINDOW_WORDS + GMI_RUNS_SLACK];
	uint64_t at[GMI_DIRTY_WINDOW_WORDS + GMI_RUNS_SLACK];
	size_t count;
};

/* Eight words without a branch on each, which would guess wrong as often as not. */
static inline void find_changes(struct changes *changes, const uint64_t *bits, uint64_t open, uint64_t at,
				uint64_t step)
{
	size_t count = changes->count, i;

	for (i = 0; i < 8; i++) {
		changes->edges[count] = bits[i] ^ (bits[i] << 1 | open);
		changes->at[count] = at + i * step;
		count += changes->edges[count] != 0;
		open = bits[i] >> 63;
	}
	changes->count = count;
}

void gmi_runs_add_plain(struct gmi_runs *runs, uint64_t page, const uint64_t *bits, size_t words)
{
	struct changes changes;
	uint64_t open, all, any;
	size_t count, i;

	go_on_at(runs, page, words);
	count = runs->count;
	open = count & 1;
	changes.count = 0;
	for (i = 0; i < words; i += 8) {
		all = bits[i] & bits[i + 1] & bits[i + 2] & bits[i + 3] & bits[i + 4] & bits[i + 5] & bits[i + 6] &
		      bits[i + 7];
		any = bits[i] | bits[i + 1] | bits[i + 2] | bits[i + 3] | bits[i + 4] | bits[i + 5] | bits[i + 6] |
		      bits[i + 7];
		if (any != 0 - open || all != 0 - open)
			find_changes(&changes, &bits[i], open, (page + i * 64) << runs->page_shift,
				     UINT64_C(64) << runs->page_shift);
		open = bits[i + 7] >> 63;
	}
	for (i = 0; i < changes.count; i++)
		count = add_word(runs, changes.at[i], changes.edges[i], count);
	runs->count = count;
}

#if defined(__x86_64__)

#define WIDE       __attribute__((target("avx512f,avx512bw,avx512vbmi2,popcnt")))
#define HAS_WIDE() (__builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512bw"))

/* What the edges are less by, from an even or an odd one on: the last of a range is what stands before its edge. */
static const _Alignas(64) uint64_t parities[2][8] = { { 0, 1, 0, 1, 0, 1, 0, 1 }, { 1, 0, 1, 0, 1, 0, 1, 0 } };

/* As find_changes(), eight words at a time. */
WIDE static inline void find_changes_wide(struct changes *changes, const uint64_t *bits, size_t words, uint64_t open,
					  __m512i at, __m512i step)
{
	__m512i before = _mm512_set1_epi64((long long)(open << 63)), word, edges;
	__mmask8 mask;
	size_t i;

	changes->count = 0;
	for (i = 0; i < words; i += 8) {
		word = _mm512_loadu_si512(&bits[i]);
		edges = _mm512_srli_epi64(_mm512_alignr_epi64(word, before, 7), 63);
		edges = _mm512_xor_si512(word, _mm512_or_si512(_mm512_slli_epi64(word, 1), edges));
		mask = _mm512_test_epi64_mask(edges, edges);
		_mm512_storeu_si512(&changes->edges[changes->count], _mm512_maskz_compress_epi64(mask, edges));
		_mm512_storeu_si512(&changes->at[changes->count], _mm512_maskz_compress_epi64(mask, at));
		changes->count += (unsigned)__builtin_popcount(mask);
		at = _mm512_add_epi64(at, step);
		before = word;
	}
}

/* As add_word(): the numbers of the set bits as bytes, all at once; eight of them are widened to edges. */
WIDE static inline size_t add_word_wide(const struct gmi_runs *runs, const uint64_t *at, uint64_t word, size_t count,
					__m512i page_shift)
{
	const __m512i numbers = _mm512_set_epi64(0x3f3e3d3c3b3a3938, 0x3736353433323130, 0x2f2e2d2c2b2a2928,
						 0x2726252423222120, 0x1f1e1d1c1b1a1918, 0x1716151413121110,
						 0x0f0e0d0c0b0a0908, 0x0706050403020100);
	__m512i found = _mm512_maskz_compress_epi8(word, numbers), edges;
	unsigned number = (unsigned)__builtin_popcountll(word), i;
	unsigned char rest[64];

	edges = _mm512_sllv_epi64(_mm512_cvtepu8_epi64(_mm512_castsi512_si128(found)), page_shift);
	edges = _mm512_add_epi64(edges, _mm512_set1_epi64((long long)*at));
	edges = _mm512_sub_epi64(edges, _mm512_load_si512(parities[count & 1]));
	_mm512_storeu_si512(&runs->edges[count], edges);
	if (number > 8) {
		_mm512_storeu_si512(rest, found);
		for (i = 8; i < number; i++)
			runs->edges[count + i] = edge(runs, *at, rest[i], count + i);
	}
	return count + number;
}

WIDE static void add_wide(struct gmi_runs *runs, uint64_t page, const uint64_t *bits, size_t words)
{
	__m512i page_shift = _mm512_set1_epi64(runs->page_shift), at = _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0);
	struct changes changes;
	size_t count, i;

	go_on_at(runs, page, words);
	count = runs->count;
	at = _mm512_add_epi64(_mm512_slli_epi64(at, 6), _mm512_set1_epi64((long long)page));
	find_changes_wide(&changes, bits, words, count & 1, _mm512_sllv_epi64(at, page_shift),
			  _mm512_sllv_epi64(_mm512_set1_epi64(GMI_DIRTY_PAGES_PER_SUMMARY), page_shift));
	for (i = 0; i < changes.count; i++)
		count = add_word_wide(runs, &changes.at[i], changes.edges[i], count, page_shift);
	runs->count = count;
}

void gmi_runs_add(struct gmi_runs *runs, uint64_t page, const uint64_t *bits, size_t words)
{
	if (HAS_WIDE())
		add_wide(runs, page, bits, words);
	else
		gmi_runs_add_plain(runs, page, bits, words);
}

#else

void gmi_runs_add(struct gmi_runs *runs, uint64_t page, const uint64_t *bits, size_t words)
{
	gmi_runs_add_plain(runs, page, bits, words);
}

#endif

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
			runs->edges[runs->count] = edge(runs, 0, *ret_page, runs->count);
			runs->count++;
		}
		bits[i] = 0;
	}
	return true;
}

/* Whether the group is all ones, and goes on with the open range. */
static inline bool is_more(const struct gmi_runs *runs, uint64_t page, const uint64_t *bits)
{
	return (runs->count & 1) != 0 && runs->behind == page &&
	       (bits[0] & bits[1] & bits[2] & bits[3] & bits[4] & bits[5] & bits[6] & bits[7]) == UINT64_MAX;
}

bool gmi_runs_add_group(struct gmi_runs *runs, uint64_t page, uint64_t *bits, uint64_t *ret_page)
{
	if (is_more(runs, page, bits)) {
		runs->behind += GMI_DIRTY_PAGES_PER_SUMMARY;
		return true;
	}
	if (gmi_runs_has_room(runs, GMI_DIRTY_GROUP_WORDS)) {
		gmi_runs_add(runs, page, bits, GMI_DIRTY_GROUP_WORDS);
		return true;
	}
	go_on_at(runs, page, GMI_DIRTY_GROUP_WORDS);
	return add_some(runs, page, bits, ret_page);
}
