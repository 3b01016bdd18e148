/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Workloads against a server of vhost-user-blk:	blk_load SOCKET check|survive|truncate|punch|vanish|stop|flood|load [name=value]...
 *
 *	check		each kind of request once or more, and what comes back; plain=1: as old front-ends speak; readonly=1
 *	survive		writes and reads that verify each other, for seconds=N; the server may be killed and started again meanwhile
 *	truncate	rounds=N times takes the memory away under transfers, and gives it back; what is not in it is verified
 *	punch		the same with holes, many a round
 *	vanish		takes all memory away under transfers, rings too, and is gone
 *	load		op=randread|randwrite|seqread|seqwrite depth=N block=N for seconds=N; prints requests per second
 *
 * Also: queues=N, refuse=BITS (features not taken), size=N (of a queue), seed=N. The exit status says whether all was well.
 */
#include "blk_front.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BLOCK         4096
#define BLOCK_SECTORS (BLOCK / VBLK_SECTOR_BYTES)
#define DEPTH_MAX     64
/* Each block that is written and verified belongs to one slot, so that no two requests meet. */
#define SLOT_BLOCKS 64

static struct front front;
static struct {
	unsigned queues, depth, seconds, rounds, size;
	uint64_t block, refuse, seed;
	bool plain, readonly;
	const char *op;
} options = {
	.queues = 2, .depth = 16, .seconds = 2, .rounds = 20, .size = 128, .block = 4096, .seed = 1, .op = "randread"
};

