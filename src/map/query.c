/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* What can be asked of a map. Pure functions of an immutable object. */
#include <string.h>

#include <guestmem/map.h>

#include "base/base.h"
#include "map/map.h"

GMI_PUBLIC uint64_t gm_map_generation(const struct gm_map *map)
{
	return map->head.generation;
}

GMI_PUBLIC size_t gm_map_count(const struct gm_map *map)
{
	return map->count;
}

/* @region: the one with the highest first address <= address, or NULL. */
static GMI_ALWAYS_INLINE struct gm_region *if_holds(struct gm_region *region, uint64_t address)
{
	return region != NULL && address <= region->range.last.value ? region : NULL;
}

GMI_SEEKING struct gm_region *gmi_map_region(const struct gm_map *map, uint64_t address)
{
	return if_holds(GM_LIKELY(address != UINT64_MAX) ? gmi_floor(map->root, address)
							 : gmi_tree_floor(map->root, address),
			address);
}

GMI_PUBLIC const struct gm_region *gm_map_find(const struct gm_map *map, struct gm_gpa address)
{
	return gmi_map_region(map, address.value);
}

GMI_PUBLIC const struct gm_region *gm_map_find_next(const struct gm_map *map, struct gm_gpa address)
{
	const struct gm_region *region = gm_map_find(map, address);

	return region != NULL ? region : gmi_tree_above(map->root, address.value);
}

GMI_PUBLIC const struct gm_region *gm_map_next(const struct gm_map *map, const struct gm_region *previous)
{
	if (previous == NULL)
		return gm_map_find_next(map, gm_gpa(0));
	return gmi_tree_above(map->root, previous->range.first.value);
}

GMI_PUBLIC const struct gm_region *gm_map_find_name(const struct gm_map *map, const char *name)
{
	const struct gm_region *region;

	for (region = gm_map_next(map, NULL); region != NULL; region = gm_map_next(map, region)) {
		if (strcmp(region->name, name) == 0)
			return region;
	}
	return NULL;
}

GMI_PUBLIC int gm_map_find_hva(const struct gm_map *map, const void *hva, struct gm_gpa *ret_address)
{
	const struct gm_region *region;
	uint64_t offset;

	for (region = gm_map_next(map, NULL); region != NULL; region = gm_map_next(map, region)) {
		offset = (uint64_t)((uintptr_t)hva - (uintptr_t)region->hva);
		/* The last offset instead of the size: the latter is 0 for a region of all 2^64 addresses. */
		if (region->hva != NULL && offset <= region->range.last.value - region->range.first.value) {
			*ret_address = gm_gpa_add_wrapping(region->range.first, offset);
			return 0;
		}
	}
	return -ENOENT;
}

GMI_PUBLIC int gm_map_last(const struct gm_map *map, struct gm_gpa *ret_last)
{
	const struct gm_region *region = gmi_tree_floor(map->root, UINT64_MAX);

	while (region != NULL && region->kind == GM_DAX)
		region = region->range.first.value > 0 ? gmi_tree_floor(map->root, region->range.first.value - 1)
						       : NULL;
	if (region == NULL)
		return -ENOENT;
	*ret_last = region->range.last;
	return 0;
}

GMI_PUBLIC int gm_map_span(const struct gm_map *map, struct gm_range within, struct gm_range *ret_range,
			   const struct gm_region **ret_region)
{
	const struct gm_region *region = gm_map_find_next(map, within.first);

	if (region == NULL || !gm_range_intersection(region->range, within, ret_range))
		return -ENOENT;
	*ret_region = region;
	return 0;
}

GMI_PUBLIC int gm_map_gap(const struct gm_map *map, struct gm_range within, struct gm_range *ret_range)
{
	const struct gm_region *region = gm_map_find_next(map, within.first);
	struct gm_range gap = within;

	while (region != NULL && region->range.first.value <= gap.first.value) {
		if (region->range.last.value >= within.last.value)
			return -ENOENT;
		gap.first = gm_gpa_add_wrapping(region->range.last, 1);
		region = gm_map_next(map, region);
	}
	if (region != NULL && region->range.first.value <= within.last.value)
		gap.last = gm_gpa_sub_wrapping(region->range.first, 1);
	*ret_range = gap;
	return 0;
}
