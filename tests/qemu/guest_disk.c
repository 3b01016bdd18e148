/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Workloads on the bare disk, past the guest's page cache: written and verified, under a load whose buffers come and go (for
 * memory that is plugged and pulled), read without end into one buffer (for migration), and measured.
 */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* Guest physical memory that was plugged stands at 4 GiB or above. */
#define PLUGGED_FIRST (UINT64_C(4) << 30)

/*
 * Writes or reads and checks @total bytes of the disk in transfers of @chunk, @depth of them at a time. Buffers begin at
 * odd sectors in their pages, so that a transfer has pages that it has only a part of. Returns the number of bad sectors.
 */
static uint64_t sweep(int fd, bool is_write, uint64_t total, uint64_t chunk, unsigned int depth, uint64_t generation)
{
	struct queue queue;
	uint64_t started = 0, bad = 0, at[DEPTH_MAX];
	unsigned int slot, running = 0, odd = SECTOR * 3;
	char *buffer = buffer_new(chunk * depth, odd);

	queue_open(&queue);
	for (slot = 0; started < total || running;) {
		if (started < total && running < depth) {
			slot = running++;
		} else {
			slot = queue_wait(&queue);
			if (!is_write)
				bad += tag_check(buffer + slot * chunk, at[slot] / SECTOR, generation, chunk);
			if (started == total) {
				running--;
				continue;
			}
		}
		at[slot] = started;
		if (is_write)
			tag_fill(buffer + slot * chunk, started / SECTOR, generation, chunk);
		queue_start(&queue, slot, fd, is_write, buffer + slot * chunk, chunk, started);
		started += chunk;
	}
	queue_close(&queue);
	buffer_free(buffer, chunk * depth, odd);
	return bad;
}

/* Zeroes are zeroes, and what stands beside them is not touched. What was discarded may be anything, but can be asked for. */
static uint64_t check_zeroes(int fd, uint64_t generation)
{
	uint64_t range[2] = { 3 * MIB + SECTOR, MIB }, bad = 0, i;
	uint64_t *buffer = buffer_new(3 * MIB, 0);

	if (ioctl(fd, BLKZEROOUT, range))
		fail("zeroes can not be written: %s", strerror(errno));
	if (pread(fd, buffer, 3 * MIB, 2 * MIB) != 3 * MIB)
		fail("zeroes can not be read back: %s", strerror(errno));
	bad += tag_check(buffer, 2 * MIB / SECTOR, generation, MIB + SECTOR);
	for (i = 0; i < MIB / 8; i++)
		bad += buffer[(MIB + SECTOR) / 8 + i] != 0;
	bad += tag_check(buffer + (2 * MIB + SECTOR) / 8, 4 * MIB / SECTOR + 1, generation, MIB - SECTOR);
	range[0] = 6 * MIB;
	if (ioctl(fd, BLKDISCARD, range) && errno != EOPNOTSUPP)
		fail("the disk can not discard: %s", strerror(errno));
	if (fsync(fd))
		fail("the disk can not flush: %s", strerror(errno));
	buffer_free(buffer, 3 * MIB, 0);
	return bad;
}

void run_verify(void)
{
	static const struct {
		uint64_t chunk;
		unsigned int depth;
	} ways[] = { { 256 << 10, 16 }, { 24 << 10, 32 } };
	uint64_t bytes, disk, total = option_size("bytes", 256 * MIB), bad = 0, part;
	int fd = disk_open(DISK, &disk);
	unsigned int i;

	if (total > disk)
		fail("the disk has %llu bytes only", (unsigned long long)disk);
	bytes = 0;
	for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		/* All of it in large transfers; an eighth again in small ones. */
		part = (i ? total / 8 : total) / ways[i].chunk * ways[i].chunk;
		bad += sweep(fd, true, part, ways[i].chunk, ways[i].depth, i + 1);
		if (fsync(fd))
			fail("the disk can not flush: %s", strerror(errno));
		bad += sweep(fd, false, part, ways[i].chunk, ways[i].depth, i + 1);
		bytes += part;
	}
	bad += check_zeroes(fd, i);
	say("VERIFIED bytes=%llu bad=%llu", (unsigned long long)bytes, (unsigned long long)bad);
}

/* How many pages of the buffer are in memory that was plugged. */
static uint64_t pages_plugged(const char *buffer, uint64_t bytes)
{
	uint64_t entry, count = 0, at;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	for (at = 0; at < bytes; at += 4096) {
		if (pread(fd, &entry, 8, (off_t)(((uintptr_t)buffer + at) / 4096 * 8)) != 8)
			fail("pages can not be located: %s", strerror(errno));
		count += (entry >> 63) && (entry & ((UINT64_C(1) << 55) - 1)) >= PLUGGED_FIRST / 4096;
	}
	close(fd);
	return count;
}

/* One round: new memory, written to the disk from one half, read back into the other, 16 transfers at a time. */
static uint64_t round_trip(int fd, uint64_t disk, uint64_t generation, uint64_t *ret_plugged)
{
	const uint64_t chunk = 128 << 10, half = 4 * MIB, base = random_below((disk - half) / SECTOR) * SECTOR;
	char *buffer = buffer_new(2 * half, 0);
	uint64_t bad = 0, started;
	unsigned int running, way;
	struct queue queue;

	*ret_plugged = pages_plugged(buffer, 2 * half);
	tag_fill(buffer, base / SECTOR, generation, half);
	queue_open(&queue);
	for (way = 0; way < 2; way++) {
		running = 0;
		for (started = 0; started < half; started += chunk) {
			unsigned int slot = running < 16 ? running++ : queue_wait(&queue);

			queue_start(&queue, slot, fd, way == 0, buffer + way * half + started, chunk, base + started);
		}
		while (running) {
			queue_wait(&queue);
			running--;
		}
	}
	bad = tag_check(buffer + half, base / SECTOR, generation, half);
	/* What the device should only have read. */
	bad += tag_check(buffer, base / SECTOR, generation, half);
	queue_close(&queue);
	buffer_free(buffer, 2 * half, 0);
	return bad;
}

