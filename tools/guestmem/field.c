/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Reading the members of a document's objects: each call checks type and bounds, and complains with the place. No state. */
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "document.h"
#include "text.h"

/*
 * Beyond 2^53 a JSON number is not safe: many writers and readers keep it in a double, and json-c cuts what is beyond
 * 2^64-1. So larger numbers have to be strings.
 */
#define NUMBER_MAX (INT64_C(1) << 53)

int place_only(const struct place *place, const char *const *keys)
{
	struct json_object_iterator at = json_object_iter_begin(place->object),
				    end = json_object_iter_end(place->object);

	for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at)) {
		const char *key = json_object_iter_peek_name(&at);
		size_t i = 0;

		while (keys[i] && strcmp(keys[i], key) != 0)
			i++;
		if (!keys[i])
			return place_fail(place, key, "is not a key that is known here");
	}
	return 0;
}

static struct json_object *member(const struct place *place, const char *key)
{
	struct json_object *value = NULL;

	json_object_object_get_ex(place->object, key, &value);
	return value;
}

/* A null member is treated as a mistake, not as an absent one: it is neither. */
static int is_null(const struct place *place, const char *key, const struct json_object *value)
{
	if (value || !json_object_object_get_ex(place->object, key, NULL))
		return 0;
	return place_fail(place, key, "is null; leave it out instead");
}

int field_bytes(const struct place *place, const char *key, uint64_t *ret_bytes)
{
	struct json_object *value = member(place, key);
	int64_t number;
	int r;

	if (!value)
		return is_null(place, key, value);
	if (json_object_is_type(value, json_type_int)) {
		number = json_object_get_int64(value);
		if (number < 0)
			return place_fail(place, key, "is negative");
		if (number > NUMBER_MAX)
			return place_fail(place, key, "is above 2^53: write it as a string, JSON rounds such numbers");
		*ret_bytes = (uint64_t)number;
		return 1;
	}
	if (!json_object_is_type(value, json_type_string))
		return place_fail(place, key, "has to be a number or a string such as \"2G\" or \"0xc0000000\"");
	if (strlen(json_object_get_string(value)) != (size_t)json_object_get_string_len(value))
		return place_fail(place, key, "is not a number: it has a zero character inside");
	r = parse_bytes(json_object_get_string(value), ret_bytes);
	if (r == -ERANGE)
		return place_fail(place, key, "\"%.40s\" does not fit into 64 bits", json_object_get_string(value));
	if (r < 0)
		return place_fail(place, key, "\"%.40s\" is not a number; \"4096\", \"0x1000\", \"4K\", \"2G\" are",
				  json_object_get_string(value));
	return 1;
}

static int check_integer(const struct place *place, const char *path, struct json_object *value, int64_t min,
			 int64_t max, int64_t *ret_number)
{
	int64_t number;

	if (!json_object_is_type(value, json_type_int))
		return document_fail(place->document, path, place->failure, "has to be an integer");
	number = json_object_get_int64(value);
	if (number < min || number > max)
		return document_fail(place->document, path, place->failure,
				     "is %" PRId64 "; %" PRId64 " to %" PRId64 " are possible", number, min, max);
	*ret_number = number;
	return 1;
}

static void path_of(const struct place *place, const char *key, char *path, size_t room)
{
	snprintf(path, room, "%s%s%s", place->path, *place->path ? "." : "", key);
}

int field_integer(const struct place *place, const char *key, int64_t min, int64_t max, int64_t *ret_number)
{
	struct json_object *value = member(place, key);
	char path[PLACE_PATH_MAX];

	if (!value)
		return is_null(place, key, value);
	path_of(place, key, path, sizeof(path));
	return check_integer(place, path, value, min, max, ret_number);
}

int field_flag(const struct place *place, const char *key, bool *ret_flag)
{
	struct json_object *value = member(place, key);

	if (!value)
		return is_null(place, key, value);
	if (!json_object_is_type(value, json_type_boolean))
		return place_fail(place, key, "has to be true or false");
	*ret_flag = json_object_get_boolean(value);
	return 1;
}

int field_text(const struct place *place, const char *key, const char **ret_text)
{
	struct json_object *value = member(place, key);
	const char *text;

	if (!value)
		return is_null(place, key, value);
	if (!json_object_is_type(value, json_type_string))
		return place_fail(place, key, "has to be a string");
	text = json_object_get_string(value);
	if (*text == '\0')
		return place_fail(place, key, "is empty");
	if (strlen(text) != (size_t)json_object_get_string_len(value))
		return place_fail(place, key, "has a zero character inside");
	*ret_text = text;
	return 1;
}

int field_choice(const struct place *place, const char *key, const char *const *names, unsigned *ret_index)
{
	char list[256] = "";
	const char *text;
	int r = field_text(place, key, &text);

	if (r <= 0)
		return r;
	for (unsigned i = 0; names[i]; i++) {
		size_t length = strlen(list);

		if (strcmp(names[i], text) == 0) {
			*ret_index = i;
			return 1;
		}
		snprintf(list + length, sizeof(list) - length, "%s%s", i ? ", " : "", names[i]);
	}
	return place_fail(place, key, "\"%.40s\" is none of %s", text, list);
}

int field_object(const struct place *place, const char *key, struct place *ret_place)
{
	struct json_object *value = member(place, key);
	struct place inner = { .document = place->document, .failure = place->failure };

	if (!value)
		return is_null(place, key, value);
	if (!json_object_is_type(value, json_type_object))
		return place_fail(place, key, "has to be an object, { ... }");
	inner.object = value;
	path_of(place, key, inner.path, sizeof(inner.path));
	*ret_place = inner;
	return 1;
}

int field_array(const struct place *place, const char *key, size_t max, size_t *ret_count)
{
	struct json_object *value = member(place, key);
	size_t count;

	*ret_count = 0;
	if (!value)
		return is_null(place, key, value);
	if (!json_object_is_type(value, json_type_array))
		return place_fail(place, key, "has to be an array, [ ... ]");
	count = json_object_array_length(value);
	if (count > max)
		return place_fail(place, key, "has %zu elements; %zu is the limit", count, max);
	*ret_count = count;
	return 1;
}

int field_element(const struct place *place, const char *key, size_t index, struct place *ret_place)
{
	struct place inner = { .document = place->document, .failure = place->failure };

	inner.object = json_object_array_get_idx(member(place, key), index);
	snprintf(inner.path, sizeof(inner.path), "%.80s%s%s[%zu]", place->path, *place->path ? "." : "", key, index);
	if (!json_object_is_type(inner.object, json_type_object))
		return document_fail(place->document, inner.path, place->failure, "has to be an object, { ... }");
	*ret_place = inner;
	return 0;
}

int field_element_integer(const struct place *place, const char *key, size_t index, int64_t min, int64_t max,
			  int64_t *ret_number)
{
	struct json_object *value = json_object_array_get_idx(member(place, key), index);
	char path[PLACE_PATH_MAX + 64];

	snprintf(path, sizeof(path), "%s%s%s[%zu]", place->path, *place->path ? "." : "", key, index);
	return check_integer(place, path, value, min, max, ret_number) < 0 ? -1 : 0;
}
