/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The floors: what the same memory traffic costs with a bounds check and a pointer, memcpy, a hand-written hazard slot, or a bit
 * test; without a map, without permissions, without anything that could be changed while it runs. Only rows that have one.
 */
#include "places.h"
#include "queue.h"
#include "worker.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define GIB (UINT64_C(1) << 30)
/* The bits of one GiB, and those of a log that stays in the nearest cache. */
#define GIB_BITS_BYTES (GIB / BENCH_PAGE / 8)
#define SMALL_PAGES    UINT64_C(4096)

/* One span of guest memory: guest physical addresses are offsets in the area. */
static struct {
	unsigned char *area;
	uint64_t bytes; /* also: the limit of the bounds check */
	unsigned char *buffer;
	size_t buffer_bytes;
	uint64_t *bits;
	struct bench_places places;
	uint64_t table[BENCH_TABLE];
} raw;

static void *maps[2] = { &maps[0], &maps[1] };
static void *current = &maps[0];
static void *slot;
static pthread_t writer;
static bool stop, has_begun;
static int reader_cpu;

static void new_area(uint64_t bytes)
{
	raw.bytes = bytes;
	raw.area = bench_area(bytes);
}

static void tear_down(void)
{
	bench_places_free(&raw.places);
	free(raw.bits);
	if (raw.area)
		bench_area_free(raw.area, raw.bytes);
	if (raw.buffer)
		bench_area_free(raw.buffer, raw.buffer_bytes);
	memset(&raw, 0, sizeof(raw));
}

static void new_places(struct bench_places places)
{
	raw.places = places;
	new_area(places.area_bytes);
}

static void set_up_load(const struct bench_name *name)
{
	new_places(bench_places_of(name));
	if (strcmp(name->base, "load_same") == 0)
		bench_addresses_same(&raw.places, raw.table);
	else
		bench_addresses(name, &raw.places, raw.table);
	bench_to_offsets(&raw.places, raw.table);
	bench_touch(raw.area, raw.table);
}

static void load(uint64_t count)
{
	const unsigned char *base = raw.area;
	uint64_t room = raw.bytes - 7, at, sum = 0, bad = 0;

	BENCH_OVER(raw.table, count, at)
	{
		if (__builtin_expect(at < room && at % 8 == 0, 1))
			sum += __atomic_load_n((const uint64_t *)(base + at), __ATOMIC_RELAXED);
		else
			bad++;
	}
	if (bad)
		bench_fail("out of bounds");
	bench_keep(sum);
}

static void new_bits(uint64_t bytes)
{
	raw.bits = aligned_alloc(4096, bytes);
	if (!raw.bits)
		bench_fail("no memory");
	memset(raw.bits, 0xff, bytes);
}

static void set_up_store(const struct bench_name *name)
{
	set_up_load(name);
	new_bits(SMALL_PAGES / 8);
}

static void store(uint64_t count)
{
	unsigned char *base = raw.area;
	uint64_t *bits = raw.bits, room = raw.bytes - 7, at, bad = 0, page;

	BENCH_OVER(raw.table, count, at)
	{
		if (__builtin_expect(at < room && at % 8 == 0, 1)) {
			__atomic_store_n((uint64_t *)(base + at), at, __ATOMIC_RELAXED);
			page = at / BENCH_PAGE;
			if (!(__atomic_load_n(&bits[page / 64], __ATOMIC_RELAXED) >> (page % 64) & 1))
				bad++;
		} else {
			bad++;
		}
	}
	if (bad)
		bench_fail("out of bounds");
}

static void set_up_read(const struct bench_name *name)
{
	uint64_t bytes = strcmp(name->base, "read_16_regions") == 0 ? 16 * BENCH_PAGE : name->number;

	/* Sixteen pages apart from each other, as in the other workers. */
	new_area(bytes > BENCH_PAGE ? 2 * bytes : BENCH_PAGE);
	memset(raw.area, 1, raw.bytes);
	raw.buffer_bytes = bytes;
	raw.buffer = bench_area(bytes);
	memset(raw.buffer, 1, bytes);
}

static void read_bytes(uint64_t count)
{
	uint64_t i;

	for (i = 0; i < count; i++) {
		memcpy(raw.buffer, raw.area, raw.buffer_bytes);
		bench_keep_memory(raw.buffer);
	}
}