void run_load(void)
{
	uint64_t disk, rounds = 0, bad = 0, plugged;
	int fd = disk_open(DISK, &disk);

	while (!told_to_stop()) {
		bad += round_trip(fd, disk, ++rounds, &plugged);
		say("ROUND rounds=%llu bad=%llu plugged=%llu", (unsigned long long)rounds, (unsigned long long)bad,
		    (unsigned long long)plugged);
	}
	say("VERIFIED bytes=%llu bad=%llu", (unsigned long long)(rounds * 8 * MIB), (unsigned long long)bad);
}

/*
 * Reads into one buffer that is never given back, and looks at each part of it twice: when it was read, and again before it is
 * read over. So what the device wrote and a migration forgot is seen where the guest goes on.
 */
void run_reader(void)
{
	/* Each of the transfers in flight has parts of the buffer that are its own, and takes them in turn. */
	const uint64_t chunk = 64 << 10, parts = 32, area = option_size("bytes", 64 * MIB);
	const unsigned int depth = (unsigned int)option_size("depth", 8);
	const uint64_t rest = option_size("rest", 0);
	uint64_t disk, bad = 0, count = 0, said = 0, holds[8][32], turn[8] = { 0 };
	int fd = disk_open(DISK, &disk);
	char *buffer = buffer_new(depth * parts * chunk, 0), *part;
	struct queue queue;
	unsigned int i;

	mlock(buffer, depth * parts * chunk);
	sweep(fd, true, area, 256 << 10, 8, 1);
	queue_open(&queue);
	while (!told_to_stop()) {
		uint64_t *held;

		i = (unsigned int)count;
		if (count >= depth) {
			i = queue_wait(&queue);
			part = buffer + (i * parts + turn[i] % parts) * chunk;
			bad += tag_check(part, holds[i][turn[i]++ % parts] * (chunk / SECTOR), 1, chunk);
		}
		part = buffer + (i * parts + turn[i] % parts) * chunk;
		held = &holds[i][turn[i] % parts];
		if (turn[i] >= parts)
			bad += tag_check(part, *held * (chunk / SECTOR), 1, chunk);
		*held = random_below(area / chunk);
		queue_start(&queue, i, fd, false, part, chunk, *held * chunk);
		count++;
		/* A processor that rests lets whoever copies its memory keep up. */
		if (rest && count % depth == 0)
			usleep((useconds_t)rest);
		if (now_us() - said > 300000) {
			said = now_us();
			say("READ reads=%llu bad=%llu", (unsigned long long)count, (unsigned long long)bad);
		}
	}
	for (i = 0; i < depth && i < count; i++)
		queue_wait(&queue);
	say("VERIFIED bytes=%llu bad=%llu", (unsigned long long)(count * chunk), (unsigned long long)bad);
}

/* One figure: transfers of one kind for a while. Writes carry no tags: what is measured is the disk, not the guest. */
static void bench_one(int fd, unsigned int disk, unsigned int kind, uint64_t area, uint64_t chunk, uint64_t us)
{
	static const char *const names[] = { "read", "randread", "write", "randwrite" };
	const unsigned int depth = kind & 4 ? 32 : 1;
	const bool is_random = kind & 1, is_write = kind & 2;
	char *buffer = buffer_new(chunk * depth, 0);
	uint64_t begun, count = 0, next = 0;
	struct queue queue;
	unsigned int slot;

	queue_open(&queue);
	begun = now_us();
	for (slot = 0; slot < depth || now_us() - begun < us; slot++) {
		unsigned int free_slot = slot < depth ? slot : queue_wait(&queue);

		count += slot >= depth;
		queue_start(&queue, free_slot, fd, is_write, buffer + free_slot * chunk, chunk,
			    (is_random ? random_below(area / chunk) : next++ % (area / chunk)) * chunk);
	}
	begun = now_us() - begun;
	for (slot = 0; slot < depth; slot++)
		queue_wait(&queue);
	queue_close(&queue);
	buffer_free(buffer, chunk * depth, 0);
	say("RESULT name=%s disk=%u depth=%u chunk=%llu count=%llu us=%llu", names[kind & 3], disk, depth,
	    (unsigned long long)chunk, (unsigned long long)count, (unsigned long long)begun);
}

/*
 * Two disks by turns, so that whatever else the host does meets both, and one server rests while the other one is measured. The
 * one that comes first changes with each round.
 */
void run_bench(void)
{
	const uint64_t us = option_size("us", 500000), area = option_size("bytes", 256 * MIB);
	const uint64_t chunk = option_size("chunk", 4096), rounds = option_size("rounds", 5);
	const uint64_t kinds = option_size("kinds", 255);
	uint64_t disk, round;
	int fds[2] = { disk_open(DISK, &disk), disk_open(SECOND_DISK, &disk) };
	unsigned int kind, turn, which;

	/* Blocks that are there, on the host too, and nothing measured for the first time. */
	for (which = 0; which < 2; which++) {
		sweep(fds[which], true, area, 256 << 10, 8, 1);
		sweep(fds[which], false, area, 256 << 10, 8, 1);
	}
	say("READY");
	for (round = 0; round < rounds; round++)
		for (kind = 0; kind < 8; kind++)
			for (turn = 0; turn < 2 && (kinds >> kind & 1); turn++) {
				which = (turn + round) & 1;
				bench_one(fds[which], which, kind, area, chunk, us);
				usleep(100000);
			}
}
