/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The search for an address in a map's tree: what every access that misses its view's hot region begins with. Inlined, for a
 * call would cost as much as a node of it.
 *
 * Where the processor has AVX-512, a node is two looks, each at 8 addresses; elsewhere it is seven compares and sums. Both are free
 * of branches that depend on the address: such a branch can't be predicted, and each wrong guess costs more than a node. Which is chosen at
 * run time, by a branch that is always the same.
 *
 * UINT64_MAX, which is also what stands behind a node's entries, is not searched for in this way, but by gmi_tree_seek(); and the empty
 * tree has no place to be sought in. Both are for the caller to see.
 */
#ifndef GMI_SEARCH_H
#define GMI_SEARCH_H

#include <stddef.h>

#include <guestmem/inline.h>

#include "map/tree.h"

/* The sanitizers can't see into assembly, and so would miss a node that is read after its time. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define GMI_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define GMI_SANITIZED 1
#endif
#endif
#ifndef GMI_SANITIZED
#define GMI_SANITIZED 0
#endif

#define GMI_ALWAYS_INLINE inline __attribute__((always_inline))

/*
 * Functions that search are declared GMI_SEEKING: at the beginning of a cache line, for where they happened to stand made a fifth of the
 * time of such short functions. And where the compiler does not know the registers of the wide search, and so can't be told that they are
 * changed (gcc, unless it compiles for AVX-512), as functions of which a caller knows nothing: else, under link-time optimization, one that was
 * compiled for AVX-512 might keep something there meanwhile.
 */
#if !defined(__x86_64__) || defined(__clang__) || defined(__AVX512F__)
#define GMI_SEEKING       __attribute__((aligned(64)))
#define GMI_SEEK_CLOBBERS , "xmm16", "k1", "k2"
#else
#define GMI_SEEKING __attribute__((aligned(64), noipa))
#define GMI_SEEK_CLOBBERS
#endif
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
 * The same descent for all. A root of few entries, which the roots of most machines are, is one look, and then often a leaf: which of these
 * ways it takes is always the same as long as the map is.
 */
#define GMI_DESCEND(root, address, rank, rank_few)                                                                     \
	do {                                                                                                           \
		const struct gmi_node *node = (root);                                                                  \
		unsigned height;                                                                                       \
		uint64_t before;                                                                                       \
                                                                                                                       \
		before = GM_LIKELY(node->group[0] == UINT64_MAX) ? rank_few(node, address) : rank(node, address);      \
		for (height = node->height; GM_UNLIKELY(height > 0); height--) {                                       \
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
#define GMI_HAS_WIDE() GM_LIKELY(__builtin_cpu_supports("avx512vl"))

/*
 * Assembly: how many of 8 addresses are <= %ymm16's; twice 4 of them. Registers of 8 would be one look, but where those are used some
 * processors lower their clock, for whatever runs there: on Cascade Lake, 64 KiB that are copied right behind take a tenth longer.
 */
#define GMI_BELOW(low, high, count)                                                                                    \
	"vpcmpnltuq " low ", %%ymm16, %%k1\n\t"                                                                        \
	"vpcmpnltuq " high ", %%ymm16, %%k2\n\t"                                                                       \
	"kunpckbw %%k1, %%k2, %%k1\n\t"                                                                                \
	"kmovw %%k1, " count "\n\t"                                                                                    \
	"popcntl " count ", " count "\n\t"

/*
 * In assembly, so that functions need not be compiled twice, and a jump be spent on choosing one; and by registers that other code has no
 * use for, after which the processor need not be told that their upper halves are free.
 */
#define GMI_BROADCAST(address) "vpbroadcastq " address ", %%ymm16\n\t"
static GMI_ALWAYS_INLINE uint64_t gmi_rank_widely(const struct gmi_node *node, uint64_t address)
{
	uint64_t skipped, rank;

	/* clang-format off */
	__asm__(GMI_BROADCAST("%[address]")
		GMI_BELOW("%c[group](%[node])", "%c[group]+32(%[node])", "%k[skipped]")
		"shll $3, %k[skipped]\n\t"
		GMI_BELOW("%c[first](%[node],%[skipped],8)", "%c[first]+32(%[node],%[skipped],8)", "%k[rank]")
		: [skipped] "=&r"(skipped), [rank] "=r"(rank)
		: [address] "r"(address), [node] "r"(node), [group] "i"(offsetof(struct gmi_node, group)),
		  [first] "i"(offsetof(struct gmi_node, first)), "m"(*node)
		: "cc" GMI_SEEK_CLOBBERS);
	/* clang-format on */
	return skipped + rank;
}

static GMI_ALWAYS_INLINE uint64_t gmi_rank_few_widely(const struct gmi_node *node, uint64_t address)
{
	uint64_t rank;

	__asm__(GMI_BROADCAST("%[address]") GMI_BELOW("%[low]", "%[high]", "%k[rank]")
		: [rank] "=r"(rank)
		: [address] "r"(address), [low] "m"(*(const uint64_t(*)[4])node->first),
		  [high] "m"(*(const uint64_t(*)[4])(node->first + 4))
		: "cc" GMI_SEEK_CLOBBERS);
	return rank;
}

#undef GMI_BROADCAST
#undef GMI_BELOW

static GMI_ALWAYS_INLINE struct gmi_place gmi_seek_widely(const struct gmi_node *root, uint64_t address)
{
	GMI_DESCEND(root, address, gmi_rank_widely, gmi_rank_few_widely);
}
#else
#define GMI_HAS_WIDE()      0
#define gmi_rank_widely     gmi_rank_plainly
#define gmi_rank_few_widely gmi_rank_few_plainly
#define gmi_seek_widely     gmi_seek_plainly
#endif

#undef GMI_DESCEND

static GMI_ALWAYS_INLINE struct gmi_place gmi_seek(const struct gmi_node *root, uint64_t address)
{
	return GMI_HAS_WIDE() && !GMI_SANITIZED ? gmi_seek_widely(root, address) : gmi_seek_plainly(root, address);
}

/* The region before a place; NULL when there is none. */
static GMI_ALWAYS_INLINE struct gm_region *gmi_place_region(struct gmi_place place)
{
	return gmi_slot_before(place.leaf, place.rank);
}

/* The region with the highest first address <= address, the only one that can hold it; NULL when there is none. */
static GMI_ALWAYS_INLINE struct gm_region *gmi_floor(const struct gmi_node *root, uint64_t address)
{
	return GM_LIKELY(root != NULL) ? gmi_place_region(gmi_seek(root, address)) : NULL;
}

#endif
