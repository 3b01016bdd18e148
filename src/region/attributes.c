/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* What a region says of itself. A region is immutable, so these are plain reads. */
#include "base/base.h"
#include "guard/guard.h"
#include "mapping/mapping.h"
#include "region/region.h"

GMI_PUBLIC const char *gm_region_name(const struct gm_region *region)
{
	return region->name;
}

GMI_PUBLIC enum gm_kind gm_region_kind(const struct gm_region *region)
{
	return (enum gm_kind)region->kind;
}

GMI_PUBLIC enum gm_source gm_region_source(const struct gm_region *region)
{
	return (enum gm_source)region->source;
}

GMI_PUBLIC struct gm_range gm_region_range(const struct gm_region *region)
{
	return region->range;
}

GMI_PUBLIC struct gm_gpa gm_region_first(const struct gm_region *region)
{
	return region->range.first;
}

GMI_PUBLIC struct gm_gpa gm_region_last(const struct gm_region *region)
{
	return region->range.last;
}

/* Never the 0 that stands for 2^64: a region has at most 2^64-1 bytes. */
GMI_PUBLIC uint64_t gm_region_bytes(const struct gm_region *region)
{
	return gm_range_bytes(region->range);
}

GMI_PUBLIC unsigned gm_region_prot(const struct gm_region *region)
{
	return region->prot;
}

GMI_PUBLIC unsigned gm_region_flags(const struct gm_region *region)
{
	return region->flags;
}

GMI_PUBLIC bool gm_region_is_hotplug(const struct gm_region *region)
{
	return (region->flags & GM_REGION_HOTPLUG) != 0;
}

GMI_PUBLIC bool gm_region_is_dax(const struct gm_region *region)
{
	return region->kind == GM_DAX;
}

GMI_PUBLIC uint64_t gm_region_tag(const struct gm_region *region)
{
	return region->tag;
}

GMI_PUBLIC void *gm_region_hva(const struct gm_region *region)
{
	return region->hva;
}

GMI_PUBLIC int gm_region_fd(const struct gm_region *region)
{
	return region->mapping ? region->mapping->fd : -1;
}

GMI_PUBLIC uint64_t gm_region_fd_offset(const struct gm_region *region)
{
	return region->mapping ? region->mapping->fd_offset : 0;
}

GMI_PUBLIC const char *gm_region_path(const struct gm_region *region)
{
	return region->mapping ? region->mapping->path : NULL;
}

GMI_PUBLIC int gm_region_mmap_flags(const struct gm_region *region)
{
	return region->mapping ? region->mapping->mmap_flags : 0;
}

GMI_PUBLIC bool gm_region_is_shareable(const struct gm_region *region)
{
	return region->mapping != NULL && region->mapping->shared;
}

GMI_PUBLIC enum gm_huge gm_region_huge(const struct gm_region *region)
{
	return region->mapping ? region->mapping->huge : GM_HUGE_DEFAULT;
}

GMI_PUBLIC uint64_t gm_region_page_bytes(const struct gm_region *region)
{
	return region->mapping ? region->mapping->page_bytes : 0;
}

GMI_PUBLIC enum gm_numa_policy gm_region_numa_policy(const struct gm_region *region)
{
	return (enum gm_numa_policy)region->numa_policy;
}

GMI_PUBLIC int gm_region_numa_node(const struct gm_region *region)
{
	return region->nodes ? gmi_nodes_lowest(region->nodes) : -1;
}

GMI_PUBLIC bool gm_region_has_numa_node(const struct gm_region *region, int node)
{
	return region->nodes != NULL && node >= 0 && gmi_nodes_has(region->nodes, (unsigned)node);
}

GMI_PUBLIC int gm_region_numa_result(const struct gm_region *region)
{
	return region->mapping ? region->mapping->numa_result : 0;
}

GMI_PUBLIC struct gm_dirty *gm_region_dirty(const struct gm_region *region)
{
	return region->dirty;
}

GMI_PUBLIC bool gm_region_intersects(const struct gm_region *a, const struct gm_region *b)
{
	return gm_range_intersects(a->range, b->range);
}

GMI_PUBLIC bool gm_region_contains(const struct gm_region *region, struct gm_gpa address)
{
	return gm_range_contains(region->range, address);
}

GMI_PUBLIC bool gm_region_is_guarded(const struct gm_region *region)
{
	return region->guarded != NULL;
}

GMI_PUBLIC uint64_t gm_region_faults(const struct gm_region *region)
{
	return region->guarded != NULL ? __atomic_load_n(&region->guarded->faults, __ATOMIC_RELAXED) : 0;
}
