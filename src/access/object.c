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

GMI_PUBLIC int gmi_load(struct gm_view *view, struct gm_gpa at, unsigned bytes, int order, void *ret_raw)
{
	struct gmi_piece piece;
	int r;

	if ((at.value & (bytes - 1)) != 0)
		return load_copy(view, at, bytes, order, ret_raw);
	r = gmi_view_piece(view, at.value, bytes, GM_READ, &piece);
	if (r)
		return r;
	if (GM_LIKELY(piece.hva != NULL && piece.bytes == bytes))
		return gmi_bytes_load(piece.hva, bytes, order, ret_raw);
	return load_copy(view, at, bytes, order, ret_raw);
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

GMI_PUBLIC int gmi_store(struct gm_view *view, struct gm_gpa at, unsigned bytes, int order, const void *raw)
{
	struct gmi_piece piece;
	int r;

	if ((at.value & (bytes - 1)) != 0)
		return store_copy(view, at, bytes, order, raw);
	r = gmi_view_piece(view, at.value, bytes, GM_WRITE, &piece);
	if (r)
		return r;
	if (GM_UNLIKELY(piece.hva == NULL || piece.bytes != bytes))
		return store_copy(view, at, bytes, order, raw);
	r = gmi_bytes_store(piece.hva, bytes, order, raw);
	gmi_mark(piece.region->dirty, piece.offset, bytes);
	return r;
}
