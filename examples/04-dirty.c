/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * 04: which pages were written. A region that was asked for a dirty log has every write through any view marked in it. Its
 * readers are independent: a migration and a screen each see every write once, in their own time.
 *
 * Prints:
 *	migration: [0x1000, 0x1fff] [0x5000, 0x7fff]
 *	migration: nothing new
 *	migration: [0x9000, 0x9fff]
 *	screen: [0x1000, 0x1fff] [0x5000, 0x7fff] [0x9000, 0x9fff]
 */
#include <stdio.h>
#include <string.h>

#include <guestmem/guestmem.h>

#define RANGES_MAX 2

/* Takes what is dirty for this reader. The array is small, so that it takes several calls to collect all of it. */
static int print_dirty(const char *who, struct gm_dirty_reader *reader)
{
	struct gm_dirty_range ranges[RANGES_MAX];
	struct gm_offset next = gm_offset(0);
	size_t count, total = 0;
	int more;

	printf("%s:", who);
	do {
		more = gm_dirty_collect(reader, next, UINT64_MAX, ranges, RANGES_MAX, &count, &next);
		if (more < 0)
			return more;
		for (size_t i = 0; i < count; i++)
			printf(" [0x%llx, 0x%llx]", (unsigned long long)ranges[i].first.value,
			       (unsigned long long)ranges[i].last.value);
		total += count;
	} while (more == 1);
	printf("%s\n", total ? "" : " nothing new");
	return 0;
}

/* What a device does. It does not know that somebody is counting. */
static int write_some(struct gm_view *view)
{
	struct gm_span span;
	int r;

	gm_view_enter(view);
	r = gm_store_u8(view, gm_gpa(0x1fff), GM_RELAXED, 1);
	if (r == 0)
		r = gm_fill(view, gm_gpa(0x5ffe), 0xff, 0x1004);
	/* Straight through a pointer: what was written has to be given back. */
	if (r == 0)
		r = gm_span(view, gm_gpa(0x5000), 64, GM_WRITE, &span);
	if (r == 0) {
		memset(span.hva, 0, span.bytes);
		gm_written(view, span.first, span.bytes);
	}
	gm_view_leave(view);
	return r;
}

static int play(struct gm_view *view, struct gm_dirty_reader *migration, struct gm_dirty_reader *screen)
{
	int r = write_some(view);

	if (r == 0)
		r = print_dirty("migration", migration);
	if (r == 0)
		r = print_dirty("migration", migration);
	if (r < 0)
		return r;
	gm_view_enter(view);
	r = gm_store_le64(view, gm_gpa(0x9000), GM_RELAXED, 1);
	gm_view_leave(view);
	if (r == 0)
		r = print_dirty("migration", migration);
	if (r == 0)
		r = print_dirty("screen", screen);
	return r;
}

int main(void)
{
	struct gm_region_opts opts = { .size = sizeof(opts), .name = "ram", .bytes = GM_GIB, .dirty_page_bytes = 4096 };
	struct gm_dirty_reader *migration = NULL, *screen = NULL;
	struct gm_error error = { 0, "" };
	struct gm_memory *memory = NULL;
	struct gm_region *ram = NULL;
	struct gm_view view = { 0 };
	struct gm_map *map = NULL;
	int r;

	r = gm_region_new(&opts, &ram, &error);
	if (r == 0)
		r = gm_map_new(NULL, &ram, 1, &map, &error);
	if (r == 0)
		r = gm_map_memory(map, GM_ONLY_RAM, &memory);
	if (r == 0)
		r = gm_view_init(&view, memory, "device", 0);
	if (r == 0)
		r = gm_dirty_reader_new(gm_region_dirty(ram), &migration);
	if (r == 0)
		r = gm_dirty_reader_new(gm_region_dirty(ram), &screen);
	if (r == 0)
		r = play(&view, migration, screen);
	if (r < 0)
		fprintf(stderr, "04-dirty: %s\n", error.code == r ? error.text : gm_code_text(r));

	gm_dirty_reader_free(screen);
	gm_dirty_reader_free(migration);
	if (gm_view_fini(&view) < 0)
		return 1;
	gm_memory_unref(memory);
	gm_map_unref(map);
	gm_region_unref(ram);
	return r < 0;
}