/* Of a length that the compiler does not know, as in a library: or it would copy in another way. */
static void read_16_regions(uint64_t count)
{
	uint64_t i, page;

	for (i = 0; i < count; i++) {
		for (page = 0; page < 16; page++)
			memcpy(raw.buffer + page * BENCH_PAGE, raw.area + 2 * (15 - page) * BENCH_PAGE,
			       bench_hide(BENCH_PAGE));
		bench_keep_memory(raw.buffer);
	}
}

static void set_up_nothing(const struct bench_name *name)
{
	(void)name;
}

/* A hazard slot: claim what is current, and look again whether it still is. */
static inline void enter(void)
{
	void *map = __atomic_load_n(&current, __ATOMIC_ACQUIRE), *again;

	for (;;) {
		__atomic_store_n(&slot, map, __ATOMIC_RELEASE);
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
		again = __atomic_load_n(&current, __ATOMIC_ACQUIRE);
		if (__builtin_expect(again == map, 1))
			return;
		map = again;
	}
}

static void enter_leave(uint64_t count)
{
	uint64_t i;

	for (i = 0; i < count; i++) {
		enter();
		bench_keep_memory(&slot);
		__atomic_store_n(&slot, NULL, __ATOMIC_RELEASE);
	}
}

static uint64_t enter_leave_busy(uint64_t count)
{
	return bench_beside(writer, enter_leave, count);
}

/* About as often as a library could. */
static void *write_all_the_time(void *unused)
{
	uint64_t next, i = 0;

	bench_leave_cpu(reader_cpu);
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		__atomic_store_n(&current, &maps[i++ % 2], __ATOMIC_RELEASE);
		__atomic_store_n(&has_begun, true, __ATOMIC_RELEASE);
		for (next = bench_clock() + 1000; bench_clock() < next;)
			;
	}
	return unused;
}

static void set_up_busy(const struct bench_name *name)
{
	(void)name;
	stop = has_begun = false;
	reader_cpu = sched_getcpu();
	bench_must(-pthread_create(&writer, NULL, write_all_the_time, NULL), "thread");
	while (!__atomic_load_n(&has_begun, __ATOMIC_ACQUIRE))
		sched_yield();
}

static void tear_down_busy(void)
{
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	bench_must(-pthread_join(writer, NULL), "join");
}

static void set_up_again(const struct bench_name *name)
{
	uint64_t seed = BENCH_SEED, i;

	(void)name;
	new_bits(SMALL_PAGES / 8);
	for (i = 0; i < BENCH_TABLE; i++)
		raw.table[i] = (bench_random(&seed) >> 32) % SMALL_PAGES * BENCH_PAGE;
}

static void mark_again(uint64_t count)
{
	uint64_t *bits = raw.bits, at, page;

	BENCH_OVER(raw.table, count, at)
	{
		page = at / BENCH_PAGE;
		if (!(__atomic_load_n(&bits[page / 64], __ATOMIC_RELAXED) >> (page % 64) & 1))
			__atomic_fetch_or(&bits[page / 64], UINT64_C(1) << (page % 64), __ATOMIC_RELAXED);
	}
}

static void set_up_1g(const struct bench_name *name)
{
	(void)name;
	new_bits(GIB_BITS_BYTES);
}

static void mark_1g(uint64_t count)
{
	uint64_t i;

	for (i = 0; i < count; i++) {
		memset(raw.bits, 0xff, GIB_BITS_BYTES);
		bench_keep_memory(raw.bits);
	}
}

static void set_up_queue(const struct bench_name *name)
{
	new_places(bench_regular(name->number, QUEUE_REGION_BYTES));
	queue_lay_out(raw.area, &raw.places, strcmp(name->variant, "apart") == 0, true);
	raw.buffer_bytes = QUEUE_DATA_BYTES;
	raw.buffer = bench_area(raw.buffer_bytes);
}

static inline unsigned char *at(uint64_t address, uint64_t bytes)
{
	if (__builtin_expect(bytes > raw.bytes || address > raw.bytes - bytes, 0))
		bench_fail("out of bounds");
	return raw.area + address;
}

