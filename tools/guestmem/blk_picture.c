/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The machine's memory as one strip per region. Owns a track for each region that stands in the space, with a reader of its dirty log;
 * a region that goes takes its track along. One thread.
 */
#include "blk_picture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bands.h"
#include "markup.h"

#define LISTENER "picture"
/* Ranges collected at once. */
#define RANGES 1024
/* Cells of a terminal's strip. */
#define COLUMNS 64
_Static_assert(BLK_CELLS % COLUMNS == 0, "a column stands for a whole number of cells");

#define PAGE_WIDTH  960
#define STRIP_LEFT  212
#define CELL_WIDTH  4
#define STRIP_WIDTH (CELL_WIDTH * BLK_CELLS)
#define NOTE_LEFT   (STRIP_LEFT + STRIP_WIDTH + 18)
#define STACK_TOP   118
#define ROW_HEIGHT  44
#define BOX_HEIGHT  30
#define GAP_HEIGHT  30
#define INK_WRITTEN "#c2542d"

struct track {
	struct track *next; /* in ascending order */
	const struct gm_region *region;
	char name[GM_NAME_MAX];
	struct gm_range range;
	struct gm_dirty_reader *reader; /* NULL: not to be had */
	uint64_t page_bytes;
	unsigned char *is_written; /* a bit per page */
	uint64_t pages;            /* distinct ones */
	uint32_t cells[BLK_CELLS]; /* distinct ones in each */
};

struct blk_picture {
	struct gm_space *space;
	struct track *tracks;
	struct gm_dirty_range ranges[RANGES];
};

static void free_track(struct track *track)
{
	gm_dirty_reader_free(track->reader);
	free(track->is_written);
	free(track);
}

static struct track *new_track(const struct gm_region *region)
{
	struct track *track = calloc(1, sizeof(*track));
	struct gm_dirty *dirty = gm_region_dirty(region);

	if (track == NULL)
		return NULL;
	track->region = region;
	track->range = gm_region_range(region);
	snprintf(track->name, sizeof(track->name), "%s", gm_region_name(region));
	if (dirty == NULL)
		return track;
	track->page_bytes = gm_dirty_page_bytes(dirty);
	track->is_written = calloc((gm_region_bytes(region) / track->page_bytes + 8) / 8, 1);
	if (track->is_written != NULL && gm_dirty_reader_new(dirty, &track->reader) < 0)
		track->reader = NULL;
	return track;
}

/* A picture that lacks a region for want of memory is better than no disk: nothing is refused here. */
static void on_commit(void *opaque, const struct gm_change *change)
{
	struct blk_picture *picture = opaque;
	struct track **at, *track;
	size_t i;

	for (i = 0; i < change->removed_count; i++) {
		for (at = &picture->tracks; (track = *at) != NULL; at = &track->next) {
			if (track->region != change->removed[i])
				continue;
			*at = track->next;
			free_track(track);
			break;
		}
	}
	for (i = 0; i < change->inserted_count; i++) {
		track = new_track(change->inserted[i]);
		if (track == NULL)
			continue;
		at = &picture->tracks;
		while (*at != NULL && (*at)->range.first.value < track->range.first.value)
			at = &(*at)->next;
		track->next = *at;
		*at = track;
	}
}

int blk_picture_new(struct gm_space *space, struct blk_picture **ret_picture)
{
	struct blk_picture *picture = calloc(1, sizeof(*picture));
	struct gm_listener listener = { .size = sizeof(listener), .name = LISTENER, .commit = on_commit };
	struct gm_error error;
	int r;

	if (picture == NULL)
		return -ENOMEM;
	listener.opaque = picture;
	r = gm_space_add_listener(space, &listener, &error);
	if (r < 0) {
		free(picture);
		return r;
	}
	picture->space = gm_space_ref(space);
	*ret_picture = picture;
	return 0;
}

void blk_picture_free(struct blk_picture *picture)
{
	struct track *track;

	if (picture == NULL)
		return;
	/* It tells of the removal of all that stands there; without memory for that the space would go on calling us. */
	if (gm_space_remove_listener(picture->space, LISTENER) < 0)
		abort();
	while ((track = picture->tracks) != NULL) {
		picture->tracks = track->next;
		free_track(track);
	}
	gm_space_unref(picture->space);
	free(picture);
}

/*
 * Collecting
 */

static uint64_t track_bytes(const struct track *track)
{
	return track->range.last.value - track->range.first.value + 1;
}

