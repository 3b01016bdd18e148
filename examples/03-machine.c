/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * 03, the machine: a provider for the device in 03-device.c, and a guest that drives it. The same device runs over a fixed map
 * and over a space. To the device, memory that was unplugged is one more bad address.
 *
 * Prints:
 *	fixed map: 3 requests served: done, done, bad address
 *	space: 3 requests served: done, done, bad address
 *	space, after an unplug: 3 requests served: done, bad address, bad address
 */
#include <stddef.h>
#include <stdio.h>

#include <guestmem/guestmem.h>

#include "03-device.h"

#define HALF (64 * GM_MIB)

/* The guest: three copies, inside the lower half, across both halves, and to where no memory ever is. */
static int post_requests(struct gm_view *guest)
{
	static const uint64_t to[] = { 0x10000, HALF - 0x800, 3 * HALF };
	struct copy_ring ring = { .produced = gm_le32(3) };

	for (size_t i = 0; i < 3; i++) {
		ring.requests[i].to = gm_le64(to[i]);
		ring.requests[i].from = gm_le64(0x20000);
		ring.requests[i].bytes = gm_le32(0x1000);
	}
	return gm_write(guest, gm_gpa(0), &ring, sizeof(ring));
}

static int drive(struct gm_memory *memory, const char *what)
{
	static const char *const names[] = { "pending", "done", "bad address" };
	struct copy_engine engine = { 0 };
	struct gm_view guest = { 0 };
	struct copy_ring ring;
	int r, served = 0;

	r = gm_view_init(&guest, memory, "guest", 0);
	if (r == 0)
		r = copy_engine_init(&engine, memory, gm_gpa(0));
	if (r == 0) {
		gm_view_enter(&guest);
		r = post_requests(&guest);
		if (r == 0)
			r = served = copy_engine_run(&engine);
		if (r >= 0)
			r = gm_read(&guest, gm_gpa(0), &ring, sizeof(ring));
		gm_view_leave(&guest);
	}
	if (r == 0) {
		printf("%s: %d requests served:", what, served);
		for (size_t i = 0; i < 3; i++)
			printf("%s %s", i ? "," : "", names[gm_le32_get(ring.requests[i].status) % 3]);
		printf("\n");
	}
	if (copy_engine_fini(&engine) < 0 || gm_view_fini(&guest) < 0)
		return -EBUSY;
	return r;
}

static int change(struct gm_space *space, int (*step)(struct gm_update *update, struct gm_region *region),
		  struct gm_region *region, struct gm_error *error)
{
	struct gm_update *update = gm_update_begin(space);

	step(update, region);
	return gm_update_commit(update, error);
}

int main(void)
{
	struct gm_memory *fixed = NULL, *changing = NULL;
	struct gm_region *low = NULL, *high = NULL;
	struct gm_error error = { 0, "" };
	struct gm_space *space = NULL;
	struct gm_map *map = NULL;
	int r;

	r = gm_region_new_memory("low", gm_gpa(0), HALF, &low, &error);
	if (r == 0)
		r = gm_region_new_memory("high", gm_gpa(HALF), HALF, &high, &error);
	if (r == 0)
		r = gm_map_new(NULL, (struct gm_region *[]){ low, high }, 2, &map, &error);
	if (r == 0)
		r = gm_map_memory(map, GM_ONLY_RAM, &fixed);
	if (r == 0)
		r = drive(fixed, "fixed map");

	if (r == 0)
		r = gm_space_new(NULL, &space, &error);
	if (r == 0)
		r = gm_space_memory(space, GM_ONLY_RAM, &changing);
	if (r == 0)
		r = change(space, gm_update_insert, low, &error);
	if (r == 0)
		r = change(space, gm_update_insert, high, &error);
	if (r == 0)
		r = drive(changing, "space");
	if (r == 0)
		r = change(space, gm_update_remove, high, &error);
	if (r == 0)
		r = drive(changing, "space, after an unplug");
	if (r < 0)
		fprintf(stderr, "03-machine: %s\n", error.code == r ? error.text : gm_code_text(r));

	gm_memory_unref(changing);
	gm_space_unref(space);
	gm_memory_unref(fixed);
	gm_map_unref(map);
	gm_region_unref(high);
	gm_region_unref(low);
	return r < 0;
}
