/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Options of a region: completed with the defaults, and every contradiction in them refused with a sentence. Pure:
 * nothing is opened, so what the machine or a file says is found out later. What a source uses stands in one table; an
 * option that it does not use must be zero, so that a caller's mistake is not silently ignored.
 */
#include <string.h>
#include <sys/mman.h>

#include <guestmem/dirty.h>

#include "base/base.h"
#include "mapping/mapping.h"
#include "region/region.h"

enum use {
	USE_PATH = 1 << 0,
	USE_FD = 1 << 1,
	USE_OFFSET = 1 << 2,
	USE_HVA = 1 << 3,
	USE_IO = 1 << 4,
	USE_OPAQUE = 1 << 5, /* and release */
	USE_HUGE = 1 << 6,
	USE_HUGE_BYTES = 1 << 7,
	USE_MAPPING = 1 << 8, /* mapped by us: mmap flags, NUMA policy, populating, DONTDUMP, FORK */
	USE_COW = 1 << 9,
	USE_ALIAS = 1 << 10,
	USE_MAPPED = 1 << 11, /* mapped, whoever did it */
	USE_BYTES =
		1 << 12, /* has bytes, so it may have a dirty log and a host node; a device's registers are not bytes */
};

#define USE_OURS (USE_MAPPED | USE_MAPPING | USE_BYTES)

static const unsigned uses[GM_SOURCES] = {
	[GM_SOURCE_NONE] = 0,
	[GM_SOURCE_ANON] = USE_OURS | USE_HUGE,
	[GM_SOURCE_HUGEANON] = USE_OURS | USE_HUGE_BYTES,
	[GM_SOURCE_MEMFD] = USE_OURS | USE_HUGE | USE_ALIAS,
	[GM_SOURCE_HUGEMEMFD] = USE_OURS | USE_HUGE_BYTES | USE_ALIAS,
	[GM_SOURCE_HUGETLBFS] = USE_OURS | USE_HUGE_BYTES | USE_ALIAS | USE_PATH,
	[GM_SOURCE_FILE] = USE_OURS | USE_HUGE | USE_ALIAS | USE_PATH | USE_OFFSET | USE_COW,
	[GM_SOURCE_FD] = USE_OURS | USE_HUGE | USE_ALIAS | USE_FD | USE_OFFSET | USE_COW,
	[GM_SOURCE_POINTER] = USE_MAPPED | USE_BYTES | USE_ALIAS | USE_HVA | USE_OPAQUE,
	[GM_SOURCE_CALLBACKS] = USE_BYTES | USE_IO | USE_OPAQUE,
};

static int bad(const struct gm_region_opts *opts, struct gm_error *error, const char *why)
{
	return gmi_region_error(opts, error, -EINVAL, "%s", why);
}

static int check_identity(const struct gm_region_opts *opts, struct gm_error *error)
{
	struct gm_range range;
	int r = gmi_check_name(opts->name, GM_NAME_MAX);

	if (r == -ENAMETOOLONG)
		return gmi_error(error, r, "region at 0x%llx: its name is longer than %d characters",
				 (unsigned long long)opts->first.value, GM_NAME_MAX - 1);
	if (r != 0)
		return gmi_error(error, r, "region at 0x%llx: its name is missing, empty or not printable ASCII",
				 (unsigned long long)opts->first.value);
	if ((unsigned)opts->kind >= GM_KINDS)
		return gmi_error(error, -EINVAL, "region '%s': %u is no kind", opts->name, (unsigned)opts->kind);
	if ((unsigned)opts->source >= GM_SOURCES)
		return bad(opts, error, "its source is none that there is");
	r = gm_range_make(opts->first, opts->bytes, &range);
	if (r == -GM_EWRAP)
		return gmi_region_error(opts, error, r, "0x%llx bytes from there pass 2^64",
					(unsigned long long)opts->bytes);
	return r != 0 ? bad(opts, error, "it has no bytes") : 0;
}

static void set_defaults(struct gm_region_opts *opts)
{
	if (opts->source == GM_SOURCE_DEFAULT) {
		if (opts->kind == GM_RAM || opts->kind == GM_FIRMWARE)
			opts->source = GM_SOURCE_MEMFD;
		else if (opts->kind == GM_DAX)
			opts->source = GM_SOURCE_ANON;
		else if (opts->kind == GM_DEVICE && opts->io != NULL)
			opts->source = GM_SOURCE_CALLBACKS;
		else
			opts->source = GM_SOURCE_NONE;
	}
	if (opts->prot == 0 && opts->kind != GM_RESERVED)
		opts->prot = opts->kind == GM_FIRMWARE ? GM_READ : GM_READ | GM_WRITE;
}

