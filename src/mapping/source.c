/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Opening a source that the library makes itself: anonymous memory and memfds, of ordinary or of huge pages. Afterwards
 * the mapping's fd, page size and sharing are what gmi_place() is to map.
 */
#include <string.h>
#include <sys/mman.h>

#include "base/base.h"
#include "mapping/mapping.h"
#include "sys/hugepool.h"
#include "sys/uapi.h"

int gmi_hugepages_are_multiple(const struct gmi_mapping *mapping, const struct gm_region_opts *opts,
			       struct gm_error *error)
{
	if (opts->bytes % mapping->page_bytes != 0)
		return gmi_region_error(opts, error, -EINVAL,
					"its size is not a multiple of its huge pages of %llu KiB",
					(unsigned long long)mapping->page_bytes / 1024);
	return 0;
}

int gmi_hugepages_short(const struct gmi_mapping *mapping, const struct gm_region_opts *opts, struct gm_error *error)
{
	unsigned long long kib = mapping->page_bytes / 1024, wanted = mapping->mapped_bytes / mapping->page_bytes;
	struct gmi_hugepool pool;

	if (gmi_hugepool_numbers(mapping->page_bytes, &pool) != 0)
		return gmi_region_error(opts, error, -ENOMEM, "not enough huge pages: %llu of %llu KiB wanted", wanted,
					kib);
	return gmi_region_error(opts, error, -ENOMEM,
				"not enough huge pages: %llu of %llu KiB wanted, the pool has %llu free (%llu of them "
				"reserved) of %llu",
				wanted, kib, (unsigned long long)pool.free, (unsigned long long)pool.reserved,
				(unsigned long long)pool.total);
}

/* The huge-page size to use: that asked for, or the system's. */
static int choose_hugepages(struct gmi_mapping *mapping, const struct gm_region_opts *opts, struct gm_error *error)
{
	uint64_t huge_bytes = opts->huge_bytes;
	int r;

	r = huge_bytes == 0 ? gmi_hugepool_default(&huge_bytes) : gmi_hugepool_check(huge_bytes);
	if (r == -ENODEV && huge_bytes == 0)
		return gmi_region_error(opts, error, r, "no huge pages on this machine");
	if (r == -ENODEV)
		return gmi_region_error(opts, error, r, "no huge pages of %llu KiB on this machine",
					(unsigned long long)huge_bytes / 1024);
	if (r != 0)
		return gmi_region_error(opts, error, r, "looking up huge-page sizes: %s", strerror(-r));
	mapping->page_bytes = huge_bytes;
	mapping->hugetlb = true;
	return gmi_hugepages_are_multiple(mapping, opts, error);
}

/* Sealed at its size: a peer that got the descriptor cannot pull pages from under our mapping. */
static int open_memfd(struct gmi_mapping *mapping, const struct gm_region_opts *opts, struct gm_error *error)
{
	struct stat status;
	int r;

	r = gmi_memfd_new(opts->name, mapping->hugetlb ? mapping->page_bytes : 0);
	if (r < 0)
		return gmi_region_error(opts, error, r, "memfd_create: %s", strerror(-r));
	mapping->fd = r;
	mapping->shared = true;
	r = gmi_truncate(mapping->fd, opts->bytes);
	if (r != 0)
		return gmi_region_error(opts, error, r, "sizing the memfd: %s", strerror(-r));
	r = gmi_seals_add(mapping->fd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	if (r != 0)
		return gmi_region_error(opts, error, r, "sealing the memfd: %s", strerror(-r));
	r = gmi_fstat(mapping->fd, &status);
	if (r != 0)
		return gmi_region_error(opts, error, r, "fstat: %s", strerror(-r));
	gmi_file_identify(mapping, &status);
	return 0;
}

int gmi_source_open(struct gmi_mapping *mapping, const struct gm_region_opts *opts, struct gmi_folders *folders,
		    struct gm_error *error)
{
	int r = 0;

	switch (opts->source) {
	case GM_SOURCE_HUGEANON:
		return choose_hugepages(mapping, opts, error);
	case GM_SOURCE_HUGEMEMFD:
		r = choose_hugepages(mapping, opts, error);
		return r != 0 ? r : open_memfd(mapping, opts, error);
	case GM_SOURCE_MEMFD:
		return open_memfd(mapping, opts, error);
	case GM_SOURCE_HUGETLBFS:
		return gmi_hugetlbfs_open(mapping, opts, folders, error);
	case GM_SOURCE_FILE:
	case GM_SOURCE_FD:
		return gmi_file_open(mapping, opts, error);
	default:
		return 0;
	}
}
