/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Operations to be counted in instructions, by checks/instructions.py, which runs this program under callgrind. Each operation is
 * run three times: N times to warm up, N times, and 2N times; the program dumps the counters after each of the latter two,
 * labelled "NAME N" and "NAME 2N". What the second has more, divided by N, is what one operation costs, the loop and the fetch
 * of its address included. Set-up and the cost of the dump are in neither difference.
 *
 * All addresses come from one generator with one seed, and N goes once through their table: so the counts are the same
 * on each run. Public headers only.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <guestmem/guestmem.h>
#include <valgrind/callgrind.h>

#include "virtq.h"

#define REGION_BYTES UINT64_C(65536)
#define STRIDE       (2 * REGION_BYTES)
#define PLACES       1024
#define UPDATES      64
#define COPY_BYTES   64

/* Where a queue lies in region 0, and a chain's buffers in theirs. */
#define QUEUE_SIZE UINT64_C(256)
#define DESC       UINT64_C(0x8000)
#define AVAIL      UINT64_C(0x9000)
#define USED       UINT64_C(0xa000)
#define BUFFERS    UINT64_C(0x2000)

/* What the operations work on: set up anew for each. */
static struct {
	struct gm_space *space;
	struct gm_memory *memory;
	const struct gm_map *map;
	struct gm_region **regions;
	uint64_t count;
	unsigned char *pages;
	struct gm_view view;
	struct virtq virtq;
	uint16_t available, used;
} world;

static struct gm_gpa places[PLACES];
static unsigned char buffer[COPY_BYTES];
static volatile uint64_t sum;
static volatile size_t copy_bytes = COPY_BYTES;

static void must(int r)
{
	if (r != 0) {
		fprintf(stderr, "counts: unexpected %d: %s\n", r, gm_code_text(r));
		exit(1);
	}
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static struct gm_region *make_region(uint64_t number, uint64_t dirty_page_bytes)
{
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.kind = GM_RAM,
		.source = GM_SOURCE_POINTER,
		.first = gm_gpa(number * STRIDE),
		.bytes = REGION_BYTES,
		.hva = world.pages + number * REGION_BYTES,
		.dirty_page_bytes = dirty_page_bytes,
	};
	struct gm_region *region;
	char name[32];

	snprintf(name, sizeof(name), "ram%u", (unsigned)number);
	opts.name = name;
	must(gm_region_new(&opts, &region, NULL));
	return region;
}

