/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Readers against writers. A region's page is poisoned, with plain stores, the moment it is released: a reader that still uses it
 * sees the poison, and ThreadSanitizer sees the race. Within a section a reader must see one map only, whatever happens meanwhile.
 * Run over both ways of publishing: with membarrier, and with readers that fence.
 */
#include "support.h"

#include <pthread.h>

#include "space/space.h"

#define PAGE    GM_PAGE_BYTES
#define PLACES  24
#define BUFFERS 8
#define READERS 3

static struct gm_space *space;
static struct gm_memory *memory;
static unsigned char *pages;
static bool stop;
static uint64_t hits, moves;

/* Whether a region is in a buffer, or was and is not released yet. Atomic. */
static bool busy[PLACES][BUFFERS];

/* The page belongs to nobody now. */
static void poison(void *opaque, void *hva, uint64_t bytes)
{
	memset(hva, 0xdd, bytes);
	__atomic_store_n((bool *)opaque, false, __ATOMIC_RELEASE);
}

/* Place and serial number of the region: what every word of its page holds. */
static struct gm_region *stamped(size_t place, size_t buffer, uint64_t serial)
{
	uint64_t *page = (uint64_t *)(pages + (place * BUFFERS + buffer) * PAGE), i;
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.kind = GM_RAM,
		.first = gm_gpa(place * PAGE),
		.bytes = PAGE,
		.source = GM_SOURCE_POINTER,
		.hva = page,
		.release = poison,
		.opaque = &busy[place][buffer],
	};
	struct gm_region *region;
	char name[32];

	__atomic_store_n(&busy[place][buffer], true, __ATOMIC_RELAXED);
	for (i = 0; i < PAGE / sizeof(*page); i++)
		page[i] = place << 32 | serial;
	snprintf(name, sizeof(name), "place%zu.%zu", place, buffer);
	opts.name = name;
	assert_int_equal(gm_region_new(&opts, &region, NULL), 0);
	return region;
}

/* One section: what a place holds does not change in it, and is not poison. */
static void read_section(struct gm_view *view, struct test_random *random, uint64_t *my_hits)
{
	uint64_t seen[2][4], generation;
	size_t place[4], i, round;
	int r[2][4];

	gm_view_enter(view);
	generation = gm_view_generation(view);
	for (i = 0; i < 4; i++)
		place[i] = test_below(random, PLACES);
	for (round = 0; round < 2; round++) {
		for (i = 0; i < 4; i++) {
			r[round][i] = gm_load_u64(view, gm_gpa(place[i] * PAGE + 8 * test_below(random, 512)),
						  GM_RELAXED, &seen[round][i]);
		}
	}
	for (i = 0; i < 4; i++) {
		if (r[0][i] != r[1][i] || (r[0][i] != 0 && r[0][i] != -GM_EHOLE))
			abort();
		if (r[0][i] == 0 && (seen[0][i] != seen[1][i] || seen[0][i] >> 32 != place[i]))
			abort();
		*my_hits += r[0][i] == 0;
	}
	if (generation != gm_view_generation(view))
		abort();
	gm_view_leave(view);
	if (gm_load_u64(view, gm_gpa(place[0] * PAGE), GM_RELAXED, &seen[0][0]) != -EINVAL)
		abort();
}

/* What a pin keeps can be read after the section, by pointer. */
static void read_pinned(struct gm_view *view, struct test_random *random)
{
	uint64_t place = test_below(random, PLACES);
	struct gm_span span;
	struct gm_pin pin;
	int r;

	gm_view_enter(view);
	if (gm_view_pin(view, &pin) != 0)
		abort();
	r = gm_span(view, gm_gpa(place * PAGE), PAGE, GM_READ, &span);
	gm_view_leave(view);
	if (r == 0 && __atomic_load_n((uint64_t *)span.hva, __ATOMIC_RELAXED) >> 32 != place)
		abort();
	gm_view_unpin(&pin);
}

static void *reader(void *opaque)
{
	struct test_random random = { (uint64_t)(uintptr_t)opaque };
	uint64_t my_hits, generation = 0;
	struct gm_view view;
	char name[16];

	snprintf(name, sizeof(name), "reader%u", (unsigned)(uintptr_t)opaque);
	if (gm_view_init(&view, memory, name, 0) != 0)
		abort();
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		my_hits = 0;
		read_section(&view, &random, &my_hits);
		/* Rarely enough not to order what is to be tested. */
		if (view.generation != generation) {
			generation = view.generation;
			__atomic_fetch_add(&moves, 1, __ATOMIC_RELAXED);
			__atomic_fetch_add(&hits, my_hits, __ATOMIC_RELAXED);
			read_pinned(&view, &random);
		}
	}
	if (gm_view_fini(&view) != 0)
		abort();
	return NULL;
}

