/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * A JSON file: its text, what json-c made of it, and where in the text a value stands, so that every complaint about a value
 * can name file, line, column and path: "vm.json:12:15: regions[2].bytes: is 0".
 *
 * A place is one object of the document; the field_...() calls read its members. They return 1 and set ret, or 0 when the
 * member is absent and leave ret, or -1 with the complaint in the place's failure.
 */
#ifndef TOOL_DOCUMENT_H
#define TOOL_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "failure.h"

struct document;
struct json_object;

/* A machine with 60 000 regions is about 8 MiB; more is a mistake, and would be held in memory several times. */
#define DOCUMENT_BYTES_MAX (16u << 20)
/* A description nests four deep. */
#define DOCUMENT_DEPTH_MAX 16
/* Longest path that is kept: longer ones are cut, in messages only. */
#define PLACE_PATH_MAX 128

struct place {
	struct document *document;
	struct json_object *object;
	struct failure *failure;
	char path[PLACE_PATH_MAX]; /* "" for the root */
};

int document_open(const char *file, struct document **ret_document, struct failure *failure);
void document_free(struct document *document);
const char *document_file(const struct document *document);
/* The root as a place; fails when it is not an object. */
int document_root(struct document *document, struct place *ret_place, struct failure *failure);

/* Complains about the value at @path ("regions[2].bytes"). Return: -1. */
int document_fail(const struct document *document, const char *path, struct failure *failure, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* Complains about member @key of a place, or about the place itself when @key is NULL. Return: -1. */
int place_fail(const struct place *place, const char *key, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Refuses members whose name is not in @keys, a list that ends in NULL. */
int place_only(const struct place *place, const char *const *keys);

int field_bytes(const struct place *place, const char *key, uint64_t *ret_bytes);
int field_integer(const struct place *place, const char *key, int64_t min, int64_t max, int64_t *ret_number);
int field_flag(const struct place *place, const char *key, bool *ret_flag);
/* Lifetime: the document's. An empty string, or one with a zero inside, is refused. */
int field_text(const struct place *place, const char *key, const char **ret_text);
/* @names ends in NULL; the index of the one that was given. */
int field_choice(const struct place *place, const char *key, const char *const *names, unsigned *ret_index);
int field_object(const struct place *place, const char *key, struct place *ret_place);
/* How many elements member @key, an array, has; 0 when absent. */
int field_array(const struct place *place, const char *key, size_t max, size_t *ret_count);
/* Element @index of array @key, which has to be an object. Return: 0; -1. */
int field_element(const struct place *place, const char *key, size_t index, struct place *ret_place);
/* Element @index of array @key, which has to be an integer. Return: 0; -1. */
int field_element_integer(const struct place *place, const char *key, size_t index, int64_t min, int64_t max,
			  int64_t *ret_number);

#endif
