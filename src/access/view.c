/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Views: opening and closing, what happens when a section finds a new map, and whether a view may
 * access a region: gmi_view_admits(). Entering and leaving are inlined, in <guestmem/view.h>.
 *
 * A view belongs to one thread. Others only look at its hazard slot (the space's writer), and at its list of pins, under
 * pins_lock (who unpins elsewhere, and who asks for holders).
 */
#include <assert.h>
#include <string.h>

#include "access/access.h"
#include "base/base.h"
#include "sys/spin.h"

GMI_PUBLIC int gm_view_init(struct gm_view *view, struct gm_memory *memory, const char *name, unsigned flags)
{
	struct gmi_domain *domain = memory->domain;
	int r;

	memset(view, 0, sizeof(*view));
	if ((flags & ~GM_VIEW_DISPATCH) != 0 || gmi_check_name(name, GM_VIEW_NAME_MAX) < 0)
		return -EINVAL;
	strcpy(view->name, name);
	view->flags = flags;
	view->kinds = memory->kinds;
	view->current = memory->current;
	view->memory = memory;
	if (domain != NULL) {
		r = gmi_domain_lock(domain);
		if (r < 0) {
			memset(view, 0, sizeof(*view));
			return r;
		}
		view->fence = domain->fence;
		view->next = domain->views;
		if (view->next != NULL)
			view->next->previous = view;
		domain->views = view;
		gmi_domain_unlock(domain);
	}
	(void)gm_memory_ref(memory);
	return 0;
}

GMI_PUBLIC int gm_view_fini(struct gm_view *view)
{
	struct gm_memory *memory = view->memory;
	struct gmi_domain *domain;
	bool pinned;
	int r;

	if (memory == NULL)
		return 0;
	gmi_spin_lock(&view->pins_lock);
	pinned = view->pins != NULL;
	gmi_spin_unlock(&view->pins_lock);
	if (pinned || view->slot != NULL)
		return -EBUSY;
	domain = memory->domain;
	if (domain != NULL) {
		r = gmi_domain_lock(domain);
		if (r < 0)
			return r;
		if (view->next != NULL)
			view->next->previous = view->previous;
		if (view->previous != NULL)
			view->previous->next = view->next;
		else
			domain->views = view->next;
		gmi_domain_unlock(domain);
	}
	memset(view, 0, sizeof(*view));
	gm_memory_unref(memory);
	return 0;
}

GMI_PUBLIC void gm_view_set_owner(struct gm_view *view, uint64_t tag)
{
	view->owner = tag;
	view->owned = 1;
}

/* The section is on another map than the one before: what was cached is of no use. Compared by generation, not address. */
GMI_PUBLIC void gmi_view_moved(struct gm_view *view, const struct gm_map *map)
{
	view->generation = map->head.generation;
	view->hot_room = 0;
	view->room = 0;
	view->guarded_room = 0;
	view->hot_dirty = NULL;
	view->hot_writable = 0;
	view->near_bytes = 0;
	view->cool = 0;
	view->candidate = NULL;
}

/* Makes a region that is mapped here, and may be read by this view, the hot one, until so many objects were not in it. */
static void heat(struct gm_view *view, const struct gm_region *region, uint32_t period)
{
	view->room = region->room;
	view->hot_room = region->room;
	view->guarded_room = region->guarded_room;
	view->hot_guard = (const struct gmi_guard_head *)region->guarded;
	view->hot_first = region->range.first.value;
	view->hot_hva = region->hva;
	view->hot_writable = region->writable;
	view->hot_dirty = (const struct gmi_dirty_head *)region->dirty;
	view->candidate = region;
	view->period = period;
	view->stride = GMI_STRIDE_MIN;
	view->cool = (int64_t)period - 1;
}

static void begin_samples(struct gm_view *view)
{
	view->samples = view->matches = 0;
	view->cool = (int64_t)view->stride - 1;
}

void gmi_view_choose(struct gm_view *view, const struct gm_region *region)
{
	if (view->candidate == NULL) {
		heat(view, region, GMI_PERIOD_MIN);
		return;
	}
	if ((view->room | view->guarded_room) != 0) {
		view->hot_room = view->room = view->guarded_room = 0;
		begin_samples(view);
		return;
	}
	view->matches += region == view->candidate;
	if (++view->samples < GMI_SAMPLES) {
		view->cool = (int64_t)view->stride - 1;
		return;
	}
	if (view->matches >= GMI_SAMPLES - 1) {
		heat(view, view->candidate, view->period < GMI_PERIOD_MAX ? 2 * view->period : GMI_PERIOD_MAX);
		return;
	}
	view->candidate = region;
	view->period = GMI_PERIOD_MIN / 2; /* the next one is twice as long */
	if (view->stride < GMI_STRIDE_MAX)
		view->stride = 2 * view->stride + 1;
	begin_samples(view);
}

int gmi_view_admits(const struct gm_view *view, const struct gm_region *region, unsigned access)
{
	if ((view->kinds & GM_KIND_BIT(region->kind)) == 0)
		return -GM_ENOTRAM;
	if (region->kind == GM_DEVICE) {
		if ((view->flags & GM_VIEW_DISPATCH) == 0)
			return -GM_ENOTRAM;
		if (view->owned && region->tag == view->owner)
			return -GM_EREENTRY;
	}
	if ((access & ~region->prot) != 0)
		return -GM_EACCESS;
	if (region->hva != NULL)
		return 0;
	if (region->io.read == NULL && region->io.write == NULL)
		return -GM_EUNMAPPED;
	if (((access & GM_READ) && region->io.read == NULL) || ((access & GM_WRITE) && region->io.write == NULL))
		return -GM_EACCESS;
	return 0;
}

int gmi_view_piece(struct gm_view *view, uint64_t at, uint64_t bytes, unsigned access, struct gmi_piece *ret_piece)
{
	const struct gm_map *map = view->slot;
	int r;

	if (map == NULL)
		return -EINVAL;
	r = gmi_region_piece(view, gmi_map_region(map, at), at, bytes, access, ret_piece);
	if (GM_LIKELY(r == 0))
		gmi_view_approach(view, ret_piece->region);
	return r;
}

GMI_PUBLIC int gm_view_pin(struct gm_view *view, struct gm_pin *pin)
{
	struct gm_map *map = (struct gm_map *)(uintptr_t)view->slot;

	if (map == NULL)
		return -EINVAL;
	/* Before the slot is cleared: gmi_space_collect() reads the slots first, and the counts of pins after them. */
	__atomic_fetch_add(&map->pins, 1, __ATOMIC_RELAXED);
	pin->map = map;
	pin->view = view;
	pin->previous = NULL;
	gmi_spin_lock(&view->pins_lock);
	pin->next = view->pins;
	if (pin->next != NULL)
		pin->next->previous = pin;
	view->pins = pin;
	gmi_spin_unlock(&view->pins_lock);
	return 0;
}

GMI_PUBLIC void gm_view_unpin(struct gm_pin *pin)
{
	struct gm_map *map = (struct gm_map *)(uintptr_t)pin->map;
	struct gm_view *view = pin->view;

	if (map == NULL)
		return;
	/* The view may be closed as soon as its list is empty: the map, which its memory holds, is let go first. */
	gmi_spin_lock(&view->pins_lock);
	if (pin->next != NULL)
		pin->next->previous = pin->previous;
	if (pin->previous != NULL)
		pin->previous->next = pin->next;
	else
		view->pins = pin->next;
	pin->map = NULL;
	/* Release: all that was done under the pin, before the map goes. Pairs with the acquire load in gmi_space_collect(). */
	__atomic_fetch_sub(&map->pins, 1, __ATOMIC_RELEASE);
	gmi_spin_unlock(&view->pins_lock);
}