static bool buffer_is_busy(size_t place, size_t buffer)
{
	return __atomic_load_n(&busy[place][buffer], __ATOMIC_ACQUIRE);
}

/* Plugs, replaces and unplugs at random; a buffer is used again only when the region before is released. */
static void write_updates(size_t updates)
{
	/* The readers must have had their turns too, however busy the machine is. */
	const size_t updates_max = 100 * updates;
	struct gm_region *there[PLACES] = { NULL }, *region;
	struct test_random random = { 99 };
	size_t buffer[PLACES] = { 0 }, place;
	struct gm_update *update;
	uint64_t serial;

	for (serial = 1; serial <= updates_max; serial++) {
		if (serial > updates && __atomic_load_n(&moves, __ATOMIC_RELAXED) > 200 &&
		    __atomic_load_n(&hits, __ATOMIC_RELAXED) > 200)
			break;
		place = test_below(&random, PLACES);
		if (buffer_is_busy(place, (buffer[place] + 1) % BUFFERS))
			assert_int_equal(gm_space_wait(space, -1), 0);
		update = gm_update_begin(space);
		region = there[place];
		there[place] = NULL;
		if (region != NULL) {
			assert_int_equal(gm_update_remove(update, region), 0);
			gm_region_unref(region);
		}
		if (region == NULL || test_below(&random, 2) == 0) {
			buffer[place] = (buffer[place] + 1) % BUFFERS;
			there[place] = stamped(place, buffer[place], serial);
			assert_int_equal(gm_update_insert(update, there[place]), 0);
		}
		assert_int_equal(gm_update_commit(update, NULL), 0);
	}
	for (place = 0; place < PLACES; place++)
		gm_region_unref(there[place]);
}

static void torture(bool fence, bool reclaimer, size_t updates)
{
	pthread_t threads[READERS];
	struct gm_error error;
	size_t i;

	pages = test_pages(PLACES * BUFFERS * PAGE);
	stop = false;
	hits = moves = 0;
	assert_int_equal(gm_space_new(NULL, &space, &error), 0);
	/* As on a machine without membarrier. */
	space->domain.fence |= fence;
	assert_int_equal(gm_space_memory(space, GM_ONLY_RAM, &memory), 0);
	if (reclaimer)
		assert_int_equal(gm_space_start_reclaimer(space), 0);
	for (i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, reader, (void *)(i + 1)), 0);
	write_updates(updates);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < READERS; i++)
		pthread_join(threads[i], NULL);
	print_message("%llu times on a new map, %llu hits then\n", (unsigned long long)moves, (unsigned long long)hits);
	assert_true(hits > 200 && moves > 200);
	assert_int_equal(gm_space_wait(space, 1000), 0);
	gm_memory_unref(memory);
	gm_space_unref(space);
	munmap(pages, PLACES * BUFFERS * PAGE);
}

static void with_membarrier(void **state)
{
	(void)state;
	torture(false, false, 10000);
}

static void with_fences(void **state)
{
	(void)state;
	torture(true, false, 10000);
}

static void with_a_reclaimer(void **state)
{
	(void)state;
	torture(false, true, 10000);
}

/* Views come and go, and two writers change a space at once, while readers read and others ask who holds what. */
static void *churn_views(void *opaque)
{
	struct gm_view view;
	size_t i;

	(void)opaque;
	for (i = 0; i < 2000; i++) {
		if (gm_view_init(&view, memory, "passing", 0) != 0)
			abort();
		gm_view_enter(&view);
		if (gm_check(&view, gm_gpa(0), 8, GM_READ) == -EINVAL)
			abort();
		gm_view_leave(&view);
		if (gm_view_fini(&view) != 0)
			abort();
	}
	return NULL;
}

static void *churn_updates(void *opaque)
{
	size_t place = (size_t)(uintptr_t)opaque, i;

	for (i = 0; i < 300; i++) {
		struct gm_update *update = gm_update_begin(space);
		struct gm_region *region = stamped(place, i % 2, i);

		(void)gm_update_insert(update, region);
		if (gm_update_commit(update, NULL) != 0)
			abort();
		update = gm_update_begin(space);
		(void)gm_update_remove(update, region);
		gm_region_unref(region);
		if (gm_update_commit(update, NULL) != 0 || gm_space_wait(space, -1) != 0)
			abort();
	}
	return NULL;
}

