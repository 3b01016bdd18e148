/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Parts of SVG documents. No state. */
#include "markup.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void markup_style(FILE *out)
{
	fputs("<style>\n"
	      "text { font-family: Inter, 'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans', sans-serif; font-size: "
	      "13px; "
	      "fill: #20242c; }\n"
	      ".title { font-size: 23px; font-weight: 600; }\n"
	      ".under { font-size: 13.5px; fill: #5c6470; }\n"
	      ".address { font-family: 'JetBrains Mono', 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace; "
	      "font-size: 11px; fill: #5c6470; text-anchor: end; }\n"
	      ".name { font-weight: 600; }\n"
	      ".size { text-anchor: end; }\n"
	      ".small { font-size: 11.5px; fill: #5c6470; }\n"
	      ".gap { font-size: 12px; fill: #858c98; text-anchor: middle; }\n"
	      ".tag { font-size: 11px; font-weight: 600; fill: #ffffff; text-anchor: middle; }\n"
	      "</style>\n",
	      out);
}

void markup_text(FILE *out, const char *text)
{
	for (; *text; text++) {
		switch (*text) {
		case '<':
			fputs("&lt;", out);
			break;
		case '>':
			fputs("&gt;", out);
			break;
		case '&':
			fputs("&amp;", out);
			break;
		case '"':
			fputs("&quot;", out);
			break;
		default:
			fputc(*text, out);
		}
	}
}

void markup_label(FILE *out, double x, double y, const char *class, const char *text)
{
	fprintf(out, "<text x=\"%g\" y=\"%g\" class=\"%s\">", x, y, class);
	markup_text(out, text);
	fputs("</text>\n", out);
}

FILE *markup_open(const char *path, struct failure *failure)
{
	FILE *out = fopen(path, "we");

	if (!out)
		fail(failure, STATUS_INPUT, "%s: can't be written: %s", path, strerror(errno));
	return out;
}

int markup_close(FILE *out, const char *path, int r, struct failure *failure)
{
	struct stat status;
	/* As root one could remove /dev/full. */
	const bool is_file = fstat(fileno(out), &status) == 0 && S_ISREG(status.st_mode), bad = ferror(out);

	if (fclose(out) != 0 || bad)
		r = fail(failure, STATUS_MISSING, "%s: can't be written: %s", path, strerror(errno));
	if (r < 0 && is_file)
		unlink(path);
	return r;
}