static void note_page(struct track *track, uint64_t offset)
{
	const uint64_t page = offset / track->page_bytes;
	const unsigned char bit = (unsigned char)(1u << (page & 7));
	/* A region's size times the cells may pass 2^64. */
	const unsigned cell = (unsigned)((double)offset * BLK_CELLS / (double)track_bytes(track));

	if (track->is_written[page / 8] & bit)
		return;
	track->is_written[page / 8] |= bit;
	track->pages++;
	track->cells[cell < BLK_CELLS ? cell : BLK_CELLS - 1]++;
}

static void collect(struct blk_picture *picture, struct track *track)
{
	struct gm_offset at = gm_offset(0);
	uint64_t offset;
	size_t count, i;
	int r = 1;

	while (r == 1 && track->reader != NULL) {
		r = gm_dirty_collect(track->reader, at, UINT64_MAX, picture->ranges, RANGES, &count, &at);
		for (i = 0; r >= 0 && i < count; i++) {
			const struct gm_dirty_range range = picture->ranges[i];

			for (offset = range.first.value; offset <= range.last.value; offset += track->page_bytes)
				note_page(track, offset);
		}
	}
}

static void collect_all(struct blk_picture *picture, uint64_t *ret_bytes, uint64_t *ret_written)
{
	struct track *track;

	*ret_bytes = *ret_written = 0;
	for (track = picture->tracks; track != NULL; track = track->next) {
		collect(picture, track);
		*ret_bytes += track_bytes(track);
		*ret_written += track->pages * track->page_bytes;
	}
}

/* Pages that a cell stands for, at least one. */
static double cell_pages(const struct track *track, unsigned cells)
{
	const double pages = (double)track_bytes(track) / (double)(track->page_bytes ? track->page_bytes : 1) / cells;

	return pages < 1 ? 1 : pages;
}

static double share(const struct track *track, unsigned first, unsigned count)
{
	double written = 0;
	unsigned i;

	for (i = first; i < first + count; i++)
		written += track->cells[i];
	written /= cell_pages(track, BLK_CELLS / count);
	return written < 1 ? written : 1;
}

/*
 * For a terminal
 */

static void print_strip(const struct track *track, FILE *out, const struct terminal *terminal)
{
	static const char *const shades_utf8[] = { "·", "░", "▒", "▓", "█" };
	static const char *const shades_ascii[] = { ".", "-", "+", "x", "#" };
	const unsigned per_column = BLK_CELLS / COLUMNS;
	unsigned i;

	for (i = 0; i < COLUMNS; i++) {
		const double part = share(track, i * per_column, per_column);
		/* However little was written, it shows. */
		const unsigned shade = part <= 0 ? 0 : 1 + (unsigned)(part * 3.999);

		fputs(terminal->utf8 ? shades_utf8[shade] : shades_ascii[shade], out);
	}
}

static const char *title_line(const struct blk_picture *picture, uint64_t bytes, uint64_t written, char *text,
			      size_t room)
{
	char all[BYTES_TEXT_MAX], part[BYTES_TEXT_MAX];
	const struct track *track;
	unsigned count = 0;

	for (track = picture->tracks; track != NULL; track = track->next)
		count++;
	snprintf(text, room, "%u region%s, %s of memory, %s of it written by the disk", count, count == 1 ? "" : "s",
		 format_bytes(all, bytes), format_bytes(part, written));
	return text;
}

/* Free addresses between two regions; 0 for none. */
static uint64_t gap_before(const struct track *track, const struct track *before)
{
	return before ? track->range.first.value - before->range.last.value - 1 : track->range.first.value;
}

void blk_picture_print(struct blk_picture *picture, FILE *out, const struct terminal *terminal)
{
	char line[160], size[BYTES_TEXT_MAX], written[BYTES_TEXT_MAX];
	const struct track *track, *before = NULL;
	uint64_t bytes, all_written;

	collect_all(picture, &bytes, &all_written);
	fprintf(out, "%s\n", title_line(picture, bytes, all_written, line, sizeof(line)));
	for (track = picture->tracks; track != NULL; before = track, track = track->next) {
		if (gap_before(track, before) > 0)
			fprintf(out, "  %14s   (%s free)\n", "", format_bytes(size, gap_before(track, before)));
		fprintf(out, "  0x%012llx %-6s ", (unsigned long long)track->range.first.value, track->name);
		print_strip(track, out, terminal);
		fprintf(out, " %s, %s written\n", format_bytes(size, track_bytes(track)),
			track->reader ? format_bytes(written, track->pages * track->page_bytes) : "unknown");
	}
}

