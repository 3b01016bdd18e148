/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Numbers of a fixed byte order, as they lie in guest memory. Each is a struct around the raw bits, so that a swap cannot be
 * forgotten: the only way to the number is gm_le16_get() and its like. Size and alignment are those of the number.
 *
 *   struct virtq_desc { struct gm_le64 address; struct gm_le32 bytes; struct gm_le16 flags, next; };
 *   gm_gpa_from_le64(desc.address)
 *
 * Context: all functions of this header are pure; any thread, never block.
 */
#ifndef GUESTMEM_BYTEORDER_H
#define GUESTMEM_BYTEORDER_H

#include <stdint.h>

#include <guestmem/address.h>
#include <guestmem/inline.h>

GM_BEGIN_DECLS

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define GM_LE_BITS(bits, number) (number)
#define GM_BE_BITS(bits, number) __builtin_bswap##bits(number)
#elif __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define GM_LE_BITS(bits, number) __builtin_bswap##bits(number)
#define GM_BE_BITS(bits, number) (number)
#else
#error "neither a little- nor a big-endian machine"
#endif

/* struct gm_le16 { raw }, gm_le16(number) to make one, gm_le16_get(x) to read it. */
#define GM_DEFINE_ORDERED(order, ORDER, bits)                                                                          \
	struct gm_##order##bits {                                                                                      \
		uint##bits##_t raw;                                                                                    \
	};                                                                                                             \
	GM_INLINE struct gm_##order##bits gm_##order##bits(uint##bits##_t number)                                      \
	{                                                                                                              \
		struct gm_##order##bits ret = { GM_##ORDER##_BITS(bits, number) };                                     \
		return ret;                                                                                            \
	}                                                                                                              \
	GM_INLINE uint##bits##_t gm_##order##bits##_get(struct gm_##order##bits ordered)                               \
	{                                                                                                              \
		return GM_##ORDER##_BITS(bits, ordered.raw);                                                           \
	}

GM_DEFINE_ORDERED(le, LE, 16)
GM_DEFINE_ORDERED(le, LE, 32)
GM_DEFINE_ORDERED(le, LE, 64)
GM_DEFINE_ORDERED(be, BE, 16)
GM_DEFINE_ORDERED(be, BE, 32)
GM_DEFINE_ORDERED(be, BE, 64)

#undef GM_DEFINE_ORDERED

GM_INLINE struct gm_gpa gm_gpa_from_le64(struct gm_le64 ordered)
{
	return gm_gpa(gm_le64_get(ordered));
}

GM_INLINE struct gm_gpa gm_gpa_from_be64(struct gm_be64 ordered)
{
	return gm_gpa(gm_be64_get(ordered));
}

GM_END_DECLS

#endif
