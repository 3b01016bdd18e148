/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Where what was removed is let go, when the last reader has left. Start reading at gmi_space_collect(). The whole argument is
 * in docs/concurrency.md, "Publication"; in short:
 *
 * A. A map that is not current is entered by nobody any more: a reader that claims it in its slot looks again and sees that
 *    it is not current.
 * B. After the membarrier, a slot either shows the claim of a reader that saw the map while it was current, or its reader will
 *    look again and let the claim go, never having read the map.
 * C. A pin is counted before the slot is cleared; slots are read before counts.
 * So what no slot names, and no pin and no reference counts, is held by nobody.
 *
 * Each node and region that died hangs on the newest living map that still has it. When that map goes, it moves to the
 * next older one if that has it too (it was born by then), and is free otherwise. So what is kept is exactly what somebody
 * can still reach, however long an old map is pinned.
 */
#include "space/space.h"
#include "sys/clock.h"
#include "sys/membarrier.h"
#include "sys/memory.h"

/* Sleeps of gm_space_wait(), from and to. A section lasts microseconds; pins last as long as a disk takes. */
#define WAIT_MIN_US 20
#define WAIT_MAX_US 1000

/* Slots first, then counts. */
static bool is_held(const struct gm_space *space, const struct gm_map *map)
{
	const struct gm_view *view;

	for (view = space->domain.views; view != NULL; view = view->next) {
		/* Pairs with the release stores of gm_view_enter() and gm_view_leave(): what was read, was read before. */
		if (__atomic_load_n(&view->slot, __ATOMIC_SEQ_CST) == map)
			return true;
	}
	return __atomic_load_n(&map->pins, __ATOMIC_ACQUIRE) != 0 ||
	       __atomic_load_n(&map->references, __ATOMIC_ACQUIRE) != 0;
}

static void tell_released(struct gm_space *space, struct gm_region *region)
{
	size_t i;

	for (i = 0; i < space->listeners_count; i++) {
		const struct gmi_listener *listener = space->listeners[i];

		if (listener->calls.released != NULL && region->died > listener->since)
			listener->calls.released(listener->calls.opaque, region);
	}
}

static void pass_on_nodes(struct gm_map *map)
{
	struct gmi_node *node, *next;

	for (node = map->dead_nodes; node != NULL; node = next) {
		next = node->dead_next;
		if (map->older != NULL && node->born <= map->older->head.generation) {
			node->dead_next = map->older->dead_nodes;
			map->older->dead_nodes = node;
		} else {
			gmi_free_line(node);
		}
	}
}

static void pass_on_regions(struct gm_space *space, struct gm_map *map, struct gmi_garbage *garbage)
{
	struct gm_region *region, *next, **list;

	for (region = map->dead_regions; region != NULL; region = next) {
		next = region->dead_next;
		if (map->older != NULL && region->born <= map->older->head.generation) {
			list = &map->older->dead_regions;
		} else {
			tell_released(space, region);
			space->pending--;
			__atomic_fetch_add(&space->releasing, 1, __ATOMIC_RELAXED);
			list = &garbage->regions;
		}
		region->dead_next = *list;
		*list = region;
	}
}

static void free_map(struct gm_space *space, struct gm_map *map, struct gmi_garbage *garbage)
{
	pass_on_nodes(map);
	pass_on_regions(space, map, garbage);
	if (map->older != NULL)
		map->older->newer = map->newer;
	else
		space->oldest = map->newer;
	map->newer->older = map->older;
	gmi_free(map);
}

void gmi_space_collect(struct gm_space *space, struct gmi_garbage *garbage)
{
	struct gm_map *map, *newer;

	if (space->oldest == space->newest)
		return;
	if (!space->domain.fence)
		gmi_membarrier();
	/* Oldest first: so what a map passes on goes to one that is held. */
	for (map = space->oldest; map != space->newest; map = newer) {
		newer = map->newer;
		if (!is_held(space, map))
			free_map(space, map, garbage);
	}
}

void gmi_completions_free(struct gmi_completion *completions)
{
	struct gmi_completion *next;

	for (; completions != NULL; completions = next) {
		next = completions->next;
		gmi_free(completions);
	}
}

/* Drops one part of a removal; true for the last. */
static bool is_last_part(struct gm_removal *removal)
{
	return __atomic_fetch_sub(&removal->left, 1, __ATOMIC_ACQ_REL) == 1;
}