static void count_visit(void *opaque, const char *holder, enum gm_hold hold)
{
	*(size_t *)opaque += strlen(holder) + hold;
}

static void all_at_once(void **state)
{
	pthread_t threads[READERS + 3];
	struct gm_error error;
	size_t i, seen = 0;

	(void)state;
	pages = test_pages(PLACES * BUFFERS * PAGE);
	stop = false;
	assert_int_equal(gm_space_new(NULL, &space, &error), 0);
	assert_int_equal(gm_space_memory(space, GM_ONLY_RAM, &memory), 0);
	for (i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, reader, (void *)(i + 1)), 0);
	assert_int_equal(pthread_create(&threads[READERS], NULL, churn_views, NULL), 0);
	assert_int_equal(pthread_create(&threads[READERS + 1], NULL, churn_updates, (void *)3), 0);
	assert_int_equal(pthread_create(&threads[READERS + 2], NULL, churn_updates, (void *)4), 0);
	for (i = 0; i < 1000; i++) {
		assert_true(gm_space_holders(space, NULL, count_visit, &seen) >= 0);
		usleep(10);
	}
	for (i = READERS; i < READERS + 3; i++)
		pthread_join(threads[i], NULL);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < READERS; i++)
		pthread_join(threads[i], NULL);
	gm_memory_unref(memory);
	gm_space_unref(space);
	munmap(pages, PLACES * BUFFERS * PAGE);
}

/*
 * What membarrier is for. The reader's claim is a store; here it has to wait in the store buffer behind stores that miss all
 * caches, for microseconds, while the load that confirms the claim goes ahead. Without the barrier a writer that publishes in
 * that time sees no claim, and takes the region away from under the reader.
 */
#define COLD_BYTES  (UINT64_C(256) << 20)
#define COLD_STORES 48

static void *cold_reader(void *opaque)
{
	unsigned char *cold = opaque;
	struct test_random random = { 5 };
	uint64_t first, second, i;
	struct gm_view view;

	if (gm_view_init(&view, memory, "cold", 0) != 0)
		abort();
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		for (i = 0; i < COLD_STORES; i++)
			__atomic_store_n(cold + test_below(&random, COLD_BYTES), (unsigned char)i, __ATOMIC_RELAXED);
		gm_view_enter(&view);
		if (gm_load_u64(&view, gm_gpa(0), GM_RELAXED, &first) == 0) {
			for (i = 8; i < PAGE; i += 8) {
				if (gm_load_u64(&view, gm_gpa(i), GM_RELAXED, &second) != 0 || second != first)
					abort();
			}
		}
		gm_view_leave(&view);
	}
	if (gm_view_fini(&view) != 0)
		abort();
	return NULL;
}

static void claims_leave_the_store_buffer(void **state)
{
	unsigned char *cold = test_pages(COLD_BYTES);
	struct gm_region *region, *before = NULL;
	struct gm_update *update;
	struct gm_error error;
	pthread_t thread;
	size_t i;

	(void)state;
	/* A page fault would empty the store buffer. */
	memset(cold, 1, COLD_BYTES);
	pages = test_pages(PLACES * BUFFERS * PAGE);
	stop = false;
	assert_int_equal(gm_space_new(NULL, &space, &error), 0);
	assert_int_equal(gm_space_memory(space, GM_ONLY_RAM, &memory), 0);
	assert_int_equal(pthread_create(&thread, NULL, cold_reader, cold), 0);
	for (i = 0; i < 200000; i++) {
		while (buffer_is_busy(0, i % BUFFERS))
			assert_true(gm_space_reclaim(space) >= 0);
		region = stamped(0, i % BUFFERS, i);
		update = gm_update_begin(space);
		if (before != NULL)
			(void)gm_update_remove(update, before);
		(void)gm_update_insert(update, region);
		assert_int_equal(gm_update_commit(update, NULL), 0);
		gm_region_unref(before);
		before = region;
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	gm_region_unref(before);
	gm_memory_unref(memory);
	gm_space_unref(space);
	munmap(pages, PLACES * BUFFERS * PAGE);
	munmap(cold, COLD_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(with_membarrier),
		cmocka_unit_test(with_fences),
		cmocka_unit_test(with_a_reclaimer),
		cmocka_unit_test(all_at_once),
		cmocka_unit_test(claims_leave_the_store_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
