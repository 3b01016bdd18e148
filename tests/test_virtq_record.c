/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The record of what is in flight in a virtqueue: whoever serves a queue is killed at each single store that it makes, and who comes
 * after it at each of its own; in the end the driver has each of its chains back, once, and what was done again was done in
 * order. A kill is made by memory that takes no more stores: that is what is left behind by a process that is gone.
 */
#include "support.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "virtq.h"

#define SIZE         8
#define BYTES        (16 * GM_KIB)
#define DESC         UINT64_C(0)
#define AVAIL        UINT64_C(0x1000)
#define USED         UINT64_C(0x2000)
#define RECORD_BYTES UINT64_C(4096)
#define NO_LIMIT     UINT_MAX

/* Where a run of the indexes begins: they pass 2^16 in it. */
#define FIRST 65533

struct world {
	unsigned char guest[BYTES], record[RECORD_BYTES];
	unsigned stores_left;
	int fail; /* what accesses to the record fail with */
	struct gm_map *maps[2];
	struct gm_memory *memories[2];
	struct gm_view view;
	struct virtq virtq;
	/* What was taken, in order, by all who served. */
	uint16_t taken[256];
	unsigned taken_count;
};

static struct world world;

static int load(void *opaque, struct gm_offset offset, void *data, size_t bytes)
{
	if (opaque == world.record && world.fail)
		return world.fail;
	memcpy(data, (unsigned char *)opaque + offset.value, bytes);
	return 0;
}

static int store(void *opaque, struct gm_offset offset, const void *data, size_t bytes)
{
	if (opaque == world.record && world.fail)
		return world.fail;
	if (world.stores_left == 0)
		return 0;
	if (world.stores_left != NO_LIMIT)
		world.stores_left--;
	memcpy((unsigned char *)opaque + offset.value, data, bytes);
	return 0;
}

static void make_memory(unsigned index, unsigned char *bytes, uint64_t count)
{
	static const struct gm_region_io io = { .read = load, .write = store };
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = "ram",
		.kind = GM_RAM,
		.bytes = count,
		.source = GM_SOURCE_CALLBACKS,
		.io = &io,
		.opaque = bytes,
	};
	struct gm_region *region;
	struct gm_error error;

	assert_int_equal(gm_region_new(&opts, &region, &error), 0);
	assert_int_equal(gm_map_new(NULL, &region, 1, &world.maps[index], &error), 0);
	assert_int_equal(gm_map_memory(world.maps[index], GM_ONLY_RAM, &world.memories[index]), 0);
	gm_region_unref(region);
}

static int open_world(void **state)
{
	(void)state;
	memset(&world, 0, sizeof(world));
	world.stores_left = NO_LIMIT;
	make_memory(0, world.guest, BYTES);
	make_memory(1, world.record, RECORD_BYTES);
	assert_int_equal(gm_view_init(&world.view, world.memories[0], "queue", 0), 0);
	return 0;
}

static int close_world(void **state)
{
	unsigned i;

	(void)state;
	assert_int_equal(gm_view_fini(&world.view), 0);
	for (i = 0; i < 2; i++) {
		gm_memory_unref(world.memories[i]);
		gm_map_unref(world.maps[i]);
	}
	return 0;
}

/*
 * The driver
 */

static void put16(unsigned char *bytes, uint64_t at, uint16_t number)
{
	bytes[at] = (unsigned char)number;
	bytes[at + 1] = (unsigned char)(number >> 8);
}

static uint16_t get16(const unsigned char *bytes, uint64_t at)
{
	return (uint16_t)(bytes[at] | bytes[at + 1] << 8);
}

static const uint16_t heads[] = { 3, 0, 5, 1, 7, 2 };
#define HEADS ((unsigned)(sizeof(heads) / sizeof(heads[0])))

/* Rings as a driver has them that has been at work for a while, and offers six chains now. */
static void offer(void)
{
	unsigned i;

	memset(world.guest, 0, sizeof(world.guest));
	memset(world.record, 0, sizeof(world.record));
	world.taken_count = 0;
	for (i = 0; i < SIZE; i++) {
		world.guest[DESC + 16 * i] = (unsigned char)(16 * i);
		world.guest[DESC + 16 * i + 1] = 0x30;
		world.guest[DESC + 16 * i + 8] = 16;
		world.guest[DESC + 16 * i + 12] = VIRTQ_DESC_F_WRITE;
	}
	for (i = 0; i < HEADS; i++)
		put16(world.guest, AVAIL + VIRTQ_AVAIL_ENTRY((FIRST + i) % SIZE), heads[i]);
	put16(world.guest, AVAIL + VIRTQ_INDEX, (uint16_t)(FIRST + HEADS));
	put16(world.guest, USED + VIRTQ_INDEX, FIRST);
}

