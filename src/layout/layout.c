/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The rules of a layout: whether it contradicts itself, whether it admits a region, and which parts are memory's. All of it is
 * pure: no state, no locks. Start reading at gm_layout_admits(). Ranges may reach 2^64-1, so nothing here computes "last + 1"
 * before it knows better.
 */
#include <guestmem/layout.h>

#include <stdio.h>

#include <guestmem/region.h>

#include "base/base.h"
#include "layout/layout.h"

/* What is asked of gm_layout_admits(), passed along as one. */
struct question {
	const struct gm_layout *layout;
	enum gm_kind kind;
	struct gm_range range;
	const char *name;
	struct gm_error *error;
};

static const char *hole_name(const struct gm_hole *hole)
{
	return hole->name != NULL ? hole->name : "unnamed";
}

static int check_bounds(const char *what, struct gm_range range, struct gm_range physical, struct gm_error *error)
{
	if (!gm_range_is_valid(range))
		return gmi_error(error, -EINVAL, "layout: the %s bounds " GMI_RANGE_FORMAT " end before they begin",
				 what, GMI_RANGE_ARGS(range));
	if (!gm_range_covers(physical, range))
		return gmi_error(error, -EINVAL,
				 "layout: the %s bounds " GMI_RANGE_FORMAT
				 " reach outside of the physical ones " GMI_RANGE_FORMAT,
				 what, GMI_RANGE_ARGS(range), GMI_RANGE_ARGS(physical));
	return 0;
}

static int check_hole(const struct gm_layout *layout, size_t index, struct gm_error *error)
{
	const struct gm_hole *hole = &layout->holes[index];

	if (!gm_range_is_valid(hole->range))
		return gmi_error(error, -EINVAL, "layout: hole '%s' " GMI_RANGE_FORMAT " ends before it begins",
				 hole_name(hole), GMI_RANGE_ARGS(hole->range));
	if (!gm_range_covers(layout->memory, hole->range))
		return gmi_error(error, -EINVAL,
				 "layout: hole '%s' " GMI_RANGE_FORMAT
				 " reaches outside of the memory bounds " GMI_RANGE_FORMAT,
				 hole_name(hole), GMI_RANGE_ARGS(hole->range), GMI_RANGE_ARGS(layout->memory));
	if (index > 0 && hole->range.first.value <= layout->holes[index - 1].range.last.value)
		return gmi_error(error, -EINVAL,
				 "layout: hole '%s' " GMI_RANGE_FORMAT
				 " does not stand behind hole '%s' " GMI_RANGE_FORMAT,
				 hole_name(hole), GMI_RANGE_ARGS(hole->range), hole_name(&layout->holes[index - 1]),
				 GMI_RANGE_ARGS(layout->holes[index - 1].range));
	return 0;
}

GMI_PUBLIC int gm_layout_check(const struct gm_layout *layout, struct gm_error *error)
{
	size_t i;
	int r;

	r = check_bounds("physical", layout->physical, layout->physical, error);
	if (r == 0)
		r = check_bounds("memory", layout->memory, layout->physical, error);
	if (r == 0)
		r = check_bounds("device", layout->device, layout->physical, error);
	if (r != 0)
		return r;
	if (layout->usable_last.value < layout->memory.first.value)
		return gmi_error(
			error, -EINVAL,
			"layout: the last usable address 0x%llx stands before the memory bounds " GMI_RANGE_FORMAT,
			(unsigned long long)layout->usable_last.value, GMI_RANGE_ARGS(layout->memory));
	if (layout->holes_count > GM_HOLES_MAX)
		return gmi_error(error, -EINVAL, "layout: %zu holes, which is more than %d", layout->holes_count,
				 GM_HOLES_MAX);
	for (i = 0; i < layout->holes_count && r == 0; i++)
		r = check_hole(layout, i, error);
	return r;
}

/* -ERANGE, with a sentence of which the caller gives the verb and what follows. */
__attribute__((format(printf, 2, 3))) static int forbid(const struct question *q, const char *format, ...)
{
	char why[256];
	va_list args;

	/* Most questions are asked without a sentence in mind. */
	if (q->error == NULL)
		return -ERANGE;
	va_start(args, format);
	(void)vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	return gmi_error(q->error, -ERANGE, "%s region '%s' " GMI_RANGE_FORMAT " %s", gm_kind_name(q->kind),
			 q->name != NULL ? q->name : "unnamed", GMI_RANGE_ARGS(q->range), why);
}

static int admit_usable(const struct question *q)
{
	if (q->range.last.value <= q->layout->usable_last.value)
		return 0;
	return forbid(q, "reaches above 0x%llx, the last address that the host can back",
		      (unsigned long long)q->layout->usable_last.value);
}

