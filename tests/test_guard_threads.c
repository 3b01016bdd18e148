/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Memory that is truncated under full load, many times: two threads access a shared region and one that stays, a third truncates the
 * first at some page, at any moment. Each access ends in the right data or in -GM_EFAULTED, and the region that stays is right at all
 * times. Then the region is replaced by a new one, as a provider would.
 *
 * The data says which is which: each word of the regions holds its own number, and no word is 0. So the zeros of a private page that
 * were taken for data would be seen.
 */
#include "guard_world.h"

#include <pthread.h>

#define ROUNDS      (TEST_SANITIZED ? 200 : 1000)
#define THREADS     2
#define WORDS       (BYTES / 8)
#define BLOCK_WORDS 64
#define SHARED      UINT64_C(0x100000000)
#define STAYS       UINT64_C(0x200000000)

static struct gm_space *space;
static struct gm_memory *memory;
static unsigned char *saved;
static uint64_t round_now, faulted, bad;
static uint64_t passes[THREADS];
static bool stop;

static uint64_t word_of(uint64_t number)
{
	return (number + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

static void wrong(const char *what, int r)
{
	if (__atomic_fetch_add(&bad, 1, __ATOMIC_RELAXED) == 0)
		fprintf(stderr, "%s: %d in round %u\n", what, r, (unsigned)round_now);
}

/* Zero or one of the codes that there may be: the region may just be unplugged. */
static bool is_ok(const char *what, int r, bool stays)
{
	if (r == 0)
		return true;
	if (stays || (r != -GM_EFAULTED && r != -GM_EHOLE))
		wrong(what, r);
	if (r == -GM_EFAULTED)
		(void)__atomic_fetch_add(&faulted, 1, __ATOMIC_RELAXED);
	return false;
}

/* Every second 512 bytes are of one thread, so that the two meet in each page, and don't write the same words. */
static void access_one(struct gm_view *view, struct test_random *random, uint64_t first, unsigned thread)
{
	uint64_t place = test_below(random, BLOCK_WORDS), count = 1 + test_below(random, BLOCK_WORDS - place);
	uint64_t index = (test_below(random, WORDS / BLOCK_WORDS / THREADS) * THREADS + thread) * BLOCK_WORDS + place;
	uint64_t words[BLOCK_WORDS], word;
	struct gm_gpa at = gm_gpa(first + 8 * index);
	bool stays = first == STAYS;

	switch (test_below(random, 6)) {
	case 0:
		if (is_ok("load", gm_load_u64(view, at, GM_RELAXED, &word), stays) && word != word_of(index))
			wrong("load gave other data", 0);
		break;
	case 1:
		(void)is_ok("store", gm_store_u64(view, at, GM_RELAXED, word_of(index)), stays);
		break;
	case 2:
		if (!is_ok("read", gm_read(view, at, words, 8 * count), stays))
			break;
		for (uint64_t i = 0; i < count; i++) {
			if (words[i] != word_of(index + i))
				wrong("read gave other data", 0);
		}
		break;
	case 3:
		for (uint64_t i = 0; i < count; i++)
			words[i] = word_of(index + i);
		(void)is_ok("write", gm_write(view, at, words, 8 * count), stays);
		break;
	case 4:
		if (is_ok("atomic", gm_fetch_or_u64(view, at, GM_RELAXED, 0, &word), stays) && word != word_of(index))
			wrong("atomic gave other data", 0);
		break;
	default:
		(void)is_ok("copy", gm_copy(view, at, gm_gpa(STAYS + 8 * index), 8 * count), stays);
		break;
	}
}

static void *device(void *opaque)
{
	uint64_t *my_passes = opaque;
	unsigned thread = (unsigned)(my_passes - passes);
	struct test_random random = { 1 + thread };
	struct gm_view view;

	if (gm_view_init(&view, memory, "device", 0) != 0)
		abort();
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		gm_view_enter(&view);
		for (unsigned i = 0; i < 16; i++) {
			/* The shared region is the hot one, mostly. */
			access_one(&view, &random, SHARED, thread);
			if (i % 8 == 0)
				access_one(&view, &random, STAYS, thread);
		}
		gm_view_leave(&view);
		__atomic_store_n(my_passes, *my_passes + 1, __ATOMIC_RELAXED);
	}
	(void)gm_view_fini(&view);
	return NULL;
}

/* Until both threads have made some passes. */
static void wait_for_devices(uint64_t some)
{
	uint64_t until[THREADS];

	for (unsigned i = 0; i < THREADS; i++)
		until[i] = __atomic_load_n(&passes[i], __ATOMIC_RELAXED) + some;
	for (unsigned i = 0; i < THREADS; i++) {
		while (__atomic_load_n(&passes[i], __ATOMIC_RELAXED) < until[i])
			usleep(50);
	}
}

static struct gm_region *new_region(const char *name, uint64_t first)
{
	struct gm_region *region = guard_region(name, first, BYTES, 0, 0);

	memcpy(gm_region_hva(region), saved, BYTES);
	return region;
}

static void replace(struct gm_region *old, struct gm_region *new)
{
	struct gm_update *update = gm_update_begin(space);

	if (old != NULL)
		assert_int_equal(gm_update_remove(update, old), 0);
	assert_int_equal(gm_update_insert(update, new), 0);
	assert_int_equal(gm_update_commit(update, NULL), 0);
	gm_region_unref(old);
}

static void truncated_under_load(void **state)
{
	struct test_random random = { 99 };
	struct gm_region *shared, *stays, *new;
	pthread_t threads[THREADS];
	uint64_t faults = 0;

	(void)state;
	assert_int_equal(gm_fault_guard_install(NULL), 0);
	saved = test_pages(BYTES);
	for (uint64_t i = 0; i < WORDS; i++)
		((uint64_t *)(void *)saved)[i] = word_of(i);
	assert_int_equal(gm_space_new(NULL, &space, NULL), 0);
	shared = new_region("shared", SHARED);
	stays = new_region("stays", STAYS);
	replace(NULL, shared);
	replace(NULL, stays);
	assert_int_equal(gm_space_memory(space, GM_ONLY_RAM, &memory), 0);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, device, &passes[i]), 0);
	for (round_now = 0; round_now < ROUNDS; round_now++) {
		wait_for_devices(1);
		lose_from(shared, test_below(&random, PAGES - 1));
		wait_for_devices(1 + round_now % 2);
		faults += gm_region_faults(shared);
		drop_events();
		new = new_region("shared", SHARED);
		replace(shared, new);
		shared = new;
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(bad, 0);
	/* Most rounds have met it. */
	assert_true(faults > ROUNDS / 2 && faulted >= faults / 2);
	assert_memory_equal(gm_region_hva(stays), saved, BYTES);
	assert_int_equal(gm_region_faults(stays), 0);
	gm_memory_unref(memory);
	gm_region_unref(shared);
	gm_region_unref(stays);
	gm_space_unref(space);
	assert_int_equal(gm_fault_guard_remove(), 0);
	munmap(saved, BYTES);
	print_message("%u rounds, %u pages lost, %u accesses refused\n", (unsigned)ROUNDS, (unsigned)faults,
		      (unsigned)faulted);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(truncated_under_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