static int check_kind(const struct gm_region_opts *opts, struct gm_error *error)
{
	const char *source = gm_source_name(opts->source);

	if (opts->kind == GM_RESERVED && opts->source != GM_SOURCE_NONE)
		return gmi_region_error(opts, error, -EINVAL, "a reserved region has no bytes, so no source '%s'",
					source);
	if (opts->kind == GM_DEVICE && opts->source != GM_SOURCE_NONE && opts->source != GM_SOURCE_CALLBACKS)
		return gmi_region_error(opts, error, -EINVAL, "a device's registers have no bytes, so no source '%s'",
					source);
	if (opts->kind != GM_RESERVED && opts->kind != GM_DEVICE && opts->source == GM_SOURCE_NONE)
		return bad(opts, error, "its bytes have to come from somewhere: its source is 'none'");
	return 0;
}

/* Each option that @opts sets and its source does not use. */
static int check_unused(const struct gm_region_opts *opts, unsigned use, struct gm_error *error)
{
	const struct {
		unsigned use;
		bool set;
		const char *option;
	} options[] = {
		{ USE_PATH, opts->path != NULL, "path" },
		{ USE_FD, opts->fd != 0 && opts->fd != -1, "fd" },
		{ USE_OFFSET, opts->fd_offset != 0, "fd_offset" },
		{ USE_HVA, opts->hva != NULL, "hva" },
		{ USE_OPAQUE, opts->release != NULL, "release" },
		{ USE_IO, opts->io != NULL, "io" },
		{ USE_OPAQUE, opts->opaque != NULL, "opaque" },
		{ USE_HUGE, opts->huge != GM_HUGE_DEFAULT, "huge" },
		{ USE_HUGE_BYTES, opts->huge_bytes != 0, "huge_bytes" },
		{ USE_MAPPING, opts->mmap_flags != 0, "mmap_flags" },
		{ USE_MAPPING, opts->numa_policy != GM_NUMA_DEFAULT, "numa_policy" },
		{ USE_MAPPING, opts->prealloc_threads != 0, "prealloc_threads" },
		{ USE_MAPPING, opts->progress != NULL, "progress" },
		{ USE_MAPPING, opts->progress_opaque != NULL, "progress_opaque" },
		{ USE_MAPPING, opts->flags & GM_REGION_PREALLOC, "GM_REGION_PREALLOC" },
		{ USE_MAPPING, opts->flags & GM_REGION_DONTDUMP, "GM_REGION_DONTDUMP" },
		{ USE_MAPPING, opts->flags & GM_REGION_FORK, "GM_REGION_FORK" },
		{ USE_MAPPING, opts->flags & GM_REGION_NUMA_STRICT, "GM_REGION_NUMA_STRICT" },
		{ USE_COW, opts->flags & GM_REGION_COW, "GM_REGION_COW" },
		{ USE_COW, opts->flags & GM_REGION_TAIL, "GM_REGION_TAIL" },
		{ USE_ALIAS, opts->flags & GM_REGION_ALIAS, "GM_REGION_ALIAS" },
		{ USE_BYTES, opts->dirty_page_bytes != 0, "dirty_page_bytes" },
		{ USE_BYTES, opts->numa_nodes_count != 0, "numa_nodes" },
	};

	for (size_t i = 0; i < GMI_COUNT(options); i++) {
		if (options[i].set && !(use & options[i].use))
			return gmi_region_error(opts, error, -EINVAL, "%s with source '%s' does not use %s",
						gm_kind_name(opts->kind), gm_source_name(opts->source),
						options[i].option);
	}
	return 0;
}

static int check_bits(const struct gm_region_opts *opts, struct gm_error *error)
{
	if (opts->prot & ~(GM_READ | GM_WRITE | GM_EXEC))
		return bad(opts, error, "its protection has bits that mean nothing");
	if (opts->flags & ~GM_REGION_FLAGS_ALL)
		return bad(opts, error, "its flags have bits that mean nothing");
	if (opts->mmap_flags & ~(MAP_NORESERVE | MAP_LOCKED))
		return bad(opts, error, "only MAP_NORESERVE and MAP_LOCKED may be asked for");
	if ((unsigned)opts->huge > GM_HUGE_NEVER)
		return bad(opts, error, "its choice of transparent huge pages is none that there is");
	if (opts->huge_bytes != 0 && (!gm_is_power_of_2(opts->huge_bytes) || opts->huge_bytes <= GM_PAGE_BYTES))
		return bad(opts, error, "its huge-page size is not a power of two above a page");
	return 0;
}

