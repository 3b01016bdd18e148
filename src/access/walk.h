/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Walks: how a range of guest physical addresses is taken apart into pieces of one region each, twice. First all of it is
 * looked at, and nothing is done if a piece of it can't be; then it is done. The view's snapshot does not change in between,
 * so both see the same regions; the first pieces are kept so that they need not be looked up twice.
 *
 * And what is done with one piece: whether its bytes are mapped here or behind callbacks, and that whatever is written is
 * marked in the region's dirty log, is decided here and nowhere else. State: the caller's, of one thread.
 */
#ifndef GMI_WALK_H
#define GMI_WALK_H

#include <stdbool.h>
#include <stdint.h>

#include "access/access.h"
#include "access/dispatch.h"

/* Pieces that a walk remembers: half a KiB of stack, for ranges of up to so many regions. */
#define GMI_WALK_KEPT 16

/* Where bytes that are not mapped here pass through on their way between guest and guest, or guest and file: on the stack. */
#define GMI_BOUNCE_BYTES 4096

struct gmi_walk {
	struct gm_view *view;
	uint64_t at;   /* of the next piece; may have wrapped to 0 when nothing is left */
	uint64_t left; /* bytes */
	unsigned access;
	unsigned kept;
	unsigned next;                              /* of the kept */
	bool is_plain;                              /* all are kept, mapped here, and not guarded: no region need be looked at again */
	struct gmi_place place;                     /* behind the region of the last kept piece */
	struct gmi_piece pieces[GMI_WALK_KEPT + 1]; /* the last: the current one of those that are not kept */
};

/* The bytes from @at to the end of the address space, @bytes at most. */
static inline uint64_t gmi_clip(uint64_t at, uint64_t bytes)
{
	return bytes != 0 && bytes - 1 > UINT64_MAX - at ? UINT64_MAX - at + 1 : bytes;
}

/* gmi_view_piece(), and whether its callbacks may be called from here. */
static inline int gmi_walk_piece(struct gm_view *view, uint64_t at, uint64_t bytes, unsigned access,
				 struct gmi_piece *ret_piece)
{
	int r = gmi_view_piece(view, at, bytes, access, ret_piece);

	if (r == 0 && ret_piece->hva == NULL)
		r = gmi_call_check(ret_piece->region);
	return r;
}

/*
 * Starts a walk of [at, at + bytes) and looks at all of it, @bytes at least 1. Return: 0; -GM_EWRAP, or the code of the
 * first piece that can't be accessed so.
 */
int gmi_walk_begin(struct gmi_walk *walk, struct gm_view *view, uint64_t at, uint64_t bytes, unsigned access);
/*
 * The same as far as it goes: *@bytes, which fits an int64_t from then on, becomes what there is. Return: 0; or the code of
 * the first piece when that is at once.
 */
int gmi_walk_begin_some(struct gmi_walk *walk, struct gm_view *view, uint64_t at, uint64_t *bytes, unsigned access);
/* Whether all of a walk that has begun is one piece, as most are: walk->pieces[0]. */
static inline bool gmi_walk_is_single(const struct gmi_walk *walk)
{
	return GM_LIKELY(walk->pieces[0].bytes == walk->left);
}

/* Looks up the piece at walk->at again, behind those that were kept, into the last of walk->pieces. Return: as gmi_walk_piece(). */
int gmi_walk_go_on(struct gmi_walk *walk);

/* The next piece to be done, good until the next call. Return: 1; 0 when the walk is over; and what gmi_walk_piece() may return. */
static inline int gmi_walk_next(struct gmi_walk *walk, const struct gmi_piece **ret_piece)
{
	const struct gmi_piece *piece = &walk->pieces[GMI_WALK_KEPT];
	int r;

	if (walk->left == 0)
		return 0;
	if (GM_LIKELY(walk->next < walk->kept)) {
		piece = &walk->pieces[walk->next++];
	} else {
		r = gmi_walk_go_on(walk);
		if (r)
			return r;
	}
	walk->at += piece->bytes;
	walk->left -= piece->bytes;
	*ret_piece = piece;
	return 1;
}

/* Marks what was, or may have been, written; region logs are found behind it. */
void gmi_mark(struct gm_dirty *dirty, uint64_t offset, uint64_t bytes);
/* Marks [at, at + bytes) of all regions of a map that have a log, as far as there are any. */
void gmi_mark_range(const struct gm_map *map, uint64_t at, uint64_t bytes);

