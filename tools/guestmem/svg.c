/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The picture for a document: low addresses on top, a box per band as tall as the logarithm of its size, gaps folded, addresses
 * on the left where boxes begin and end, NUMA nodes and sources on the right, a legend of what occurs below. No scripts, no
 * fonts of its own, no links: it can be pasted anywhere. Geometry is computed once, in struct page; nothing else is kept.
 */
#include <string.h>

#include "bands.h"
#include "markup.h"
#include "show.h"

#define PAGE_WIDTH   960
#define BOX_LEFT     212
#define BOX_WIDTH    384
#define BOX_RIGHT    (BOX_LEFT + BOX_WIDTH)
#define NOTE_LEFT    (BOX_RIGHT + 26)
#define STACK_TOP    118
#define BOX_HEIGHT   34 /* of the smallest box: its two addresses must not touch */
#define GAP_HEIGHT   42
#define WEIGHT_SCALE 5
/* From this height on a box has room for a second line. */
#define TALL 50
/* Characters of a name that fit beside a size. */
#define NAME_SHOWN 34

struct page {
	FILE *out;
	const struct machine *machine;
	const struct bands *bands;
	int digits;
	bool kinds[GM_KINDS];
	bool slots;
	int stack_bottom;
	int height;
};

static int band_height(const struct band *band)
{
	int height = BOX_HEIGHT + WEIGHT_SCALE * (int)band_weight(band);

	if (!band->entry)
		return GAP_HEIGHT;
	/* A folded row has to say that it is one. */
	return band->count > 1 && height < TALL ? TALL : height;
}

static void measure(struct page *page)
{
	int legend_rows = 2 + (int)page->machine->nodes_count;

	page->stack_bottom = STACK_TOP;
	for (size_t i = 0; i < page->bands->count; i++) {
		const struct band *band = &page->bands->bands[i];

		page->stack_bottom += band_height(band);
		if (band->entry) {
			page->kinds[band->entry->kind] = true;
			page->slots |= band->entry->origin == ORIGIN_SLOT;
		}
	}
	page->height = page->stack_bottom + 58 + 26 * legend_rows + 18;
}

/* A slot is hatched in its kind's colours: what may stand there, and does not yet. */
static void put_patterns(const struct page *page)
{
	fputs("<defs>\n", page->out);
	for (unsigned kind = 0; kind < GM_KINDS; kind++) {
		const struct ink *ink = ink_of_kind((enum gm_kind)kind);

		if (page->kinds[kind])
			fprintf(page->out,
				"<pattern id=\"slot-%s\" width=\"9\" height=\"9\" patternUnits=\"userSpaceOnUse\" "
				"patternTransform=\"rotate(45)\"><rect width=\"9\" height=\"9\" fill=\"#ffffff\"/>"
				"<rect width=\"4\" height=\"9\" fill=\"%s\"/></pattern>\n",
				gm_kind_name((enum gm_kind)kind), ink->fill);
	}
	fputs("</defs>\n", page->out);
}

static void put_head(const struct page *page)
{
	char text[DESCRIPTION_MAX], line[2 * DESCRIPTION_MAX];

	fprintf(page->out,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n"
		"<title>",
		PAGE_WIDTH, page->height, PAGE_WIDTH, page->height);
	markup_text(page->out, page->machine->title);
	fputs(": guest physical memory</title>\n", page->out);
	markup_style(page->out);
	put_patterns(page);
	fprintf(page->out, "<rect width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>\n", PAGE_WIDTH, page->height);
	markup_label(page->out, 40, 52, "title", page->machine->title);
	snprintf(line, sizeof(line), "%s, %u physical address bits, %s", page->machine->layout_name,
		 page->machine->physical_bits, describe_machine(page->machine, text));
	markup_label(page->out, 40, 78, "under", line);
}

static void put_address(const struct page *page, double y, uint64_t address)
{
	char text[32];

	fprintf(page->out, "<line x1=\"%d\" y1=\"%g\" x2=\"%d\" y2=\"%g\" stroke=\"#c3c8d0\"/>\n", BOX_LEFT - 10, y,
		BOX_LEFT - 3, y);
	snprintf(text, sizeof(text), "0x%0*llx", page->digits, (unsigned long long)address);
	markup_label(page->out, BOX_LEFT - 16, y + 4, "address", text);
}

