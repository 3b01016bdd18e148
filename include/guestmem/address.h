/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Addresses. A guest physical address, an I/O virtual address and an offset inside a region are three C types: passing
 * one for another does not compile. Arithmetic names what happens at 2^64:
 *
 *   gm_gpa_add(a, n, &ret)              0, or -GM_EWRAP and ret untouched. The one for sums that a guest chose.
 *   gm_gpa_add_overflowing(a, n, &ret)  the sum modulo 2^64; true when it wrapped.
 *   gm_gpa_add_wrapping(a, n)           the sum modulo 2^64, for places where both are known good.
 *
 * and likewise _sub, _align_up, and for gm_iova_ and gm_offset_. Nothing here can fault: an address is only a number
 * until a view looks at it.
 *
 * A range is {first, last} with last inclusive, so that a range may reach 2^64-1; there is no empty range.
 *
 * Context: all functions of this header are pure; any thread, never block.
 */
#ifndef GUESTMEM_ADDRESS_H
#define GUESTMEM_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#include <guestmem/error.h>
#include <guestmem/inline.h>

GM_BEGIN_DECLS

#define GM_KIB (UINT64_C(1) << 10)
#define GM_MIB (UINT64_C(1) << 20)
#define GM_GIB (UINT64_C(1) << 30)
#define GM_TIB (UINT64_C(1) << 40)

/* True for 1, 2, 4, 8, ... 2^63. */
GM_INLINE bool gm_is_power_of_2(uint64_t number)
{
	return number != 0 && (number & (number - 1)) == 0;
}

/*
 * Defines struct @noun (one 64-bit number, @value) and its functions. In what follows "a" is the address,
 * "alignment" a power of two (any other one gives -EINVAL).
 *
 *   noun(value)                     an address from a number
 *   noun_add(a, bytes, &ret)        0 or -GM_EWRAP
 *   noun_sub(a, bytes, &ret)        0 or -GM_EWRAP, below 0 that is
 *   noun_add_overflowing, noun_sub_overflowing(a, bytes, &ret)   always sets ret; true when it wrapped
 *   noun_add_wrapping, noun_sub_wrapping(a, bytes)
 *   noun_offset_from(a, base, &ret) how many bytes a stands above base: 0, or -GM_EWRAP when a is below base
 *   noun_mask(a, mask)              the bits of a that are in mask
 *   noun_align_down(a, alignment, &ret)   0 or -EINVAL
 *   noun_align_up(a, alignment, &ret)     0, -EINVAL, or -GM_EWRAP when no aligned address follows
 *   noun_is_aligned(a, alignment)   false as well when alignment is no power of two
 *   noun_compare(a, b)              below 0, 0, above 0
 */
