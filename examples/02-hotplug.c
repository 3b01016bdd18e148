/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * 02: memory that comes and goes while a device works. A space holds the current map; updates change it, all or nothing; a
 * view that is inside a section keeps the map that it entered with, until it leaves.
 *
 * Prints:
 *	before: nothing there
 *	plugged: wrote 42
 *	unplugged, inside the section: still reads 42
 *	unplugged memory is kept by: disk0/queue1 (read section)
 *	after the section: memory released
 *	and in the next: nothing there
 */
#include <stdio.h>

#include <guestmem/guestmem.h>

#define DIMM gm_gpa(4 * GM_GIB)

/* One update of one step. Removals and insertions of several regions would take effect together just so. */
static int plug(struct gm_space *space, const char *name, struct gm_gpa first, uint64_t bytes, struct gm_error *error)
{
	struct gm_region *region;
	struct gm_update *update;
	int r;

	r = gm_region_new_memory(name, first, bytes, &region, error);
	if (r < 0)
		return r;
	/* No check in between: what fails there is reported by the commit too. */
	update = gm_update_begin(space);
	gm_update_insert(update, region);
	r = gm_update_commit(update, error);
	gm_region_unref(region); /* the space has its own */
	return r;
}

static int unplug(struct gm_space *space, const char *name, struct gm_error *error)
{
	struct gm_region *region = gm_space_find(space, name); /* NULL if it is gone: the commit would say so */
	struct gm_update *update = gm_update_begin(space);
	int r;

	gm_update_remove(update, region);
	r = gm_update_commit(update, error);
	gm_region_unref(region);
	return r;
}

static void print_holder(void *opaque, const char *holder, enum gm_hold hold)
{
	(void)opaque;
	printf("unplugged memory is kept by: %s (%s)\n", holder, hold == GM_HOLD_READ ? "read section" : "other");
}

static int play(struct gm_space *space, struct gm_view *disk, struct gm_error *error)
{
	uint32_t number = 0;
	int r;

	gm_view_enter(disk);
	if (gm_load_le32(disk, DIMM, GM_RELAXED, &number) == -GM_EHOLE)
		printf("before: nothing there\n");
	gm_view_leave(disk);

	r = plug(space, "dimm0", DIMM, 128 * GM_MIB, error);
	if (r < 0)
		return r;

	gm_view_enter(disk);
	if (gm_store_le32(disk, DIMM, GM_RELAXED, 42) == 0)
		printf("plugged: wrote 42\n");
	/* Nobody waits for the device: the commit publishes the new map and returns. */
	r = unplug(space, "dimm0", error);
	if (r == 0 && gm_load_le32(disk, DIMM, GM_RELAXED, &number) == 0)
		printf("unplugged, inside the section: still reads %u\n", (unsigned)number);
	gm_space_holders(space, NULL, print_holder, NULL);
	gm_view_leave(disk);
	if (r < 0)
		return r;

	/* Nor does the device wait. Who needs to know that the memory is gone does. */
	r = gm_space_wait(space, 1000);
	if (r == 0)
		printf("after the section: memory released\n");

	gm_view_enter(disk);
	if (gm_load_le32(disk, DIMM, GM_RELAXED, &number) == -GM_EHOLE)
		printf("and in the next: nothing there\n");
	gm_view_leave(disk);
	return r;
}

int main(void)
{
	struct gm_error error = { 0, "" };
	struct gm_space *space = NULL;
	struct gm_memory *memory = NULL;
	struct gm_view disk = { 0 };
	int r = gm_space_new(NULL, &space, &error);

	if (r == 0)
		r = plug(space, "ram", gm_gpa(0), GM_GIB, &error);
	if (r == 0)
		r = gm_space_memory(space, GM_ONLY_RAM, &memory);
	if (r == 0)
		r = gm_view_init(&disk, memory, "disk0/queue1", 0);
	if (r == 0)
		r = play(space, &disk, &error);
	if (r < 0)
		fprintf(stderr, "02-hotplug: %s\n", error.code == r ? error.text : gm_code_text(r));

	if (gm_view_fini(&disk) < 0)
		return 1;
	gm_memory_unref(memory);
	gm_space_unref(space);
	return r < 0;
}
