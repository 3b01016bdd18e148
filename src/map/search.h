/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The search for an address in a map's tree: what every access that misses its view's hot region begins with. Inlined, for a
 * call would cost as much as a node of it.
 *
 * Where the processor has AVX-512, a node is two compares, each of 8 addresses; elsewhere it is seven compares and sums. Both are free
 * of branches that depend on the address: such a branch can't be predicted, and each wrong guess costs more than a node. It is
 * chosen at run time, by a branch that is always the same: a function that searches is written once, with the search
 * as its parameter, and compiled twice:
 *
 *	static GMI_ALWAYS_INLINE int find(..., gmi_seek_fn *seek) { ... seek(map->root, address) ... }
 *	static GMI_WIDE int find_widely(...) { return find(..., gmi_seek_widely); }
 *	static GMI_PLAIN int find_plainly(...) { return find(..., gmi_seek_plainly); }
 *	int gmi_find(...) { return GMI_HAS_WIDE() ? find_widely(...) : find_plainly(...); }
 *
 * UINT64_MAX, which is also what stands behind a node's entries, is not searched for in this way, but by gmi_tree_seek(); and the empty
 * tree has no place to be sought in. Both are for the caller to see.
 */
#ifndef GMI_SEARCH_H
#define GMI_SEARCH_H

#include <stddef.h>

#include <guestmem/inline.h>

#include "map/tree.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define GMI_ALWAYS_INLINE inline __attribute__((always_inline))
/* Not into the one that chooses, which then needs no registers of its own. */
#define GMI_PLAIN __attribute__((noinline))

typedef struct gmi_place gmi_seek_fn(const struct gmi_node *root, uint64_t address);

/* How many entries have first <= address, if that is not UINT64_MAX, which is what stands behind the last of them. */
static GMI_ALWAYS_INLINE uint64_t gmi_rank_plainly(const struct gmi_node *node, uint64_t address)
{
	const uint64_t *base = node->first;

	/* Compares that become branches would be guessed; so it is written as sums. */
	base += (size_t)(base[32] <= address) * 32;
	base += (size_t)(base[16] <= address) * 16;
	base += (size_t)(base[8] <= address) * 8;
	base += (size_t)(base[4] <= address) * 4;
	base += (size_t)(base[2] <= address) * 2;
	base += (size_t)(base[1] <= address);
	return (uint64_t)(base - node->first) + (*base <= address);
}

/* The same for a node of at most 8 entries: group[0] is UINT64_MAX. */
static GMI_ALWAYS_INLINE uint64_t gmi_rank_few_plainly(const struct gmi_node *node, uint64_t address)
{
	const uint64_t *base = node->first;

	base += (size_t)(base[4] <= address) * 4;
	base += (size_t)(base[2] <= address) * 2;
	base += (size_t)(base[1] <= address);
	return (uint64_t)(base - node->first) + (*base <= address);
}

_Static_assert(GMI_NODE_SLOTS == 64, "gmi_rank_plainly() takes seven steps, gmi_rank_widely() eight times eight");

/* The same for all addresses. */
static inline unsigned gmi_rank(const struct gmi_node *node, uint64_t address)
{
	uint64_t rank = gmi_rank_plainly(node, address);

	return rank < node->count ? (unsigned)rank : node->count;
}

/* What stands before entry @rank of a node: without a branch for the first, which could not be guessed. */
static GMI_ALWAYS_INLINE void *gmi_slot_before(const struct gmi_node *node, uint64_t rank)
{
	return (&node->before)[rank];
}

_Static_assert(offsetof(struct gmi_node, slot) == offsetof(struct gmi_node, before) + sizeof(void *), "slot[-1]");

/*
 * The same descent for all. A root of few entries, which the roots of most machines are, is one look: which of the two it takes is
 * always the same as long as the map is.
 */
#define GMI_DESCEND(root, address, rank, rank_few)                                                                     \
	do {                                                                                                           \
		const struct gmi_node *node = (root);                                                                  \
		unsigned height = node->height;                                                                        \
		uint64_t before = node->group[0] == UINT64_MAX ? rank_few(node, address) : rank(node, address);        \
                                                                                                                       \
		for (; height > 0; height--) {                                                                         \
			node = gmi_slot_before(node, before);                                                          \
			before = rank(node, address);                                                                  \
		}                                                                                                      \
		return (struct gmi_place){ node, before };                                                             \
	} while (0)

static GMI_ALWAYS_INLINE struct gmi_place gmi_seek_plainly(const struct gmi_node *root, uint64_t address)
{
	GMI_DESCEND(root, address, gmi_rank_plainly, gmi_rank_few_plainly);
}

#if defined(__x86_64__)
/* At the beginning of a cache line: where they happen to stand made a fifth of the time of such short functions. */
#define GMI_WIDE       __attribute__((target("avx512f,avx512dq,popcnt"), aligned(64)))
#define GMI_HAS_WIDE() GM_LIKELY(__builtin_cpu_supports("avx512dq"))

static GMI_ALWAYS_INLINE GMI_WIDE uint64_t gmi_below_widely(const uint64_t *first, __m512i address)
{
	return (uint64_t)__builtin_popcount(_cvtmask8_u32(_mm512_cmpge_epu64_mask(address, _mm512_loadu_si512(first))));
}

static GMI_ALWAYS_INLINE GMI_WIDE uint64_t gmi_rank_widely(const struct gmi_node *node, uint64_t address)
{
	const __m512i key = _mm512_set1_epi64((int64_t)address);
	const uint64_t skipped = 8 * gmi_below_widely(node->group, key);

	return skipped + gmi_below_widely(&node->first[skipped], key);
}

static GMI_ALWAYS_INLINE GMI_WIDE uint64_t gmi_rank_few_widely(const struct gmi_node *node, uint64_t address)
{
	return gmi_below_widely(node->first, _mm512_set1_epi64((int64_t)address));
}

static GMI_ALWAYS_INLINE GMI_WIDE struct gmi_place gmi_seek_widely(const struct gmi_node *root, uint64_t address)
{
	GMI_DESCEND(root, address, gmi_rank_widely, gmi_rank_few_widely);
}
#else
#define GMI_WIDE
#define GMI_HAS_WIDE()      0
#define gmi_rank_widely     gmi_rank_plainly
#define gmi_rank_few_widely gmi_rank_few_plainly
#define gmi_seek_widely     gmi_seek_plainly
#endif

#undef GMI_DESCEND

/* The region before a place; NULL when there is none. */
static GMI_ALWAYS_INLINE struct gm_region *gmi_place_region(struct gmi_place place)
{
	return gmi_slot_before(place.leaf, place.rank);
}

/* The region with the highest first address <= address, the only one that can hold it; NULL when there is none. */
static GMI_ALWAYS_INLINE struct gm_region *gmi_floor_by(const struct gmi_node *root, uint64_t address,
							gmi_seek_fn *seek)
{
	return GM_LIKELY(root != NULL) ? gmi_place_region(seek(root, address)) : NULL;
}

#endif
