/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Fixed maps: built once from an array, checked as a whole. The queries of all maps are in query.c. */
#include <guestmem/map.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "map/conflict.h"
#include "map/map.h"
#include "sys/memory.h"

static int by_first(const void *a, const void *b)
{
	return gm_gpa_compare((*(struct gm_region *const *)a)->range.first,
			      (*(struct gm_region *const *)b)->range.first);
}

static int by_name(const void *a, const void *b)
{
	return strcmp((*(struct gm_region *const *)a)->name, (*(struct gm_region *const *)b)->name);
}

static int by_file(const void *a, const void *b)
{
	return gmi_region_compare_files(*(struct gm_region *const *)a, *(struct gm_region *const *)b);
}

/* Regions that allow aliases are left out: so those that are left must not share any byte, and comparing neighbours will do. */
static int check_files(struct gm_region **sorted, size_t count, struct gm_error *error)
{
	const struct gm_region *previous = NULL;
	size_t i;

	qsort(sorted, count, sizeof(*sorted), by_file);
	for (i = 0; i < count; i++) {
		if (!sorted[i]->file_known || (sorted[i]->flags & GM_REGION_ALIAS))
			continue;
		if (previous != NULL && gmi_region_shares_bytes(previous, sorted[i]))
			return gmi_region_alias_error(sorted[i], previous, error);
		previous = sorted[i];
	}
	return 0;
}

static int check_all(const struct gm_layout *layout, struct gm_region **sorted, size_t count, struct gm_error *error)
{
	size_t i;
	int r;

	qsort(sorted, count, sizeof(*sorted), by_name);
	for (i = 1; i < count; i++) {
		if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
			return gmi_region_name_error(sorted[i], sorted[i - 1], error);
	}
	r = check_files(sorted, count, error);
	if (r < 0)
		return r;
	qsort(sorted, count, sizeof(*sorted), by_first);
	for (i = 0; i < count; i++) {
		if (i > 0 && gm_region_intersects(sorted[i - 1], sorted[i]))
			return gmi_region_overlap_error(sorted[i], sorted[i - 1], error);
		r = layout ? gm_layout_admits(layout, gm_region_kind(sorted[i]), sorted[i]->range, sorted[i]->name,
					      error)
			   : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

/* Regions are sorted and checked. */
static int build(struct gm_region **sorted, size_t count, struct gm_map **ret_map)
{
	struct gm_map *map = gmi_alloc(sizeof(*map));
	struct gmi_builder builder;
	size_t i;

	if (map == NULL)
		return -ENOMEM;
	map->head.generation = gmi_next_generation();
	gmi_builder_begin(&builder, map->head.generation, NULL, 0);
	for (i = 0; i < count; i++) {
		if (gmi_builder_insert(&builder, sorted[i]) < 0) {
			gmi_builder_abort(&builder);
			gmi_free(map);
			return -ENOMEM;
		}
	}
	(void)gmi_builder_finish(&builder);
	for (i = 0; i < count; i++)
		(void)gm_region_ref(sorted[i]);
	map->root = builder.root;
	map->count = count;
	map->references = 1;
	*ret_map = map;
	return 0;
}

GMI_PUBLIC int gm_map_new(const struct gm_layout *layout, struct gm_region *const *regions, size_t count,
			  struct gm_map **ret_map, struct gm_error *error)
{
	struct gm_region **sorted;
	size_t i;
	int r;

	if (count > GM_REGIONS_MAX)
		return gmi_error(error, -E2BIG, "a map of %zu regions: at most %u may stand in one", count,
				 GM_REGIONS_MAX);
	for (i = 0; i < count; i++) {
		if (regions[i] == NULL)
			return gmi_error(error, -EINVAL, "entry %zu of the list of regions is NULL", i);
	}
	r = layout ? gm_layout_check(layout, error) : 0;
	if (r < 0)
		return r;
	sorted = gmi_alloc_array(count, sizeof(*sorted));
	if (sorted == NULL)
		return gmi_error(error, -ENOMEM, "no memory for a map of %zu regions", count);
	if (count > 0)
		memcpy(sorted, regions, count * sizeof(*sorted));
	r = check_all(layout, sorted, count, error);
	if (r == 0) {
		r = build(sorted, count, ret_map);
		if (r < 0)
			gmi_error(error, r, "no memory for a map of %zu regions", count);
	}
	gmi_free(sorted);
	return r;
}

GMI_PUBLIC const struct gm_map *gm_map_ref(const struct gm_map *map)
{
	/* The counts are the one part of a map that changes; callers have no business with that. */
	struct gm_map *counted = (struct gm_map *)(uintptr_t)map;

	if (__atomic_fetch_add(&counted->references, 1, __ATOMIC_RELAXED) == 0)
		counted->owner->held(counted);
	return map;
}

static void free_fixed(struct gm_map *map)
{
	const struct gm_region *region = gm_map_next(map, NULL), *next;

	for (; region != NULL; region = next) {
		next = gm_map_next(map, region);
		gm_region_unref((struct gm_region *)(uintptr_t)region);
	}
	gmi_tree_free(map->root);
	gmi_free(map);
}

GMI_PUBLIC void gm_map_unref(const struct gm_map *map)
{
	struct gm_map *counted = (struct gm_map *)(uintptr_t)map;
	const struct gmi_map_owner *owner;

	if (map == NULL)
		return;
	/* Read before: a space may reclaim the map as soon as the count is 0. */
	owner = counted->owner;
	if (owner != NULL) {
		owner->dropped(counted);
		return;
	}
	if (__atomic_fetch_sub(&counted->references, 1, __ATOMIC_ACQ_REL) == 1)
		free_fixed(counted);
}

static void unref_owner(void *map)
{
	gm_map_unref(map);
}

GMI_PUBLIC int gm_map_memory(const struct gm_map *map, unsigned kinds, struct gm_memory **ret_memory)
{
	int r = gmi_memory_new(kinds, NULL, map, NULL, (void *)(uintptr_t)map, unref_owner, ret_memory);

	if (r == 0)
		(void)gm_map_ref(map);
	return r;
}
