/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Inside of access: every call that misses the inlined path takes its range apart into pieces, one region each, first to
 * check all of them, then to do them. The bytes themselves are touched by the routines of bytes.h only.
 */
#ifndef GMI_ACCESS_H
#define GMI_ACCESS_H

#include <guestmem/access.h>

#include "guard/guard.h"
#include "map/map.h"

/* One region's part of an access. */
struct gmi_piece {
	struct gm_region *region;
	uint64_t offset; /* in the region */
	uint64_t bytes;
	unsigned char *hva; /* NULL: by callbacks */
};

/* Bytes that all lie in the hot or in the near region, found without a search. */
struct gmi_spot {
	unsigned char *hva;
	const struct gmi_dirty_head *dirty; /* or NULL */
	const struct gmi_guarded *guarded;  /* or NULL */
	uint64_t offset;                    /* in the log */
};

/*
 * The first piece of [at, at + bytes), bytes at least 1 and not wrapping, if it may be accessed so. Makes its region the near
 * one when it can be. Return: 0; -GM_EHOLE, -GM_ENOTRAM, -GM_EACCESS, -GM_EREENTRY, -EINVAL outside a section.
 */
int gmi_view_piece(struct gm_view *view, uint64_t at, uint64_t bytes, unsigned access, struct gmi_piece *ret_piece);

/* Why a region can't be accessed so; 0 when it can. For regions that gmi_region_piece() knows no quick answer for. */
int gmi_view_admits(const struct gm_view *view, const struct gm_region *region, unsigned access);

/* As gmi_view_piece() where the region that holds @at, or NULL, is known already; the near region stays as it is. */
static GMI_ALWAYS_INLINE int gmi_region_piece(const struct gm_view *view, struct gm_region *region, uint64_t at,
					      uint64_t bytes, unsigned access, struct gmi_piece *ret_piece)
{
	uint64_t offset, left;
	unsigned kinds;
	int r;

	if (GM_UNLIKELY(region == NULL))
		return -GM_EHOLE;
	kinds = view->kinds;
	if (access & GM_READ)
		kinds &= region->readable;
	if (access & GM_WRITE)
		kinds &= region->writable;
	if (GM_UNLIKELY(kinds == 0)) {
		r = gmi_view_admits(view, region, access);
		if (r < 0)
			return r;
	}
	offset = at - region->range.first.value;
	/* left is one less than what the region has from here on, which may be 2^64. */
	left = region->range.last.value - at;
	ret_piece->region = region;
	ret_piece->offset = offset;
	ret_piece->bytes = bytes - 1 <= left ? bytes : left + 1;
	ret_piece->hva = region->hva != NULL ? region->hva + offset : NULL;
	return 0;
}

/*
 * Which region is the hot one. The first of a map, at once. But whether the next object is in it is a guess until its address was compared,
 * and where it is one that can't be made, as among objects here and there, wrong guesses cost more than the hits save: a load in one of two
 * regions takes a sixth longer with a hot region than without. Hits are inlined, and not counted. So after a period of objects that missed
 * there is no hot region for a while, and all of them come by: each so manieth is looked at, and if all but one of GMI_SAMPLES are in
 * the candidate, it is hot for the next period, which is twice as long each time. Else the last one's region is the next candidate, and
 * objects are looked at half as often.
 */
#define GMI_PERIOD_MIN 64
#define GMI_PERIOD_MAX 4096
#define GMI_SAMPLES    4
/* One less than powers of two, for those and their multiples are what devices repeat. */
#define GMI_STRIDE_MIN 3
#define GMI_STRIDE_MAX 255

/* For an object of a region that is mapped here and may be read by this view, once cool is below 0. */
void gmi_view_choose(struct gm_view *view, const struct gm_region *region);

/*
 * Makes a region that this view may access the near one, if nothing else is to be asked whenever it is accessed; and the hot
 * one while there is none.
 */
static inline void gmi_view_approach(struct gm_view *view, const struct gm_region *region)
{
	uint64_t room = gmi_region_room(region);

	if (room == 0)
		return;
	if (GM_UNLIKELY(view->candidate == NULL) && region->readable != 0)
		gmi_view_choose(view, region);
	view->near_first = region->range.first.value;
	view->near_bytes = room + 7;
	view->near_hva = region->hva;
	view->near_dirty = (const struct gmi_dirty_head *)region->dirty;
	view->near_guard = (const struct gmi_guard_head *)region->guarded;
	view->near_access = region->prot & (GM_READ | GM_WRITE);
}

#endif
