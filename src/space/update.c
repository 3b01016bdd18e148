/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Recording an update. Nothing here touches the space: gm_update_commit(), in commit.c, does it all. */
#include "space/update.h"

#include "sys/memory.h"

GMI_PUBLIC struct gm_update *gm_update_begin(struct gm_space *space)
{
	struct gm_update *update = gmi_alloc(sizeof(*update));

	if (update != NULL)
		update->space = gm_space_ref(space);
	return update;
}

static int fail(struct gm_update *update, int error)
{
	if (update->error == 0)
		update->error = error;
	return error;
}

static int append(struct gmi_region_list *list, struct gm_region *region)
{
	struct gm_region **larger;
	size_t room;

	if (list->count == list->room) {
		room = list->room ? 2 * list->room : 8;
		larger = gmi_realloc_array(list->regions, room, sizeof(*larger));
		if (larger == NULL)
			return -ENOMEM;
		list->regions = larger;
		list->room = room;
	}
	list->regions[list->count++] = gm_region_ref(region);
	return 0;
}

static int record(struct gm_update *update, struct gmi_region_list *list, struct gm_region *region)
{
	int r;

	if (update == NULL)
		return -ENOMEM;
	if (region == NULL)
		return fail(update, -EINVAL);
	if (update->removed.count + update->inserted.count == GM_UPDATE_OPS_MAX)
		return fail(update, -E2BIG);
	r = append(list, region);
	return r < 0 ? fail(update, r) : 0;
}

GMI_PUBLIC int gm_update_insert(struct gm_update *update, struct gm_region *region)
{
	return record(update, update ? &update->inserted : NULL, region);
}

GMI_PUBLIC int gm_update_remove(struct gm_update *update, struct gm_region *region)
{
	return record(update, update ? &update->removed : NULL, region);
}

GMI_PUBLIC int gm_update_replace(struct gm_update *update, struct gm_region *old, struct gm_region *new_)
{
	int r = gm_update_remove(update, old);

	return r < 0 ? r : gm_update_insert(update, new_);
}

GMI_PUBLIC int gm_update_on_released(struct gm_update *update, void (*released)(void *opaque), void *opaque)
{
	struct gmi_completion *completion, **last;

	if (update == NULL)
		return -ENOMEM;
	if (released == NULL)
		return fail(update, -EINVAL);
	completion = gmi_alloc(sizeof(*completion));
	if (completion == NULL)
		return fail(update, -ENOMEM);
	completion->released = released;
	completion->opaque = opaque;
	for (last = &update->completions; *last != NULL; last = &(*last)->next)
		;
	*last = completion;
	return 0;
}

static void free_list(struct gmi_region_list *list)
{
	size_t i;

	for (i = 0; i < list->count; i++)
		gm_region_unref(list->regions[i]);
	gmi_free(list->regions);
}

GMI_PUBLIC void gm_update_abort(struct gm_update *update)
{
	if (update == NULL)
		return;
	free_list(&update->removed);
	free_list(&update->inserted);
	gmi_completions_free(update->completions);
	gm_space_unref(update->space);
	gmi_free(update);
}
