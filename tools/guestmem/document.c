/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * A JSON file and complaints about it. Owns the text and the json-c tree; immutable once open; one thread.
 * Reading the members of objects is in field.c.
 */
#include "document.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "locate.h"

struct document {
	char *file;
	char *text;
	size_t size;
	struct json_object *root;
};

/* The file may be a pipe, and may grow while it is read: the limit holds for what was read. */
static int read_text(struct document *document, int fd, struct failure *failure)
{
	size_t room = 64 << 10;
	ssize_t got;

	for (;;) {
		if (!document->text || document->size == room) {
			char *text;

			if (document->text)
				room *= 2;
			text = realloc(document->text, room);
			if (!text)
				return fail(failure, STATUS_MISSING, "%s: no memory to read it", document->file);
			document->text = text;
		}
		got = read(fd, document->text + document->size, room - document->size);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return fail(failure, STATUS_INPUT, "%s: can't be read: %s", document->file, strerror(errno));
		if (got == 0)
			return 0;
		document->size += (size_t)got;
		if (document->size > DOCUMENT_BYTES_MAX)
			return fail(failure, STATUS_INPUT, "%s: is larger than %u MiB, the limit of a description",
				    document->file, DOCUMENT_BYTES_MAX >> 20);
	}
}

/* What json-c says of a text that breaks off, in words that fit a sentence. */
static const char *parse_reason(enum json_tokener_error error)
{
	switch (error) {
	case json_tokener_continue:
		return "the text breaks off here";
	case json_tokener_error_depth:
		return "nests too deep";
	case json_tokener_error_parse_unexpected:
		return "something else was expected here";
	default:
		return json_tokener_error_desc(error);
	}
}

static int parse_text(struct document *document, struct failure *failure)
{
	struct json_tokener *tokener = json_tokener_new_ex(DOCUMENT_DEPTH_MAX);
	enum json_tokener_error error;
	size_t line, column, stopped;

	if (!tokener)
		return fail(failure, STATUS_MISSING, "%s: no memory to parse it", document->file);
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	document->root = json_tokener_parse_ex(tokener, document->text, (int)document->size);
	error = json_tokener_get_error(tokener);
	stopped = json_tokener_get_parse_end(tokener);
	json_tokener_free(tokener);
	/* A bare number may go on as long as the text does: to json-c it is never finished. It is no object either. */
	if (error == json_tokener_success && document->root)
		return 0;
	locate_line(document->text, stopped < document->size ? stopped : document->size, &line, &column);
	return fail(failure, STATUS_INPUT, "%s:%zu:%zu: is not JSON: %s", document->file, line, column,
		    error == json_tokener_success ? "null is no description" : parse_reason(error));
}

static int refuse_zeros(const struct document *document, struct failure *failure)
{
	size_t offset = 0, line, column;

	if (!locate_zero(document->text, document->size, &offset))
		return 0;
	locate_line(document->text, offset, &line, &column);
	return fail(failure, STATUS_INPUT, "%s:%zu:%zu: has a zero character inside", document->file, line, column);
}

static size_t count_members(struct json_object *value)
{
	size_t count = 0;

	if (json_object_is_type(value, json_type_object)) {
		struct json_object_iterator at = json_object_iter_begin(value), end = json_object_iter_end(value);

		for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at))
			count += 1 + count_members(json_object_iter_peek_value(&at));
	} else if (json_object_is_type(value, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(value); i++)
			count += count_members(json_object_array_get_idx(value, i));
	}
	return count;
}

/* Of two members of one name json-c keeps the last: what a reader of the file takes for set may not be. */
static int refuse_repeated(const struct document *document, struct failure *failure)
{
	size_t offset = 0, length = 0, line, column;

	if (locate_members(document->text, document->size) == count_members(document->root))
		return 0;
	if (!locate_repeated(document->text, document->size, &offset, &length))
		return fail(failure, STATUS_INPUT, "%s: has a key twice in one object", document->file);
	locate_line(document->text, offset, &line, &column);
	return fail(failure, STATUS_INPUT, "%s:%zu:%zu: key \"%.*s\" comes twice in one object", document->file, line,
		    column, (int)(length < 64 ? length : 64), document->text + offset + 1);
}

int document_open(const char *file, struct document **ret_document, struct failure *failure)
{
	struct document *document = calloc(1, sizeof(*document));
	int fd, r;

	if (!document || !(document->file = strdup(file))) {
		free(document);
		return fail(failure, STATUS_MISSING, "%s: no memory to read it", file);
	}
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		r = fail(failure, STATUS_INPUT, "%s: can't be opened: %s", file, strerror(errno));
	} else {
		r = read_text(document, fd, failure);
		close(fd);
	}
	if (r == 0)
		r = refuse_zeros(document, failure);
	if (r == 0)
		r = parse_text(document, failure);
	if (r == 0)
		r = refuse_repeated(document, failure);
	if (r < 0) {
		document_free(document);
		return r;
	}
	*ret_document = document;
	return 0;
}

void document_free(struct document *document)
{
	if (!document)
		return;
	json_object_put(document->root);
	free(document->text);
	free(document->file);
	free(document);
}

const char *document_file(const struct document *document)
{
	return document->file;
}

int document_root(struct document *document, struct place *ret_place, struct failure *failure)
{
	*ret_place = (struct place){ .document = document, .object = document->root, .failure = failure };
	if (!json_object_is_type(document->root, json_type_object))
		return document_fail(document, "", failure, "a description is an object, { ... }");
	return 0;
}

static int complain(const struct document *document, const char *path, struct failure *failure, const char *format,
		    va_list args)
{
	char sentence[FAILURE_TEXT_MAX];
	size_t line, column;

	locate_line(document->text, locate_path(document->text, document->size, path), &line, &column);
	vsnprintf(sentence, sizeof(sentence), format, args);
	return fail(failure, STATUS_INPUT, "%s:%zu:%zu: %s%s%s", document->file, line, column, path, *path ? ": " : "",
		    sentence);
}

int document_fail(const struct document *document, const char *path, struct failure *failure, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	complain(document, path, failure, format, args);
	va_end(args);
	return -1;
}

int place_fail(const struct place *place, const char *key, const char *format, ...)
{
	char path[PLACE_PATH_MAX + 64];
	va_list args;

	snprintf(path, sizeof(path), "%s%s%.60s", place->path, *place->path && key ? "." : "", key ? key : "");
	va_start(args, format);
	complain(place->document, path, place->failure, format, args);
	va_end(args);
	return -1;
}
