/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Spaces: made, taken down, and asked for what is current. A space goes down with its last reference; memories, maps and
 * updates hold references, and views hold memories, so by then nobody reads.
 */
#include <assert.h>
#include <string.h>

#include "space/space.h"
#include "sys/memory.h"

static struct gm_map *first_map(struct gm_space *space)
{
	struct gm_map *map = gmi_alloc(sizeof(*map));

	if (map == NULL)
		return NULL;
	map->head.generation = gmi_next_generation();
	map->space = space;
	map->owner = &gmi_space_owns_map;
	return map;
}

GMI_PUBLIC int gm_space_new(const struct gm_layout *layout, struct gm_space **ret_space, struct gm_error *error)
{
	struct gm_space *space;
	struct gm_map *map;
	int r = layout ? gm_layout_check(layout, error) : 0;

	if (r < 0)
		return r;
	space = gmi_alloc(sizeof(*space));
	/* The empty one first: it is older than any map of the space. */
	r = space ? gm_map_new(NULL, NULL, 0, &space->empty, NULL) : -ENOMEM;
	map = r == 0 ? first_map(space) : NULL;
	if (r == 0 && map == NULL)
		r = -ENOMEM;
	if (r == 0)
		r = gmi_domain_init(&space->domain);
	if (r < 0) {
		gm_map_unref(space ? space->empty : NULL);
		gmi_free(map);
		gmi_free(space);
		return gmi_error(error, r, "no memory for a space");
	}
	space->references = 1;
	space->has_layout = layout != NULL;
	if (layout != NULL)
		space->layout = *layout;
	gmi_index_init_names(&space->names);
	gmi_index_init_files(&space->files);
	space->newest = map;
	space->oldest = map;
	space->current = map;
	*ret_space = space;
	return 0;
}

GMI_PUBLIC struct gm_space *gm_space_ref(struct gm_space *space)
{
	__atomic_fetch_add(&space->references, 1, __ATOMIC_RELAXED);
	return space;
}

/* No reader, no listener, no other map is left: everything in the current map goes. */
static void drop_regions(struct gm_space *space)
{
	struct gm_map *map = space->newest;
	struct gm_region *region, *next;

	for (region = (struct gm_region *)(uintptr_t)gm_map_next(map, NULL); region != NULL; region = next) {
		next = gmi_tree_above(map->root, region->range.first.value);
		gmi_index_remove(&space->names, region);
		gmi_index_remove(&space->files, region);
		region->born = 0;
		__atomic_store_n(&region->space, NULL, __ATOMIC_RELEASE);
		gm_region_unref(region);
	}
	gmi_tree_free(map->root);
	gmi_free(map);
}

void gmi_space_destroy(struct gm_space *space)
{
	struct gmi_garbage garbage = { NULL };

	/* Ours while callbacks run: what they take and drop again must not take the space down inside of this. */
	__atomic_store_n(&space->references, 1, __ATOMIC_RELAXED);
	gm_space_stop_reclaimer(space);
	(void)gmi_domain_lock(&space->domain);
	gmi_space_collect(space, &garbage);
	gmi_listeners_fini(space);
	gmi_domain_unlock(&space->domain);
	gmi_garbage_release(space, &garbage);
	if (__atomic_fetch_sub(&space->references, 1, __ATOMIC_ACQ_REL) != 1)
		return;
	assert(space->oldest == space->newest && space->domain.views == NULL);
	drop_regions(space);
	gm_map_unref(space->empty);
	gmi_domain_fini(&space->domain);
	gmi_free(space);
}

GMI_PUBLIC void gm_space_unref(struct gm_space *space)
{
	if (space == NULL || __atomic_fetch_sub(&space->references, 1, __ATOMIC_ACQ_REL) != 1)
		return;
	if (!gmi_reclaimer_inherits(space))
		gmi_space_destroy(space);
}

static void unref_owner(void *space)
{
	gm_space_unref(space);
}

GMI_PUBLIC int gm_space_memory(struct gm_space *space, unsigned kinds, struct gm_memory **ret_memory)
{
	int r = gmi_memory_new(kinds, &space->current, NULL, &space->domain, space, unref_owner, ret_memory);

	if (r == 0)
		(void)gm_space_ref(space);
	return r;
}

/* Locks; true when this thread has the mutex already, being inside a listener, and must not unlock. */
static bool lock_nested(struct gm_space *space)
{
	return gmi_domain_lock(&space->domain) == -EDEADLK;
}

GMI_PUBLIC int gm_space_map(struct gm_space *space, const char *name, const struct gm_map **ret_map)
{
	struct gmi_holder *holder, *there;
	struct gm_map *map;
	bool nested;
	int r = gmi_check_name(name, GM_NAME_MAX);

	if (r < 0)
		return -EINVAL;
	holder = gmi_alloc(sizeof(*holder));
	if (holder == NULL)
		return -ENOMEM;
	strcpy(holder->name, name);
	nested = lock_nested(space);
	map = space->newest;
	/* Names stay until the map's last reference is dropped. One that comes again and again must not pile up until then. */
	for (there = map->holders; there != NULL && strcmp(there->name, name) != 0;)
		there = there->next;
	if (there == NULL) {
		holder->next = map->holders;
		map->holders = holder;
	} else {
		gmi_free(holder);
	}
	*ret_map = gm_map_ref(map);
	if (!nested)
		gmi_domain_unlock(&space->domain);
	return 0;
}

static void map_held(struct gm_map *map)
{
	(void)gm_space_ref(map->space);
}

/* Under the mutex, for the names; a map whose count is 0 may be gone as soon as that is unlocked, and the space with it. */
static void map_dropped(struct gm_map *map)
{
	struct gm_space *space = map->space;
	struct gmi_holder *holder;
	bool nested = lock_nested(space), last;

	last = __atomic_fetch_sub(&map->references, 1, __ATOMIC_ACQ_REL) == 1;
	while (last && map->holders != NULL) {
		holder = map->holders;
		map->holders = holder->next;
		gmi_free(holder);
	}
	if (last)
		gmi_reclaimer_wake(space);
	if (!nested)
		gmi_domain_unlock(&space->domain);
	if (last)
		gm_space_unref(space);
}

const struct gmi_map_owner gmi_space_owns_map = { .held = map_held, .dropped = map_dropped };

GMI_PUBLIC struct gm_region *gm_space_find(struct gm_space *space, const char *name)
{
	struct gm_region *region;
	bool nested = lock_nested(space);

	region = gmi_index_find_name(&space->names, name);
	if (region != NULL)
		(void)gm_region_ref(region);
	if (!nested)
		gmi_domain_unlock(&space->domain);
	return region;
}
