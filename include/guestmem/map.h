/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Maps (provider side): an immutable set of regions, sorted by address, without overlaps. Nothing in a map changes after it
 * is built. A fixed map comes from gm_map_new(); a space publishes one map after the other, and gm_space_map() gives the
 * current one.
 *
 * A region that a map returns is borrowed: it lives as long as the reference on the map does. Take gm_region_ref() to keep it.
 *
 * Context of all functions: any thread, any number at once; they never block but where it is said.
 */
#ifndef GUESTMEM_MAP_H
#define GUESTMEM_MAP_H

#include <stddef.h>
#include <stdint.h>

#include <guestmem/address.h>
#include <guestmem/error.h>
#include <guestmem/layout.h>
#include <guestmem/memory.h>
#include <guestmem/region.h>

GM_BEGIN_DECLS

struct gm_map;

/* Regions of one map. KVM takes 32 764; the rest is for devices and for guests behind other hypervisors. */
#define GM_REGIONS_MAX 262144

/**
 * gm_map_new - a fixed map of these regions
 * @layout: rules to check against; NULL for none
 * @regions, @count: in any order, 0 to GM_REGIONS_MAX; a reference is taken on each
 *
 * Context: allocates. O(n log n).
 * Return: 0 and one reference in *@ret_map, or
 *	-EEXIST		two regions overlap, or have the same name, or show the same bytes of a file without GM_REGION_ALIAS
 *	-ERANGE		the layout forbids one
 *	-E2BIG		more than GM_REGIONS_MAX
 *	-ENOMEM
 */
GM_CHECKED int gm_map_new(const struct gm_layout *layout, struct gm_region *const *regions, size_t count,
			  struct gm_map **ret_map, struct gm_error *error);

/* Context: ref never blocks; the last unref may unmap. unref accepts NULL. */
const struct gm_map *gm_map_ref(const struct gm_map *map);
void gm_map_unref(const struct gm_map *map);

/**
 * gm_map_memory - a memory on a fixed map, for devices
 * @kinds: which kinds of regions devices may reach: GM_ONLY_RAM, GM_RAM_AND_DAX, or any other set
 *
 * Takes a reference on the map; for a map that a space published, devices keep that snapshot.
 * Return: 0 and one reference; -EINVAL for a set that is empty, unknown, or has GM_RESERVED; -ENOMEM.
 */
GM_CHECKED int gm_map_memory(const struct gm_map *map, unsigned kinds, struct gm_memory **ret_memory);

/* Unique among all maps of the process, ever. Compare maps by it, never by address: an address comes back. */
uint64_t gm_map_generation(const struct gm_map *map);
size_t gm_map_count(const struct gm_map *map);

/* The region at @address, or NULL. O(log n). With gm_region_prot(), _numa_node() (the
 * host's), _is_dax() this answers what holds there. */
const struct gm_region *gm_map_find(const struct gm_map *map, struct gm_gpa address);
/* The first region that reaches to @address or beyond; NULL when there is none. O(log n). */
const struct gm_region *gm_map_find_next(const struct gm_map *map, struct gm_gpa address);
/* The region after @previous in the order of addresses; NULL: the first one. NULL at the end. O(log n). */
const struct gm_region *gm_map_next(const struct gm_map *map, const struct gm_region *previous);
/* The region of that name, or NULL. O(n); gm_space_find() is O(log n). */
const struct gm_region *gm_map_find_name(const struct gm_map *map, const char *name);

/**
 * gm_map_find_hva - the guest physical address of a host virtual one
 *
 * O(n). Return: 0, or -ENOENT when no region of the map is mapped at @hva, and *@ret_address untouched.
 */
GM_CHECKED int gm_map_find_hva(const struct gm_map *map, const void *hva, struct gm_gpa *ret_address);

/* The last address of the highest region that is not a dax window. Return: 0; -ENOENT when there is none. */
GM_CHECKED int gm_map_last(const struct gm_map *map, struct gm_gpa *ret_last);

/**
 * gm_map_span, gm_map_gap - take a range apart into pieces that are covered, and pieces that are not
 * @within: where to look
 * @ret_range: the first such piece inside @within. A span is of one region
 * @ret_region: the region of that span
 *
 * To walk, go on with @within.first one behind @ret_range.last, until that is @within.last. O(log n) each, gaps O(log n + regions passed).
 * Return: 0; -ENOENT when there is none (any more).
 */
GM_CHECKED int gm_map_span(const struct gm_map *map, struct gm_range within, struct gm_range *ret_range,
			   const struct gm_region **ret_region);
GM_CHECKED int gm_map_gap(const struct gm_map *map, struct gm_range within, struct gm_range *ret_range);

GM_END_DECLS

#endif
