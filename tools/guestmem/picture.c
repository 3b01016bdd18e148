/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The picture for a terminal: low addresses on top, one box per band, taller for larger ones but by the logarithm; gaps are
 * folded to one line. The border of a slot is dashed. Without UTF-8 it is drawn in ASCII, without colours in lines alone.
 */
#include <string.h>

#include "bands.h"
#include "show.h"

#define BOX_WIDTH 38

struct pen {
	FILE *out;
	const struct terminal *terminal;
	int digits;
};

/* The pieces of a box, and what stands for them where there is only ASCII. */
enum piece {
	TOP_LEFT,
	TOP_RIGHT,
	BOTTOM_LEFT,
	BOTTOM_RIGHT,
	TEE_LEFT,
	TEE_RIGHT,
	LINE,
	SIDE,
	DASH,
	DASHED,
	FOLD,
	BAR,
	DOT
};
static const char *const pieces_utf8[] = { "┌", "┐", "└", "┘", "├", "┤", "─", "│", "╌", "╎", "┊", "▌", "·" };
static const char *const pieces_ascii[] = { "+", "+", "+", "+", "+", "+", "-", "|", "-", ":", ":", "|", "-" };

static const char *piece(const struct pen *pen, enum piece which)
{
	return pen->terminal->utf8 ? pieces_utf8[which] : pieces_ascii[which];
}

static void color(const struct pen *pen, const char *sequence)
{
	if (pen->terminal->color)
		fprintf(pen->out, "\033[%sm", sequence);
}

static void put_address(const struct pen *pen, const uint64_t *address)
{
	if (address)
		fprintf(pen->out, "  0x%0*llx ", pen->digits, (unsigned long long)*address);
	else
		fprintf(pen->out, "  %*s ", pen->digits + 2, "");
}

static void put_border(const struct pen *pen, const uint64_t *address, enum piece left, enum piece right, bool dashed)
{
	put_address(pen, address);
	color(pen, "2");
	fputs(piece(pen, left), pen->out);
	for (int i = 0; i < BOX_WIDTH; i++)
		fputs(piece(pen, dashed ? DASH : LINE), pen->out);
	fputs(piece(pen, right), pen->out);
	color(pen, "0");
	fputc('\n', pen->out);
}

static void put_side(const struct pen *pen, const struct band *band)
{
	color(pen, "2");
	fputs(piece(pen, band->entry->origin == ORIGIN_SLOT ? DASHED : SIDE), pen->out);
	color(pen, "0");
}

/* What stands to the right of a box, in its first line: node, source. In the others only the node's bar goes on. */
static void put_note(const struct pen *pen, const struct band *band, bool first)
{
	const struct entry *entry = band->entry;
	char text[DESCRIPTION_MAX + 64], source[DESCRIPTION_MAX];
	size_t length = 0;

	text[0] = '\0';
	describe_source(entry, source);
	if (entry->guest_node >= 0) {
		char sequence[24];

		snprintf(sequence, sizeof(sequence), "38;5;%d", ink_of_node(entry->guest_node)->color);
		color(pen, sequence);
		fprintf(pen->out, " %s", piece(pen, BAR));
		color(pen, "0");
		length = (size_t)snprintf(text, sizeof(text), "node %d", entry->guest_node);
	}
	if (!first || (!source[0] && length == 0))
		return;
	if (entry->origin == ORIGIN_SLOT)
		length += (size_t)snprintf(text + length, sizeof(text) - length, "%sslot", length ? ", " : "");
	if (source[0])
		snprintf(text + length, sizeof(text) - length, "%s%s", length ? ", " : "", source);
	color(pen, "2");
	fprintf(pen->out, " %s", text);
	color(pen, "0");
}

static void put_fill(const struct pen *pen, const struct band *band, bool first)
{
	const struct ink *ink = ink_of_kind(band->entry->kind);
	char bytes[BYTES_TEXT_MAX], name[2 * GM_NAME_MAX + 32], sequence[48];

	name[0] = bytes[0] = '\0';
	if (first) {
		format_range_bytes(bytes, gm_range_bytes(band->range));
		if (band->count > 1)
			snprintf(name, sizeof(name), "%s ... %s (%zu)", band->entry->name, band->last->name,
				 band->count);
		else
			snprintf(name, sizeof(name), "%s", band->entry->name);
	}
	snprintf(sequence, sizeof(sequence), "48;5;%d;38;5;%d", ink->background, ink->foreground);
	color(pen, sequence);
	if (first)
		color(pen, "1");
	fprintf(pen->out, " %-*.*s %*s ", BOX_WIDTH - 14, BOX_WIDTH - 14, name, 11, bytes);
	color(pen, "0");
}

static void put_box(const struct pen *pen, const struct band *band, const struct band *before, const struct band *after)
{
	bool dashed = band->entry->origin == ORIGIN_SLOT, joined = before && before->entry;
	unsigned weight = band_weight(band), rows = weight < 6 ? 1 : weight < 11 ? 2 : 3;

	put_border(pen, &band->range.first.value, joined ? TEE_LEFT : TOP_LEFT, joined ? TEE_RIGHT : TOP_RIGHT, dashed);
	for (unsigned row = 0; row < rows; row++) {
		put_address(pen, NULL);
		put_side(pen, band);
		put_fill(pen, band, row == 0);
		put_side(pen, band);
		put_note(pen, band, row == 0);
		fputc('\n', pen->out);
	}
	if (!after || !after->entry)
		put_border(pen, &band->range.last.value, BOTTOM_LEFT, BOTTOM_RIGHT, dashed);
}

static void put_gap(const struct pen *pen, const struct band *band)
{
	char text[DESCRIPTION_MAX];

	put_address(pen, NULL);
	color(pen, "2");
	fprintf(pen->out, "%s %s", piece(pen, FOLD), describe_gap(band, text));
	color(pen, "0");
	fputc('\n', pen->out);
}

static void put_legend(const struct pen *pen)
{
	if (!pen->terminal->color)
		return;
	fputs("\n  ", pen->out);
	for (unsigned kind = 0; kind < GM_KINDS; kind++) {
		const struct ink *ink = ink_of_kind((enum gm_kind)kind);

		fprintf(pen->out, "\033[48;5;%dm\033[38;5;%dm %s \033[0m  ", ink->background, ink->foreground,
			gm_kind_name((enum gm_kind)kind));
	}
	fprintf(pen->out, "\033[2mdashed: hot-plug slot; heights are not to scale\033[0m\n");
}

int show_picture(const struct machine *machine, FILE *out, const struct terminal *terminal, struct failure *failure)
{
	struct pen pen = { out, terminal, address_digits(machine) };
	char text[DESCRIPTION_MAX];
	struct bands bands;

	if (bands_new(machine, &bands, failure) < 0)
		return -1;
	color(&pen, "1");
	fprintf(out, "%s", machine->title);
	color(&pen, "0");
	fprintf(out, "  %s, %u physical address bits, %s\n\n", machine->layout_name, machine->physical_bits,
		describe_machine(machine, text));
	for (size_t i = 0; i < bands.count; i++) {
		const struct band *band = &bands.bands[i];

		if (band->entry)
			put_box(&pen, band, i ? band - 1 : NULL, i + 1 < bands.count ? band + 1 : NULL);
		else
			put_gap(&pen, band);
	}
	put_legend(&pen);
	bands_fini(&bands);
	return 0;
}