static uint64_t random_below(uint64_t limit)
{
	options.seed = options.seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (options.seed >> 33) % limit;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void pattern(unsigned char *data, size_t bytes, uint64_t seed)
{
	size_t i;

	for (i = 0; i < bytes; i++)
		data[i] = (unsigned char)((seed + i / 512) * 131 + i * 7 + (seed >> 8));
}

static void expect(const char *what, unsigned is, unsigned should_be)
{
	if (is != should_be)
		front_die("%s: status %u, not %u", what, is, should_be);
}

/*
 * check
 */

/* Three pieces, none of them aligned, in both regions. */
static const struct gblk_segment pieces[] = { { { FRONT_DATA + 777 }, 1000 },
					      { { FRONT_HIGH + 5 }, 3096 },
					      { { FRONT_HIGH + 70000 }, 4096 } };
#define PIECES_BYTES 8192

static void put_pieces(const unsigned char *data)
{
	unsigned i, at = 0;

	for (i = 0; i < 3; at += pieces[i++].bytes)
		front_put(&front, pieces[i].at.value, data + at, pieces[i].bytes);
}

static void get_pieces(unsigned char *data)
{
	unsigned i, at = 0;

	for (i = 0; i < 3; at += pieces[i++].bytes)
		front_get(&front, pieces[i].at.value, data + at, pieces[i].bytes);
}

static uint8_t move(unsigned queue, uint32_t type, uint64_t sector)
{
	return front_do(
		&front, queue,
		&(struct gblk_request){ .type = type, .sector = sector, .segments = pieces, .segments_count = 3 });
}

static uint8_t range(uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags)
{
	const struct vblk_range one = { gm_le64(sector), gm_le32(sectors), gm_le32(flags) };

	return front_do(&front, 0, &(struct gblk_request){ .type = type, .ranges = &one, .ranges_count = 1 });
}

static void check_zeros(uint64_t sectors)
{
	static const uint32_t types[] = { VBLK_T_WRITE_ZEROES, VBLK_T_WRITE_ZEROES, VBLK_T_DISCARD };
	static const uint32_t flags[] = { 0, VBLK_RANGE_F_UNMAP, 0 };
	unsigned char data[PIECES_BYTES], seen[PIECES_BYTES];
	unsigned i;

	for (i = 0; i < 3; i++) {
		pattern(data, sizeof(data), i);
		put_pieces(data);
		expect("write", move(0, VBLK_T_OUT, 100), VBLK_S_OK);
		expect("zeros or discard", range(types[i], 103, 4, flags[i]), VBLK_S_OK);
		expect("beyond the end", range(types[i], sectors - 1, 2, flags[i]), VBLK_S_IOERR);
		expect("read", move(0, VBLK_T_IN, 100), VBLK_S_OK);
		get_pieces(seen);
		if (types[i] == VBLK_T_WRITE_ZEROES)
			memset(data + 3 * 512, 0, 4 * 512);
		else
			memcpy(data + 3 * 512, seen + 3 * 512, 4 * 512);
		if (memcmp(data, seen, sizeof(data)) != 0)
			front_die("zeros are not where they belong");
	}
}

static void check_queue(unsigned queue, uint64_t sectors)
{
	const uint64_t places[] = { 0, 7 + queue, sectors - PIECES_BYTES / 512 };
	unsigned char data[PIECES_BYTES], seen[PIECES_BYTES];
	unsigned i;

	for (i = 0; i < 3; i++) {
		pattern(data, sizeof(data), queue * 16 + i);
		put_pieces(data);
		expect("write", move(queue, VBLK_T_OUT, places[i]), options.readonly ? VBLK_S_IOERR : VBLK_S_OK);
		pattern(seen, sizeof(seen), 99);
		put_pieces(seen);
		expect("read", move(queue, VBLK_T_IN, places[i]), VBLK_S_OK);
		get_pieces(seen);
		/* The last sector of an odd image is cut off: its end reads as zeros, whatever was written. */
		if (!options.readonly && memcmp(data, seen, sizeof(data) - 512) != 0)
			front_die("what was read is not what was written");
		if (!options.readonly && i < 2 && memcmp(data, seen, sizeof(data)) != 0)
			front_die("the last sector that was read is not what was written");
	}
	expect("flush", front_do(&front, queue, &(struct gblk_request){ .type = VBLK_T_FLUSH }),
	       front.features & VBLK_F_FLUSH ? VBLK_S_OK : VBLK_S_UNSUPP);
	expect("beyond the end", move(queue, VBLK_T_IN, sectors - 15), VBLK_S_IOERR);
}

static void check(void)
{
	const struct gblk_segment id = { gm_gpa(FRONT_DATA), VBLK_ID_BYTES };
	char name[VBLK_ID_BYTES + 1] = { 0 };
	uint64_t sectors;
	unsigned i;

	front_connect(&front);
	sectors = gm_le64_get(front.config.capacity);
	if (!(front.features & VBLK_F_RO) != !options.readonly)
		front_die("read-only is not what was asked for");
	for (i = 0; i < options.queues; i++)
		check_queue(i, sectors);
	if (!options.readonly)
		check_zeros(sectors);
	expect("id",
	       front_do(&front, 0,
			&(struct gblk_request){ .type = VBLK_T_GET_ID, .segments = &id, .segments_count = 1 }),
	       VBLK_S_OK);
	front_get(&front, id.at.value, name, VBLK_ID_BYTES);
	expect("unknown", front_do(&front, 0, &(struct gblk_request){ .type = 77 }), VBLK_S_UNSUPP);
	front_disconnect(&front);
	printf("sectors=%llu queues=%u id=%s\n", (unsigned long long)sectors, gm_le16_get(front.config.num_queues),
	       name);
}

/*
 * Many requests at once
 */

struct slot {
	unsigned queue;
	struct gblk_segment segment;
	bool is_write;
	uint64_t block; /* in flight */
	uint64_t written[SLOT_BLOCKS], turn;
};

static struct slot slots[FRONT_QUEUES_MAX * DEPTH_MAX];
static uint64_t completed, failed, sequence;
static double end;

static uint64_t disk_blocks(void)
{
	return gm_le64_get(front.config.capacity) * VBLK_SECTOR_BYTES / options.block;
}

static void add(struct slot *slot, uint64_t offset)
{
	const struct gblk_request request = {
		.type = slot->is_write ? VBLK_T_OUT : VBLK_T_IN,
		.sector = offset / VBLK_SECTOR_BYTES,
		.segments = &slot->segment,
		.segments_count = 1,
		.cookie = (uint64_t)(slot - slots),
	};
	const int r = gblk_add(front.queues[slot->queue].gblk, &request);

	if (r < 0)
		front_die("request: %d", r);
}

static void make_slots(void)
{
	unsigned i;

	for (i = 0; i < options.queues * options.depth; i++) {
		slots[i].queue = i % options.queues;
		slots[i].segment.at = gm_gpa((i & 1 ? FRONT_HIGH : FRONT_DATA) + i / 2 * 65536);
		slots[i].segment.bytes = (uint32_t)options.block;
	}
}

/* What comes back, until time is over and nothing is in flight. @next: may refuse to begin another. @lost: the server went. */
static void turn_over(void (*done)(struct slot *slot, uint8_t status), bool (*next)(struct slot *slot),
		      void (*lost)(void))
{
	struct gblk_result result;
	unsigned in_flight, i;
	int r;

	for (i = 0; i < options.queues * options.depth; i++)
		(void)next(&slots[i]);
	for (i = 0; i < options.queues; i++)
		front_kick(&front, i);
	do {
		bool sleeps = true;

		in_flight = 0;
		for (i = 0; i < options.queues; i++) {
			struct gblk *gblk = front.queues[i].gblk;

			while ((r = gblk_reap(gblk, &result)) > 0) {
				completed++;
				done(&slots[result.cookie], result.status);
				(void)next(&slots[result.cookie]);
			}
			if (r < 0)
				front_die("the device gave back what it did not have: %d", r);
			front_kick(&front, i);
			in_flight += gblk_in_flight(gblk);
			sleeps &= gblk_listen(gblk, 1) == 0;
		}
		if (in_flight > 0 && sleeps && !front_wait(&front, 20000)) {
			if (lost == NULL)
				front_die("the server has gone");
			lost();
		}
	} while (in_flight > 0);
}

/*
 * survive
 */

static uint64_t lost_count;

static uint64_t block_of(const struct slot *slot)
{
	return (uint64_t)(slot - slots) * SLOT_BLOCKS + slot->block;
}

static bool begin_verified(struct slot *slot)
{
	unsigned char data[BLOCK];

	slot->block = random_below(SLOT_BLOCKS);
	slot->is_write = slot->written[slot->block] == 0 || random_below(2);
	if (slot->is_write) {
		slot->written[slot->block] = ++slot->turn;
		pattern(data, sizeof(data), block_of(slot) * 1000 + slot->turn);
		front_put(&front, slot->segment.at.value, data, sizeof(data));
	}
	add(slot, block_of(slot) * BLOCK);
	return true;
}

static bool next_verified(struct slot *slot)
{
	return now() <= end && begin_verified(slot);
}

static void verify(struct slot *slot, uint8_t status)
{
	unsigned char data[BLOCK], seen[BLOCK];

	expect("request", status, VBLK_S_OK);
	if (slot->is_write)
		return;
	pattern(data, sizeof(data), block_of(slot) * 1000 + slot->written[slot->block]);
	front_get(&front, slot->segment.at.value, seen, sizeof(seen));
	if (memcmp(data, seen, sizeof(data)) != 0)
		front_die("block %llu is not what was written", (unsigned long long)block_of(slot));
}

static void connect_again(void)
{
	lost_count++;
	front_drop(&front);
	front_connect(&front);
}

static void connect_for_blocks(void)
{
	options.block = BLOCK;
	front_connect(&front);
	if (disk_blocks() < (uint64_t)options.queues * options.depth * SLOT_BLOCKS)
		front_die("the image is too small");
	make_slots();
}

static void survive(void)
{
	connect_for_blocks();
	end = now() + options.seconds;
	turn_over(verify, next_verified, connect_again);
	front_disconnect(&front);
	printf("requests=%llu lost=%llu\n", (unsigned long long)completed, (unsigned long long)lost_count);
}

/*
 * truncate, punch: half of the buffers are in memory that goes; the other half's data is verified all the while
 */

static bool goes(const struct slot *slot)
{
	return slot->segment.at.value >= FRONT_HIGH;
}

static bool next_beside(struct slot *slot)
{
	if (sequence++ > options.queues * UINT64_C(200))
		return false;
	if (!goes(slot))
		return begin_verified(slot);
	/* Not touched here: it would be our own SIGBUS. */
	slot->is_write = random_below(2);
	slot->block = random_below(SLOT_BLOCKS);
	add(slot, block_of(slot) * BLOCK);
	return true;
}

static void count(struct slot *slot, uint8_t status)
{
	if (!goes(slot)) {
		verify(slot, status);
		return;
	}
	if (status == VBLK_S_OK)
		return;
	failed++;
	/* Once is enough: the rest of the round is as it was. */
	if (ftruncate(front.memfd, 2 * FRONT_REGION_BYTES) < 0)
		front_die("ftruncate");
}

static void say_rounds(void)
{
	front_disconnect(&front);
	printf("rounds=%u requests=%llu failed=%llu\n", options.rounds, (unsigned long long)completed,
	       (unsigned long long)failed);
}

static void truncate_often(void)
{
	unsigned i;

	connect_for_blocks();
	for (i = 0; i < options.rounds; i++) {
		sequence = 0;
		if (ftruncate(front.memfd, FRONT_REGION_BYTES) < 0)
			front_die("ftruncate");
		turn_over(count, next_beside, NULL);
		if (ftruncate(front.memfd, 2 * FRONT_REGION_BYTES) < 0)
			front_die("ftruncate");
	}
	say_rounds();
}

/* A hole reads as zeros and takes writes: nothing fails. */
static void punch(struct slot *slot, uint8_t status)
{
	if (!goes(slot)) {
		verify(slot, status);
		return;
	}
	expect("request", status, VBLK_S_OK);
	if (fallocate(front.memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FRONT_REGION_BYTES, FRONT_REGION_BYTES) <
	    0)
		front_die("fallocate");
}

static void punch_often(void)
{
	unsigned i;

	connect_for_blocks();
	for (i = 0; i < options.rounds; i++) {
		sequence = 0;
		turn_over(punch, next_beside, NULL);
	}
	say_rounds();
}

static void vanish(void)
{
	const struct timespec moment = { .tv_nsec = 100000000 };
	const uint64_t one = 1;
	unsigned i;

	front_connect(&front);
	make_slots();
	sequence = 0;
	for (i = 0; i < options.queues * options.depth; i++)
		(void)next_beside(&slots[i]);
	for (i = 0; i < options.queues; i++)
		front_kick(&front, i);
	if (ftruncate(front.memfd, 0) < 0)
		front_die("ftruncate");
	for (i = 0; i < options.queues; i++)
		if (write(front.queues[i].kick, &one, sizeof(one)) != sizeof(one))
			front_die("kick");
	nanosleep(&moment, NULL);
	/* It still answers. */
	front_disconnect(&front);
}

/* A server that comes after one that was killed is asked to stop before it ran: what was in flight is done nevertheless. */
static void stop_early(void)
{
	const struct gblk_segment segment = { gm_gpa(FRONT_DATA), 4096 };
	const struct gblk_request request = { .type = VBLK_T_OUT, .segments = &segment, .segments_count = 1 };
	struct gblk_result result = { 0 };
	struct gblk *gblk;
	uint16_t next;

	front_connect(&front);
	gblk = front.queues[0].gblk;
	expect("request", front_do(&front, 0, &request), VBLK_S_OK);
	next = front_stop(&front, 0);
	if (gblk_add(gblk, &request) < 0 || gblk_kick(gblk) < 0)
		front_die("request");
	front_record_last(&front, 0);
	expect("next", front_start_and_stop(&front, 0), next + 1);
	expect("requests given back", (uint64_t)gblk_reap(gblk, &result), 1);
	expect("request", result.status, VBLK_S_OK);
	front_drop(&front);
}

/* For the server to be asked to end meanwhile. */
static void flood(void)
{
	front_connect(&front);
	(void)front_stop(&front, 0);
	front_flood(&front, 0, options.seconds);
	front_drop(&front);
}

/*
 * load
 */

static bool next_plain(struct slot *slot)
{
	const uint64_t blocks = disk_blocks();

	/* The clock costs as much as a request: look now and then. */
	if ((sequence & 63) == 0 && now() > end)
		options.seconds = 0;
	if (options.seconds == 0)
		return false;
	slot->is_write = strstr(options.op, "write") != NULL;
	add(slot, (strncmp(options.op, "rand", 4) == 0 ? random_below(blocks) : sequence % blocks) * options.block);
	sequence++;
	return true;
}

static void must_be_good(struct slot *slot, uint8_t status)
{
	(void)slot;
	expect("request", status, VBLK_S_OK);
}

static void load(void)
{
	const double seconds = options.seconds, start = now();

	front_connect(&front);
	make_slots();
	end = start + seconds;
	turn_over(must_be_good, next_plain, NULL);
	printf("requests=%llu seconds=%.3f\n", (unsigned long long)completed, now() - start);
	front_disconnect(&front);
}

static void set(const char *word)
{
	const char *value = strchr(word, '=');
	const size_t length = value ? (size_t)(value - word) : 0;
	const uint64_t number = value ? strtoull(value + 1, NULL, 0) : 0;
	const struct {
		const char *name;
		unsigned *to;
	} numbers[] = { { "queues", &options.queues },
			{ "depth", &options.depth },
			{ "seconds", &options.seconds },
			{ "rounds", &options.rounds },
			{ "size", &options.size } };
	unsigned i;

	for (i = 0; i < 5; i++) {
		if (length == strlen(numbers[i].name) && strncmp(word, numbers[i].name, length) == 0) {
			*numbers[i].to = (unsigned)number;
			return;
		}
	}
	if (strncmp(word, "block=", 6) == 0)
		options.block = number;
	else if (strncmp(word, "refuse=", 7) == 0)
		options.refuse = number;
	else if (strncmp(word, "seed=", 5) == 0)
		options.seed = number;
	else if (strcmp(word, "plain=1") == 0)
		options.plain = true;
	else if (strcmp(word, "readonly=1") == 0)
		options.readonly = true;
	else if (strncmp(word, "op=", 3) == 0)
		options.op = value + 1;
	else
		front_die("what is '%s'?", word);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} modes[] = { { "check", check },       { "survive", survive }, { "truncate", truncate_often },
		      { "punch", punch_often }, { "vanish", vanish },   { "stop", stop_early },
		      { "flood", flood },       { "load", load } };
	int i;

	if (argc < 3)
		front_die("usage: blk_load SOCKET check|survive|truncate|punch|vanish|stop|flood|load [name=value]...");
	for (i = 3; i < argc; i++)
		set(argv[i]);
	if (options.queues > FRONT_QUEUES_MAX || options.depth > DEPTH_MAX)
		front_die("too many queues or requests");
	front_init(&front, argv[1], options.queues, options.size);
	front.is_plain = options.plain;
	front.refuse = options.refuse;
	for (i = 0; i < (int)(sizeof(modes) / sizeof(modes[0])); i++) {
		if (strcmp(argv[2], modes[i].name) == 0) {
			modes[i].run();
			front_fini(&front);
			return 0;
		}
	}
	front_die("what is '%s'?", argv[2]);
}
