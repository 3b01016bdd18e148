/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Listeners: coming and going. Each comes with a change from an empty map to the current one, and goes with the reverse,
 * so that an adapter needs no other way to set up and to tear down.
 */
#include <string.h>

#include "space/space.h"
#include "sys/memory.h"

int gmi_listener_prepare(const struct gmi_listener *listener, const struct gm_change *change, struct gm_error *error)
{
	struct gm_error said = { 0, "" };
	int r;

	if (listener->calls.prepare == NULL)
		return 0;
	r = listener->calls.prepare(listener->calls.opaque, change, &said);
	if (r == 0)
		return 0;
	if (r > 0)
		return gmi_error(error, -EINVAL, "listener '%s' answered %d, which is neither 0 nor an error",
				 listener->name, r);
	if (said.text[0] != '\0')
		gmi_error(error, r, "%.400s (listener '%s')", said.text, listener->name);
	else
		gmi_error(error, r, "listener '%s' refused the change: %s", listener->name, strerror(-r));
	return r;
}

/* All regions of a map, ascending or descending. Return: 0; -ENOMEM. */
static int list_regions(const struct gm_map *map, bool descending, struct gm_region ***ret_regions)
{
	struct gm_region **regions = gmi_alloc_array(map->count, sizeof(*regions)), *region;
	size_t i = 0;

	if (regions == NULL)
		return -ENOMEM;
	for (region = (struct gm_region *)(uintptr_t)gm_map_next(map, NULL); region != NULL; i++) {
		regions[descending ? map->count - 1 - i : i] = region;
		region = gmi_tree_above(map->root, region->range.first.value);
	}
	*ret_regions = regions;
	return 0;
}

static struct gmi_listener **find(struct gm_space *space, const char *name)
{
	size_t i;

	for (i = 0; i < space->listeners_count; i++) {
		if (strcmp(space->listeners[i]->name, name) == 0)
			return &space->listeners[i];
	}
	return NULL;
}

/* Mutex held. */
static int add_locked(struct gm_space *space, struct gmi_listener *listener, struct gm_error *error)
{
	struct gm_change change = { .space = space, .before = space->empty, .after = space->newest };
	struct gm_region **regions;
	int r;

	if (find(space, listener->name) != NULL)
		return gmi_error(error, -EEXIST, "the space has a listener '%s' already", listener->name);
	if (space->listeners_count == GM_LISTENERS_MAX)
		return gmi_error(error, -ENOSPC, "listener '%s' would be one more than the %u a space has room for",
				 listener->name, GM_LISTENERS_MAX);
	r = list_regions(space->newest, false, &regions);
	if (r < 0)
		return gmi_error(error, r, "no memory for listener '%s'", listener->name);
	change.inserted = regions;
	change.inserted_count = space->newest->count;
	r = gmi_listener_prepare(listener, &change, error);
	if (r == 0) {
		listener->since = space->newest->head.generation;
		space->listeners[space->listeners_count++] = listener;
		if (listener->calls.commit != NULL)
			listener->calls.commit(listener->calls.opaque, &change);
	}
	gmi_free(regions);
	return r;
}

GMI_PUBLIC int gm_space_add_listener(struct gm_space *space, const struct gm_listener *calls, struct gm_error *error)
{
	struct gmi_listener *listener = gmi_alloc(sizeof(*listener));
	int r;

	if (listener == NULL)
		return gmi_error(error, -ENOMEM, "no memory for a listener");
	r = gmi_copy_options(&listener->calls, sizeof(listener->calls), calls);
	if (r == 0)
		r = gmi_check_name(listener->calls.name, GM_NAME_MAX);
	if (r < 0) {
		r = gmi_error(error, -EINVAL, "a listener needs its size, and a name of 1 to %u printable characters",
			      GM_NAME_MAX - 1);
		goto out;
	}
	strcpy(listener->name, listener->calls.name);
	listener->calls.name = listener->name;
	r = gmi_domain_lock(&space->domain);
	if (r < 0) {
		gmi_error(error, r, "a listener can't add another to the space that is calling it");
		goto out;
	}
	r = add_locked(space, listener, error);
	gmi_domain_unlock(&space->domain);
out:
	if (r < 0)
		gmi_free(listener);
	return r;
}

/* What the listener was told of, and not yet told the release of, it is told of now. */
static void tell_releases(const struct gm_space *space, const struct gmi_listener *listener)
{
	const struct gm_listener *calls = &listener->calls;
	struct gm_region *region;
	const struct gm_map *map;

	if (calls->released == NULL)
		return;
	for (map = space->oldest; map != NULL; map = map->newer) {
		for (region = map->dead_regions; region != NULL; region = region->dead_next) {
			if (region->died > listener->since)
				calls->released(calls->opaque, region);
		}
	}
	region = gmi_tree_floor(space->newest->root, UINT64_MAX);
	while (region != NULL) {
		calls->released(calls->opaque, region);
		region = region->range.first.value > 0
				 ? gmi_tree_floor(space->newest->root, region->range.first.value - 1)
				 : NULL;
	}
}

/* Takes a listener out and tells it that all is gone. Mutex held, or nobody else left. @regions: see list_regions(). */
static void remove_locked(struct gm_space *space, struct gmi_listener **place, struct gm_region **regions)
{
	struct gmi_listener *listener = *place;
	struct gm_change change = {
		.space = space,
		.before = space->newest,
		.after = space->empty,
		.removed = regions,
		.removed_count = space->newest->count,
	};
	size_t behind = (size_t)(space->listeners + space->listeners_count - (place + 1));

	memmove(place, place + 1, behind * sizeof(*place));
	space->listeners_count--;
	if (listener->calls.commit != NULL && regions != NULL)
		listener->calls.commit(listener->calls.opaque, &change);
	tell_releases(space, listener);
	gmi_free(listener);
}

GMI_PUBLIC int gm_space_remove_listener(struct gm_space *space, const char *name)
{
	struct gm_region **regions = NULL;
	struct gmi_listener **place;
	int r = gmi_domain_lock(&space->domain);

	if (r < 0)
		return r;
	place = find(space, name);
	r = place ? list_regions(space->newest, true, &regions) : -ENOENT;
	if (r == 0)
		remove_locked(space, place, regions);
	gmi_domain_unlock(&space->domain);
	gmi_free(regions);
	return r;
}

void gmi_listeners_fini(struct gm_space *space)
{
	struct gm_region **regions = NULL;

	/* Without memory for the list they are told of the releases only: there is nobody left to give an error to. */
	if (space->listeners_count > 0)
		(void)list_regions(space->newest, true, &regions);
	while (space->listeners_count > 0)
		remove_locked(space, &space->listeners[space->listeners_count - 1], regions);
	gmi_free(regions);
}
