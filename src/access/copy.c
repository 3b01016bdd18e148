/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Copies inside the guest. Both ranges are checked first; then chunks are copied that lie in one region on either side.
 *
 * The result is that of reading all of the source first, also where the two ranges overlap: as with memmove(), a copy to a
 * higher address goes backwards, from the last chunk to the first, so no byte is overwritten before it was read. What
 * decides is guest physical addresses: where the same bytes of a file show at two addresses (GM_REGION_ALIAS), a copy from
 * one of them onto the other may see bytes that it has written itself.
 */
#include "access/access.h"

#include "access/bytes.h"
#include "access/walk.h"
#include "base/base.h"

struct copy {
	struct gm_view *view;
	uint64_t to;
	uint64_t from;
	uint64_t bytes;
};

/* A chunk that is mapped on one side only, or on none, passes through a buffer. At most GMI_BOUNCE_BYTES. */
static __attribute__((noinline)) int bounce(const struct gmi_piece *target, const struct gmi_piece *source)
{
	unsigned char buffer[GMI_BOUNCE_BYTES];
	int r = gmi_piece_read(source, buffer);

	return r ? r : gmi_piece_write(target, buffer);
}

/* The two pieces are of the same size. */
static int copy_piece(const struct gmi_piece *target, const struct gmi_piece *source)
{
	int r;

	if (target->hva == NULL || source->hva == NULL)
		return bounce(target, source);
	r = gmi_bytes_move(target->hva, source->hva, target->bytes);
	gmi_mark(target->region->dirty, target->offset, target->bytes);
	if (r == 0)
		r = gmi_piece_check(source);
	return r ? r : gmi_piece_check(target);
}

/* Copies the chunk that begins @done bytes into the copy; *ret_chunk: its size. */
static int copy_forward(const struct copy *copy, uint64_t done, uint64_t *ret_chunk)
{
	struct gmi_piece source, target;
	uint64_t left = copy->bytes - done;
	int r;

	r = gmi_walk_piece(copy->view, copy->from + done, left, GM_READ, &source);
	if (r)
		return r;
	r = gmi_walk_piece(copy->view, copy->to + done, left, GM_WRITE, &target);
	if (r)
		return r;
	source.bytes = GMI_MIN(source.bytes, target.bytes);
	if (source.hva == NULL || target.hva == NULL)
		source.bytes = GMI_MIN(source.bytes, GMI_BOUNCE_BYTES);
	target.bytes = source.bytes;
	*ret_chunk = source.bytes;
	return copy_piece(&target, &source);
}

/* A piece of its region's last byte, made longer to the front. */
static void extend_to_front(struct gmi_piece *piece, uint64_t bytes)
{
	piece->offset -= bytes - 1;
	piece->bytes = bytes;
	if (piece->hva != NULL)
		piece->hva -= bytes - 1;
}

/* Copies the chunk that ends @left bytes into the copy, @left at least 1. */
static int copy_backward(const struct copy *copy, uint64_t left, uint64_t *ret_chunk)
{
	struct gmi_piece source, target;
	uint64_t chunk;
	int r;

	r = gmi_walk_piece(copy->view, copy->from + (left - 1), 1, GM_READ, &source);
	if (r)
		return r;
	r = gmi_walk_piece(copy->view, copy->to + (left - 1), 1, GM_WRITE, &target);
	if (r)
		return r;
	/* An offset is how many bytes the region has before that one; left - 1 is how many the copy has. */
	chunk = GMI_MIN(left - 1, GMI_MIN(source.offset, target.offset)) + 1;
	if (source.hva == NULL || target.hva == NULL)
		chunk = GMI_MIN(chunk, GMI_BOUNCE_BYTES);
	extend_to_front(&source, chunk);
	extend_to_front(&target, chunk);
	*ret_chunk = chunk;
	return copy_piece(&target, &source);
}

/*
 * All of a copy that was checked. *ret_done: the bytes from its beginning that are done; a backward copy that fails has
 * done none there.
 */
static int copy_all(const struct copy *copy, uint64_t *ret_done)
{
	uint64_t distance = copy->to - copy->from, done = 0, chunk;
	bool backward = distance != 0 && distance < copy->bytes;
	int r = 0;

	while (done < copy->bytes) {
		r = backward ? copy_backward(copy, copy->bytes - done, &chunk) : copy_forward(copy, done, &chunk);
		if (r)
			break;
		done += chunk;
	}
	*ret_done = r && backward ? 0 : done;
	return r;
}

/* Not inlined, so that the hot path of the caller does not make room for two walks. */
static __attribute__((noinline)) int copy_slowly(struct gm_view *view, struct gm_gpa to, struct gm_gpa from,
						 uint64_t bytes)
{
	struct copy copy = { .view = view, .to = to.value, .from = from.value, .bytes = bytes };
	struct gmi_walk source, target;
	uint64_t done;
	int r;

	if (bytes == 0)
		return 0;
	/* Both before anything is looked at. */
	if (bytes - 1 > UINT64_MAX - to.value)
		return -GM_EWRAP;
	r = gmi_walk_begin(&source, view, from.value, bytes, GM_READ);
	if (r)
		return r;
	r = gmi_walk_begin(&target, view, to.value, bytes, GM_WRITE);
	if (r)
		return r;
	/* The usual case is one region on either side: what was looked at is all there is to do. */
	if (source.pieces[0].bytes == bytes && target.pieces[0].bytes == bytes && source.pieces[0].hva != NULL &&
	    target.pieces[0].hva != NULL)
		return copy_piece(&target.pieces[0], &source.pieces[0]);
	return copy_all(&copy, &done);
}

GMI_PUBLIC int gm_copy(struct gm_view *view, struct gm_gpa to, struct gm_gpa from, uint64_t bytes)
{
	struct gmi_spot target, source;
	int r;

	if (!gmi_at_hand(view, from.value, bytes, GM_READ, &source) ||
	    !gmi_at_hand(view, to.value, bytes, GM_WRITE, &target))
		return copy_slowly(view, to, from, bytes);
	r = gmi_bytes_move(target.hva, source.hva, bytes);
	gmi_mark_spot(&target, bytes);
	if (r == 0)
		r = gmi_spot_check(&source, bytes);
	return r ? r : gmi_spot_check(&target, bytes);
}

GMI_PUBLIC int64_t gm_copy_some(struct gm_view *view, struct gm_gpa to, struct gm_gpa from, uint64_t bytes)
{
	struct copy copy = { .view = view, .to = to.value, .from = from.value, .bytes = bytes };
	struct gmi_walk walk;
	uint64_t done;
	int r;

	if (bytes == 0)
		return 0;
	r = gmi_walk_begin_some(&walk, view, from.value, &copy.bytes, GM_READ);
	if (r)
		return r;
	r = gmi_walk_begin_some(&walk, view, to.value, &copy.bytes, GM_WRITE);
	if (r)
		return r;
	r = copy_all(&copy, &done);
	return done != 0 ? (int64_t)done : r;
}
