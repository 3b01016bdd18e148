/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Reclaiming at its edges: while another thread is letting the same region go, when a callback drops the last reference on the
 * space, and when listeners look around while their space goes down.
 */
#include "support.h"

#include <pthread.h>

#include "space/space.h"

#define PAGE   GM_PAGE_BYTES
#define ROUNDS 2000

static unsigned char *pages;
static struct gm_space *space;
static struct gm_memory *memory;
static struct gm_view view;

static void new_space(void)
{
	assert_int_equal(gm_space_new(NULL, &space, NULL), 0);
	assert_int_equal(gm_space_memory(space, GM_ONLY_RAM, &memory), 0);
	assert_int_equal(gm_view_init(&view, memory, "view", 0), 0);
	gm_memory_unref(memory);
}

static int set_up(void **state)
{
	(void)state;
	pages = test_pages(4 * PAGE);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	munmap(pages, 4 * PAGE);
	return 0;
}

static int insert(struct gm_region *region)
{
	struct gm_update *update = gm_update_begin(space);

	(void)gm_update_insert(update, region);
	return gm_update_commit(update, NULL);
}

static int remove_and_tell(struct gm_region *region, void (*released)(void *opaque), void *opaque)
{
	struct gm_update *update = gm_update_begin(space);

	(void)gm_update_remove(update, region);
	if (released != NULL)
		(void)gm_update_on_released(update, released, opaque);
	return gm_update_commit(update, NULL);
}

/* One look, no sleep: what that look releases is not pending any more. */
static void a_wait_of_no_time_releases(void **state)
{
	struct gm_region *region = test_ram("a", 0, PAGE, pages);

	(void)state;
	new_space();
	assert_int_equal(insert(region), 0);
	gm_view_enter(&view);
	assert_int_equal(remove_and_tell(region, NULL, NULL), 0);
	assert_int_equal(gm_space_wait(space, 0), -ETIMEDOUT);
	gm_view_leave(&view);
	assert_int_equal(gm_space_wait(space, 0), 0);
	gm_region_unref(region);
	assert_int_equal(gm_view_fini(&view), 0);
	gm_space_unref(space);
}

/*
 * A region that another thread has taken out and is letting go still names its space. Staged: whatever it says of itself, it
 * does not stand in the map, and removing it must not take something else out of the tree.
 */
static void removing_what_is_being_released_is_refused(void **state)
{
	struct gm_region *going = test_ram("going", PAGE, PAGE, pages),
			 *stays = test_ram("stays", 0, PAGE, pages + PAGE);
	const struct gm_map *map;

	(void)state;
	new_space();
	assert_int_equal(insert(stays), 0);
	going->space = space;
	going->died = 0;
	assert_int_equal(remove_and_tell(going, NULL, NULL), -ENOENT);
	going->space = NULL;
	assert_int_equal(gm_space_map(space, "test", &map), 0);
	assert_int_equal(gm_map_count(map), 1);
	assert_ptr_equal(gm_map_find(map, gm_gpa(0)), stays);
	gm_map_unref(map);
	gm_region_unref(going);
	gm_region_unref(stays);
	assert_int_equal(gm_view_fini(&view), 0);
	gm_space_unref(space);
}

static struct gm_region *contended;
static pthread_barrier_t barrier;
static int removals;

static void no_visit(void *opaque, const char *holder, enum gm_hold hold)
{
	(void)opaque;
	(void)holder;
	(void)hold;
}

static void *remove_too(void *first)
{
	int i, r;

	for (i = 0; i < ROUNDS; i++) {
		pthread_barrier_wait(&barrier);
		r = remove_and_tell(contended, NULL, NULL);
		if ((r != 0 && r != -ENOENT) || gm_space_holders(space, contended, no_visit, NULL) > 0)
			abort();
		__atomic_fetch_add(&removals, r == 0, __ATOMIC_RELAXED);
		pthread_barrier_wait(&barrier);
		if (first != NULL && (gm_space_wait(space, -1) != 0 || insert(contended) != 0))
			abort();
	}
	return NULL;
}

/* Two that unplug the same region: one of them does, whatever the other is doing. For ThreadSanitizer too. */
static void one_of_two_removes(void **state)
{
	struct gm_region *stays = test_ram("stays", 0, PAGE, pages + PAGE);
	const struct gm_map *map;
	pthread_t thread;

	(void)state;
	contended = test_ram("contended", PAGE, PAGE, pages);
	removals = 0;
	new_space();
	assert_int_equal(insert(stays) | insert(contended), 0);
	assert_int_equal(pthread_barrier_init(&barrier, NULL, 2), 0);
	assert_int_equal(pthread_create(&thread, NULL, remove_too, &barrier), 0);
	remove_too(NULL);
	pthread_join(thread, NULL);
	pthread_barrier_destroy(&barrier);
	assert_int_equal(removals, ROUNDS);
	assert_int_equal(gm_space_map(space, "test", &map), 0);
	assert_int_equal(gm_map_count(map), 2);
	gm_map_unref(map);
	gm_region_unref(contended);
	gm_region_unref(stays);
	assert_int_equal(gm_view_fini(&view), 0);
	gm_space_unref(space);
}

/* A region whose release counts, and calls @then if there is one. */
struct watched {
	int released;
	void (*then)(void);
};

static void watch_release(void *opaque, void *hva, uint64_t bytes)
{
	struct watched *watched = opaque;

	(void)hva;
	(void)bytes;
	if (watched->then != NULL)
		watched->then();
	__atomic_fetch_add(&watched->released, 1, __ATOMIC_RELEASE);
}

