/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The histogram as an SVG: two panels, many readers and one, each with an idle and a busy writer. Both axes are logarithmic:
 * from left to right the time of a section, upward how many of a million took it. Colours of middle brightness, no ground of
 * its own, so that it reads on light and on dark.
 */
#include "scale.h"

#include <math.h>

#define WIDTH      960
#define HEIGHT     380
#define TOP        64
#define BOTTOM     300
#define PANEL      400
#define LEFT       72
#define GAP        56
#define DECADES    8 /* upward: from one in a hundred millions to all */
#define INK        "#7a7f87"
#define IDLE       "#3d8bd4"
#define BUSY       "#d9762b"
#define FONT       "font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"" INK "\""
#define NARROW_GAP 1.0

struct axes {
	unsigned first, last; /* octaves */
};

static int panel_left(unsigned panel)
{
	return LEFT + (int)panel * (PANEL + GAP);
}

static double height_of(uint64_t count, uint64_t all)
{
	double decades = count == 0 ? 0 : DECADES + log10((double)count / (double)all);

	if (decades < 0)
		decades = 0;
	return decades / DECADES * (BOTTOM - TOP);
}

static struct axes find_axes(const struct run runs[RUNS], const struct clock *clock)
{
	struct axes axes = { 64, 0 };
	uint64_t counts[64];
	unsigned i, octave;

	for (i = 0; i < RUNS; i++) {
		histogram_octaves(&runs[i].times, clock->ns_per_tick, counts);
		for (octave = 0; octave < 64; octave++) {
			if (counts[octave] == 0)
				continue;
			axes.first = octave < axes.first ? octave : axes.first;
			axes.last = octave > axes.last ? octave : axes.last;
		}
	}
	if (axes.first > axes.last)
		axes.first = axes.last = 0;
	return axes;
}

static void put_time(FILE *out, double ns)
{
	if (ns < 1000)
		fprintf(out, "%.0f ns", ns);
	else if (ns < 1e6)
		fprintf(out, "%.0f us", ns / 1024);
	else if (ns < 1e9)
		fprintf(out, "%.0f ms", ns / 1024 / 1024);
	else
		fprintf(out, "%.0f s", ns / 1024 / 1024 / 1024);
}

static void draw_frame(FILE *out, unsigned panel, struct axes axes, double step)
{
	int left = panel_left(panel), decade;
	unsigned octave;
	double y;

	for (decade = 0; decade <= DECADES; decade += 2) {
		y = BOTTOM - (double)decade / DECADES * (BOTTOM - TOP);
		fprintf(out,
			"<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\" stroke=\"" INK
			"\" stroke-opacity=\"0.35\"/>\n",
			left, y, left + PANEL, y);
		if (panel == 0)
			fprintf(out, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\" " FONT ">%s</text>\n", left - 8,
				y + 4,
				decade == DECADES       ? "all"
				: decade == DECADES - 2 ? "1 in 100"
				: decade == DECADES - 4 ? "1 in 10^4"
				: decade == DECADES - 6 ? "1 in 10^6"
							: "1 in 10^8");
	}
	for (octave = axes.first; octave <= axes.last; octave += axes.last - axes.first > 12 ? 4 : 2) {
		fprintf(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\" " FONT ">",
			left + (octave - axes.first) * step, BOTTOM + 18);
		put_time(out, (double)(1ULL << octave));
		fputs("</text>\n", out);
	}
}

static void draw_run(FILE *out, unsigned panel, const struct run *run, const struct clock *clock, struct axes axes,
		     double step)
{
	double width = step / 2 - NARROW_GAP, height, x;
	uint64_t counts[64];
	unsigned octave;

	histogram_octaves(&run->times, clock->ns_per_tick, counts);
	for (octave = axes.first; octave <= axes.last; octave++) {
		if (counts[octave] == 0)
			continue;
		height = height_of(counts[octave], run->times.count);
		x = panel_left(panel) + (octave - axes.first) * step + (run->busy ? step / 2 : NARROW_GAP);
		fprintf(out,
			"<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"><title>%llu ns to %llu "
			"ns: %llu</title></rect>\n",
			x, BOTTOM - height, width, height, run->busy ? BUSY : IDLE, 1ULL << octave, 2ULL << octave,
			(unsigned long long)counts[octave]);
	}
}

static void draw_legend(FILE *out)
{
	fprintf(out, "<rect x=\"%d\" y=\"%d\" width=\"12\" height=\"12\" fill=\"" IDLE "\"/>\n", LEFT, HEIGHT - 34);
	fprintf(out, "<text x=\"%d\" y=\"%d\" " FONT ">writer idle</text>\n", LEFT + 18, HEIGHT - 24);
	fprintf(out, "<rect x=\"%d\" y=\"%d\" width=\"12\" height=\"12\" fill=\"" BUSY "\"/>\n", LEFT + 110,
		HEIGHT - 34);
	fprintf(out, "<text x=\"%d\" y=\"%d\" " FONT ">writer updates all spaces as fast as it can</text>\n",
		LEFT + 128, HEIGHT - 24);
	fprintf(out,
		"<text x=\"%d\" y=\"%d\" text-anchor=\"end\" " FONT
		">time of a section; upward: share of all sections</text>\n",
		panel_left(1) + PANEL, HEIGHT - 24);
}

void picture_sections(FILE *out, const struct scale_options *options, const struct clock *clock,
		      const struct run runs[RUNS])
{
	struct axes axes = find_axes(runs, clock);
	double step = (double)PANEL / (axes.last - axes.first + 1);
	unsigned panel, i;
	char title[96];

	fprintf(out,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" "
		"role=\"img\">\n",
		WIDTH, HEIGHT, WIDTH, HEIGHT);
	fputs("<title>How long sections take: enter, eight loads, leave</title>\n", out);
	fprintf(out,
		"<text x=\"%d\" y=\"24\" " FONT " font-weight=\"bold\">Enter, %u loads, leave, over %u spaces</text>\n",
		LEFT, LOADS, options->spaces);
	for (panel = 0; panel < 2; panel++) {
		snprintf(title, sizeof(title), panel == 0 ? "%u readers" : "%u reader, on a CPU of its own",
			 runs[2 * panel].readers);
		fprintf(out, "<text x=\"%d\" y=\"%d\" " FONT ">%s</text>\n", panel_left(panel), TOP - 14, title);
		draw_frame(out, panel, axes, step);
		for (i = 2 * panel; i < 2 * panel + 2; i++) {
			if (runs[i].done)
				draw_run(out, panel, &runs[i], clock, axes, step);
		}
	}
	draw_legend(out);
	fputs("</svg>\n", out);
}
