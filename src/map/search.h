/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The search for an address in a map's tree: what every access that misses its view's hot region begins with. Inlined, for a
 * call would cost as much as a node of it.
 *
 * Where the processor has AVX-512, a node is four compares and a count of bits; elsewhere it is six compares and sums. Both are free
 * of branches that depend on the address: such a branch can't be predicted, and each wrong guess costs more than a node. It is
 * chosen at run time, by a branch that is always the same: a function that searches is written once, with the search
 * as its parameter, and compiled twice:
 *
 *	static GMI_ALWAYS_INLINE int find(..., gmi_seek_fn *seek) { ... seek(map->root, address) ... }
 *	static GMI_WIDE int find_widely(...) { return find(..., gmi_seek_widely); }
 *	int gmi_find(...) { return GMI_HAS_WIDE() ? find_widely(...) : find(..., gmi_seek_plainly); }
 *
 * The empty tree has no place to be sought in: that is for the caller to see.
 */
#ifndef GMI_SEARCH_H
#define GMI_SEARCH_H

#include <guestmem/inline.h>

#include "map/tree.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define GMI_ALWAYS_INLINE inline __attribute__((always_inline))

typedef struct gmi_place gmi_seek_fn(const struct gmi_node *root, uint64_t address);

/* How many of a node's @first are <= address, if that is not UINT64_MAX, which is what stands behind the last of them. */
static GMI_ALWAYS_INLINE unsigned gmi_rank_plainly(const uint64_t *first, uint64_t address)
{
	const uint64_t *base = first;

	/* Compares that become branches would be guessed; so it is written as sums. */
	base += (size_t)(base[16] <= address) * 16;
	base += (size_t)(base[8] <= address) * 8;
	base += (size_t)(base[4] <= address) * 4;
	base += (size_t)(base[2] <= address) * 2;
	base += (size_t)(base[1] <= address);
	return (unsigned)(base - first) + (*base <= address);
}

_Static_assert(GMI_NODE_SLOTS == 32, "gmi_rank_plainly() takes six steps");

/* The same for all addresses. */
static inline unsigned gmi_rank(const struct gmi_node *node, uint64_t address)
{
	unsigned rank = gmi_rank_plainly(node->first, address);

	return rank < node->count ? rank : node->count;
}

/* The same descent for all searches. UINT64_MAX is left to the slow one. */
#define GMI_DESCEND(root, address, rank)                                                                               \
	do {                                                                                                           \
		const struct gmi_node *node = (root);                                                                  \
		unsigned height, index;                                                                                \
                                                                                                                       \
		if (GM_UNLIKELY((address) == UINT64_MAX))                                                              \
			return gmi_tree_seek_last(node);                                                               \
		for (height = node->height; height > 0; height--) {                                                    \
			index = rank(node->first, address);                                                            \
			node = node->slot[index - (index > 0)];                                                        \
		}                                                                                                      \
		return (struct gmi_place){ node, rank(node->first, address) };                                         \
	} while (0)

static GMI_ALWAYS_INLINE struct gmi_place gmi_seek_plainly(const struct gmi_node *root, uint64_t address)
{
	GMI_DESCEND(root, address, gmi_rank_plainly);
}

#if defined(__x86_64__)
#define GMI_WIDE       __attribute__((target("avx512f,popcnt")))
#define GMI_HAS_WIDE() GM_LIKELY(__builtin_cpu_supports("avx512f"))

static GMI_ALWAYS_INLINE GMI_WIDE unsigned gmi_rank_widely(const uint64_t *first, uint64_t address)
{
	const __m512i key = _mm512_set1_epi64((int64_t)address);
	const unsigned low = _mm512_cmple_epu64_mask(_mm512_loadu_si512(first), key),
		       second = _mm512_cmple_epu64_mask(_mm512_loadu_si512(first + 8), key),
		       third = _mm512_cmple_epu64_mask(_mm512_loadu_si512(first + 16), key),
		       high = _mm512_cmple_epu64_mask(_mm512_loadu_si512(first + 24), key);

	return (unsigned)__builtin_popcount(low | second << 8 | third << 16 | high << 24);
}

static GMI_ALWAYS_INLINE GMI_WIDE struct gmi_place gmi_seek_widely(const struct gmi_node *root, uint64_t address)
{
	GMI_DESCEND(root, address, gmi_rank_widely);
}
#else
#define GMI_WIDE
#define GMI_HAS_WIDE()  0
#define gmi_seek_widely gmi_seek_plainly
#endif

#undef GMI_DESCEND

/* The region with the highest first address <= address, the only one that can hold it; NULL when there is none. */
static GMI_ALWAYS_INLINE struct gm_region *gmi_floor_by(const struct gmi_node *root, uint64_t address,
							gmi_seek_fn *seek)
{
	struct gmi_place place;

	if (GM_UNLIKELY(root == NULL))
		return NULL;
	place = seek(root, address);
	return GM_LIKELY(place.rank > 0) ? place.leaf->slot[place.rank - 1] : NULL;
}

#endif
