/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Numbers as people write them, and what the terminal can show. */
#ifndef TOOL_TEXT_H
#define TOOL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Longest text that format_bytes() makes, its terminating zero included. */
#define BYTES_TEXT_MAX 16

/* "4 KiB", "1.5 GiB"; rounded to two decimals at most. 0 is shown as such. Return: @text. */
const char *format_bytes(char text[BYTES_TEXT_MAX], uint64_t bytes);
/* The same for a range's size, where 0 stands for 2^64. */
const char *format_range_bytes(char text[BYTES_TEXT_MAX], uint64_t bytes);

/*
 * "4096", "0x1000", "4K", "4KiB", "1.5" is none: digits and one of K M G T P E, with or without "iB" behind it.
 * Return: 0; -EINVAL when it is none; -ERANGE when it does not fit into 64 bits.
 */
int parse_bytes(const char *text, uint64_t *ret_bytes);

/* Control characters become '?': what comes out of a file must not steer the terminal. In place. Return: @text. */
char *printable(char *text);

enum when { WHEN_AUTO, WHEN_ALWAYS, WHEN_NEVER };

/* What to draw with. */
struct terminal {
	bool color; /* escape sequences for colours */
	bool utf8;  /* box-drawing characters */
	bool live;  /* a line can be drawn over again */
	unsigned columns;
};

/* Looks at the descriptor, at TERM, NO_COLOR and the locale; --color on the command line wins over NO_COLOR. */
struct terminal terminal_of(int fd, enum when color);

#endif