static struct gm_region *new_watched(const char *name, uint64_t page, struct watched *watched)
{
	struct gm_region_opts opts = { .size = sizeof(opts),
				       .name = name,
				       .first = gm_gpa(page * PAGE),
				       .bytes = PAGE,
				       .source = GM_SOURCE_POINTER,
				       .hva = pages + page * PAGE,
				       .release = watch_release,
				       .opaque = watched };
	struct gm_region *region;

	assert_int_equal(gm_region_new(&opts, &region, NULL), 0);
	return region;
}

static int alone;

/* Drops what was the test's own reference, once it has no other. */
static void drop_space(void)
{
	while (!__atomic_load_n(&alone, __ATOMIC_ACQUIRE))
		usleep(100);
	gm_space_stop_reclaimer(space);
	gm_space_unref(space);
}

static void drop_space_in_completion(void *opaque)
{
	(void)opaque;
	drop_space();
}

static void wait_until_released(struct watched *watched)
{
	int i;

	for (i = 0; i < 5000 && __atomic_load_n(&watched->released, __ATOMIC_ACQUIRE) == 0; i++)
		usleep(1000);
	assert_int_equal(__atomic_load_n(&watched->released, __ATOMIC_ACQUIRE), 1);
}

/* A region goes, held by a map until that is dropped; another one stays, and goes with the space. */
static const struct gm_map *remove_held(struct watched *goes, struct watched *stays, void (*completion)(void *opaque))
{
	struct gm_region *going = new_watched("goes", 1, goes), *staying = new_watched("stays", 0, stays);
	const struct gm_map *map;

	assert_int_equal(gm_space_new(NULL, &space, NULL), 0);
	assert_int_equal(insert(staying) | insert(going), 0);
	assert_int_equal(gm_space_map(space, "test", &map), 0);
	assert_int_equal(remove_and_tell(going, completion, NULL), 0);
	gm_region_unref(going);
	gm_region_unref(staying);
	return map;
}

/* On the reclaimer's own thread, which can't wait for its own end, and is not through with the space. */
static void last_reference_goes_on_the_reclaimer(void **state)
{
	struct watched goes, stays;
	const struct gm_map *map;
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		goes = (struct watched){ 0, i == 0 ? NULL : drop_space };
		stays = (struct watched){ 0, NULL };
		alone = 0;
		map = remove_held(&goes, &stays, i == 0 ? drop_space_in_completion : NULL);
		assert_int_equal(gm_space_start_reclaimer(space), 0);
		gm_map_unref(map);
		assert_int_equal(stays.released, 0);
		__atomic_store_n(&alone, 1, __ATOMIC_RELEASE);
		wait_until_released(&goes);
		wait_until_released(&stays);
	}
}

static void last_reference_goes_while_waiting(void **state)
{
	struct watched goes, stays;
	const struct gm_map *map;
	int i;

	(void)state;
	alone = 1;
	for (i = 0; i < 4; i++) {
		goes = (struct watched){ 0, i % 2 == 0 ? NULL : drop_space };
		stays = (struct watched){ 0, NULL };
		map = remove_held(&goes, &stays, i % 2 == 0 ? drop_space_in_completion : NULL);
		gm_map_unref(map);
		if (i < 2)
			assert_int_equal(gm_space_wait(space, -1), 0);
		else
			assert_int_equal(gm_space_reclaim(space), 0);
		assert_int_equal(goes.released + stays.released, 2);
	}
}

static int heard, refused;
static const struct gm_map *kept;

/* Looks around, and tries what it must not; keeps the map when @opaque says so. */
static void look_around(void *opaque, const struct gm_change *change)
{
	const struct gm_map *map;
	struct gm_region *region;

	heard++;
	assert_int_equal(gm_space_map(change->space, "listener", &map), 0);
	gm_map_unref(map);
	gm_map_unref(gm_map_ref(change->before));
	region = gm_space_find(change->space, "stays");
	gm_region_unref(region);
	gm_update_abort(gm_update_begin(change->space));
	refused += gm_space_reclaim(change->space) == -EDEADLK;
	if (opaque != NULL && change->removed_count != 0)
		kept = gm_map_ref(change->before);
}

static void listeners_look_around_to_the_end(void **state)
{
	struct gm_listener listener = { .size = sizeof(listener), .name = "l", .commit = look_around };
	struct watched stays;
	struct gm_region *region;
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		heard = refused = 0;
		stays = (struct watched){ 0, NULL };
		region = new_watched("stays", 0, &stays);
		listener.opaque = i == 0 ? NULL : &kept;
		assert_int_equal(gm_space_new(NULL, &space, NULL), 0);
		assert_int_equal(gm_space_add_listener(space, &listener, NULL), 0);
		assert_int_equal(insert(region), 0);
		gm_region_unref(region);
		gm_space_unref(space);
		/* Added, inserted, and removed with the mutex held as ever. */
		assert_int_equal(heard, 3);
		assert_int_equal(refused, 3);
		assert_int_equal(stays.released, i == 0);
	}
	/* What it kept is whole, and was the last of the space. */
	assert_ptr_equal(gm_map_find(kept, gm_gpa(0)), region);
	gm_map_unref(kept);
	assert_int_equal(stays.released, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_wait_of_no_time_releases),
		cmocka_unit_test(removing_what_is_being_released_is_refused),
		cmocka_unit_test(one_of_two_removes),
		cmocka_unit_test(last_reference_goes_on_the_reclaimer),
		cmocka_unit_test(last_reference_goes_while_waiting),
		cmocka_unit_test(listeners_look_around_to_the_end),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