/* @count regions on a space, a view on it inside of a section, and addresses in random regions. */
static void build(uint64_t count, uint64_t dirty_page_bytes)
{
	struct gm_update *update;
	uint64_t seed = 88172645463325252u, i;

	memset(&world, 0, sizeof(world));
	world.count = count;
	world.pages = mmap(NULL, count * REGION_BYTES, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	world.regions = calloc(count, sizeof(*world.regions));
	if (world.pages == MAP_FAILED || world.regions == NULL)
		must(-ENOMEM);
	must(gm_space_new(NULL, &world.space, NULL));
	update = gm_update_begin(world.space);
	for (i = 0; i < count; i++) {
		world.regions[i] = make_region(i, dirty_page_bytes);
		must(gm_update_insert(update, world.regions[i]));
	}
	must(gm_update_commit(update, NULL));
	must(gm_space_memory(world.space, GM_ONLY_RAM, &world.memory));
	must(gm_view_init(&world.view, world.memory, "counts", 0));
	for (i = 0; i < PLACES; i++)
		places[i] = gm_gpa(next_random(&seed) % count * STRIDE + next_random(&seed) % 8 * 64);
	gm_view_enter(&world.view);
}

static void tear_down(void)
{
	uint64_t i;

	virtq_fini(&world.virtq);
	gm_view_leave(&world.view);
	must(gm_view_fini(&world.view));
	gm_map_unref(world.map);
	gm_memory_unref(world.memory);
	gm_space_unref(world.space);
	for (i = 0; i < world.count; i++)
		gm_region_unref(world.regions[i]);
	free(world.regions);
	munmap(world.pages, world.count * REGION_BYTES);
}

static void build_1(void)
{
	build(1, 0);
}

static void build_8(void)
{
	build(8, 0);
}

static void build_512(void)
{
	build(512, 0);
}

static void build_map(void)
{
	build(4096, 0);
	must(gm_space_map(world.space, "counts", &world.map));
}

static void build_dirty(void)
{
	build(1, GM_PAGE_BYTES);
	gm_dirty_mark(gm_region_dirty(world.regions[0]), gm_offset(0), REGION_BYTES);
}

/* Loads: hot, where all addresses are in one region; missed, where each is likely in another than the one before. */
#define LOADS(bits)                                                                                                    \
	static void load_u##bits(uint64_t count)                                                                       \
	{                                                                                                              \
		uint##bits##_t number;                                                                                 \
		uint64_t i, all = 0;                                                                                   \
                                                                                                                       \
		for (i = 0; i < count; i++) {                                                                          \
			if (gm_load_u##bits(&world.view, places[i % PLACES], GM_RELAXED, &number) != 0)                \
				abort();                                                                               \
			all += number;                                                                                 \
		}                                                                                                      \
		sum = all;                                                                                             \
	}
LOADS(8)
LOADS(16)
LOADS(32)
LOADS(64)

static void store_u64(uint64_t count)
{
	uint64_t i;

	for (i = 0; i < count; i++) {
		if (gm_store_u64(&world.view, places[i % PLACES], GM_RELAXED, i) != 0)
			abort();
	}
}

static void read_64(uint64_t count)
{
	uint64_t i;

	for (i = 0; i < count; i++) {
		if (gm_read(&world.view, places[i % PLACES], buffer, copy_bytes) != 0)
			abort();
	}
}

static void write_64(uint64_t count)
{
	uint64_t i;

	for (i = 0; i < count; i++) {
		if (gm_write(&world.view, places[i % PLACES], buffer, copy_bytes) != 0)
			abort();
	}
}

static void span(uint64_t count)
{
	struct gm_span span;
	uint64_t i, all = 0;

	for (i = 0; i < count; i++) {
		if (gm_span(&world.view, places[i % PLACES], 4096, GM_READ | GM_WRITE, &span) != 0)
			abort();
		all += span.bytes;
	}
	sum = all;
}

static void enter_leave(uint64_t count)
{
	uint64_t i;

	for (i = 0; i < count; i++) {
		gm_view_enter(&world.view);
		gm_view_leave(&world.view);
	}
}

static void find(uint64_t count)
{
	uint64_t i, all = 0;

	for (i = 0; i < count; i++)
		all += (uintptr_t)gm_map_find(world.map, places[i % PLACES]) & 1;
	sum = all;
}

/* Each time another region: where one stands in the space's indexes, and so what it costs, is its address's luck. */
static void insert_remove(uint64_t count)
{
	struct gm_region *region;
	struct gm_update *update;
	uint64_t i;

	gm_view_leave(&world.view);
	for (i = 0; i < count; i++) {
		region = world.regions[37 * i % world.count];
		update = gm_update_begin(world.space);
		(void)gm_update_remove(update, region);
		must(gm_update_commit(update, NULL));
		update = gm_update_begin(world.space);
		(void)gm_update_insert(update, region);
		must(gm_update_commit(update, NULL));
	}
}

static void mark_again(uint64_t count)
{
	struct gm_dirty *dirty = gm_region_dirty(world.regions[0]);
	uint64_t i;

	for (i = 0; i < count; i++)
		gm_dirty_mark(dirty, gm_offset(places[i % PLACES].value), 8);
}

/* A queue whose slot s offers chain s: 16 bytes to read, 4096 and 1 to write, all in one random region. */
static void build_queue(void)
{
	const uint32_t bytes[3] = { 16, 4096, 1 };
	struct virtq_desc *desc;
	struct gm_le16 *avail;
	uint64_t chain, i, head;

	build(8, 0);
	desc = (struct virtq_desc *)(world.pages + DESC);
	avail = (struct gm_le16 *)(world.pages + AVAIL);
	for (chain = 0; chain < QUEUE_SIZE; chain++) {
		/* The table has room for a third of the chains. */
		head = chain % (QUEUE_SIZE / 3) * 3;
		avail[2 + chain] = gm_le16((uint16_t)head);
		for (i = 0; i < 3; i++) {
			desc[head + i].address = gm_le64(places[head].value / STRIDE * STRIDE + BUFFERS + i * 0x1000);
			desc[head + i].bytes = gm_le32(bytes[i]);
			desc[head + i].flags = gm_le16(
				(uint16_t)((i < 2 ? VIRTQ_DESC_F_NEXT : 0) | (i > 0 ? VIRTQ_DESC_F_WRITE : 0)));
			desc[head + i].next = gm_le16((uint16_t)(head + i + 1));
		}
	}
}

static void offer(void)
{
	struct gm_le16 index = gm_le16(++world.available);

	memcpy(world.pages + AVAIL + VIRTQ_INDEX, &index, sizeof(index));
}

/* A whole chain as a device would do it that trusts its driver: all accesses, no checks of what is in the rings. */
static int one_chain(struct gm_view *view)
{
	uint64_t slot = world.used % QUEUE_SIZE;
	struct virtq_desc desc[3];
	struct gm_span span;
	uint16_t index, head;
	int r, i;

	gm_view_enter(view);
	r = gm_load_le16(view, gm_gpa(AVAIL + VIRTQ_INDEX), GM_ACQUIRE, &index);
	if (r == 0)
		r = gm_load_le16(view, gm_gpa(AVAIL + VIRTQ_AVAIL_ENTRY(slot)), GM_RELAXED, &head);
	for (i = 0; r == 0 && i < 3; i++, head = gm_le16_get(desc[i - 1].next))
		r = gm_read(view, gm_gpa(DESC + 16u * head), &desc[i], sizeof(desc[i]));
	for (i = 0; r == 0 && i < 3; i++) {
		r = gm_span(view, gm_gpa_from_le64(desc[i].address), gm_le32_get(desc[i].bytes),
			    i > 0 ? GM_WRITE : GM_READ, &span);
	}
	if (r == 0) {
		gm_written(view, gm_gpa_from_le64(desc[1].address), gm_le32_get(desc[1].bytes));
		gm_written(view, gm_gpa_from_le64(desc[2].address), gm_le32_get(desc[2].bytes));
	}
	if (r == 0)
		r = gm_store_le64(view, gm_gpa(USED + 8 + 8 * slot), GM_RELAXED, (uint64_t)4097 << 32 | head);
	if (r == 0)
		r = gm_store_le16(view, gm_gpa(USED + VIRTQ_INDEX), GM_RELEASE, ++world.used);
	gm_view_leave(view);
	return r;
}

static void chain(uint64_t count)
{
	uint64_t i;

	for (i = 0; i < count; i++) {
		offer();
		if (one_chain(&world.view) != 0)
			abort();
	}
}

static void build_virtq(void)
{
	const struct virtq_ring ring = {
		.desc = gm_gpa(DESC),
		.avail = gm_gpa(AVAIL),
		.used = gm_gpa(USED),
		.size = QUEUE_SIZE,
	};

	build_queue();
	must(virtq_init(&world.virtq, &world.view, &ring, true, true));
}

static void virtq(uint64_t count)
{
	struct virtq_chain taken;
	uint64_t i;

	for (i = 0; i < count; i++) {
		offer();
		gm_view_enter(&world.view);
		if (virtq_pop(&world.virtq, &taken) != 1 || virtq_push(&world.virtq, taken.head, 1) != 0)
			abort();
		gm_view_leave(&world.view);
	}
}

/* One entry, one measurement. Names are those of the recorded file. */
static const struct operation {
	const char *name;
	void (*build)(void);
	void (*run)(uint64_t count);
	uint64_t count;
} operations[] = {
	{ "load_u8_hot", build_1, load_u8, PLACES },
	{ "load_u16_hot", build_1, load_u16, PLACES },
	{ "load_u32_hot", build_1, load_u32, PLACES },
	{ "load_u64_hot", build_1, load_u64, PLACES },
	{ "load_u8_missed/8", build_8, load_u8, PLACES },
	{ "load_u16_missed/8", build_8, load_u16, PLACES },
	{ "load_u32_missed/8", build_8, load_u32, PLACES },
	{ "load_u64_missed/8", build_8, load_u64, PLACES },
	{ "load_u8_missed/512", build_512, load_u8, PLACES },
	{ "load_u16_missed/512", build_512, load_u16, PLACES },
	{ "load_u32_missed/512", build_512, load_u32, PLACES },
	{ "load_u64_missed/512", build_512, load_u64, PLACES },
	{ "store_u64_dirty", build_dirty, store_u64, PLACES },
	{ "read_64", build_1, read_64, PLACES },
	{ "read_64/512", build_512, read_64, PLACES },
	{ "write_64", build_1, write_64, PLACES },
	{ "write_64_dirty", build_dirty, write_64, PLACES },
	{ "span", build_1, span, PLACES },
	{ "span/512", build_512, span, PLACES },
	{ "enter_leave", build_1, enter_leave, PLACES },
	{ "find/4096", build_map, find, PLACES },
	{ "insert_remove/512", build_512, insert_remove, UPDATES },
	{ "mark_again", build_dirty, mark_again, PLACES },
	{ "chain/8", build_queue, chain, PLACES },
	{ "virtq/8", build_virtq, virtq, PLACES },
};

static void measure(const struct operation *operation, uint64_t count)
{
	char label[64];

	snprintf(label, sizeof(label), "%s %u", operation->name, (unsigned)count);
	CALLGRIND_ZERO_STATS;
	operation->run(count);
	CALLGRIND_DUMP_STATS_AT(label);
}

int main(void)
{
	const struct operation *operation;
	size_t i;

	for (i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
		operation = &operations[i];
		operation->build();
		operation->run(operation->count);
		measure(operation, operation->count);
		measure(operation, 2 * operation->count);
		tear_down();
	}
	return 0;
}
