/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Bytes: check, read, write, fill, and their variants that do as much as there is. What lies inside the view's hot or near region is
 * done at once; the rest is a walk. No state but the view's.
 */
#include "access/access.h"

#include "access/bytes.h"
#include "access/walk.h"
#include "base/base.h"

/* What a call that does as much as there is answers: a failure is one only when nothing was done. */
static int64_t some(int r, uint64_t done)
{
	return done != 0 ? (int64_t)done : r;
}

GMI_PUBLIC int gm_check(struct gm_view *view, struct gm_gpa at, uint64_t bytes, unsigned access)
{
	struct gmi_walk walk;
	struct gmi_spot spot;

	if (access == 0 || (access & ~(GM_READ | GM_WRITE)) != 0)
		return -EINVAL;
	if (bytes == 0)
		return 0;
	if (gmi_at_hand(view, at.value, bytes, access, &spot))
		return 0;
	return gmi_walk_begin(&walk, view, at.value, bytes, access);
}

/*
 * The second half of a walk: all its pieces are done. *ret_done: the bytes of those that were done wholly.
 */
static int read_plainly(const struct gmi_walk *walk, unsigned char *data, uint64_t *ret_done)
{
	const struct gmi_piece *piece = walk->pieces;
	uint64_t done = 0;
	int r = 0;

	for (; piece < walk->pieces + walk->kept; piece++) {
		r = gmi_bytes_read_cold(data + done, piece->hva, piece->bytes, walk->left - done - piece->bytes);
		if (r)
			break;
		done += piece->bytes;
	}
	*ret_done = done;
	return r;
}

static int read_walk(struct gmi_walk *walk, unsigned char *data, uint64_t *ret_done)
{
	const struct gmi_piece *piece = NULL;
	uint64_t done = 0;
	int r;

	if (GM_LIKELY(walk->is_plain))
		return read_plainly(walk, data, ret_done);
	while ((r = gmi_walk_next(walk, &piece)) > 0) {
		r = gmi_piece_read(piece, data + done);
		if (r)
			break;
		done += piece->bytes;
	}
	*ret_done = done;
	return r;
}

static int write_walk(struct gmi_walk *walk, const unsigned char *data, uint64_t *ret_done)
{
	const struct gmi_piece *piece = NULL;
	uint64_t done = 0;
	int r;

	while ((r = gmi_walk_next(walk, &piece)) > 0) {
		r = gmi_piece_write(piece, data + done);
		if (r)
			break;
		done += piece->bytes;
	}
	*ret_done = done;
	return r;
}

static int fill_walk(struct gmi_walk *walk, unsigned char byte, uint64_t *ret_done)
{
	const struct gmi_piece *piece = NULL;
	uint64_t done = 0;
	int r;

	while ((r = gmi_walk_next(walk, &piece)) > 0) {
		r = gmi_piece_fill(piece, byte);
		if (r)
			break;
		done += piece->bytes;
	}
	*ret_done = done;
	return r;
}

/* Of a region that is guarded. Not inlined, as what follows; and by single values, for a spot would be made in memory for it. */
static __attribute__((noinline)) int read_guarded(const struct gmi_guarded *guarded, const unsigned char *hva,
						  void *data, size_t bytes)
{
	int r = gmi_bytes_read(data, hva, bytes);

	return r ? r : gmi_guarded_check(guarded, hva, bytes);
}

static __attribute__((noinline)) int write_guarded(const struct gmi_guarded *guarded, unsigned char *hva,
						   const void *data, size_t bytes)
{
	int r = gmi_bytes_write(hva, data, bytes);

	return r ? r : gmi_guarded_check(guarded, hva, bytes);
}

/* Not inlined, so that the hot path of the caller does not make room for a walk. */
static __attribute__((noinline)) int read_slowly(struct gm_view *view, uint64_t at, void *data, size_t bytes)
{
	struct gmi_walk walk;
	struct gmi_spot spot;
	uint64_t done;
	int r;

	if (bytes == 0)
		return 0;
	if (gmi_at_guarded_hand(view, at, bytes, GM_READ, &spot))
		return read_guarded(spot.guarded, spot.hva, data, bytes);
	r = gmi_walk_begin(&walk, view, at, bytes, GM_READ);
	if (r)
		return r;
	return gmi_walk_is_single(&walk) ? gmi_piece_read(&walk.pieces[0], data) : read_walk(&walk, data, &done);
}

