/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#include "map/conflict.h"

#include "base/base.h"

static int compare(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

int gmi_region_compare_files(const struct gm_region *a, const struct gm_region *b)
{
	int r = compare(!a->file_known, !b->file_known);

	r = r ? r : compare(a->file_device, b->file_device);
	r = r ? r : compare(a->file_inode, b->file_inode);
	return r ? r : compare(a->file_offset, b->file_offset);
}

bool gmi_region_shares_bytes(const struct gm_region *a, const struct gm_region *b)
{
	/* gm_region_new() saw to it that file_offset plus the size does not wrap. */
	uint64_t a_last = a->file_offset + (a->range.last.value - a->range.first.value);
	uint64_t b_last = b->file_offset + (b->range.last.value - b->range.first.value);

	return a->file_known && b->file_known && a->file_device == b->file_device && a->file_inode == b->file_inode &&
	       a->file_offset <= b_last && b->file_offset <= a_last;
}

int gmi_region_overlap_error(const struct gm_region *region, const struct gm_region *there, struct gm_error *error)
{
	return gmi_error(error, -EEXIST,
			 "%s region '%s' " GMI_RANGE_FORMAT " overlaps %s region '%s' " GMI_RANGE_FORMAT,
			 gm_kind_name(region->kind), region->name, GMI_RANGE_ARGS(region->range),
			 gm_kind_name(there->kind), there->name, GMI_RANGE_ARGS(there->range));
}

int gmi_region_name_error(const struct gm_region *region, const struct gm_region *there, struct gm_error *error)
{
	return gmi_error(error, -EEXIST,
			 "%s region '%s' " GMI_RANGE_FORMAT ": the name is that of the %s region at " GMI_RANGE_FORMAT,
			 gm_kind_name(region->kind), region->name, GMI_RANGE_ARGS(region->range),
			 gm_kind_name(there->kind), GMI_RANGE_ARGS(there->range));
}

int gmi_region_alias_error(const struct gm_region *region, const struct gm_region *there, struct gm_error *error)
{
	return gmi_error(error, -EEXIST,
			 "%s region '%s' " GMI_RANGE_FORMAT " shows bytes from 0x%llx of the file that region '%s' "
			 "shows from 0x%llx: allow it with GM_REGION_ALIAS, or choose other bytes",
			 gm_kind_name(region->kind), region->name, GMI_RANGE_ARGS(region->range),
			 (unsigned long long)region->file_offset, there->name, (unsigned long long)there->file_offset);
}
