/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The life of a region: options in, one object out, undone by one ladder; then a count of references until the last one
 * takes it down. Which options fit together is check.c's; where the bytes come from is the mapping layer's.
 */
#include "region/region.h"

#include <string.h>

#include <guestmem/dirty.h>

#include "base/base.h"
#include "guard/guard.h"
#include "mapping/mapping.h"
#include "sys/memory.h"

static void destroy(struct gm_region *region)
{
	gm_dirty_free(region->dirty);
	gmi_guard_remove(region->guarded);
	gmi_mapping_free(region->mapping);
	if (region->release != NULL)
		region->release(region->opaque, NULL, gm_region_bytes(region));
	gmi_free(region->nodes);
	gmi_free_line(region);
}

static void describe(struct gm_region *region, const struct gm_region_opts *opts)
{
	region->range.first = opts->first;
	region->range.last = gm_gpa_add_wrapping(opts->first, opts->bytes - 1);
	region->kind = (uint8_t)opts->kind;
	region->source = (uint8_t)opts->source;
	region->prot = (uint16_t)opts->prot;
	region->flags = opts->flags;
	region->tag = opts->tag;
	region->numa_policy = (uint8_t)opts->numa_policy;
	if (opts->source == GM_SOURCE_CALLBACKS) {
		region->io = *opts->io;
		region->opaque = opts->opaque;
	}
	memcpy(region->name, opts->name, strlen(opts->name) + 1);
}

static int set_nodes(struct gm_region *region, const struct gm_region_opts *opts)
{
	if (opts->numa_nodes_count == 0)
		return 0;
	region->nodes = gmi_alloc(sizeof(*region->nodes));
	if (region->nodes == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < opts->numa_nodes_count; i++)
		gmi_nodes_add(region->nodes, (unsigned)opts->numa_nodes[i]);
	return 0;
}

/* What lookups read of the mapping, copied to where they read it. */
static void show_mapping(struct gm_region *region)
{
	const struct gmi_mapping *mapping = region->mapping;

	region->hva = mapping->hva + mapping->lead;
	if (region->kind != GM_DEVICE) {
		/* Mapped regions are whole pages, so 8 bytes fit into each. */
		region->room = gm_region_bytes(region) - 7;
		region->readable = region->prot & GM_READ ? (uint8_t)GM_KIND_BIT(region->kind) : 0;
		region->writable = region->prot & GM_WRITE ? (uint8_t)GM_KIND_BIT(region->kind) : 0;
	}
	region->file_known = mapping->file_known;
	region->file_device = mapping->file_device;
	region->file_inode = mapping->file_inode;
	region->file_offset = mapping->fd_offset;
}

/* What is mapped by us may be replaced by us; a caller's memory is not ours to replace. */
static int guard(struct gm_region *region, const struct gm_region_opts *opts, struct gm_error *error)
{
	const struct gmi_mapping *mapping = region->mapping;
	struct gmi_guarded_opts guarded = {
		.hva = mapping->hva,
		.bytes = mapping->mapped_bytes,
		.lead = mapping->lead,
		.region_bytes = mapping->bytes,
		.page_bytes = mapping->page_bytes,
		.prot = region->prot,
		.forked = (opts->flags & GM_REGION_FORK) != 0,
		.first = region->range.first.value,
		.tag = region->tag,
		.name = region->name,
	};
	int r;

	if (opts->source == GM_SOURCE_POINTER)
		return 0;
	r = gmi_guard_add(&guarded, &region->guarded);
	if (r != 0)
		return gmi_region_error(opts, error, r, "no memory for its guard");
	if (region->guarded != NULL) {
		region->guarded_room = region->room;
		region->room = 0;
	}
	return 0;
}

static int make(struct gm_region *region, const struct gm_region_opts *opts, struct gm_error *error)
{
	int r;

	r = set_nodes(region, opts);
	if (r == 0 && opts->dirty_page_bytes != 0)
		r = gm_dirty_new(opts->bytes, 0, opts->dirty_page_bytes, &region->dirty);
	if (r != 0)
		return gmi_region_error(opts, error, r, "no memory for its nodes or its dirty log");
	if (opts->source == GM_SOURCE_NONE || opts->source == GM_SOURCE_CALLBACKS)
		return 0;
	/* Last, as it is the one that nothing may fail after: a caller's memory is not to be released then. (It is not guarded.) */
	r = gmi_mapping_new(opts, region->nodes, &region->mapping, error);
	if (r != 0)
		return r;
	show_mapping(region);
	return guard(region, opts, error);
}

GMI_PUBLIC int gm_region_new(const struct gm_region_opts *caller_opts, struct gm_region **ret_region,
			     struct gm_error *error)
{
	struct gm_region_opts opts;
	struct gm_region *region;
	int r;

	if (caller_opts == NULL || ret_region == NULL)
		return gmi_error(error, -EINVAL, "region without options or without a place for the result");
	r = gmi_copy_options(&opts, sizeof(opts), caller_opts);
	if (r != 0)
		return gmi_error(error, r,
				 r == -E2BIG ? "region options of a newer library"
					     : "region options without their size");
	r = gmi_region_check(&opts, error);
	if (r != 0)
		return r;
	region = gmi_alloc_line(sizeof(*region));
	if (region == NULL)
		return gmi_region_error(&opts, error, -ENOMEM, "no memory for its description");
	describe(region, &opts);
	region->references = 1;
	r = make(region, &opts, error);
	if (r != 0) {
		destroy(region);
		return r;
	}
	/* From here on: a constructor that fails does not release. That of mapped memory is the mapping's. */
	if (opts.source == GM_SOURCE_CALLBACKS)
		region->release = opts.release;
	*ret_region = region;
	return 0;
}

GMI_PUBLIC struct gm_region *gm_region_ref(const struct gm_region *borrowed)
{
	/* A map lends it as const: nobody is to change it. Its count is not part of that. */
	struct gm_region *region = (struct gm_region *)(uintptr_t)borrowed;

	/* Whoever has a reference may make another; nothing needs to be ordered for that. */
	(void)__atomic_fetch_add(&region->references, 1, __ATOMIC_RELAXED);
	return region;
}

GMI_PUBLIC void gm_region_unref(struct gm_region *region)
{
	if (region == NULL)
		return;
	/*
	 * Release: what this holder did to the memory is done; acquire: and so is what the others did, before it goes.
	 */
	if (__atomic_fetch_sub(&region->references, 1, __ATOMIC_ACQ_REL) == 1)
		destroy(region);
}