static __attribute__((noinline)) int write_slowly(struct gm_view *view, uint64_t at, const void *data, size_t bytes)
{
	struct gmi_walk walk;
	struct gmi_spot spot;
	uint64_t done;
	int r;

	if (bytes == 0)
		return 0;
	if (gmi_at_guarded_hand(view, at, bytes, GM_WRITE, &spot)) {
		r = write_guarded(spot.guarded, spot.hva, data, bytes);
		gmi_mark_spot(&spot, bytes);
		return r;
	}
	r = gmi_walk_begin(&walk, view, at, bytes, GM_WRITE);
	if (r)
		return r;
	return gmi_walk_is_single(&walk) ? gmi_piece_write(&walk.pieces[0], data) : write_walk(&walk, data, &done);
}

static __attribute__((noinline)) int fill_slowly(struct gm_view *view, uint64_t at, unsigned char byte, uint64_t bytes)
{
	struct gmi_walk walk;
	uint64_t done;
	int r;

	if (bytes == 0)
		return 0;
	r = gmi_walk_begin(&walk, view, at, bytes, GM_WRITE);
	if (r)
		return r;
	return gmi_walk_is_single(&walk) ? gmi_piece_fill(&walk.pieces[0], byte) : fill_walk(&walk, byte, &done);
}

GMI_PUBLIC int gm_read(struct gm_view *view, struct gm_gpa at, void *data, size_t bytes)
{
	struct gmi_spot spot;

	if (GM_UNLIKELY(!gmi_at_hand(view, at.value, bytes, GM_READ, &spot)))
		return read_slowly(view, at.value, data, bytes);
	if (GM_UNLIKELY(spot.guarded != NULL))
		return read_guarded(spot.guarded, spot.hva, data, bytes);
	return gmi_bytes_read(data, spot.hva, bytes);
}

GMI_PUBLIC int gm_write(struct gm_view *view, struct gm_gpa at, const void *data, size_t bytes)
{
	struct gmi_spot spot;
	int r;

	if (GM_UNLIKELY(!gmi_at_hand(view, at.value, bytes, GM_WRITE, &spot)))
		return write_slowly(view, at.value, data, bytes);
	if (GM_LIKELY(spot.guarded == NULL))
		r = gmi_bytes_write(spot.hva, data, bytes);
	else
		r = write_guarded(spot.guarded, spot.hva, data, bytes);
	gmi_mark_spot(&spot, bytes);
	return r;
}

GMI_PUBLIC int gm_fill(struct gm_view *view, struct gm_gpa at, unsigned char byte, uint64_t bytes)
{
	struct gmi_spot spot;
	int r;

	if (GM_UNLIKELY(!gmi_at_hand(view, at.value, bytes, GM_WRITE, &spot)))
		return fill_slowly(view, at.value, byte, bytes);
	r = gmi_bytes_fill(spot.hva, byte, bytes);
	gmi_mark_spot(&spot, bytes);
	return r ? r : gmi_spot_check(&spot, bytes);
}

GMI_PUBLIC int64_t gm_read_some(struct gm_view *view, struct gm_gpa at, void *data, size_t bytes)
{
	uint64_t found = bytes, done = 0;
	struct gmi_walk walk;
	int r;

	if (bytes == 0)
		return 0;
	r = gmi_walk_begin_some(&walk, view, at.value, &found, GM_READ);
	if (r == 0)
		r = read_walk(&walk, data, &done);
	return some(r, done);
}

GMI_PUBLIC int64_t gm_write_some(struct gm_view *view, struct gm_gpa at, const void *data, size_t bytes)
{
	uint64_t found = bytes, done = 0;
	struct gmi_walk walk;
	int r;

	if (bytes == 0)
		return 0;
	r = gmi_walk_begin_some(&walk, view, at.value, &found, GM_WRITE);
	if (r == 0)
		r = write_walk(&walk, data, &done);
	return some(r, done);
}

GMI_PUBLIC int64_t gm_fill_some(struct gm_view *view, struct gm_gpa at, unsigned char byte, uint64_t bytes)
{
	uint64_t done = 0;
	struct gmi_walk walk;
	int r;

	if (bytes == 0)
		return 0;
	r = gmi_walk_begin_some(&walk, view, at.value, &bytes, GM_WRITE);
	if (r == 0)
		r = fill_walk(&walk, byte, &done);
	return some(r, done);
}