static void complete(struct gm_removal *removal)
{
	struct gmi_completion *completion;

	for (completion = removal->completions; completion != NULL; completion = completion->next)
		completion->released(completion->opaque);
	gmi_completions_free(removal->completions);
	gmi_free(removal);
}

void gmi_removal_put(struct gm_removal *removal)
{
	if (is_last_part(removal))
		complete(removal);
}

/*
 * Where an unplugged region gets unmapped: by this unref, when it is the last one. Completions come after all of them: they may
 * call gm_space_wait(), which waits for those.
 */
void gmi_garbage_release(struct gm_space *space, struct gmi_garbage *garbage)
{
	struct gm_removal *completed = NULL, *removal;
	struct gm_region *region, *next;

	for (region = garbage->regions; region != NULL; region = next) {
		next = region->dead_next;
		removal = region->removal;
		region->removal = NULL;
		region->dead_next = NULL;
		/*
		 * From here on another update may take it, and say when it was born. Until then, who asks under the mutex sees
		 * that it died. Pairs with the acquire in stage_insertion().
		 */
		__atomic_store_n(&region->space, NULL, __ATOMIC_RELEASE);
		gm_region_unref(region);
		__atomic_fetch_sub(&space->releasing, 1, __ATOMIC_RELEASE);
		if (is_last_part(removal)) {
			removal->next = completed;
			completed = removal;
		}
	}
	garbage->regions = NULL;
	for (; completed != NULL; completed = removal) {
		removal = completed->next;
		complete(completed);
	}
}

/* Mutex held. Whether a region that was removed in @generation or before is held. */
static bool is_pending(const struct gm_space *space, uint64_t generation)
{
	const struct gm_region *region;
	const struct gm_map *map;

	for (map = space->oldest; map != NULL; map = map->newer) {
		for (region = map->dead_regions; region != NULL; region = region->dead_next) {
			if (region->died <= generation)
				return true;
		}
	}
	return false;
}

int64_t gmi_space_reclaim(struct gm_space *space)
{
	struct gmi_garbage garbage = { NULL };
	int64_t pending;
	int r = gmi_domain_lock(&space->domain);

	if (r < 0)
		return r;
	gmi_space_collect(space, &garbage);
	pending = (int64_t)space->pending;
	gmi_domain_unlock(&space->domain);
	gmi_garbage_release(space, &garbage);
	return pending;
}

GMI_PUBLIC int64_t gm_space_reclaim(struct gm_space *space)
{
	int64_t r;

	/* A callback may drop the caller's own reference, and it be the last one. */
	(void)gm_space_ref(space);
	r = gmi_space_reclaim(space);
	gm_space_unref(space);
	return r;
}

static int wait_for_releases(struct gm_space *space, int timeout_ms)
{
	uint64_t deadline = gmi_clock_us() + (timeout_ms > 0 ? (uint64_t)timeout_ms * 1000 : 0), generation = 0, now;
	unsigned sleep_us = WAIT_MIN_US;
	bool pending;
	int r;

	for (;;) {
		struct gmi_garbage garbage = { NULL };

		r = gmi_domain_lock(&space->domain);
		if (r < 0)
			return r;
		if (generation == 0)
			generation = space->newest->head.generation;
		gmi_space_collect(space, &garbage);
		pending = is_pending(space, generation);
		gmi_domain_unlock(&space->domain);
		gmi_garbage_release(space, &garbage);
		/* What another thread took out of the last map is counted there until it is gone; ours is gone by now. */
		if (!pending && __atomic_load_n(&space->releasing, __ATOMIC_ACQUIRE) == 0)
			return 0;
		now = gmi_clock_us();
		if (timeout_ms >= 0 && now >= deadline)
			return -ETIMEDOUT;
		gmi_sleep_us(timeout_ms >= 0 ? GMI_MIN(sleep_us, deadline - now) : sleep_us);
		sleep_us = GMI_MIN(2 * sleep_us, WAIT_MAX_US);
	}
}

GMI_PUBLIC int gm_space_wait(struct gm_space *space, int timeout_ms)
{
	int r;

	/* As in gm_space_reclaim(). */
	(void)gm_space_ref(space);
	r = wait_for_releases(space, timeout_ms);
	gm_space_unref(space);
	return r;
}
