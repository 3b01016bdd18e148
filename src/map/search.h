/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The search for an address in a map's tree: what every access that misses its view's hot region begins with. Inlined, for a
 * call would cost as much as a node of it.
 *
 * Where the processor has AVX-512 or AVX2, a node is two looks, each at 8 addresses; elsewhere it is seven compares and sums. All are free
 * of branches that depend on the address: such a branch can't be predicted, and each wrong guess costs more than a node. Which is chosen at
 * run time, by branches that are always the same.
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
 * time of such short functions. And where the compiler does not know the registers of AVX-512, and so can't be told that they are
 * changed (gcc, unless it compiles for AVX-512), as functions of which a caller knows nothing: else, under link-time optimization, one that was
 * compiled for AVX-512 might keep something there meanwhile.
 */
#if !defined(__x86_64__) || defined(__clang__) || defined(__AVX512F__)
#define GMI_SEEKING         __attribute__((aligned(64)))
#define GMI_AVX512_CLOBBERS , "xmm16", "k1", "k2"
#else
#define GMI_SEEKING __attribute__((aligned(64), noipa))
#define GMI_AVX512_CLOBBERS
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

_Static_assert(GMI_NODE_SLOTS == 64, "gmi_rank_plainly() takes seven steps, the vector searches eight times eight");

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
#define GMI_HAS_AVX512() GM_LIKELY(__builtin_cpu_supports("avx512vl"))
#define GMI_HAS_AVX2()   GM_LIKELY(__builtin_cpu_supports("avx2"))

/*
 * In assembly, so that functions need not be compiled once for each kind of processor, and a jump be spent on choosing one. Each way has
 * three parts: BEGIN has an operand in all elements of a register; BELOW counts how many of 8 addresses, twice 4, are <= what was sought;
 * END leaves the registers as other code wants them.
 *
 * AVX-512, by registers that other code has no use for, after which the processor need not be told that their upper halves are free.
 * Registers of 8 would be one look, but where those are used some processors lower their clock, for whatever runs there: on Cascade Lake,
 * 64 KiB that are copied right behind take a tenth longer.
 */
#define GMI_AVX512_KEY(address)   (address)
#define GMI_AVX512_BEGIN(operand) "vpbroadcastq " operand ", %%ymm16\n\t"
#define GMI_AVX512_BELOW(low, high, count)                                                                             \
	"vpcmpnltuq " low ", %%ymm16, %%k1\n\t"                                                                        \
	"vpcmpnltuq " high ", %%ymm16, %%k2\n\t"                                                                       \
	"kunpckbw %%k1, %%k2, %%k1\n\t"                                                                                \
	"kmovw %%k1, " count "\n\t"                                                                                    \
	"popcntl " count ", " count "\n\t"
#define GMI_AVX512_END ""

/*
 * AVX2 compares as signed and for "greater" only: so what is sought is one more, which can't wrap, and the highest bit of all is turned over.
 * Where the upper halves of registers are in use, instructions of SSE take longer on some processors: so vzeroupper clears them all, whose
 * lower halves are therefore said to be changed too.
 */
#define GMI_AVX2_KEY(address) (((address) + 1) ^ (UINT64_C(1) << 63))
#define GMI_AVX2_BEGIN(operand)                                                                                        \
	"vmovq " operand ", %%xmm0\n\t"                                                                                \
	"vpcmpeqd %%ymm1, %%ymm1, %%ymm1\n\t"                                                                          \
	"vpbroadcastq %%xmm0, %%ymm0\n\t"                                                                              \
	"vpsllq $63, %%ymm1, %%ymm1\n\t"
#define GMI_AVX2_BELOW(low, high, count)                                                                               \
	"vpxor " low ", %%ymm1, %%ymm2\n\t"                                                                            \
	"vpxor " high ", %%ymm1, %%ymm3\n\t"                                                                           \
	"vpcmpgtq %%ymm2, %%ymm0, %%ymm2\n\t"                                                                          \
	"vpcmpgtq %%ymm3, %%ymm0, %%ymm3\n\t"                                                                          \
	"vpackssdw %%ymm3, %%ymm2, %%ymm2\n\t"                                                                         \
	"vmovmskps %%ymm2, " count "\n\t"                                                                              \
	"popcntl " count ", " count "\n\t"