static int check_mapped(const struct gm_region_opts *opts, unsigned use, struct gm_error *error)
{
	uint64_t last;

	if (!(use & USE_MAPPED))
		return 0;
	if (opts->first.value % GM_PAGE_BYTES != 0)
		return bad(opts, error, "its first address is not a multiple of 4 KiB");
	if (opts->bytes % GM_PAGE_BYTES != 0)
		return bad(opts, error, "its size is not a multiple of 4 KiB");
	if (opts->huge_bytes != 0 && opts->bytes % opts->huge_bytes != 0)
		return bad(opts, error, "its size is not a multiple of its huge pages");
	if ((use & USE_PATH) && (opts->path == NULL || opts->path[0] == '\0'))
		return bad(opts, error, "its source needs a path");
	if (__builtin_add_overflow(opts->fd_offset, opts->bytes - 1, &last))
		return gmi_region_error(opts, error, -GM_EWRAP, "0x%llx bytes from file offset 0x%llx pass 2^64",
					(unsigned long long)opts->bytes, (unsigned long long)opts->fd_offset);
	if (opts->fd_offset % GM_PAGE_BYTES != 0)
		return bad(opts, error, "its file offset is not a multiple of 4 KiB");
	if ((use & USE_HVA) && (opts->hva == NULL || (uintptr_t)opts->hva % 8 != 0))
		return bad(opts, error, "its host address is missing or not a multiple of 8");
	if ((use & USE_HVA) && opts->bytes - 1 > UINTPTR_MAX - (uintptr_t)opts->hva)
		return bad(opts, error, "its host address plus its size passes the address space");
	return 0;
}

static int check_io(const struct gm_region_opts *opts, unsigned use, struct gm_error *error)
{
	if (!(use & USE_IO))
		return 0;
	if (opts->io == NULL || (opts->io->read == NULL && opts->io->write == NULL))
		return bad(opts, error, "its source needs callbacks");
	if ((opts->prot & GM_READ) && opts->io->read == NULL)
		return bad(opts, error, "its protection permits reading, which it has no callback for");
	if ((opts->prot & GM_WRITE) && opts->io->write == NULL)
		return bad(opts, error, "its protection permits writing, which it has no callback for");
	return 0;
}

static int check_numa(const struct gm_region_opts *opts, struct gm_error *error)
{
	size_t count = opts->numa_nodes_count, i;

	if ((unsigned)opts->numa_policy > GM_NUMA_INTERLEAVE)
		return bad(opts, error, "its NUMA policy is none that there is");
	if ((count != 0) != (opts->numa_nodes != NULL) || count > GM_NODES_MAX)
		return bad(opts, error, "its array of host NUMA nodes and their count do not fit together");
	for (i = 0; i < count; i++) {
		if (opts->numa_nodes[i] < 0 || opts->numa_nodes[i] >= GM_NODES_MAX)
			return gmi_region_error(opts, error, -EINVAL, "host NUMA node %d is not from 0 to %d",
						opts->numa_nodes[i], GM_NODES_MAX - 1);
	}
	if (opts->numa_policy == GM_NUMA_DEFAULT ? count > 1 : count == 0)
		return bad(opts, error, "its NUMA policy does not fit the number of host nodes named");
	if (opts->numa_policy == GM_NUMA_PREFERRED && count != 1)
		return bad(opts, error, "one host NUMA node can be preferred, not several");
	return 0;
}

static int check_rest(const struct gm_region_opts *opts, struct gm_error *error)
{
	uint64_t page = opts->dirty_page_bytes;

	if (opts->prealloc_threads > GM_PREALLOC_THREADS_MAX)
		return gmi_region_error(opts, error, -EINVAL, "%u threads are more than %d", opts->prealloc_threads,
					GM_PREALLOC_THREADS_MAX);
	if (!(opts->flags & GM_REGION_PREALLOC) && (opts->prealloc_threads != 0 || opts->progress != NULL))
		return bad(opts, error, "threads and progress are for GM_REGION_PREALLOC, which is not set");
	if (opts->progress == NULL && opts->progress_opaque != NULL)
		return bad(opts, error, "progress_opaque is for progress, which is not set");
	if (page != 0 && (!gm_is_power_of_2(page) || page < GM_DIRTY_PAGE_BYTES_MIN || page > GM_DIRTY_PAGE_BYTES_MAX))
		return bad(opts, error, "the page size of its dirty log is not a power of two from 4 KiB to 1 GiB");
	if (page != 0 && (opts->bytes - 1) / page >= GM_DIRTY_PAGES_MAX)
		return bad(opts, error, "its dirty log would have too many pages: choose larger ones");
	return 0;
}

int gmi_region_check(struct gm_region_opts *opts, struct gm_error *error)
{
	unsigned use;
	int r = check_identity(opts, error);

	if (r != 0)
		return r;
	set_defaults(opts);
	r = check_kind(opts, error);
	if (r != 0)
		return r;
	use = uses[opts->source];
	if (opts->kind == GM_DEVICE)
		use &= ~(unsigned)USE_BYTES;
	r = check_bits(opts, error);
	if (r == 0)
		r = check_unused(opts, use, error);
	if (r == 0)
		r = check_mapped(opts, use, error);
	if (r == 0)
		r = check_io(opts, use, error);
	if (r == 0)
		r = check_numa(opts, error);
	return r != 0 ? r : check_rest(opts, error);
}
