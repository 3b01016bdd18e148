/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Committing an update: all of it or none of it. Start reading at gm_update_commit().
 *
 *	stage	  checks each operation against the space as it would be after those before it, and builds the new tree; every step
 *		  can be taken back without allocating, and unstage() does so in reverse order
 *	prepare	  listeners may refuse
 *	publish	  from here on nothing fails: publish_map() stores the map that readers enter on
 *	commit	  listeners are told
 *	collect	  what nobody holds any more is let go: reclaim.c
 */
#include <assert.h>
#include <stdlib.h>

#include "map/conflict.h"
#include "space/update.h"
#include "sys/memory.h"

/* Everything of one commit. */
struct staging {
	struct gm_space *space;
	struct gm_update *update;
	struct gm_map *map; /* the new one */
	struct gm_removal *removal;
	struct gmi_builder builder;
	size_t removed, inserted; /* how many are staged */
	struct gm_error *error;
};

static int ascending(const void *a, const void *b)
{
	return gm_gpa_compare((*(struct gm_region *const *)a)->range.first,
			      (*(struct gm_region *const *)b)->range.first);
}

static int descending(const void *a, const void *b)
{
	return ascending(b, a);
}

static void leave_indexes(struct gm_space *space, struct gm_region *region)
{
	gmi_index_remove(&space->names, region);
	gmi_index_remove(&space->files, region);
}

static void join_indexes(struct gm_space *space, struct gm_region *region)
{
	gmi_index_add(&space->names, region);
	if (region->file_known && !(region->flags & GM_REGION_ALIAS))
		gmi_index_add(&space->files, region);
}

static int stage_removal(struct staging *staging, struct gm_region *region)
{
	struct gm_space *space = staging->space;

	/*
	 * The tree knows. What the region says of itself is not ours to read: another thread may be letting it go after an
	 * earlier removal, and another space may be taking it right then.
	 */
	if (gmi_tree_floor(staging->builder.root, region->range.first.value) != region)
		return gmi_error(staging->error, -ENOENT,
				 "%s region '%s' " GMI_RANGE_FORMAT
				 " can't be removed: it does not stand in this space",
				 gm_kind_name(region->kind), region->name, GMI_RANGE_ARGS(region->range));
	if (gmi_builder_remove(&staging->builder, region) < 0)
		return gmi_error(staging->error, -ENOMEM, "no memory to remove region '%s'", region->name);
	region->died = staging->builder.generation;
	leave_indexes(space, region);
	return 0;
}

/* What a region to be inserted has to be. It is not claimed yet. */
static int check_insertion(struct staging *staging, const struct gm_region *region)
{
	struct gm_space *space = staging->space;
	const struct gm_region *there = gmi_tree_floor(staging->builder.root, region->range.last.value);

	if (there != NULL && there->range.last.value >= region->range.first.value)
		return gmi_region_overlap_error(region, there, staging->error);
	there = gmi_index_find_name(&space->names, region->name);
	if (there != NULL)
		return gmi_region_name_error(region, there, staging->error);
	there = region->flags & GM_REGION_ALIAS ? NULL : gmi_index_find_alias(&space->files, region);
	if (there != NULL)
		return gmi_region_alias_error(region, there, staging->error);
	if (staging->builder.count == GM_REGIONS_MAX)
		return gmi_error(staging->error, -E2BIG, "region '%s' would be number %u: at most %u stand in one map",
				 region->name, GM_REGIONS_MAX + 1, GM_REGIONS_MAX);
	return space->has_layout ? gm_layout_admits(&space->layout, gm_region_kind(region), region->range, region->name,
						    staging->error)
				 : 0;
}

static int stage_insertion(struct staging *staging, struct gm_region *region)
{
	struct gm_space *none = NULL;
	int r;

	/* Claimed first: another space may be trying to take the same region. Pairs with the release in unclaim(). */
	if (!__atomic_compare_exchange_n(&region->space, &none, staging->space, false, __ATOMIC_ACQUIRE,
					 __ATOMIC_ACQUIRE))
		return gmi_error(staging->error, -EBUSY, "%s region '%s' " GMI_RANGE_FORMAT " can't be inserted: it %s",
				 gm_kind_name(region->kind), region->name, GMI_RANGE_ARGS(region->range),
				 none != staging->space ? "stands in another space"
				 : region->died != 0    ? "was removed but is not released yet"
							: "stands in the space already");
	r = check_insertion(staging, region);
	if (r == 0 && gmi_builder_insert(&staging->builder, region) < 0)
		r = gmi_error(staging->error, -ENOMEM, "no memory to insert region '%s'", region->name);
	if (r < 0) {
		__atomic_store_n(&region->space, NULL, __ATOMIC_RELEASE);
		return r;
	}
	region->born = staging->builder.generation;
	region->died = 0;
	join_indexes(staging->space, region);
	return 0;
}

static int stage(struct staging *staging)
{
	struct gm_update *update = staging->update;
	int r;

	for (; staging->removed < update->removed.count; staging->removed++) {
		r = stage_removal(staging, update->removed.regions[staging->removed]);
		if (r < 0)
			return r;
	}
	for (; staging->inserted < update->inserted.count; staging->inserted++) {
		r = stage_insertion(staging, update->inserted.regions[staging->inserted]);
		if (r < 0)
			return r;
	}
	return 0;
}

