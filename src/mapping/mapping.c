/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The life of a mapping: made step by step, undone by one ladder. The order of the steps matters: advice and NUMA
 * policy say where pages are to come from, so both stand before anything that makes pages (populating, locking).
 */
#include "mapping/mapping.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/base.h"
#include "sys/memory.h"
#include "sys/mmap.h"

int gmi_region_error(const struct gm_region_opts *opts, struct gm_error *error, int code, const char *format, ...)
{
	char text[GM_ERROR_TEXT_MAX];
	struct gm_range range;
	va_list args;

	if (error == NULL)
		return code;
	va_start(args, format);
	if (vsnprintf(text, sizeof(text), format, args) < 0)
		text[0] = '\0';
	va_end(args);
	if (gm_range_make(opts->first, opts->bytes, &range) != 0)
		return gmi_error(error, code, "%s region '%s' at 0x%llx: %s", gm_kind_name(opts->kind), opts->name,
				 (unsigned long long)opts->first.value, text);
	return gmi_error(error, code, "%s region '%s' " GMI_RANGE_FORMAT ": %s", gm_kind_name(opts->kind), opts->name,
			 GMI_RANGE_ARGS(range), text);
}

static int advise_one(const struct gmi_mapping *mapping, const struct gm_region_opts *opts, bool wanted, int advice,
		      const char *what, struct gm_error *error)
{
	int r;

	if (!wanted)
		return 0;
	r = gmi_madvise(mapping->hva, mapping->mapped_bytes, advice);
	/* A kernel without transparent huge pages does not know these two; they are advice. */
	if (r == -EINVAL && (advice == MADV_HUGEPAGE || advice == MADV_NOHUGEPAGE))
		return 0;
	if (r != 0)
		return gmi_region_error(opts, error, r, "madvise %s: %s", what, strerror(-r));
	return 0;
}

static int advise(const struct gmi_mapping *mapping, const struct gm_region_opts *opts, struct gm_error *error)
{
	int r = 0;

	/* The guards too: a child would keep them as holes in its address space. */
	if (!(opts->flags & GM_REGION_FORK))
		r = gmi_madvise(mapping->reservation, mapping->reservation_bytes, MADV_DONTFORK);
	if (r != 0)
		return gmi_region_error(opts, error, r, "madvise DONTFORK: %s", strerror(-r));
	r = advise_one(mapping, opts, opts->flags & GM_REGION_DONTDUMP, MADV_DONTDUMP, "DONTDUMP", error);
	if (r == 0)
		r = advise_one(mapping, opts, opts->huge == GM_HUGE_TRANSPARENT, MADV_HUGEPAGE, "HUGEPAGE", error);
	if (r == 0)
		r = advise_one(mapping, opts, opts->huge == GM_HUGE_NEVER, MADV_NOHUGEPAGE, "NOHUGEPAGE", error);
	return r;
}

/*
 * After the policy, and not as a flag of mmap(2): that one locks before a policy can be set, and keeps failures to
 * itself.
 */
static int lock(const struct gmi_mapping *mapping, const struct gm_region_opts *opts, struct gm_error *error)
{
	int r;

	if (!(opts->mmap_flags & MAP_LOCKED))
		return 0;
	r = gmi_mlock(mapping->hva, mapping->mapped_bytes);
	if (r == -ENOMEM && mapping->hugetlb)
		return gmi_hugepages_short(mapping, opts, error);
	if (r != 0)
		return gmi_region_error(opts, error, r, "locking %llu bytes in memory: %s",
					(unsigned long long)mapping->mapped_bytes, strerror(-r));
	return 0;
}

/* The caller's memory: nothing to make, and nothing that could fail. */
static void adopt(struct gmi_mapping *mapping, const struct gm_region_opts *opts)
{
	mapping->hva = opts->hva;
	mapping->release = opts->release;
	mapping->opaque = opts->opaque;
}

static int make(struct gmi_mapping *mapping, const struct gm_region_opts *opts, const struct gmi_nodes *nodes,
		struct gmi_folders *folders, struct gm_error *error)
{
	int r;

	if (opts->source == GM_SOURCE_POINTER) {
		adopt(mapping, opts);
		return 0;
	}
	r = gmi_source_open(mapping, opts, folders, error);
	if (r == 0)
		r = gmi_place(mapping, opts, error);
	if (r == 0)
		r = advise(mapping, opts, error);
	if (r == 0)
		r = gmi_bind(mapping, opts, nodes, error);
	if (r == 0 && (opts->flags & GM_REGION_PREALLOC))
		r = gmi_populate(mapping, opts, error);
	if (r == 0)
		r = lock(mapping, opts, error);
	return r;
}

int gmi_mapping_new(const struct gm_region_opts *opts, const struct gmi_nodes *nodes, struct gmi_mapping **ret_mapping,
		    struct gm_error *error)
{
	struct gmi_folders folders = { 0 };
	struct gmi_mapping *mapping = gmi_alloc(sizeof(*mapping));
	int r = 0;

	if (mapping == NULL)
		return gmi_region_error(opts, error, -ENOMEM, "no memory for its description");
	mapping->fd = -1;
	mapping->bytes = opts->bytes;
	mapping->huge = opts->huge;
	mapping->page_bytes = gmi_page_bytes();
	mapping->policed = true;
	if (opts->path != NULL) {
		mapping->path = gmi_strdup(opts->path);
		if (mapping->path == NULL)
			r = gmi_region_error(opts, error, -ENOMEM, "no memory for its path");
	}
	if (r == 0)
		r = make(mapping, opts, nodes, &folders, error);
	gmi_folders_end(&folders, r != 0);
	if (r != 0) {
		gmi_mapping_free(mapping);
		return r;
	}
	*ret_mapping = mapping;
	return 0;
}

void gmi_mapping_free(struct gmi_mapping *mapping)
{
	if (mapping == NULL)
		return;
	gmi_munmap(mapping->reservation, mapping->reservation_bytes);
	gmi_close(mapping->fd);
	if (mapping->release != NULL)
		mapping->release(mapping->opaque, mapping->hva, mapping->bytes);
	gmi_free(mapping->path);
	gmi_free(mapping);
}
