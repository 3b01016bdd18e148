/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Where things stand in a JSON text that json-c has accepted. Pure functions of the text. */
#ifndef TOOL_LOCATE_H
#define TOOL_LOCATE_H

#include <stdbool.h>
#include <stddef.h>

/* Line and column, from 1, of the character at @offset. Columns count bytes. */
void locate_line(const char *text, size_t offset, size_t *ret_line, size_t *ret_column);

/*
 * The offset of the value at @path, "regions[2].bytes"; of the nearest value around it when there is none. @path may name
 * members whose names have characters of its own syntax: those are not found. Never reads beyond @size.
 */
size_t locate_path(const char *text, size_t size, const char *path);

/* How many members all objects of the text have together, those counted twice whose name comes twice. */
size_t locate_members(const char *text, size_t size);

/*
 * The first zero character, or the string that it is in, or the first member name with one as an escape: json-c takes it for the end
 * of the text, or of the name.
 */
bool locate_zero(const char *text, size_t size, size_t *ret_offset);

/* A member name that comes twice in one object. Return: false when there is none, or it would take too long to find. */
bool locate_repeated(const char *text, size_t size, size_t *ret_offset, size_t *ret_length);

#endif