static void unstage(struct staging *staging)
{
	struct gm_region *region;

	while (staging->inserted > 0) {
		region = staging->update->inserted.regions[--staging->inserted];
		leave_indexes(staging->space, region);
		region->born = 0;
		__atomic_store_n(&region->space, NULL, __ATOMIC_RELEASE);
	}
	while (staging->removed > 0) {
		region = staging->update->removed.regions[--staging->removed];
		region->died = 0;
		join_indexes(staging->space, region);
	}
	gmi_builder_abort(&staging->builder);
}

/* Asks all listeners. Where one refuses, those before it take back what they prepared. */
static int prepare(struct gm_space *space, const struct gm_change *change, struct gm_error *error)
{
	size_t i;
	int r;

	for (i = 0; i < space->listeners_count; i++) {
		const struct gm_listener *calls = &space->listeners[i]->calls;

		r = gmi_listener_prepare(space->listeners[i], change, error);
		if (r == 0)
			continue;
		while (i-- > 0) {
			calls = &space->listeners[i]->calls;
			if (calls->abort != NULL)
				calls->abort(calls->opaque, change);
		}
		return r;
	}
	return 0;
}

/* Where a map is published: readers that enter from here on are on it. Pairs with the acquire loads of gm_view_enter(). */
static void publish_map(struct gm_space *space, struct gm_map *map)
{
	map->older = space->newest;
	space->newest->newer = map;
	space->newest = map;
	/* An exchange: where readers fence for themselves, this is the writer's fence before it looks at their slots. */
	(void)__atomic_exchange_n(&space->current, map, __ATOMIC_SEQ_CST);
}

/* Nothing here can fail. */
static void publish(struct staging *staging, const struct gm_change *change)
{
	struct gm_space *space = staging->space;
	struct gm_map *map = staging->map, *before = space->newest;
	struct gm_region *region;
	size_t i;

	/* What the new map does without lives as long as the map before it: the first whose garbage it becomes. */
	before->dead_nodes = gmi_builder_finish(&staging->builder);
	for (i = 0; i < change->removed_count; i++) {
		region = change->removed[i];
		region->removal = staging->removal;
		region->dead_next = before->dead_regions;
		before->dead_regions = region;
	}
	for (i = 0; i < change->inserted_count; i++)
		(void)gm_region_ref(change->inserted[i]);
	staging->removal->left = 1 + (uint32_t)change->removed_count;
	staging->removal->completions = staging->update->completions;
	staging->update->completions = NULL;
	space->pending += change->removed_count;
	publish_map(space, map);
	for (i = 0; i < space->listeners_count; i++) {
		if (space->listeners[i]->calls.commit != NULL)
			space->listeners[i]->calls.commit(space->listeners[i]->calls.opaque, change);
	}
}

/* Mutex held. */
static int commit_locked(struct staging *staging)
{
	struct gm_space *space = staging->space;
	struct gm_update *update = staging->update;
	struct gm_change change = {
		.space = space,
		.before = space->newest,
		.after = staging->map,
		.removed = update->removed.regions,
		.removed_count = update->removed.count,
		.inserted = update->inserted.regions,
		.inserted_count = update->inserted.count,
	};
	int r;

	gmi_builder_begin(&staging->builder, gmi_next_generation(), space->newest->root, space->newest->count);
	r = stage(staging);
	if (r == 0) {
		staging->map->head.generation = staging->builder.generation;
		staging->map->root = staging->builder.root;
		staging->map->count = staging->builder.count;
		staging->map->space = space;
		staging->map->owner = &gmi_space_owns_map;
		r = prepare(space, &change, staging->error);
	}
	if (r < 0) {
		unstage(staging);
		return r;
	}
	publish(staging, &change);
	return 0;
}

static int commit(struct gm_update *update, struct gm_error *error)
{
	struct staging staging = { .space = update->space, .update = update, .error = error };
	struct gmi_garbage garbage = { NULL };
	int r;

	staging.map = gmi_alloc(sizeof(*staging.map));
	staging.removal = gmi_alloc(sizeof(*staging.removal));
	if (staging.map == NULL || staging.removal == NULL) {
		r = gmi_error(error, -ENOMEM, "no memory for an update of a space");
		goto fail;
	}
	if (update->removed.count > 1)
		qsort(update->removed.regions, update->removed.count, sizeof(struct gm_region *), descending);
	if (update->inserted.count > 1)
		qsort(update->inserted.regions, update->inserted.count, sizeof(struct gm_region *), ascending);
	r = gmi_domain_lock(&update->space->domain);
	if (r < 0) {
		gmi_error(error, r, "a listener can't change the space that is calling it");
		goto fail;
	}
	r = commit_locked(&staging);
	if (r == 0) {
		gmi_space_collect(update->space, &garbage);
		gmi_reclaimer_wake(update->space);
	}
	gmi_domain_unlock(&update->space->domain);
	if (r < 0)
		goto fail;
	gmi_garbage_release(update->space, &garbage);
	gmi_removal_put(staging.removal);
	return 0;
fail:
	gmi_free(staging.removal);
	gmi_free(staging.map);
	return r;
}

GMI_PUBLIC int gm_update_commit(struct gm_update *update, struct gm_error *error)
{
	int r;

	if (update == NULL)
		return gmi_error(error, -ENOMEM, "no memory for an update of a space");
	if (update->error == -EINVAL)
		r = gmi_error(error, -EINVAL, "an update was given NULL for a region or for a callback");
	else if (update->error == -E2BIG)
		r = gmi_error(error, -E2BIG, "an update has at most %u operations", GM_UPDATE_OPS_MAX);
	else if (update->error < 0)
		r = gmi_error(error, update->error, "no memory for an update of a space");
	else
		r = commit(update, error);
	gm_update_abort(update);
	return r;
}
