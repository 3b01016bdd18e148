/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Where things stand in a JSON text. json-c keeps no positions, and of two members of one name it keeps the last without a
 * word; so the text is scanned again here, when there is something to complain about. The scanner trusts nothing: it knows
 * strings, brackets and commas, stops at the end of the text, and on a text that json-c would refuse it merely finds nothing.
 */
#include "locate.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Characters that are looked at in search of a name that comes twice: a second's worth, and more than a sane text needs. */
#define REPEATED_PATIENCE ((size_t)1 << 28)

struct scan {
	const char *text;
	size_t size;
	size_t at;
};

void locate_line(const char *text, size_t offset, size_t *ret_line, size_t *ret_column)
{
	size_t line = 1, column = 1;

	for (size_t i = 0; i < offset; i++) {
		/* Editors count characters: the first byte of each, in UTF-8. */
		column += ((unsigned char)text[i] & 0xc0) != 0x80;
		if (text[i] == '\n') {
			line++;
			column = 1;
		}
	}
	*ret_line = line;
	*ret_column = column;
}

static char peek(const struct scan *scan)
{
	return scan->at < scan->size ? scan->text[scan->at] : '\0';
}

static void skip_blank(struct scan *scan)
{
	while (scan->at < scan->size && memchr(" \t\r\n", scan->text[scan->at], 4))
		scan->at++;
}

/* From an opening quote to behind the closing one. */
static void skip_string(struct scan *scan)
{
	scan->at++;
	while (scan->at < scan->size && scan->text[scan->at] != '"')
		scan->at += scan->text[scan->at] == '\\' ? 2 : 1;
	if (scan->at < scan->size)
		scan->at++;
}

/* A whole value: brackets are counted, so nesting costs no stack. */
static void skip_value(struct scan *scan)
{
	size_t depth = 0;

	for (; scan->at < scan->size; scan->at++) {
		char c = scan->text[scan->at];

		if (c == '"') {
			skip_string(scan);
			scan->at--;
		} else if (c == '{' || c == '[') {
			depth++;
		} else if (depth == 0 && (c == ',' || c == '}' || c == ']')) {
			return;
		} else if ((c == '}' || c == ']') && --depth == 0) {
			scan->at++;
			return;
		}
	}
}

/* Goes to member @name of the object that begins here, or stays. */
static bool enter_member(struct scan *scan, const char *name, size_t length)
{
	struct scan ahead = *scan;

	if (peek(&ahead) != '{')
		return false;
	ahead.at++;
	for (;;) {
		size_t start;
		bool same;

		skip_blank(&ahead);
		if (peek(&ahead) != '"')
			return false;
		start = ahead.at + 1;
		skip_string(&ahead);
		same = ahead.at - start == length + 1 && memcmp(ahead.text + start, name, length) == 0;
		skip_blank(&ahead);
		if (peek(&ahead) != ':')
			return false;
		ahead.at++;
		skip_blank(&ahead);
		if (same) {
			*scan = ahead;
			return true;
		}
		skip_value(&ahead);
		if (peek(&ahead) != ',')
			return false;
		ahead.at++;
	}
}

/* Goes to element @index of the array that begins here, or stays. */
static bool enter_element(struct scan *scan, size_t index)
{
	struct scan ahead = *scan;

	if (peek(&ahead) != '[')
		return false;
	ahead.at++;
	while (index--) {
		skip_value(&ahead);
		if (peek(&ahead) != ',')
			return false;
		ahead.at++;
	}
	skip_blank(&ahead);
	*scan = ahead;
	return true;
}

size_t locate_path(const char *text, size_t size, const char *path)
{
	struct scan scan = { text, size, 0 };

	skip_blank(&scan);
	while (*path) {
		size_t length = strcspn(path, ".[");

		if (length && !enter_member(&scan, path, length))
			break;
		path += length;
		if (*path == '[' && !enter_element(&scan, strtoull(path + 1, NULL, 10)))
			break;
		if (*path == '[')
			path += strcspn(path, "]");
		if (*path)
			path++;
	}
	return scan.at < size ? scan.at : size ? size - 1 : 0;
}

size_t locate_members(const char *text, size_t size)
{
	struct scan scan = { text, size, 0 };
	size_t members = 0;

	while (scan.at < scan.size) {
		if (peek(&scan) == '"') {
			skip_string(&scan);
			continue;
		}
		members += peek(&scan) == ':';
		scan.at++;
	}
	return members;
}

/* Whether a string has one as an escape. What follows a backslash is escaped: a second one is no beginning. */
static bool has_zero(const char *string, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (length - i >= 6 && memcmp(string + i, "\\u0000", 6) == 0)
			return true;
		i += string[i] == '\\';
	}
	return false;
}

bool locate_zero(const char *text, size_t size, size_t *ret_offset)
{
	struct scan scan = { text, size, 0 };

	while (scan.at < scan.size && text[scan.at] != '\0') {
		size_t start = scan.at;

		if (peek(&scan) != '"') {
			scan.at++;
			continue;
		}
		skip_string(&scan);
		*ret_offset = start;
		if (memchr(text + start, '\0', (scan.at < size ? scan.at : size) - start))
			return true;
		skip_blank(&scan);
		if (peek(&scan) == ':' && has_zero(text + start, scan.at - start))
			return true;
	}
	*ret_offset = scan.at;
	return scan.at < scan.size;
}

/*
 * Whether a later member of the object around @scan, which stands behind a value, is called so too. What is looked at is taken off
 * @patience; once that is used up, nothing is found any more.
 */
static bool comes_again(struct scan scan, const char *name, size_t length, size_t *patience, size_t *ret_offset)
{
	while (peek(&scan) == ',' && *patience > 0) {
		size_t start, before = scan.at;

		scan.at++;
		skip_blank(&scan);
		if (peek(&scan) != '"')
			return false;
		start = scan.at + 1;
		skip_string(&scan);
		if (scan.at - start == length + 1 && memcmp(scan.text + start, name, length) == 0) {
			*ret_offset = start - 1;
			return true;
		}
		skip_blank(&scan);
		scan.at++;
		skip_value(&scan);
		*patience -= scan.at - before < *patience ? scan.at - before : *patience;
	}
	return false;
}

/* Quadratic in the members of an object, which is why locate_members() goes first, and why patience ends. */
bool locate_repeated(const char *text, size_t size, size_t *ret_offset, size_t *ret_length)
{
	struct scan scan = { text, size, 0 };
	size_t patience = REPEATED_PATIENCE;

	while (scan.at < scan.size && patience > 0) {
		size_t start = scan.at + 1, length;
		struct scan ahead;

		if (peek(&scan) != '"') {
			scan.at++;
			continue;
		}
		skip_string(&scan);
		length = scan.at - start - 1;
		ahead = scan;
		skip_blank(&ahead);
		if (peek(&ahead) != ':')
			continue;
		ahead.at++;
		skip_value(&ahead);
		if (comes_again(ahead, text + start, length, &patience, ret_offset)) {
			*ret_length = length;
			return true;
		}
	}
	return false;
}
