/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* See walk.h. */
#include "access/walk.h"

#include <string.h>

#include "access/bytes.h"
#include "base/base.h"

/* gmi_region_piece() of the region before a place, and whether its callbacks may be called from here. */
static inline int place_piece(const struct gm_view *view, struct gmi_place place, uint64_t at, uint64_t bytes,
			      unsigned access, struct gmi_piece *ret_piece)
{
	struct gm_region *region = gmi_place_region(place);
	int r;

	/* A region behind the address wraps here. */
	if (region != NULL && at - region->range.first.value > region->range.last.value - region->range.first.value)
		return -GM_EHOLE;
	r = gmi_region_piece(view, region, at, bytes, access, ret_piece);
	if (r == 0 && GM_UNLIKELY(ret_piece->hva == NULL))
		r = gmi_call_check(region);
	return r;
}

static GMI_SEEKING struct gmi_place seek(const struct gmi_node *root, uint64_t at)
{
	return GM_UNLIKELY(at == UINT64_MAX) ? gmi_tree_seek(root, at) : gmi_seek(root, at);
}

/*
 * The piece at @at, one behind the region before *place, which moves behind the next: that is the next entry of the leaf, if there
 * is one.
 */
static inline int next_piece(const struct gmi_walk *walk, uint64_t at, uint64_t bytes, struct gmi_place *place,
			     struct gmi_piece *ret_piece)
{
	if (GM_LIKELY(place->rank < place->leaf->count))
		place->rank++;
	else
		*place = seek(walk->view->slot->root, at);
	return place_piece(walk->view, *place, at, bytes, walk->access, ret_piece);
}

static inline bool is_plain(const struct gmi_piece *piece)
{
	return piece->hva != NULL && piece->region->guarded == NULL;
}

/*
 * The pieces behind the first one, as far as they are as most are: of regions in the same leaf that adjoin, are mapped here and may be accessed
 * with nothing else to ask. No sum runs through all of them, so the processor looks at several at once. Return: the bytes of all pieces so far.
 */
static uint64_t look_on(struct gmi_walk *walk)
{
	struct gm_region *const *next = (struct gm_region *const *)walk->place.leaf->slot + walk->place.rank;
	const unsigned count = walk->place.leaf->count - (unsigned)walk->place.rank;
	const unsigned kept_max = GMI_MIN(count, GMI_WALK_KEPT - 1) + 1, kinds = walk->view->kinds;
	/* Of the walk, which does not wrap. */
	const uint64_t last = walk->at + (walk->left - 1);
	const bool is_write = walk->access == GM_WRITE;
	struct gmi_piece *piece = &walk->pieces[0];
	uint64_t at = walk->at + (piece->bytes - 1);
	unsigned kept = 1;

	for (; at < last && kept < kept_max; kept++, next++) {
		struct gm_region *region = *next;
		const uint64_t first = region->range.first.value;

		/* That it is reached by this view, and so says that it is mapped here. */
		if (first != at + 1 || ((is_write ? region->writable : region->readable) & kinds) == 0)
			break;
		at = region->range.last.value;
		*++piece = (struct gmi_piece){ region, 0, at - first + 1, region->hva };
		walk->is_plain &= region->guarded == NULL;
	}
	if (at > last) {
		piece->bytes -= at - last;
		at = last;
	}
	walk->kept = kept;
	walk->place.rank += kept - 1;
	return at - walk->at + 1;
}

/* Looks at the pieces of walk->left bytes until one can't be accessed. *@ret_found: the bytes before it. */
static int look(struct gmi_walk *walk, uint64_t *ret_found)
{
	struct gmi_piece spare, *piece = &walk->pieces[0];
	const struct gm_map *map = walk->view->slot;
	struct gmi_place place;
	uint64_t found;
	int r;

	*ret_found = 0;
	if (map == NULL)
		return -EINVAL;
	if (map->root == NULL)
		return -GM_EHOLE;
	walk->place = place = seek(map->root, walk->at);
	r = place_piece(walk->view, place, walk->at, walk->left, walk->access, piece);
	if (r)
		return r;
	gmi_view_approach(walk->view, piece->region);
	walk->kept = 1;
	walk->is_plain = is_plain(piece);
	found = piece->bytes;
	if (found < walk->left && walk->access != (GM_READ | GM_WRITE)) {
		found = look_on(walk);
		place = walk->place;
	}
	for (; found < walk->left; found += piece->bytes) {
		bool keep = walk->kept < GMI_WALK_KEPT;

		piece = keep ? &walk->pieces[walk->kept] : &spare;
		r = next_piece(walk, walk->at + found, walk->left - found, &place, piece);
		if (r)
			break;
		walk->is_plain &= keep && is_plain(piece);
		if (keep) {
			walk->kept++;
			walk->place = place;
		}
	}
	*ret_found = found;
	return r;
}

static void start(struct gmi_walk *walk, struct gm_view *view, uint64_t at, uint64_t bytes, unsigned access)
{
	/* One by one: the kept pieces need not be cleared. */
	walk->view = view;
	walk->at = at;
	walk->left = bytes;
	walk->access = access;
	walk->kept = 0;
	walk->next = 0;
}

