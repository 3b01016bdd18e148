/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Plots: memory that comes and goes, and the verdict over its dirty log. ground.h says how plugging and using get along. Its
 * core is two flags in the order of Dekker: a user counts itself and then looks whether the slot is plugged; the plugging
 * thread says that it is not and then looks at the count. Both are sequentially consistent, so at least one sees the other.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ground.h"

bool plot_use(struct plot *plot)
{
	if (!plot->is_slot)
		return true;
	__atomic_fetch_add(&plot->users, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&plot->plugged, __ATOMIC_SEQ_CST))
		return true;
	plot_leave(plot);
	return false;
}

void plot_leave(struct plot *plot)
{
	/* Release: what the user recorded is seen by the thread that finds nobody left. */
	if (plot->is_slot)
		__atomic_fetch_sub(&plot->users, 1, __ATOMIC_RELEASE);
}

bool plot_is_leaving(const struct plot *plot)
{
	return __atomic_load_n(&plot->leaving, __ATOMIC_ACQUIRE);
}

int plot_plug(struct ground *ground, struct plot *plot, struct failure *failure)
{
	struct gm_region_opts opts = entry_options(plot->entry);
	struct gm_update *update;
	struct gm_error error;
	int r;

	if (opts.dirty_page_bytes == 0)
		opts.dirty_page_bytes = LOG_PAGE_BYTES;
	r = gm_region_new(&opts, &plot->region, &error);
	if (r < 0)
		return fail(failure, status_of(r), "%s", error.text);
	if (pages_init(&plot->wanted, opts.bytes, opts.dirty_page_bytes, failure) < 0 ||
	    pages_init(&plot->got, opts.bytes, opts.dirty_page_bytes, failure) < 0)
		return -1;
	if (gm_dirty_reader_new(gm_region_dirty(plot->region), &plot->reader) < 0)
		return fail(failure, STATUS_MISSING, "%s: no memory to read its dirty log", plot->entry->name);
	update = gm_update_begin(ground->space);
	(void)gm_update_insert(update, plot->region);
	r = gm_update_commit(update, &error);
	if (r < 0)
		return fail(failure, status_of(r), "plugging %s: %s", plot->entry->name, error.text);
	__atomic_store_n(&plot->leaving, false, __ATOMIC_SEQ_CST);
	__atomic_store_n(&plot->plugged, true, __ATOMIC_SEQ_CST);
	return 0;
}

static void name_holder(void *opaque, const char *holder, enum gm_hold hold)
{
	static const char *const holds[] = { "reading", "pin", "map" };
	char *text = opaque;
	size_t length = strlen(text);

	snprintf(text + length, 256 - length, " %s (%s)", holder, holds[hold]);
}

static void nap(void)
{
	const struct timespec pause = { .tv_nsec = 50 * 1000 };

	nanosleep(&pause, NULL);
}

static int judge(struct plot *plot, struct failure *failure)
{
	struct pages_difference difference;

	if (pages_collect(&plot->got, plot->reader, failure) < 0)
		return -1;
	if (pages_equal(&plot->wanted, &plot->got, &difference))
		return 0;
	return fail(failure, STATUS_WRONG,
		    "the dirty log of '%s' is wrong: it leaves out %llu written pages and names %llu that were not "
		    "written, the first at 0x%llx",
		    plot->entry->name, (unsigned long long)difference.missing, (unsigned long long)difference.surplus,
		    (unsigned long long)(plot->range.first.value + difference.first));
}

/* Nobody uses it any more, nobody holds it any more: now its log is final. */
static int settle(struct ground *ground, struct plot *plot, struct failure *failure)
{
	int r;

	while (__atomic_load_n(&plot->users, __ATOMIC_SEQ_CST))
		nap();
	r = gm_space_wait(ground->space, RELEASE_TIMEOUT_MS);
	if (r == -ETIMEDOUT) {
		char holders[256] = "";

		(void)gm_space_holders(ground->space, plot->region, name_holder, holders);
		return fail(failure, STATUS_WRONG, "'%s' was removed and is not released after %d s; held by%s",
			    plot->entry->name, RELEASE_TIMEOUT_MS / 1000, holders[0] ? holders : " nobody");
	}
	if (r < 0)
		return fail(failure, STATUS_WRONG, "waiting for the release of '%s': %s", plot->entry->name,
			    strerror(-r));
	r = judge(plot, failure);
	ground->judged_slot_pages += pages_size(&plot->got);
	ground->judged_slots++;
	return r;
}

int plot_unplug(struct ground *ground, struct plot *plot, bool *ret_in_use, struct failure *failure)
{
	struct gm_update *update = gm_update_begin(ground->space);
	struct gm_error error;
	int r;

	__atomic_store_n(&plot->leaving, true, __ATOMIC_SEQ_CST);
	(void)gm_update_remove(update, plot->region);
	*ret_in_use = __atomic_load_n(&plot->users, __ATOMIC_SEQ_CST) > 0;
	r = gm_update_commit(update, &error);
	__atomic_store_n(&plot->plugged, false, __ATOMIC_SEQ_CST);
	if (r < 0)
		return fail(failure, status_of(r), "unplugging %s: %s", plot->entry->name, error.text);
	r = settle(ground, plot, failure);
	gm_dirty_reader_free(plot->reader);
	gm_region_unref(plot->region);
	plot->reader = NULL;
	plot->region = NULL;
	pages_fini(&plot->wanted);
	pages_fini(&plot->got);
	return r;
}

int ground_collect(struct ground *ground, struct failure *failure)
{
	for (size_t i = 0; i < ground->plots_count; i++)
		if (!ground->plots[i].is_slot &&
		    pages_collect(&ground->plots[i].got, ground->plots[i].reader, failure) < 0)
			return -1;
	return 0;
}

int ground_judge(struct ground *ground, struct failure *failure)
{
	for (size_t i = 0; i < ground->plots_count; i++) {
		if (ground->plots[i].is_slot)
			continue;
		if (judge(&ground->plots[i], failure) < 0)
			return -1;
		ground->judged_pages += pages_size(&ground->plots[i].got);
	}
	return 0;
}