/* A small coloured tag that names a node. Return: where it ends. */
static double put_tag(const struct page *page, double x, double y, int node)
{
	char text[24];
	double width;

	snprintf(text, sizeof(text), "node %d", node);
	width = 14 + 6.4 * (double)strlen(text);
	fprintf(page->out, "<rect x=\"%g\" y=\"%g\" width=\"%g\" height=\"18\" rx=\"9\" fill=\"%s\"/>\n", x, y - 13,
		width, ink_of_node(node)->line);
	markup_label(page->out, x + width / 2, y, "tag", text);
	return x + width;
}

static void put_notes(const struct page *page, const struct band *band, int y, int height)
{
	const struct machine_node *node = machine_find_node(page->machine, band->entry->guest_node);
	char source[DESCRIPTION_MAX], vcpus[DESCRIPTION_MAX], line[2 * DESCRIPTION_MAX] = "";
	double x = NOTE_LEFT;
	int base = height < TALL ? y + height / 2 + 5 : y + 21;

	describe_source(band->entry, source);
	if (band->entry->guest_node >= 0) {
		fprintf(page->out, "<rect x=\"%d\" y=\"%d\" width=\"5\" height=\"%d\" fill=\"%s\"/>\n", BOX_RIGHT + 8,
			y + 1, height - 2, ink_of_node(band->entry->guest_node)->line);
		x = put_tag(page, x, base, band->entry->guest_node) + 10;
	}
	markup_label(page->out, x, base, "small",
		     source[0]                        ? source
		     : band->entry->kind == GM_DEVICE ? "registers"
						      : "nothing may be put here");
	if (height < TALL || !node || band->entry->origin != ORIGIN_NODE)
		return;
	if (node->host >= 0)
		snprintf(line, sizeof(line), "on host node %d%s", node->host, node->vcpus_count ? ", " : "");
	strcat(line, describe_vcpus(node, vcpus));
	markup_label(page->out, NOTE_LEFT, base + 21, "small", line);
}

static void put_box(const struct page *page, const struct band *band, int y)
{
	const struct entry *entry = band->entry;
	const struct ink *ink = ink_of_kind(entry->kind);
	bool slot = entry->origin == ORIGIN_SLOT;
	int height = band_height(band), base = height < TALL ? y + height / 2 + 5 : y + 21;
	char name[2 * GM_NAME_MAX + 32], fill[32], bytes[BYTES_TEXT_MAX], kind[64];

	if (band->count > 1)
		snprintf(name, sizeof(name), "%s to %s", entry->name, band->last->name);
	else
		snprintf(name, sizeof(name), "%s", entry->name);
	if (strlen(name) > NAME_SHOWN)
		strcpy(name + NAME_SHOWN, "...");
	snprintf(fill, sizeof(fill), "url(#slot-%s)", gm_kind_name(entry->kind));
	fprintf(page->out, "<rect x=\"%d.5\" y=\"%d.5\" width=\"%d\" height=\"%d\" fill=\"%s\" stroke=\"%s\"%s/>\n",
		BOX_LEFT, y, BOX_WIDTH - 1, height - 1, slot ? fill : ink->fill, ink->line,
		slot ? " stroke-dasharray=\"5 4\"" : "");
	markup_label(page->out, BOX_LEFT + 14, base, "name", name);
	markup_label(page->out, BOX_RIGHT - 14, base, "size", format_range_bytes(bytes, gm_range_bytes(band->range)));
	if (height >= TALL) {
		snprintf(kind, sizeof(kind), band->count > 1 ? "%s%s, %zu regions" : "%s%s", gm_kind_name(entry->kind),
			 slot ? ", hot-plug slot" : "", band->count);
		markup_label(page->out, BOX_LEFT + 14, base + 19, "small", kind);
	}
	put_notes(page, band, y, height);
}

