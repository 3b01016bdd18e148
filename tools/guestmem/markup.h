/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* What the SVG pictures have in common: their type, their texts, and their file. */
#ifndef TOOL_MARKUP_H
#define TOOL_MARKUP_H

#include <stdio.h>

#include "failure.h"

/* Return: the file, empty; NULL with a failure. */
FILE *markup_open(const char *path, struct failure *failure);
/* @r: what writing it came to. A regular file that could not be written as a whole is removed. Return: @r, or -1. */
int markup_close(FILE *out, const char *path, int r, struct failure *failure);

/* Classes of text: title, under, address, name, size, small, gap, tag. */
void markup_style(FILE *out);
/* Whatever @text has, it is text. */
void markup_text(FILE *out, const char *text);
void markup_label(FILE *out, double x, double y, const char *class, const char *text);

#endif