static int admit_ram(const struct question *q)
{
	size_t i;

	if (!gm_range_covers(q->layout->memory, q->range))
		return forbid(q, "reaches outside of the memory bounds " GMI_RANGE_FORMAT,
			      GMI_RANGE_ARGS(q->layout->memory));
	for (i = 0; i < q->layout->holes_count; i++) {
		const struct gm_hole *hole = &q->layout->holes[i];

		if (gm_range_intersects(hole->range, q->range))
			return forbid(q, "reaches into hole '%s' " GMI_RANGE_FORMAT, hole_name(hole),
				      GMI_RANGE_ARGS(hole->range));
	}
	return admit_usable(q);
}

static bool is_for_devices(const struct gm_layout *layout, struct gm_range range)
{
	size_t i;

	if (gm_range_covers(layout->device, range))
		return true;
	for (i = 0; i < layout->holes_count; i++) {
		if (gm_range_covers(layout->holes[i].range, range))
			return true;
	}
	return false;
}

static int admit_device(const struct question *q)
{
	if (is_for_devices(q->layout, q->range))
		return 0;
	return forbid(q, "lies neither inside of the device bounds " GMI_RANGE_FORMAT " nor inside of one hole",
		      GMI_RANGE_ARGS(q->layout->device));
}

static int admit_dax(const struct question *q)
{
	if (is_for_devices(q->layout, q->range))
		return admit_usable(q);
	if (gm_range_covers(q->layout->memory, q->range))
		return admit_ram(q);
	return forbid(q,
		      "lies neither inside of the memory bounds " GMI_RANGE_FORMAT
		      ", nor of the device bounds " GMI_RANGE_FORMAT ", nor of one hole",
		      GMI_RANGE_ARGS(q->layout->memory), GMI_RANGE_ARGS(q->layout->device));
}

static int admit_physical(const struct question *q)
{
	if (gm_range_covers(q->layout->physical, q->range))
		return 0;
	return forbid(q, "reaches outside of the physical bounds " GMI_RANGE_FORMAT,
		      GMI_RANGE_ARGS(q->layout->physical));
}

GMI_PUBLIC int gm_layout_admits(const struct gm_layout *layout, enum gm_kind kind, struct gm_range range,
				const char *name, struct gm_error *error)
{
	const struct question q = { layout, kind, range, name, error };

	if (!gm_range_is_valid(range))
		return gmi_error(error, -EINVAL, "region '%s' " GMI_RANGE_FORMAT " ends before it begins",
				 name != NULL ? name : "unnamed", GMI_RANGE_ARGS(range));
	/* The one contradiction of a layout that would have us read past it. */
	if (layout->holes_count > GM_HOLES_MAX)
		return gmi_error(error, -EINVAL, "layout: %zu holes, which is more than %d", layout->holes_count,
				 GM_HOLES_MAX);
	switch (kind) {
	case GM_RAM:
		return admit_ram(&q);
	case GM_DEVICE:
		return admit_device(&q);
	case GM_DAX:
		return admit_dax(&q);
	case GM_FIRMWARE:
	case GM_RESERVED:
		return admit_physical(&q);
	case GM_KINDS:
		break;
	}
	return gmi_error(error, -EINVAL, "region '%s' " GMI_RANGE_FORMAT " is of kind %d, which is none",
			 name != NULL ? name : "unnamed", GMI_RANGE_ARGS(range), (int)kind);
}

/* The whole pages of [first, last]. False when there is none. */
static bool whole_pages(uint64_t first, uint64_t last, struct gm_range *ret_range)
{
	struct gm_gpa up;

	if (last != UINT64_MAX) {
		uint64_t pages = (last + 1) & ~(uint64_t)(GM_PAGE_BYTES - 1);

		if (pages == 0)
			return false;
		last = pages - 1;
	}
	if (gm_gpa_align_up(gm_gpa(first), GM_PAGE_BYTES, &up) != 0 || up.value > last)
		return false;
	ret_range->first = up;
	ret_range->last = gm_gpa(last);
	return true;
}

size_t gmi_layout_gaps(const struct gm_layout *layout, struct gm_range gaps[GM_HOLES_MAX + 1])
{
	uint64_t first = layout->memory.first.value;
	uint64_t last = GMI_MIN(layout->memory.last.value, layout->usable_last.value);
	size_t count = 0, i;

	for (i = 0; i < layout->holes_count; i++) {
		struct gm_range hole = layout->holes[i].range;

		if (hole.first.value > last)
			break;
		if (hole.first.value > first && whole_pages(first, hole.first.value - 1, &gaps[count]))
			count++;
		if (hole.last.value >= last)
			return count;
		first = hole.last.value + 1;
	}
	if (whole_pages(first, last, &gaps[count]))
		count++;
	return count;
}