/* All of a piece. Return: 0; -GM_EFAULTED, a part of it may have been done, and is marked if it is a write. */
int gmi_piece_read(const struct gmi_piece *piece, void *data);
int gmi_piece_write(const struct gmi_piece *piece, const void *data);
int gmi_piece_fill(const struct gmi_piece *piece, unsigned char byte);

/* The count of offsets of the hot region at which 8 bytes fit; 0 when there is none, or outside a section. */
static inline uint64_t gmi_hot_room(const struct gm_view *view)
{
	return view->slot != NULL ? view->room + view->guarded_room : 0;
}

/*
 * Whether all of a range is in the hot region, or all in the near one, and may be accessed so; and where. Never for no bytes. A hot
 * region that is guarded is not looked at: gmi_at_guarded_hand().
 */
static inline bool gmi_at_hand(const struct gm_view *view, uint64_t at, uint64_t bytes, unsigned access,
			       struct gmi_spot *ret_spot)
{
	uint64_t offset = at - view->hot_first;

	/* hot_room is 7 less than the region's size. Neither sum nor difference can wrap; bytes - 1 does for no bytes. */
	if (offset < view->hot_room && bytes - 1 < view->hot_room + 7 - offset &&
	    ((access & GM_WRITE) == 0 || view->hot_writable)) {
		*ret_spot = (struct gmi_spot){ view->hot_hva + offset, view->hot_dirty, NULL, offset };
		return true;
	}
	offset = at - view->near_first;
	if (gmi_is_near(view, offset, bytes) && (access & ~view->near_access) == 0) {
		*ret_spot = (struct gmi_spot){ view->near_hva + offset, view->near_dirty,
					       (const struct gmi_guarded *)view->near_guard, offset };
		return true;
	}
	return false;
}

/* The same of a hot region that is guarded; for what was not at hand, before it is searched for. */
static inline bool gmi_at_guarded_hand(const struct gm_view *view, uint64_t at, uint64_t bytes, unsigned access,
				       struct gmi_spot *ret_spot)
{
	uint64_t offset = at - view->hot_first;

	if (offset >= view->guarded_room || bytes - 1 >= view->guarded_room + 7 - offset || view->slot == NULL ||
	    ((access & GM_WRITE) != 0 && !view->hot_writable))
		return false;
	*ret_spot = (struct gmi_spot){ view->hot_hva + offset, view->hot_dirty,
				       (const struct gmi_guarded *)view->hot_guard, offset };
	return true;
}

/* Makes the hot region the near one if a range is in it and may be accessed so. */
static inline bool gmi_view_approach_hot(struct gm_view *view, uint64_t at, uint64_t bytes, unsigned access)
{
	uint64_t offset = at - view->hot_first, room = gmi_hot_room(view);

	if (offset >= room || bytes - 1 >= room + 7 - offset)
		return false;
	view->near_first = view->hot_first;
	view->near_bytes = room + 7;
	view->near_hva = view->hot_hva;
	view->near_dirty = view->hot_dirty;
	view->near_guard = view->guarded_room != 0 ? view->hot_guard : NULL;
	view->near_access = GM_READ | (view->hot_writable ? GM_WRITE : 0);
	return access != 0 && (access & ~view->near_access) == 0;
}

/* Marks what was written there. */
static inline void gmi_mark_spot(const struct gmi_spot *spot, uint64_t bytes)
{
	if (spot->dirty != NULL)
		gmi_mark((struct gm_dirty *)(uintptr_t)spot->dirty, spot->offset, bytes);
}

/* What an access of all of the spot, or the piece, comes to: 0; -GM_EFAULTED when a part of it was lost by then. */
static inline int gmi_spot_check(const struct gmi_spot *spot, uint64_t bytes)
{
	return gmi_guarded_check(spot->guarded, spot->hva, bytes);
}

static inline int gmi_piece_check(const struct gmi_piece *piece)
{
	return gmi_guarded_check(piece->region->guarded, piece->hva, piece->bytes);
}

/* The same of [at, at + bytes), of all guarded regions of a map, as far as there are any. */
int gmi_check_range(const struct gm_map *map, uint64_t at, uint64_t bytes);

#endif
