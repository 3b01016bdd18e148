/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * What things take: heap as the C library counts it, before and after many of a kind were made; and of a large dirty log the
 * pages that the kernel really gave.
 */
#include "scale.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <guestmem/guestmem.h>

#define STRIDE  ((uint64_t)2 * GM_PAGE_BYTES)
#define UPDATES 64  /* whose maps are all kept */
#define SPARSE  100 /* one page of so many is dirty */

static double heap_bytes(void)
{
	struct mallinfo2 info = mallinfo2();

	return (double)info.uordblks + (double)info.hblkhd;
}

struct regions {
	struct gm_region **all;
	unsigned count;
	unsigned char *pages;
};

static void regions_fini(struct regions *regions)
{
	unsigned i;

	for (i = 0; regions->all != NULL && i < regions->count; i++)
		gm_region_unref(regions->all[i]);
	free(regions->all);
	if (regions->pages != MAP_FAILED)
		munmap(regions->pages, (size_t)regions->count * GM_PAGE_BYTES);
}

static int regions_init(struct regions *regions, unsigned count)
{
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.kind = GM_RAM,
		.source = GM_SOURCE_POINTER,
		.bytes = GM_PAGE_BYTES,
	};
	char name[32];
	unsigned i;
	int r = 0;

	regions->count = count;
	regions->pages = mmap(NULL, (size_t)count * GM_PAGE_BYTES, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (regions->all == NULL || regions->pages == MAP_FAILED)
		return -ENOMEM;
	for (i = 0; i < count && r == 0; i++) {
		snprintf(name, sizeof(name), "ram%u", i);
		opts.name = name;
		opts.first = gm_gpa(i * STRIDE);
		opts.hva = regions->pages + (size_t)i * GM_PAGE_BYTES;
		r = gm_region_new(&opts, &regions->all[i], NULL);
	}
	return r;
}

static int insert_all(struct gm_space *space, const struct regions *regions)
{
	struct gm_update *update = gm_update_begin(space);
	unsigned i;

	for (i = 0; i < regions->count; i++)
		(void)gm_update_insert(update, regions->all[i]);
	return gm_update_commit(update, NULL);
}

/* Removes UPDATES regions one by one, each time from a map that a pin then keeps. */
static int keep_maps(struct gm_space *space, struct gm_view *view, const struct regions *regions, double *ret_bytes)
{
	struct gm_pin pins[UPDATES] = { { 0 } };
	double before = heap_bytes();
	struct gm_update *update;
	unsigned i;
	int r = 0;

	for (i = 0; i < UPDATES && r == 0; i++) {
		gm_view_enter(view);
		r = gm_view_pin(view, &pins[i]);
		gm_view_leave(view);
		if (r < 0)
			break;
		update = gm_update_begin(space);
		(void)gm_update_remove(update, regions->all[(uint64_t)i * regions->count / UPDATES]);
		r = gm_update_commit(update, NULL);
	}
	*ret_bytes = (heap_bytes() - before) / UPDATES;
	for (i = 0; i < UPDATES; i++)
		gm_view_unpin(&pins[i]);
	return r;
}

static int measure_space(const struct regions *regions, struct memory_use *use)
{
	struct gm_memory *memory = NULL;
	struct gm_space *space = NULL;
	struct gm_view view = { 0 };
	double before = heap_bytes();
	int r = gm_space_new(NULL, &space, NULL);

	use->space_bytes = heap_bytes() - before;
	before = heap_bytes();
	if (r == 0)
		r = insert_all(space, regions);
	use->in_map_bytes = (heap_bytes() - before) / regions->count;
	if (r == 0)
		r = gm_space_memory(space, GM_ONLY_RAM, &memory);
	if (r == 0)
		r = gm_view_init(&view, memory, "memory", 0);
	if (r == 0)
		r = keep_maps(space, &view, regions, &use->update_bytes);
	(void)gm_view_fini(&view);
	gm_memory_unref(memory);
	gm_space_unref(space);
	return r;
}

static int measure_regions(const struct scale_options *options, struct memory_use *use)
{
	struct regions regions = { .all = calloc(options->memory_regions, sizeof(*regions.all)) };
	double before = heap_bytes();
	int r = regions_init(&regions, options->memory_regions);

	use->region_bytes = (heap_bytes() - before) / options->memory_regions;
	if (r == 0)
		r = measure_space(&regions, use);
	regions_fini(&regions);
	return r;
}

/* KiB of this process in memory; -1: unknown. */
static int64_t resident_kib(void)
{
	FILE *file = fopen("/proc/self/smaps_rollup", "re");
	long long kib = -1;
	char line[256];

	if (file == NULL)
		return -1;
	while (kib < 0 && fgets(line, sizeof(line), file) != NULL)
		(void)sscanf(line, "Rss: %lld", &kib);
	fclose(file);
	return kib;
}

static int64_t grown_kib(int64_t before)
{
	int64_t now = resident_kib();

	return before < 0 || now < before ? 0 : now - before;
}

static int measure_log(const struct scale_options *options, struct memory_use *use)
{
	uint64_t pages = options->log_bytes / GM_PAGE_BYTES, seed = 88172645463325252u, i;
	int64_t before = resident_kib();
	struct gm_dirty *dirty;
	int r = gm_dirty_new(options->log_bytes, 0, GM_PAGE_BYTES, &dirty);

	if (r < 0)
		return r;
	use->log_untouched_kib = grown_kib(before);
	for (i = 0; i < pages / SPARSE; i++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		gm_dirty_mark(dirty, gm_offset(seed % pages * GM_PAGE_BYTES), 1);
	}
	use->log_sparse_kib = grown_kib(before);
	gm_dirty_mark(dirty, gm_offset(0), options->log_bytes);
	use->log_full_kib = grown_kib(before);
	gm_dirty_free(dirty);
	return 0;
}

int memory_measure(const struct scale_options *options, struct memory_use *ret_use)
{
	int r = measure_regions(options, ret_use);

	return r < 0 ? r : measure_log(options, ret_use);
}
