/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * 01: a machine whose memory never changes. Regions are made into a map, the map is shown to the rest of the program as a
 * memory, and a view on that memory reads and writes.
 *
 * Prints:
 *	across the border: "one guest, two regions"
 *	last word: 0xc0ffee
 *	16 bytes where memory has only 4 more: refused, the last word is still 0xc0ffee
 *	as much as there is: 4 bytes
 *	16 bytes at 2^64-8: refused
 */
#include <stdio.h>

#include <guestmem/guestmem.h>

#define BORDER    (16 * GM_MIB)
#define LAST_WORD (32 * GM_MIB - 4)

static int make_memory(struct gm_memory **ret_memory, struct gm_error *error)
{
	struct gm_region *regions[2] = { NULL, NULL };
	struct gm_map *map = NULL;
	int r;

	r = gm_region_new_memory("low", gm_gpa(0), BORDER, &regions[0], error);
	if (r == 0)
		r = gm_region_new_memory("high", gm_gpa(BORDER), BORDER, &regions[1], error);
	if (r == 0)
		r = gm_map_new(NULL, regions, 2, &map, error);
	if (r == 0)
		r = gm_map_memory(map, GM_ONLY_RAM, ret_memory);
	/* The memory holds the map and the map holds its regions: our own references have done their work. */
	gm_map_unref(map);
	gm_region_unref(regions[1]);
	gm_region_unref(regions[0]);
	return r;
}

/* What follows knows nothing of regions: it is the same for any memory. */
static int write_and_read(struct gm_view *view)
{
	const char text[] = "one guest, two regions";
	char back[sizeof(text)];
	uint32_t number;
	int r;

	r = gm_write(view, gm_gpa(BORDER - 9), text, sizeof(text));
	if (r == 0)
		r = gm_read(view, gm_gpa(BORDER - 9), back, sizeof(back));
	if (r < 0)
		return r;
	printf("across the border: \"%s\"\n", back);

	/* An object: one access, never torn, in the byte order that its name says. */
	r = gm_store_le32(view, gm_gpa(LAST_WORD), GM_RELEASE, 0xc0ffee);
	if (r == 0)
		r = gm_load_le32(view, gm_gpa(LAST_WORD), GM_ACQUIRE, &number);
	if (r == 0)
		printf("last word: 0x%x\n", (unsigned)number);
	return r;
}

/* Addresses come from the guest, and so they may be anything. */
static int go_astray(struct gm_view *view)
{
	unsigned char data[16] = { 0 };
	uint32_t number;
	int64_t count;
	int r;

	/* All or nothing: a call that is refused has written nothing. */
	if (gm_write(view, gm_gpa(LAST_WORD), data, sizeof(data)) != -GM_EHOLE)
		return -EPROTO;
	r = gm_load_le32(view, gm_gpa(LAST_WORD), GM_RELAXED, &number);
	if (r < 0)
		return r;
	printf("16 bytes where memory has only 4 more: refused, the last word is still 0x%x\n", (unsigned)number);

	count = gm_write_some(view, gm_gpa(LAST_WORD), data, sizeof(data));
	if (count < 0)
		return (int)count;
	printf("as much as there is: %d bytes\n", (int)count);

	if (gm_read(view, gm_gpa(UINT64_MAX - 7), data, sizeof(data)) != -GM_EWRAP)
		return -EPROTO;
	printf("16 bytes at 2^64-8: refused\n");
	return 0;
}

int main(void)
{
	struct gm_error error = { 0, "" };
	struct gm_memory *memory = NULL;
	struct gm_view view = { 0 };
	int r;

	r = make_memory(&memory, &error);
	if (r == 0)
		r = gm_view_init(&view, memory, "example", 0);
	if (r == 0) {
		gm_view_enter(&view);
		r = write_and_read(&view);
		if (r == 0)
			r = go_astray(&view);
		gm_view_leave(&view);
	}
	if (r < 0)
		fprintf(stderr, "01-fixed-map: %s\n", error.code == r ? error.text : gm_code_text(r));

	if (gm_view_fini(&view) < 0)
		return 1;
	gm_memory_unref(memory);
	return r < 0;
}
