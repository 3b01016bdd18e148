/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Where a source is mapped. Address space is reserved for the bytes, a guard on both sides and room for alignment; what
 * alignment did not need is given back; then the source is mapped between the guards.
 *
 * It is not mapped over the reservation with MAP_FIXED: when that fails, depending on where in the kernel it does, the
 * old mapping stands or is gone already, and another thread may have mapped something of its own there, so that nobody
 * could tell any more what to unmap. Instead the middle is given up first and claimed with MAP_FIXED_NOREPLACE. Another
 * thread may be quicker; then it is tried elsewhere.
 */
#include <string.h>
#include <sys/mman.h>

#include "base/base.h"
#include "mapping/mapping.h"
#include "sys/mmap.h"
#include "sys/uapi.h"

/* Each one lost means that another thread mapped something of just that size in the microsecond between two calls. */
#define TRIES_MAX 64

struct site {
	unsigned char *hva;
	size_t bytes, guard;
};

static void site_leave(const struct site *site)
{
	gmi_munmap(site->hva - site->guard, site->guard);
	gmi_munmap(site->hva + site->bytes, site->guard);
}

/*
 * Finds a site: two guards that are ours with free space between, at @remainder modulo @alignment.
 */
static int site_find(struct site *site, size_t alignment, size_t remainder)
{
	size_t bytes = site->bytes, guard = site->guard, total, below;
	void *reserved;
	unsigned char *start;
	int r;

	if (__builtin_add_overflow(bytes, 2 * guard + alignment, &total))
		return -ENOMEM;
	r = gmi_mmap_reserve(total, &reserved);
	if (r != 0)
		return r;
	start = reserved;
	/* In [guard, guard + alignment). */
	below = guard + ((remainder - ((uintptr_t)start + guard)) & (alignment - 1));
	site->hva = start + below;
	gmi_munmap(start, below - guard);
	gmi_munmap(site->hva + bytes + guard, total - below - bytes - guard);
	gmi_munmap(site->hva, bytes);
	return 0;
}

/* What the hardware could map with one entry one level up: 2 MiB with 4 KiB pages, 512 MiB with 64 KiB pages. */
static size_t transparent_bytes(void)
{
	size_t page = gmi_page_bytes();

	return page * (page / sizeof(uint64_t));
}

static int host_protection(unsigned prot)
{
	return (prot & GM_READ ? PROT_READ : 0) | (prot & GM_WRITE ? PROT_WRITE : 0) | (prot & GM_EXEC ? PROT_EXEC : 0);
}

static int map_flags(const struct gmi_mapping *mapping, const struct gm_region_opts *opts)
{
	int flags = opts->mmap_flags & MAP_NORESERVE;

	if (mapping->fd >= 0)
		return flags | (mapping->shared ? MAP_SHARED : MAP_PRIVATE);
	flags |= MAP_PRIVATE | MAP_ANONYMOUS;
	if (mapping->hugetlb)
		flags |= MAP_HUGETLB | (int)((unsigned)__builtin_ctzll(mapping->page_bytes) << MAP_HUGE_SHIFT);
	return flags;
}

static int place_error(const struct gmi_mapping *mapping, const struct gm_region_opts *opts, int code,
		       struct gm_error *error)
{
	if (mapping->hugetlb && code == -ENOMEM)
		return gmi_hugepages_short(mapping, opts, error);
	if (mapping->hugetlb && mapping->fd < 0 && code == -EINVAL)
		return gmi_region_error(opts, error, -ENODEV, "no huge pages of %llu KiB on this machine",
					(unsigned long long)mapping->page_bytes / 1024);
	/* mmap(2) says ENODEV for a file that has no bytes to map; for us that code is about nodes and huge pages. */
	if (mapping->fd >= 0 && code == -ENODEV)
		return gmi_region_error(opts, error, -EMEDIUMTYPE, "the file cannot be mapped as memory");
	return gmi_region_error(opts, error, code, "mapping %llu bytes: %s", (unsigned long long)mapping->mapped_bytes,
				strerror(-code));
}

int gmi_place(struct gmi_mapping *mapping, const struct gm_region_opts *opts, struct gm_error *error)
{
	size_t page = mapping->page_bytes, alignment = page, bytes;
	struct site site = { .guard = gmi_page_bytes() };
	int flags = map_flags(mapping, opts), tries, r;

	if (__builtin_add_overflow(mapping->lead + opts->bytes, page - 1, &bytes) || bytes < opts->bytes)
		return place_error(mapping, opts, -ENOMEM, error);
	mapping->mapped_bytes = site.bytes = bytes & ~(page - 1);
	if (!mapping->hugetlb && opts->huge != GM_HUGE_NEVER && bytes >= transparent_bytes())
		alignment = transparent_bytes();
	for (tries = 0; tries < TRIES_MAX; tries++) {
		/*
		 * A file's huge pages stand at multiples of their size in the file, so the address has to agree with
		 * the offset.
		 */
		r = site_find(&site, alignment, (size_t)(mapping->fd_offset - mapping->lead) & (alignment - 1));
		if (r != 0)
			return place_error(mapping, opts, r, error);
		r = gmi_mmap_at(site.hva, site.bytes, host_protection(opts->prot), flags, mapping->fd,
				mapping->fd_offset - mapping->lead);
		if (r == 0)
			break;
		site_leave(&site);
		if (r != -EEXIST)
			break;
	}
	if (r != 0)
		return place_error(mapping, opts, r, error);
	mapping->hva = site.hva;
	mapping->reservation = site.hva - site.guard;
	mapping->reservation_bytes = site.bytes + 2 * site.guard;
	mapping->mmap_flags = flags | (opts->mmap_flags & MAP_LOCKED);
	return 0;
}
