/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* The ground of a run: building it, finding one's place in it, recording. Plugging and judging are in plot.c. */
#include "ground.h"

#include <stdlib.h>
#include <string.h>

/* Firmware, device windows, dax windows: they stand there, as in the machine, and no driver goes near them. */
static bool is_ground(const struct entry *entry)
{
	return entry->kind == GM_RAM && (entry->prot & GM_WRITE);
}

static int insert_entry(struct ground *ground, struct gm_update *update, const struct entry *entry,
			struct failure *failure)
{
	struct gm_region_opts opts = entry_options(entry);
	struct plot *plot = NULL;
	struct gm_region *region;
	struct gm_error error;
	int r;

	if (is_ground(entry)) {
		plot = &ground->plots[ground->plots_count++];
		plot->entry = entry;
		plot->range = entry->range;
		plot->is_slot = entry->origin == ORIGIN_SLOT;
	}
	if (entry->origin == ORIGIN_SLOT) {
		ground->slots_count++;
		return 0;
	}
	if (plot && opts.dirty_page_bytes == 0)
		opts.dirty_page_bytes = LOG_PAGE_BYTES;
	r = gm_region_new(&opts, &region, &error);
	if (r < 0)
		return fail(failure, status_of(r), "%s", error.text);
	/* Commit reports what goes wrong here. */
	(void)gm_update_insert(update, region);
	if (!plot) {
		gm_region_unref(region);
		return 0;
	}
	plot->region = region;
	if (pages_init(&plot->wanted, entry_bytes(entry), opts.dirty_page_bytes, failure) < 0 ||
	    pages_init(&plot->got, entry_bytes(entry), opts.dirty_page_bytes, failure) < 0)
		return -1;
	r = gm_dirty_reader_new(gm_region_dirty(region), &plot->reader);
	return r < 0 ? fail(failure, STATUS_MISSING, "%s: no memory to read its dirty log", entry->name) : 0;
}

static int fill(struct ground *ground, struct failure *failure)
{
	struct gm_update *update = gm_update_begin(ground->space);
	struct gm_error error;
	int r = 0;

	for (size_t i = 0; i < ground->machine->entries_count && r == 0; i++)
		r = insert_entry(ground, update, &ground->machine->entries[i], failure);
	if (r < 0) {
		gm_update_abort(update);
		return r;
	}
	r = gm_update_commit(update, &error);
	return r < 0 ? fail(failure, status_of(r), "%s", error.text) : 0;
}

int ground_new(const struct machine *machine, struct ground *ground, struct failure *failure)
{
	struct gm_error error;
	int r;

	*ground = (struct ground){ .machine = machine };
	ground->plots = calloc(machine->entries_count, sizeof(*ground->plots));
	if (!ground->plots)
		return fail(failure, STATUS_MISSING, "no memory for the machine");
	r = gm_space_new(&machine->layout, &ground->space, &error);
	if (r < 0)
		return fail(failure, status_of(r), "%s", error.text);
	if (fill(ground, failure) < 0)
		return -1;
	r = gm_space_memory(ground->space, GM_ONLY_RAM, &ground->memory);
	if (r < 0)
		return fail(failure, status_of(r), "no memory for the devices' memory: %s", strerror(-r));
	return 0;
}

void ground_fini(struct ground *ground)
{
	gm_memory_unref(ground->memory);
	for (size_t i = 0; i < ground->plots_count; i++) {
		struct plot *plot = &ground->plots[i];

		gm_dirty_reader_free(plot->reader);
		gm_region_unref(plot->region);
		pages_fini(&plot->wanted);
		pages_fini(&plot->got);
	}
	gm_space_unref(ground->space);
	free(ground->plots);
	*ground = (struct ground){ 0 };
}

struct plot *ground_find(const struct ground *ground, struct gm_gpa at)
{
	size_t low = 0, high = ground->plots_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (ground->plots[middle].range.last.value < at.value)
			low = middle + 1;
		else
			high = middle;
	}
	return low < ground->plots_count ? &ground->plots[low] : NULL;
}

/* One plot's share of a range, which begins in it. */
static uint64_t share(const struct plot *plot, struct gm_gpa at, uint64_t bytes)
{
	uint64_t room = plot->range.last.value - at.value + 1;

	return bytes < room ? bytes : room;
}

unsigned ground_record(const struct ground *ground, struct gm_gpa at, uint64_t bytes)
{
	struct plot *plot = ground_find(ground, at);
	unsigned plots = 0;

	for (; bytes; plot++, plots++) {
		uint64_t here = share(plot, at, bytes);

		pages_add(&plot->wanted, at.value - plot->range.first.value, here);
		at.value += here;
		bytes -= here;
	}
	return plots;
}

void ground_peek(const struct ground *ground, struct gm_gpa at, void *data, uint64_t bytes)
{
	const struct plot *plot = ground_find(ground, at);
	unsigned char *to = data;

	for (; bytes; plot++) {
		uint64_t here = share(plot, at, bytes);
		const unsigned char *from = gm_region_hva(plot->region);

		memcpy(to, from + (at.value - plot->range.first.value), here);
		to += here;
		at.value += here;
		bytes -= here;
	}
}

void ground_poison(const struct ground *ground, struct gm_gpa at, unsigned char byte, uint64_t bytes)
{
	const struct plot *plot = ground_find(ground, at);

	for (; bytes; plot++) {
		uint64_t here = share(plot, at, bytes);
		unsigned char *to = gm_region_hva(plot->region);

		memset(to + (at.value - plot->range.first.value), byte, here);
		at.value += here;
		bytes -= here;
	}
}