#define GMI_AVX2_END "vzeroupper"
#define GMI_AVX2_CLOBBERS                                                                                              \
	, "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",   \
		"xmm13", "xmm14", "xmm15"

/* clang-format off */
#define GMI_DEFINE_SEEK(name, KEY, BEGIN, BELOW, END, CLOBBERS)                                                        \
	static GMI_ALWAYS_INLINE uint64_t gmi_rank_##name(const struct gmi_node *node, uint64_t address)               \
	{                                                                                                              \
		uint64_t skipped, rank;                                                                                \
                                                                                                                       \
		__asm__(BEGIN("%[key]") BELOW("%c[group](%[node])", "%c[group]+32(%[node])", "%k[skipped]")            \
			"shll $3, %k[skipped]\n\t"                                                                     \
			BELOW("%c[first](%[node],%[skipped],8)", "%c[first]+32(%[node],%[skipped],8)", "%k[rank]") END \
			: [skipped] "=&r"(skipped), [rank] "=r"(rank)                                                  \
			: [key] "r"(KEY(address)), [node] "r"(node), [group] "i"(offsetof(struct gmi_node, group)),    \
			  [first] "i"(offsetof(struct gmi_node, first)), "m"(*node)                                    \
			: "cc" CLOBBERS);                                                                              \
		return skipped + rank;                                                                                 \
	}                                                                                                              \
                                                                                                                       \
	static GMI_ALWAYS_INLINE uint64_t gmi_rank_few_##name(const struct gmi_node *node, uint64_t address)           \
	{                                                                                                              \
		uint64_t rank;                                                                                         \
                                                                                                                       \
		__asm__(BEGIN("%[key]") BELOW("%[low]", "%[high]", "%k[rank]") END                                     \
			: [rank] "=r"(rank)                                                                            \
			: [key] "r"(KEY(address)), [low] "m"(*(const uint64_t(*)[4])node->first),                      \
			  [high] "m"(*(const uint64_t(*)[4])(node->first + 4))                                         \
			: "cc" CLOBBERS);                                                                              \
		return rank;                                                                                           \
	}                                                                                                              \
                                                                                                                       \
	static GMI_ALWAYS_INLINE struct gmi_place gmi_seek_##name(const struct gmi_node *root, uint64_t address)       \
	{                                                                                                              \
		GMI_DESCEND(root, address, gmi_rank_##name, gmi_rank_few_##name);                                      \
	}

GMI_DEFINE_SEEK(avx512, GMI_AVX512_KEY, GMI_AVX512_BEGIN, GMI_AVX512_BELOW, GMI_AVX512_END, GMI_AVX512_CLOBBERS)
GMI_DEFINE_SEEK(avx2, GMI_AVX2_KEY, GMI_AVX2_BEGIN, GMI_AVX2_BELOW, GMI_AVX2_END, GMI_AVX2_CLOBBERS)
/* clang-format on */

#undef GMI_DEFINE_SEEK
#undef GMI_AVX512_KEY
#undef GMI_AVX512_BEGIN
#undef GMI_AVX512_BELOW
#undef GMI_AVX512_END
#undef GMI_AVX2_KEY
#undef GMI_AVX2_BEGIN
#undef GMI_AVX2_BELOW
#undef GMI_AVX2_END
#undef GMI_AVX2_CLOBBERS
#endif

#undef GMI_DESCEND

static GMI_ALWAYS_INLINE struct gmi_place gmi_seek(const struct gmi_node *root, uint64_t address)
{
#if defined(__x86_64__) && !GMI_SANITIZED
	if (GMI_HAS_AVX512())
		return gmi_seek_avx512(root, address);
	if (GMI_HAS_AVX2())
		return gmi_seek_avx2(root, address);
#endif
	return gmi_seek_plainly(root, address);
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