#define GM_DEFINE_ADDRESS(noun)                                                                                        \
	struct noun {                                                                                                  \
		uint64_t value;                                                                                        \
	};                                                                                                             \
	GM_INLINE struct noun noun(uint64_t value)                                                                     \
	{                                                                                                              \
		struct noun ret = { value };                                                                           \
		return ret;                                                                                            \
	}                                                                                                              \
	GM_INLINE struct noun noun##_add_wrapping(struct noun a, uint64_t bytes)                                       \
	{                                                                                                              \
		return noun(a.value + bytes);                                                                          \
	}                                                                                                              \
	GM_INLINE struct noun noun##_sub_wrapping(struct noun a, uint64_t bytes)                                       \
	{                                                                                                              \
		return noun(a.value - bytes);                                                                          \
	}                                                                                                              \
	GM_INLINE bool noun##_add_overflowing(struct noun a, uint64_t bytes, struct noun *ret_sum)                     \
	{                                                                                                              \
		return __builtin_add_overflow(a.value, bytes, &ret_sum->value);                                        \
	}                                                                                                              \
	GM_INLINE bool noun##_sub_overflowing(struct noun a, uint64_t bytes, struct noun *ret_difference)              \
	{                                                                                                              \
		return __builtin_sub_overflow(a.value, bytes, &ret_difference->value);                                 \
	}                                                                                                              \
	GM_CHECKED GM_INLINE int noun##_add(struct noun a, uint64_t bytes, struct noun *ret_sum)                       \
	{                                                                                                              \
		if (bytes > UINT64_MAX - a.value)                                                                      \
			return -GM_EWRAP;                                                                              \
		ret_sum->value = a.value + bytes;                                                                      \
		return 0;                                                                                              \
	}                                                                                                              \
	GM_CHECKED GM_INLINE int noun##_sub(struct noun a, uint64_t bytes, struct noun *ret_difference)                \
	{                                                                                                              \
		if (bytes > a.value)                                                                                   \
			return -GM_EWRAP;                                                                              \
		ret_difference->value = a.value - bytes;                                                               \
		return 0;                                                                                              \
	}                                                                                                              \
	GM_CHECKED GM_INLINE int noun##_offset_from(struct noun a, struct noun base, uint64_t *ret_bytes)              \
	{                                                                                                              \
		if (a.value < base.value)                                                                              \
			return -GM_EWRAP;                                                                              \
		*ret_bytes = a.value - base.value;                                                                     \
		return 0;                                                                                              \
	}                                                                                                              \
	GM_INLINE uint64_t noun##_mask(struct noun a, uint64_t mask)                                                   \
	{                                                                                                              \
		return a.value & mask;                                                                                 \
	}                                                                                                              \
	GM_CHECKED GM_INLINE int noun##_align_down(struct noun a, uint64_t alignment, struct noun *ret)                \
	{                                                                                                              \
		if (!gm_is_power_of_2(alignment))                                                                      \
			return -EINVAL;                                                                                \
		ret->value = a.value & ~(alignment - 1);                                                               \
		return 0;                                                                                              \
	}                                                                                                              \
	GM_CHECKED GM_INLINE int noun##_align_up(struct noun a, uint64_t alignment, struct noun *ret)                  \
	{                                                                                                              \
		if (!gm_is_power_of_2(alignment))                                                                      \
			return -EINVAL;                                                                                \
		if (a.value > UINT64_MAX - (alignment - 1))                                                            \
			return -GM_EWRAP;                                                                              \
		ret->value = (a.value + (alignment - 1)) & ~(alignment - 1);                                           \
		return 0;                                                                                              \
	}                                                                                                              \
	GM_INLINE bool noun##_is_aligned(struct noun a, uint64_t alignment)                                            \
	{                                                                                                              \
		return gm_is_power_of_2(alignment) && (a.value & (alignment - 1)) == 0;                                \
	}                                                                                                              \
	GM_INLINE int noun##_compare(struct noun a, struct noun b)                                                     \
	{                                                                                                              \
		return a.value < b.value ? -1 : a.value > b.value;                                                     \
	}

GM_DEFINE_ADDRESS(gm_gpa)    /* guest physical address */
GM_DEFINE_ADDRESS(gm_iova)   /* I/O virtual address: what a device behind an IOMMU uses */
GM_DEFINE_ADDRESS(gm_offset) /* bytes from the first byte of a region */

#undef GM_DEFINE_ADDRESS

/**
 * struct gm_range - guest physical addresses from @first to @last, both included
 *
 * Valid when first <= last. Functions here take valid ranges.
 */
struct gm_range {
	struct gm_gpa first;
	struct gm_gpa last;
};

/**
 * gm_range_make - a range from its first address and its size
 * @first: first address
 * @bytes: size, 1 to 2^64-1 bytes
 * @ret_range: untouched on failure
 *
 * Return: 0; -EINVAL for zero bytes; -GM_EWRAP when the last byte would be past 2^64-1.
 */
GM_CHECKED GM_INLINE int gm_range_make(struct gm_gpa first, uint64_t bytes, struct gm_range *ret_range)
{
	if (bytes == 0)
		return -EINVAL;
	if (bytes - 1 > UINT64_MAX - first.value)
		return -GM_EWRAP;
	ret_range->first = first;
	ret_range->last = gm_gpa_add_wrapping(first, bytes - 1);
	return 0;
}

GM_INLINE bool gm_range_is_valid(struct gm_range range)
{
	return range.first.value <= range.last.value;
}

/* Size in bytes; 0 stands for 2^64, the size of the whole address space. */
GM_INLINE uint64_t gm_range_bytes(struct gm_range range)
{
	return range.last.value - range.first.value + 1;
}

GM_INLINE bool gm_range_contains(struct gm_range range, struct gm_gpa address)
{
	return range.first.value <= address.value && address.value <= range.last.value;
}

/* True when all of @inner lies in @range. */
GM_INLINE bool gm_range_covers(struct gm_range range, struct gm_range inner)
{
	return range.first.value <= inner.first.value && inner.last.value <= range.last.value;
}

GM_INLINE bool gm_range_intersects(struct gm_range a, struct gm_range b)
{
	return a.first.value <= b.last.value && b.first.value <= a.last.value;
}

/* The common part of two ranges: true and *ret_range set, or false and *ret_range untouched. */
GM_INLINE bool gm_range_intersection(struct gm_range a, struct gm_range b, struct gm_range *ret_range)
{
	if (!gm_range_intersects(a, b))
		return false;
	ret_range->first = a.first.value > b.first.value ? a.first : b.first;
	ret_range->last = a.last.value < b.last.value ? a.last : b.last;
	return true;
}

GM_END_DECLS

#endif