/* Each chain came back, and once; nothing is in flight. */
static void check_all_back(unsigned first, unsigned second)
{
	unsigned seen[SIZE] = { 0 }, i;

	assert_int_equal(get16(world.guest, USED + VIRTQ_INDEX), (uint16_t)(FIRST + HEADS));
	for (i = 0; i < HEADS; i++) {
		const unsigned head = get16(world.guest, USED + VIRTQ_USED_ENTRY((FIRST + i) % SIZE));

		assert_true(head < SIZE);
		seen[head]++;
	}
	for (i = 0; i < HEADS; i++)
		if (seen[heads[i]] != 1)
			fail_msg("killed at %u and %u: chain %u came back %u times", first, second, heads[i],
				 seen[heads[i]]);
	for (i = 0; i < SIZE; i++)
		assert_int_equal(world.record[16 + 16 * i], 0);
	assert_int_equal(get16(world.record, 14), (uint16_t)(FIRST + HEADS));
}

/*
 * The device
 */

static void start(uint16_t next)
{
	const struct virtq_ring ring = {
		.desc = gm_gpa(DESC),
		.avail = gm_gpa(AVAIL),
		.used = gm_gpa(USED),
		.size = SIZE,
		.next = next,
		.record = world.memories[1],
		.record_bytes = RECORD_BYTES,
	};

	assert_int_equal(virtq_init(&world.virtq, &world.view, &ring, false, false), 0);
	gm_view_enter(&world.view);
}

static void stop(void)
{
	gm_view_leave(&world.view);
	virtq_fini(&world.virtq);
}

/* Return: the head; -1 when there is none. */
static int take(void)
{
	struct virtq_chain chain;
	const int r = virtq_pop(&world.virtq, &chain);

	assert_true(r >= 0);
	if (r == 0)
		return -1;
	assert_true(world.taken_count < 256);
	world.taken[world.taken_count++] = chain.head;
	return chain.head;
}

static void give(int head)
{
	assert_true(head >= 0);
	assert_int_equal(virtq_push(&world.virtq, (uint16_t)head, 16), 0);
}

/* Takes and gives back out of order, as a disk does. What a killed one goes on to see is of no interest. */
static void serve_out_of_order(void)
{
	int a = take(), b = take(), c = take(), d;

	give(b);
	d = take();
	give(d);
	give(a);
	(void)take();
	give(c);
}

static void serve_all(void)
{
	int held[SIZE], count = 0, head;

	while ((head = take()) >= 0)
		held[count++] = head;
	while (count > 0)
		give(held[--count]);
}

/* Stores that a whole run of it makes. */
static unsigned count_stores(void (*serve)(void), uint16_t next)
{
	world.stores_left = 1000000;
	start(next);
	serve();
	stop();
	return 1000000 - world.stores_left;
}

static void killed_anywhere(void **state)
{
	unsigned stores, first, second;

	(void)state;
	offer();
	stores = count_stores(serve_out_of_order, FIRST);
	assert_true(stores > 40);
	for (first = 0; first <= stores; first++) {
		for (second = 0;; second++) {
			unsigned before;

			offer();
			world.stores_left = first;
			start(FIRST);
			serve_out_of_order();
			stop();
			before = world.taken_count;
			/* The front-end can't know where to go on, and what it says has to have no say. */
			world.stores_left = second;
			start(get16(world.record, 8) ? 12345 : FIRST);
			serve_all();
			stop();
			assert_true(world.taken_count >= before);
			if (world.stores_left > 0) {
				check_all_back(first, second);
				break;
			}
			world.stores_left = NO_LIMIT;
			start(get16(world.record, 8) ? 54321 : FIRST);
			serve_all();
			assert_int_equal(virtq_next(&world.virtq), (uint16_t)(FIRST + HEADS));
			stop();
			check_all_back(first, second);
		}
	}
}

/* Of 3 0 5 1 7 that were taken, 0 and 1 were given back. */
static void in_order(void **state)
{
	static const uint16_t again[] = { 3, 5, 7, 2 };
	unsigned i, kills;

	(void)state;
	offer();
	start(FIRST);
	(void)take();
	give(take());
	(void)take();
	give(take());
	(void)take();
	stop();
	/* 2 is new; killed again, it comes behind what was taken before it. */
	for (kills = 0; kills < 2; kills++) {
		if (kills > 0)
			stop();
		start(0);
		for (i = 0; i < 4; i++)
			assert_int_equal(take(), again[i]);
		assert_int_equal(take(), -1);
	}
	for (i = 4; i-- > 0;)
		give(again[i]);
	stop();
	check_all_back(0, 0);
}

/* Who was killed may not have notified, so a notification is due, though nothing was given back yet. */
static void owes_a_notice(void **state)
{
	(void)state;
	offer();
	start(FIRST);
	assert_int_equal(virtq_notify(&world.virtq), false);
	(void)take();
	assert_int_equal(virtq_notify(&world.virtq), false);
	stop();
	start(FIRST);
	(void)take();
	assert_int_equal(virtq_notify(&world.virtq), true);
	assert_int_equal(virtq_notify(&world.virtq), false);
	stop();
}