static inline uint64_t one_chain(uint16_t turn, bool is_copy)
{
	uint32_t used[2] = { 0, 0 };
	struct queue_desc desc;
	uint16_t head, index;
	unsigned char *place;
	uint64_t sum = 0;
	int i;

	if (__atomic_load_n((uint16_t *)at(QUEUE_AVAIL + QUEUE_INDEX, 2), __ATOMIC_ACQUIRE) == htole16(turn))
		bench_fail("the queue is empty");
	head = index = __atomic_load_n((uint16_t *)at(QUEUE_AVAIL + QUEUE_ENTRIES + 2 * turn, 2), __ATOMIC_RELAXED);
	index = le16toh(index);
	for (i = 0; i < QUEUE_PARTS; i++) {
		if (index >= QUEUE_SIZE)
			bench_fail("no such descriptor");
		memcpy(&desc, at(QUEUE_DESC + sizeof(desc) * index, sizeof(desc)), sizeof(desc));
		desc = queue_desc_get(desc);
		if (i + 1 < QUEUE_PARTS && !(desc.flags & QUEUE_NEXT))
			bench_fail("a chain ends early");
		place = at(desc.address, desc.bytes);
		sum += (uintptr_t)place;
		if (desc.flags & QUEUE_WRITE)
			used[1] += desc.bytes;
		if (is_copy && desc.bytes == QUEUE_DATA_BYTES)
			memcpy(raw.buffer, place, bench_hide(desc.bytes));
		index = desc.next;
	}
	used[0] = htole32(le16toh(head));
	used[1] = htole32(used[1]);
	memcpy(at(QUEUE_USED + QUEUE_ENTRIES + sizeof(used) * turn, sizeof(used)), used, sizeof(used));
	__atomic_store_n((uint16_t *)at(QUEUE_USED + QUEUE_INDEX, 2), htole16((uint16_t)(turn + 1)), __ATOMIC_RELEASE);
	return sum;
}

static void chain(uint64_t count)
{
	uint64_t sum = 0, i;

	for (i = 0; i < count; i++)
		sum += one_chain((uint16_t)(i % QUEUE_SIZE), false);
	bench_keep(sum);
}

static void chain_copy(uint64_t count)
{
	uint64_t sum = 0, i;

	for (i = 0; i < count; i++) {
		sum += one_chain((uint16_t)(i % QUEUE_SIZE), true);
		bench_keep_memory(raw.buffer);
	}
	bench_keep(sum);
}

static const struct bench_row rows[] = {
	{ .base = "load", .listed = "/1", .set_up = set_up_load, .run = load, .tear_down = tear_down },
	{ .base = "load_same", .listed = "/8 /512", .set_up = set_up_load, .run = load, .tear_down = tear_down },
	{
		.base = "load_scattered",
		.listed = BENCH_CURVE " /8/irregular /512/irregular /8/hostile /512/hostile",
		.set_up = set_up_load,
		.run = load,
		.tear_down = tear_down,
	},
	{ .base = "store_dirty", .listed = "/1", .set_up = set_up_store, .run = store, .tear_down = tear_down },
	{ .base = "read", .listed = "/64 /4096", .set_up = set_up_read, .run = read_bytes, .tear_down = tear_down },
	{ .base = "read_16_regions",
	  .listed = "",
	  .set_up = set_up_read,
	  .run = read_16_regions,
	  .tear_down = tear_down },
	{ .base = "enter_leave", .listed = "", .set_up = set_up_nothing, .run = enter_leave },
	{
		.base = "enter_leave_busy",
		.listed = "",
		.set_up = set_up_busy,
		.run_apart = enter_leave_busy,
		.tear_down = tear_down_busy,
	},
	{ .base = "mark_again", .listed = "", .set_up = set_up_again, .run = mark_again, .tear_down = tear_down },
	{ .base = "mark_1g", .listed = "", .set_up = set_up_1g, .run = mark_1g, .tear_down = tear_down },
	{
		.base = "chain",
		.listed = "/1 /8 /512 /8/apart /512/apart",
		.set_up = set_up_queue,
		.run = chain,
		.tear_down = tear_down,
	},
	{ .base = "chain_copy",
	  .listed = "/1 /8 /512",
	  .set_up = set_up_queue,
	  .run = chain_copy,
	  .tear_down = tear_down },
	{ .base = NULL },
};

int main(int argc, char **argv)
{
	const struct bench_row *const tables[] = { rows, NULL };

	return bench_main(argc, argv, tables);
}