/*
 * For a document
 */

static void put_address(FILE *out, double y, uint64_t address)
{
	char text[32];

	snprintf(text, sizeof(text), "0x%012llx", (unsigned long long)address);
	markup_label(out, STRIP_LEFT - 16, y, "address", text);
}

static void put_strip(const struct track *track, FILE *out, int y)
{
	const struct ink *ink = ink_of_kind(GM_RAM);
	unsigned i, run;

	fprintf(out, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"%s\"/>\n", STRIP_LEFT, y, STRIP_WIDTH,
		BOX_HEIGHT, ink->fill);
	for (i = 0; i < BLK_CELLS; i += run) {
		const double part = share(track, i, 1);

		for (run = 1; i + run < BLK_CELLS && share(track, i + run, 1) == part;)
			run++;
		if (part > 0)
			fprintf(out,
				"<rect x=\"%u\" y=\"%d\" width=\"%u\" height=\"%d\" fill=\"" INK_WRITTEN
				"\" fill-opacity=\"%.3f\"/>\n",
				STRIP_LEFT + i * CELL_WIDTH, y, run * CELL_WIDTH, BOX_HEIGHT, 0.25 + 0.75 * part);
	}
	fprintf(out, "<rect x=\"%d.5\" y=\"%d.5\" width=\"%d\" height=\"%d\" fill=\"none\" stroke=\"%s\"/>\n",
		STRIP_LEFT, y, STRIP_WIDTH - 1, BOX_HEIGHT - 1, ink->line);
}

static void put_track(const struct track *track, FILE *out, int y)
{
	char size[BYTES_TEXT_MAX], written[BYTES_TEXT_MAX], line[80];

	put_address(out, y + 11, track->range.first.value);
	put_address(out, y + BOX_HEIGHT, track->range.last.value);
	put_strip(track, out, y);
	snprintf(line, sizeof(line), "%s, %s", track->name, format_bytes(size, track_bytes(track)));
	markup_label(out, NOTE_LEFT, y + 12, "name", line);
	snprintf(line, sizeof(line), "%s written",
		 track->reader ? format_bytes(written, track->pages * track->page_bytes) : "unknown");
	markup_label(out, NOTE_LEFT, y + 28, "small", line);
}

static int put_tracks(const struct blk_picture *picture, FILE *out)
{
	const struct track *track, *before = NULL;
	char size[BYTES_TEXT_MAX], line[40];
	int y = STACK_TOP;

	for (track = picture->tracks; track != NULL; before = track, track = track->next) {
		if (gap_before(track, before) > 0) {
			snprintf(line, sizeof(line), "%s free", format_bytes(size, gap_before(track, before)));
			markup_label(out, STRIP_LEFT + STRIP_WIDTH / 2.0, y + 12, "gap", line);
			y += GAP_HEIGHT;
		}
		put_track(track, out, y);
		y += ROW_HEIGHT;
	}
	return y;
}

static int page_height(const struct blk_picture *picture)
{
	const struct track *track, *before = NULL;
	int height = STACK_TOP + 60;

	for (track = picture->tracks; track != NULL; before = track, track = track->next)
		height += ROW_HEIGHT + (gap_before(track, before) > 0 ? GAP_HEIGHT : 0);
	return height;
}

static void write_picture(struct blk_picture *picture, const char *title, FILE *out)
{
	uint64_t bytes, written;
	char line[160];
	int y, height = page_height(picture);

	collect_all(picture, &bytes, &written);
	fprintf(out,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n<title>",
		PAGE_WIDTH, height, PAGE_WIDTH, height);
	markup_text(out, title);
	fputs(": the machine's memory</title>\n", out);
	markup_style(out);
	fprintf(out, "<rect width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>\n", PAGE_WIDTH, height);
	markup_label(out, 40, 52, "title", title);
	markup_label(out, 40, 78, "under", title_line(picture, bytes, written, line, sizeof(line)));
	y = put_tracks(picture, out);
	markup_label(
		out, 40, y + 30, "small",
		"Low addresses on top; a strip is a region from its first byte to its last. The darker, the more of "
		"its pages the disk wrote.");
	fputs("</svg>\n", out);
}

int blk_picture_draw(struct blk_picture *picture, const char *path, const char *title, struct failure *failure)
{
	FILE *out = markup_open(path, failure);

	if (out == NULL)
		return -1;
	write_picture(picture, title, out);
	return markup_close(out, path, 0, failure);
}