/* Others give back several at once, and are killed behind the used ring's index. */
static void batch_of_others(void **state)
{
	(void)state;
	offer();
	start(FIRST);
	(void)take();
	(void)take();
	(void)take();
	(void)take();
	stop();
	/* 0, 5 and 3 were given back, in a list from its last to its first. */
	put16(world.record, 16 + 16 * 3 + 6, 5);
	put16(world.record, 16 + 16 * 5 + 6, 0);
	put16(world.record, 12, 3);
	put16(world.guest, USED + VIRTQ_USED_ENTRY(FIRST % SIZE), 0);
	put16(world.guest, USED + VIRTQ_USED_ENTRY((FIRST + 1) % SIZE), 5);
	put16(world.guest, USED + VIRTQ_USED_ENTRY((FIRST + 2) % SIZE), 3);
	put16(world.guest, USED + VIRTQ_INDEX, (uint16_t)(FIRST + 3));
	world.taken_count = 0;
	start(0);
	serve_all();
	stop();
	assert_int_equal(world.taken_count, 3);
	assert_int_equal(world.taken[0], 1);
	check_all_back(0, 0);
}

static void refused(int code)
{
	struct virtq_chain chain;

	start(FIRST);
	assert_int_equal(virtq_pop(&world.virtq, &chain), -EBADMSG);
	assert_int_equal(world.virtq.fault, VIRTQ_BAD_RECORD);
	assert_int_equal(world.virtq.fault_code, code);
	stop();
}

/* What a front-end may put there. */
static void nonsense(void **state)
{
	struct virtq_ring ring = {
		.desc = gm_gpa(DESC),
		.avail = gm_gpa(AVAIL),
		.used = gm_gpa(USED),
		.size = SIZE,
		.record = world.memories[1],
		.record_bytes = VIRTQ_RECORD_BYTES(SIZE),
	};

	(void)state;
	offer();
	assert_int_equal(virtq_init(&world.virtq, &world.view, &ring, false, false), 0);
	virtq_fini(&world.virtq);
	ring.record_bytes--;
	assert_int_equal(virtq_init(&world.virtq, &world.view, &ring, false, false), -EINVAL);
	ring.record_bytes = UINT64_MAX;
	ring.record_at = gm_gpa(4);
	assert_int_equal(virtq_init(&world.virtq, &world.view, &ring, false, false), -EINVAL);
	ring.record_at = gm_gpa(UINT64_MAX - 7);
	assert_int_equal(virtq_init(&world.virtq, &world.view, &ring, false, false), -GM_EWRAP);
	put16(world.record, 8, 2);
	refused(-EPROTONOSUPPORT);
	/* In flight, and an index that no batch leads to. */
	offer();
	put16(world.record, 8, 1);
	world.record[16] = 1;
	put16(world.record, 14, FIRST - SIZE - 1);
	refused(-EINVAL);
	/* With nothing in flight, an index from another life. */
	world.record[16] = 0;
	start(0);
	serve_all();
	stop();
	check_all_back(0, 0);
	/* A batch that leads out of the queue; one that leads round and round. */
	offer();
	put16(world.record, 8, 1);
	world.record[16] = 1;
	put16(world.record, 14, FIRST - 2);
	put16(world.record, 12, SIZE);
	refused(-EINVAL);
	put16(world.record, 12, 6);
	put16(world.record, 16 + 16 * 6 + 6, SIZE);
	refused(-EINVAL);
	put16(world.record, 16 + 16 * 6 + 6, 6);
	start(0);
	assert_int_equal(take(), 0);
	stop();
}

/* Memory of the record that fails, at each of its uses. */
static void record_fails(void **state)
{
	struct virtq_chain chain;

	(void)state;
	offer();
	world.fail = -EIO;
	refused(-GM_EFAULTED);
	world.fail = 0;
	start(FIRST);
	(void)take();
	world.fail = -EIO;
	assert_int_equal(virtq_pop(&world.virtq, &chain), -EBADMSG);
	assert_int_equal(world.virtq.fault, VIRTQ_BAD_RECORD);
	stop();
	world.fail = 0;
	start(FIRST);
	(void)take();
	world.fail = -EIO;
	assert_int_equal(virtq_push(&world.virtq, 3, 16), -EBADMSG);
	assert_int_equal(get16(world.guest, USED + VIRTQ_INDEX), FIRST);
	stop();
	world.fail = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(killed_anywhere, open_world, close_world),
		cmocka_unit_test_setup_teardown(in_order, open_world, close_world),
		cmocka_unit_test_setup_teardown(owes_a_notice, open_world, close_world),
		cmocka_unit_test_setup_teardown(batch_of_others, open_world, close_world),
		cmocka_unit_test_setup_teardown(nonsense, open_world, close_world),
		cmocka_unit_test_setup_teardown(record_fails, open_world, close_world),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
