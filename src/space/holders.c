/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Who holds what: read sections by their slots, pins and maps by their lists. */
#include "space/space.h"
#include "sys/spin.h"

struct visitor {
	const struct gm_space *space;
	bool any;            /* any map that is not current; else those with a region that was born and died so: */
	uint64_t born, died; /* generations; died 0: it stands */
	void (*visit)(void *opaque, const char *holder, enum gm_hold hold);
	void *opaque;
	int64_t count;
};

/* A slot may name a map that is gone, whose reader will look again: only living maps are looked into. */
static const struct gm_map *living(const struct gm_space *space, const struct gm_map *claimed)
{
	const struct gm_map *map = space->oldest;

	while (map != NULL && map != claimed)
		map = map->newer;
	return map;
}

static bool concerns(const struct visitor *visitor, const struct gm_map *map)
{
	if (map == NULL)
		return false;
	if (visitor->any)
		return map != visitor->space->newest;
	return visitor->born <= map->head.generation && (visitor->died == 0 || map->head.generation < visitor->died);
}

/* Among the regions that are still there, by pointer only: the caller's may be of one that is gone. O(n). */
static const struct gm_region *find_region(const struct gm_space *space, const struct gm_region *wanted)
{
	const struct gm_region *region;
	const struct gm_map *map;

	for (map = space->oldest; map != NULL; map = map->newer) {
		for (region = map->dead_regions; region != NULL; region = region->dead_next) {
			if (region == wanted)
				return region;
		}
	}
	region = gm_map_next(space->newest, NULL);
	while (region != NULL && region != wanted)
		region = gm_map_next(space->newest, region);
	return region;
}

static void found(struct visitor *visitor, const char *holder, enum gm_hold hold)
{
	visitor->count++;
	visitor->visit(visitor->opaque, holder, hold);
}

static void visit_view(struct visitor *visitor, struct gm_view *view)
{
	const struct gm_map *map = living(visitor->space, __atomic_load_n(&view->slot, __ATOMIC_ACQUIRE));
	const struct gm_pin *pin;
	size_t pins = 0;

	if (concerns(visitor, map))
		found(visitor, view->name, GM_HOLD_READ);
	gmi_spin_lock(&view->pins_lock);
	for (pin = view->pins; pin != NULL; pin = pin->next) {
		if (concerns(visitor, pin->map))
			pins++;
	}
	gmi_spin_unlock(&view->pins_lock);
	/* Visited without the lock, which spins: the visitor may take its time, or unpin. */
	while (pins-- > 0)
		found(visitor, view->name, GM_HOLD_PIN);
}

GMI_PUBLIC int64_t gm_space_holders(struct gm_space *space, const struct gm_region *region,
				    void (*visit)(void *opaque, const char *holder, enum gm_hold hold), void *opaque)
{
	struct visitor visitor = { .space = space, .any = region == NULL, .visit = visit, .opaque = opaque };
	const struct gmi_holder *holder;
	const struct gm_map *map;
	struct gm_view *view;
	int r = gmi_domain_lock(&space->domain);

	if (r < 0)
		return r;
	if (region != NULL) {
		region = find_region(space, region);
		if (region == NULL) {
			gmi_domain_unlock(&space->domain);
			return -ENOENT;
		}
		visitor.born = region->born;
		visitor.died = region->died;
	}
	for (view = space->domain.views; view != NULL; view = view->next)
		visit_view(&visitor, view);
	for (map = space->oldest; map != NULL; map = map->newer) {
		for (holder = map->holders; holder != NULL && concerns(&visitor, map); holder = holder->next)
			found(&visitor, holder->name, GM_HOLD_MAP);
	}
	gmi_domain_unlock(&space->domain);
	return visitor.count;
}
