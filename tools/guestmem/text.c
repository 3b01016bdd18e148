/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Numbers as people write them, and what the terminal can show. No state; the environment is read here and nowhere else. */
#include "text.h"

#include <ctype.h>
#include <errno.h>
#include <langinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const char units[] = "KMGTPE";

const char *format_bytes(char text[BYTES_TEXT_MAX], uint64_t bytes)
{
	unsigned unit = 0;
	uint64_t whole, rest;

	while (unit < sizeof(units) - 1 && bytes >> (10 * (unit + 1)))
		unit++;
	if (unit == 0) {
		snprintf(text, BYTES_TEXT_MAX, "%u B", (unsigned)bytes);
		return text;
	}
	whole = bytes >> (10 * unit);
	/* Hundredths, cut and not rounded: 1023.999 MiB must not read as 1024 MiB. */
	rest = ((bytes >> (10 * (unit - 1))) & 1023) * 100 / 1024;
	if (rest == 0)
		snprintf(text, BYTES_TEXT_MAX, "%u %ciB", (unsigned)whole, units[unit - 1]);
	else if (rest % 10 == 0 || whole >= 100)
		snprintf(text, BYTES_TEXT_MAX, "%u.%u %ciB", (unsigned)whole, (unsigned)(rest / 10), units[unit - 1]);
	else
		snprintf(text, BYTES_TEXT_MAX, "%u.%02u %ciB", (unsigned)whole, (unsigned)rest, units[unit - 1]);
	return text;
}

const char *format_range_bytes(char text[BYTES_TEXT_MAX], uint64_t bytes)
{
	if (bytes)
		return format_bytes(text, bytes);
	snprintf(text, BYTES_TEXT_MAX, "16 EiB");
	return text;
}

int parse_bytes(const char *text, uint64_t *ret_bytes)
{
	uint64_t number;
	unsigned shift = 0;
	const char *unit;
	char *rest;
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');

	/* strtoull() would take signs and blanks. */
	if (hex ? !isxdigit((unsigned char)text[2]) : !isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	number = strtoull(text, &rest, hex ? 16 : 10);
	if (errno)
		return -ERANGE;
	if (*rest) {
		unit = strchr(units, toupper((unsigned char)*rest));
		if (!unit)
			return -EINVAL;
		shift = 10 * (unsigned)(unit - units + 1);
		if (strcmp(rest + 1, "") != 0 && strcmp(rest + 1, "iB") != 0)
			return -EINVAL;
	}
	if (shift && number > UINT64_MAX >> shift)
		return -ERANGE;
	*ret_bytes = number << shift;
	return 0;
}

char *printable(char *text)
{
	for (unsigned char *c = (unsigned char *)text; *c; c++) {
		/* The second half of U+0080 to U+009F, which terminals take for control characters too. */
		bool upper = c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0;

		if (*c < ' ' || *c == 0x7f)
			*c = '?';
		if (upper)
			c[0] = c[1] = '?';
	}
	return text;
}

struct terminal terminal_of(int fd, enum when color)
{
	const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
	struct terminal terminal = { .columns = 100 };
	struct winsize size;
	bool tty = isatty(fd);

	terminal.live = tty && term && strcmp(term, "dumb") != 0;
	terminal.color = color == WHEN_ALWAYS ||
			 (color == WHEN_AUTO && terminal.live && (!no_color || no_color[0] == '\0'));
	terminal.utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	if (tty && ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col >= 40)
		terminal.columns = size.ws_col;
	return terminal;
}
