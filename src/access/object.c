/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Objects that miss the inlined path of <guestmem/access.h>: in another region than the view's hot one, at an address that
 * is not a multiple of the size, across a border, or behind callbacks. No state but the view's.
 */
#include "access/access.h"

#include <string.h>

#include "access/bytes.h"
#include "access/walk.h"
#include "base/base.h"

/*
 * Orders a copy or a callback as the object would have been: what stands behind a load with ACQUIRE is not looked at before
 * it, and what stands before a store with RELEASE is seen before it.
 */
static void fence(int order)
{
	if (order != GM_RELAXED)
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* @raw receives nothing unless all is well: a copy that fails midway has scribbled on its buffer. */
static int load_copy(struct gm_view *view, struct gm_gpa at, unsigned bytes, int order, void *ret_raw)
{
	unsigned char raw[8];
	int r = gm_read(view, at, raw, bytes);

	if (r)
		return r;
	memcpy(ret_raw, raw, bytes);
	fence(order);
	return 0;
}

/* As load_copy(), of a region that may be guarded. */
static inline int load_checked(const struct gmi_guarded *guarded, const unsigned char *hva, unsigned bytes, int order,
			       void *ret_raw)
{
	unsigned char raw[8];
	int r = gmi_bytes_load(hva, bytes, order, raw);

	if (r == 0)
		r = gmi_guarded_check(guarded, hva, bytes);
	if (r == 0)
		memcpy(ret_raw, raw, bytes);
	return r;
}

/* What is not one access of mapped memory that the view may read, or is not found at once. */
static __attribute__((noinline)) int load_slowly(struct gm_view *view, uint64_t at, unsigned bytes, int order,
						 void *ret_raw)
{
	struct gmi_piece piece;
	int r;

	if ((at & (bytes - 1)) != 0)
		return load_copy(view, gm_gpa(at), bytes, order, ret_raw);
	r = gmi_view_piece(view, at, bytes, GM_READ, &piece);
	if (r)
		return r;
	if (piece.hva != NULL && piece.bytes == bytes)
		return load_checked(piece.region->guarded, piece.hva, bytes, order, ret_raw);
	return load_copy(view, gm_gpa(at), bytes, order, ret_raw);
}

/*
 * Of a region that was found, if it is guarded, or it is time to choose the hot region: what has neither does not pay for the questions. The
 * parameters are those of load_slowly() and one more, so that the way here costs its caller no registers.
 */
static __attribute__((noinline)) int load_rarely(struct gm_view *view, uint64_t at, unsigned bytes, int order,
						 void *ret_raw, const struct gm_region *region)
{
	uint64_t offset = at - region->range.first.value;

	if (offset >= gmi_region_room(region) || (region->readable & view->kinds) == 0)
		return load_slowly(view, at, bytes, order, ret_raw);
	if (view->cool < 0)
		gmi_view_choose(view, region);
	return load_checked(region->guarded, region->hva + offset, bytes, order, ret_raw);
}

static GMI_ALWAYS_INLINE int load(struct gm_view *view, uint64_t at, unsigned bytes, int order, void *ret_raw)
{
	const struct gm_map *map = view->slot;
	const struct gm_region *region;
	uint64_t offset;

	if (GM_UNLIKELY(map == NULL || (at & (bytes - 1)) != 0 || (bytes == 1 && at == UINT64_MAX)))
		return load_slowly(view, at, bytes, order, ret_raw);
	region = gmi_floor(map->root, at);
	if (GM_UNLIKELY(region == NULL))
		return load_slowly(view, at, bytes, order, ret_raw);
	offset = at - region->range.first.value;
	if (GM_UNLIKELY(--view->cool < 0 || offset >= region->room || (region->readable & view->kinds) == 0))
		return load_rarely(view, at, bytes, order, ret_raw, region);
	return gmi_bytes_load(region->hva + offset, bytes, order, ret_raw);
}

static int store_copy(struct gm_view *view, struct gm_gpa at, unsigned bytes, int order, const void *raw)
{
	int r;

	fence(order);
	r = gm_write(view, at, raw, bytes);
	if (order != GM_RELEASE)
		fence(order);
	return r;
}

static __attribute__((noinline)) int store_slowly(struct gm_view *view, uint64_t at, unsigned bytes, int order,
						  const void *raw)
{
	struct gmi_piece piece;
	int r;

	if ((at & (bytes - 1)) != 0)
		return store_copy(view, gm_gpa(at), bytes, order, raw);
	r = gmi_view_piece(view, at, bytes, GM_WRITE, &piece);
	if (r)
		return r;
	if (piece.hva == NULL || piece.bytes != bytes)
		return store_copy(view, gm_gpa(at), bytes, order, raw);
	r = gmi_bytes_store(piece.hva, bytes, order, raw);
	gmi_mark(piece.region->dirty, piece.offset, bytes);
	return r ? r : gmi_piece_check(&piece);
}

/* As load_rarely(). */
static __attribute__((noinline)) int store_rarely(struct gm_view *view, uint64_t at, unsigned bytes, int order,
						  const void *raw, const struct gm_region *region)
{
	uint64_t offset = at - region->range.first.value;
	int r;

	if (offset >= gmi_region_room(region) || (region->readable & region->writable & view->kinds) == 0)
		return store_slowly(view, at, bytes, order, raw);
	if (view->cool < 0)
		gmi_view_choose(view, region);
	r = gmi_bytes_store(region->hva + offset, bytes, order, raw);
	gmi_mark(region->dirty, offset, bytes);
	return r ? r : gmi_guarded_check(region->guarded, region->hva + offset, bytes);
}

static GMI_ALWAYS_INLINE int store(struct gm_view *view, uint64_t at, unsigned bytes, int order, const void *raw)
{
	const struct gm_map *map = view->slot;
	const struct gm_region *region;
	uint64_t offset;
	int r;

	if (GM_UNLIKELY(map == NULL || (at & (bytes - 1)) != 0 || (bytes == 1 && at == UINT64_MAX)))
		return store_slowly(view, at, bytes, order, raw);
	region = gmi_floor(map->root, at);
	if (GM_UNLIKELY(region == NULL))
		return store_slowly(view, at, bytes, order, raw);
	offset = at - region->range.first.value;
	/* The hot region may be read. */
	if (GM_UNLIKELY(--view->cool < 0 || offset >= region->room ||
			(region->readable & region->writable & view->kinds) == 0))
		return store_rarely(view, at, bytes, order, raw, region);
	r = gmi_bytes_store(region->hva + offset, bytes, order, raw);
	if (region->dirty != NULL)
		gmi_dirty_mark_at((const struct gmi_dirty_head *)region->dirty, offset);
	return r;
}

/* One function for each size: that is a parameter less, and two questions. */
#define GMI_DEFINE_OBJECT(bits)                                                                                        \
	GMI_PUBLIC GMI_SEEKING int gmi_load_u##bits(struct gm_view *view, struct gm_gpa at, int order,                 \
						    uint##bits##_t *ret_number)                                        \
	{                                                                                                              \
		return load(view, at.value, bits / 8, order, ret_number);                                              \
	}                                                                                                              \
	GMI_PUBLIC GMI_SEEKING int gmi_store_u##bits(struct gm_view *view, struct gm_gpa at, int order,                \
						     uint##bits##_t number)                                            \
	{                                                                                                              \
		return store(view, at.value, bits / 8, order, &number);                                                \
	}

GMI_DEFINE_OBJECT(8)
GMI_DEFINE_OBJECT(16)
GMI_DEFINE_OBJECT(32)
GMI_DEFINE_OBJECT(64)

GMI_PUBLIC int gmi_hot_verdict(const struct gm_view *view, struct gm_gpa at, uint64_t bytes)
{
	return gmi_guarded_verdict((const struct gmi_guarded *)view->hot_guard,
				   view->hot_hva + (at.value - view->hot_first), bytes);
}
