/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Pointers into guest memory: spans and lists of iovecs, and giving back what was written through them. What is handed out
 * is good as long as the snapshot it was taken from; what is given back is found again in that same snapshot.
 */
#include "access/iovec.h"
#include "access/walk.h"
#include "base/base.h"

/* Shared by both: what a caller may ask for. */
static bool is_access(unsigned access)
{
	return access != 0 && (access & ~(GM_READ | GM_WRITE)) == 0;
}

/* The piece at @at, mapped here; @bytes at least 1 and not wrapping. */
static int mapped_piece(struct gm_view *view, uint64_t at, uint64_t bytes, unsigned access, unsigned char **ret_hva,
			uint64_t *ret_bytes)
{
	struct gmi_piece piece;
	struct gmi_spot spot;
	int r;

	if (gmi_at_hand(view, at, bytes, access, &spot)) {
		*ret_hva = spot.hva;
		*ret_bytes = bytes;
		return 0;
	}
	r = gmi_view_piece(view, at, bytes, access, &piece);
	if (r)
		return r;
	if (piece.hva == NULL)
		return -GM_EUNMAPPED;
	*ret_hva = piece.hva;
	*ret_bytes = piece.bytes;
	return 0;
}

static __attribute__((noinline)) int span_slowly(struct gm_view *view, uint64_t at, uint64_t bytes, unsigned access,
						 struct gm_span *ret_span)
{
	unsigned char *hva;
	int r;

	if (bytes == 0 || !is_access(access))
		return -EINVAL;
	if (bytes - 1 > UINT64_MAX - at)
		return -GM_EWRAP;
	r = mapped_piece(view, at, bytes, access, &hva, &bytes);
	if (r)
		return r;
	*ret_span = (struct gm_span){ gm_gpa(at), hva, bytes };
	return 0;
}

/* What lies wholly in a region that may be accessed so with nothing else to ask. */
GMI_PUBLIC GMI_SEEKING int gmi_span(struct gm_view *view, struct gm_gpa gpa, uint64_t bytes, unsigned access,
				    struct gm_span *ret_span)
{
	const uint64_t at = gpa.value;
	const struct gm_map *map = view->slot;
	const struct gm_region *region;

	/* The hot region becomes the near one too: the next span is inlined, and a search saved. */
	if (gmi_view_approach_hot(view, at, bytes, access))
		return gm_span(view, gpa, bytes, access, ret_span);
	if (GM_UNLIKELY(map == NULL || at == UINT64_MAX))
		return span_slowly(view, at, bytes, access, ret_span);
	region = gmi_floor(map->root, at);
	/* What is mapped has no 2^64 bytes, so bytes - 1 only wraps for none. */
	if (GM_UNLIKELY(region == NULL || at > region->range.last.value || bytes - 1 > region->range.last.value - at ||
			!is_access(access) || (access & ~region->prot) != 0 ||
			((region->readable | region->writable) & view->kinds) == 0))
		return span_slowly(view, at, bytes, access, ret_span);
	gmi_view_approach(view, region);
	*ret_span = (struct gm_span){ gpa, region->hva + (at - region->range.first.value), bytes };
	return 0;
}

bool gmi_iovec_add(struct iovec *iovecs, size_t iovecs_max, size_t *count, unsigned char *hva, size_t bytes)
{
	if (*count > 0) {
		struct iovec *last = &iovecs[*count - 1];

		if ((unsigned char *)last->iov_base + last->iov_len == hva) {
			last->iov_len += bytes;
			return true;
		}
	}
	if (*count == iovecs_max)
		return false;
	iovecs[*count] = (struct iovec){ .iov_base = hva, .iov_len = bytes };
	++*count;
	return true;
}

GMI_PUBLIC int gm_iovecs(struct gm_view *view, struct gm_gpa at, uint64_t bytes, unsigned access, struct iovec *iovecs,
			 size_t iovecs_max, size_t *ret_count)
{
	uint64_t done = 0, chunk;
	unsigned char *hva;
	bool full = false;
	size_t count = 0;

	if (!is_access(access))
		return -EINVAL;
	if (bytes != 0 && bytes - 1 > UINT64_MAX - at.value)
		return -GM_EWRAP;
	for (; done < bytes; done += chunk) {
		int r = mapped_piece(view, at.value + done, bytes - done, access, &hva, &chunk);

		if (r)
			return r;
		/* An obstacle further on outweighs the want of room: more room would not help. */
		if (!full)
			full = !gmi_iovec_add(iovecs, iovecs_max, &count, hva, chunk);
	}
	if (full)
		return -ENOBUFS;
	*ret_count = count;
	return 0;
}

GMI_PUBLIC GMI_SEEKING void gmi_written(struct gm_view *view, struct gm_gpa at, uint64_t bytes)
{
	const struct gm_map *map = view->slot;
	const struct gm_region *region;

	if (map == NULL)
		return;
	region = GM_LIKELY(at.value != UINT64_MAX) ? gmi_floor(map->root, at.value) : NULL;
	if (GM_UNLIKELY(region == NULL || at.value > region->range.last.value ||
			bytes - 1 > region->range.last.value - at.value))
		gmi_mark_range(map, at.value, bytes);
	else if (region->dirty != NULL)
		gmi_mark(region->dirty, at.value - region->range.first.value, bytes);
}

GMI_PUBLIC void gm_pin_written(struct gm_pin *pin, struct gm_gpa at, uint64_t bytes)
{
	if (pin->map != NULL)
		gmi_mark_range(pin->map, at.value, bytes);
}

GMI_PUBLIC int gm_span_check(const struct gm_view *view, struct gm_gpa at, uint64_t bytes)
{
	return view->slot != NULL ? gmi_check_range(view->slot, at.value, bytes) : -EINVAL;
}

GMI_PUBLIC int gm_pin_check(const struct gm_pin *pin, struct gm_gpa at, uint64_t bytes)
{
	return pin->map != NULL ? gmi_check_range(pin->map, at.value, bytes) : -EINVAL;
}