/* The sides go on as dashed lines, broken by the two strokes that mark a cut axis. */
static void put_gap(const struct page *page, const struct band *band, int y)
{
	int sides[2] = { BOX_LEFT, BOX_RIGHT - 1 }, middle = y + GAP_HEIGHT / 2;
	char text[DESCRIPTION_MAX];

	for (unsigned i = 0; i < 2; i++) {
		int x = sides[i];

		fprintf(page->out,
			"<path d=\"M%d.5 %d V%d M%d.5 %d V%d\" stroke=\"#b4bac4\" stroke-dasharray=\"2 3\"/>\n"
			"<path d=\"M%d %d l12 -6 M%d %d l12 -6\" stroke=\"#858c98\" fill=\"none\"/>\n",
			x, y + 2, middle - 5, x, middle + 6, y + GAP_HEIGHT - 1, x - 5, middle + 1, x - 5, middle + 6);
	}
	markup_label(page->out, BOX_LEFT + BOX_WIDTH / 2.0, middle + 4, "gap", describe_gap(band, text));
}

static void put_stack(const struct page *page)
{
	int y = STACK_TOP;

	for (size_t i = 0; i < page->bands->count; i++) {
		const struct band *band = &page->bands->bands[i];
		bool end = i + 1 == page->bands->count;

		if (band->entry) {
			put_box(page, band, y);
			put_address(page, y + 0.5, band->range.first.value);
		} else {
			put_gap(page, band, y);
		}
		y += band_height(band);
		if (end || (band->entry && !page->bands->bands[i + 1].entry))
			put_address(page, y - 0.5, band->range.last.value);
	}
}

static double put_swatch(const struct page *page, double x, int y, const char *fill, const struct ink *ink, bool slot,
			 const char *text)
{
	fprintf(page->out, "<rect x=\"%g\" y=\"%d.5\" width=\"22\" height=\"14\" fill=\"%s\" stroke=\"%s\"%s/>\n", x,
		y - 12, fill, ink->line, slot ? " stroke-dasharray=\"4 3\"" : "");
	markup_label(page->out, x + 30, y, "small", text);
	return x + 30 + 6.3 * (double)strlen(text) + 22;
}

static void put_legend(const struct page *page)
{
	int y = page->stack_bottom + 58;
	double x = 40;

	fprintf(page->out, "<line x1=\"40\" y1=\"%d.5\" x2=\"%d\" y2=\"%d.5\" stroke=\"#e2e5ea\"/>\n", y - 28,
		PAGE_WIDTH - 40, y - 28);
	for (unsigned kind = 0; kind < GM_KINDS; kind++)
		if (page->kinds[kind])
			x = put_swatch(page, x, y, ink_of_kind((enum gm_kind)kind)->fill,
				       ink_of_kind((enum gm_kind)kind), false, gm_kind_name((enum gm_kind)kind));
	if (page->slots)
		put_swatch(page, x, y, "url(#slot-ram)", ink_of_kind(GM_RAM), true, "hot-plug slot, empty at first");
	y += 30;
	for (size_t i = 0; i < page->machine->nodes_count; i++, y += 26) {
		const struct machine_node *node = &page->machine->nodes[i];
		char bytes[BYTES_TEXT_MAX], vcpus[DESCRIPTION_MAX], host[32] = "", line[2 * DESCRIPTION_MAX];

		if (node->host >= 0)
			snprintf(host, sizeof(host), ", on host node %d", node->host);
		snprintf(line, sizeof(line), "%s%s%s%s", format_bytes(bytes, node->bytes), host,
			 node->vcpus_count ? ", " : "", describe_vcpus(node, vcpus));
		x = put_tag(page, 40, y, node->guest);
		markup_label(page->out, x + 10, y, "small", line);
	}
	markup_label(page->out, 40, y, "small",
		     "Low addresses on top. Heights follow the logarithm of the size; gaps are folded.");
}

static int write_svg(const struct machine *machine, FILE *out, struct failure *failure)
{
	struct bands bands;
	struct page page = { .out = out, .machine = machine, .bands = &bands, .digits = address_digits(machine) };

	if (bands_new(machine, &bands, failure) < 0)
		return -1;
	measure(&page);
	put_head(&page);
	put_stack(&page);
	put_legend(&page);
	fputs("</svg>\n", out);
	bands_fini(&bands);
	return 0;
}

int show_svg(const struct machine *machine, const char *path, struct failure *failure)
{
	FILE *out = markup_open(path, failure);

	return out ? markup_close(out, path, write_svg(machine, out, failure), failure) : -1;
}