int gmi_walk_begin(struct gmi_walk *walk, struct gm_view *view, uint64_t at, uint64_t bytes, unsigned access)
{
	uint64_t found;

	if (bytes - 1 > UINT64_MAX - at)
		return -GM_EWRAP;
	start(walk, view, at, bytes, access);
	return look(walk, &found);
}

int gmi_walk_begin_some(struct gmi_walk *walk, struct gm_view *view, uint64_t at, uint64_t *bytes, unsigned access)
{
	uint64_t found;
	int r;

	start(walk, view, at, GMI_MIN(gmi_clip(at, *bytes), (uint64_t)INT64_MAX), access);
	r = look(walk, &found);
	if (found == 0)
		return r;
	walk->left = found;
	*bytes = found;
	return 0;
}

int gmi_walk_go_on(struct gmi_walk *walk)
{
	return next_piece(walk, walk->at, walk->left, &walk->place, &walk->pieces[GMI_WALK_KEPT]);
}

void gmi_mark(struct gm_dirty *dirty, uint64_t offset, uint64_t bytes)
{
	const struct gmi_dirty_head *head = (const struct gmi_dirty_head *)dirty;

	if (dirty == NULL || bytes == 0)
		return;
	if ((offset ^ (offset + bytes - 1)) >> head->page_shift == 0)
		gmi_dirty_mark_at(head, offset);
	else
		gm_dirty_mark(dirty, gm_offset(offset), bytes);
}

void gmi_mark_range(const struct gm_map *map, uint64_t at, uint64_t bytes)
{
	uint64_t last = at + (gmi_clip(at, bytes) - 1);
	const struct gm_region *region;

	if (bytes == 0)
		return;
	region = gm_map_find_next(map, gm_gpa(at));
	while (region != NULL && region->range.first.value <= last) {
		uint64_t first = GMI_MAX(at, region->range.first.value);
		uint64_t until = GMI_MIN(last, region->range.last.value);

		gmi_mark(region->dirty, first - region->range.first.value, until - first + 1);
		if (until == last)
			break;
		region = gmi_tree_above(map->root, first);
	}
}

int gmi_check_range(const struct gm_map *map, uint64_t at, uint64_t bytes)
{
	uint64_t last = at + (gmi_clip(at, bytes) - 1);
	const struct gm_region *region;
	int r = 0;

	if (bytes == 0)
		return 0;
	region = gm_map_find_next(map, gm_gpa(at));
	while (region != NULL && region->range.first.value <= last) {
		uint64_t first = GMI_MAX(at, region->range.first.value);
		uint64_t until = GMI_MIN(last, region->range.last.value);

		if (region->guarded != NULL)
			r = gmi_guarded_check(region->guarded, region->hva + (first - region->range.first.value),
					      until - first + 1);
		if (r || until == last)
			break;
		region = gmi_tree_above(map->root, first);
	}
	return r;
}

int gmi_piece_read(const struct gmi_piece *piece, void *data)
{
	int r;

	if (piece->hva == NULL)
		return gmi_call_read(piece, data);
	if (GM_LIKELY(piece->region->guarded == NULL))
		return gmi_bytes_read_cold(data, piece->hva, piece->bytes, 0);
	r = gmi_bytes_read_cold(data, piece->hva, piece->bytes, 0);
	return r ? r : gmi_piece_check(piece);
}

int gmi_piece_write(const struct gmi_piece *piece, const void *data)
{
	int r;

	if (piece->hva != NULL)
		r = gmi_bytes_write_cold(piece->hva, data, piece->bytes);
	else
		r = gmi_call_write(piece, data);
	/* After a failure too: nobody knows how much of it was done, and a page too many is better than one too few. */
	gmi_mark(piece->region->dirty, piece->offset, piece->bytes);
	return r ? r : gmi_piece_check(piece);
}

/* Not inlined: its buffer would be on the stack of every fill. */
static __attribute__((noinline)) int fill_by_calls(struct gmi_piece piece, unsigned char byte)
{
	unsigned char bounce[GMI_BOUNCE_BYTES];
	uint64_t left = piece.bytes;
	int r;

	memset(bounce, byte, GMI_MIN(left, sizeof(bounce)));
	while (left != 0) {
		piece.bytes = GMI_MIN(left, sizeof(bounce));
		r = gmi_piece_write(&piece, bounce);
		if (r)
			return r;
		piece.offset += piece.bytes;
		left -= piece.bytes;
	}
	return 0;
}

int gmi_piece_fill(const struct gmi_piece *piece, unsigned char byte)
{
	int r;

	if (piece->hva == NULL)
		return fill_by_calls(*piece, byte);
	r = gmi_bytes_fill(piece->hva, byte, piece->bytes);
	gmi_mark(piece->region->dirty, piece->offset, piece->bytes);
	return r ? r : gmi_piece_check(piece);
}
