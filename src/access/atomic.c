/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Atomics: indivisible read-modify-write on one aligned object that is mapped here. Start reading at operate(). No state
 * but the view's.
 */
#include "access/access.h"

#include "access/bytes.h"
#include "access/walk.h"
#include "base/base.h"

static int operate(struct gm_view *view, struct gm_gpa at, unsigned bytes, enum gmi_rmw operation, int order,
		   uint64_t operand, uint64_t expected, uint64_t *ret_old)
{
	struct gmi_piece piece;
	int r;

	if ((at.value & (bytes - 1)) != 0)
		return -EINVAL;
	r = gmi_view_piece(view, at.value, bytes, GM_READ | GM_WRITE, &piece);
	if (r)
		return r;
	/* A region that ends inside of an aligned object is not made of pages, so it can't be mapped either. */
	if (piece.hva == NULL || piece.bytes != bytes)
		return -GM_EUNMAPPED;
	r = gmi_bytes_rmw(piece.hva, bytes, operation, order, operand, expected, ret_old);
	/* A compare-exchange that found something else has written nothing. The rest write, be it what was there before. */
	if (r || operation != GMI_RMW_COMPARE_EXCHANGE || *ret_old == expected)
		gmi_mark(piece.region->dirty, piece.offset, bytes);
	return r ? r : gmi_piece_check(&piece);
}

#define GMI_DEFINE_ATOMIC(bits, verb, operation)                                                                       \
	GMI_PUBLIC int gm_##verb##_u##bits(struct gm_view *view, struct gm_gpa at, int order, uint##bits##_t operand,  \
					   uint##bits##_t *ret_old)                                                    \
	{                                                                                                              \
		uint64_t old = 0;                                                                                      \
		int r = operate(view, at, bits / 8, operation, order, operand, 0, &old);                               \
                                                                                                                       \
		if (r == 0)                                                                                            \
			*ret_old = (uint##bits##_t)old;                                                                \
		return r;                                                                                              \
	}

#define GMI_DEFINE_ATOMICS(bits)                                                                                       \
	GMI_DEFINE_ATOMIC(bits, exchange, GMI_RMW_EXCHANGE)                                                            \
	GMI_DEFINE_ATOMIC(bits, fetch_or, GMI_RMW_OR)                                                                  \
	GMI_DEFINE_ATOMIC(bits, fetch_and, GMI_RMW_AND)                                                                \
	GMI_DEFINE_ATOMIC(bits, fetch_add, GMI_RMW_ADD)                                                                \
	GMI_PUBLIC int gm_compare_exchange_u##bits(struct gm_view *view, struct gm_gpa at, int order,                  \
						   uint##bits##_t expected, uint##bits##_t desired,                    \
						   uint##bits##_t *ret_old)                                            \
	{                                                                                                              \
		uint64_t old = 0;                                                                                      \
		int r = operate(view, at, bits / 8, GMI_RMW_COMPARE_EXCHANGE, order, desired, expected, &old);         \
                                                                                                                       \
		if (r == 0)                                                                                            \
			*ret_old = (uint##bits##_t)old;                                                                \
		return r;                                                                                              \
	}

GMI_DEFINE_ATOMICS(8)
GMI_DEFINE_ATOMICS(16)
GMI_DEFINE_ATOMICS(32)
GMI_DEFINE_ATOMICS(64)
