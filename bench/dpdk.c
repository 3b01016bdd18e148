/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The worker of DPDK's vhost library: rte_vhost_va_from_guest_pa(), which is all that it has of what the benchmark measures.
 * It answers "list" and "time NAME" on its standard input, one line each, and keeps one row's state at a time.
 *
 * The function is inlined from DPDK's header, so neither its libraries nor its environment are needed to run this. It walks
 * the regions from the first one on; that is right for the handful of regions that it is made for, so the curve ends early.
 */
#include <inttypes.h>
#include <rte_vhost.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define PAGE_SIZE UINT64_C(4096)
/* Entries of the table of addresses. */
#define TABLE_COUNT 65536
/* More regions take microseconds for one lookup. */
#define REGIONS_MAX 4096
/* A repetition's length: long enough for the clock, short enough for the programs to take turns. */
#define REPETITION_NS UINT64_C(20000000)

/* What a row looks for, and in which map. */
struct row {
	char name[64];
	bool find;
	char *area;
	size_t area_size;
	struct rte_vhost_memory *memory;
	uint64_t *table;
	uint64_t count;
};

static uint64_t random_next(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* An access that has to succeed did not: the figure would be worth nothing. */
static __attribute__((cold, noinline, noreturn)) void fail(const char *what)
{
	fprintf(stderr, "dpdk: %s\n", what);
	exit(1);
}

/* Each of so many entries of the table, which is gone through from its beginning over and over: as in the other workers. */
#define OVER(table, count, entry)                                                                                      \
	for (uint64_t left_ = (count), now_; left_ > 0 && (now_ = left_ < TABLE_COUNT ? left_ : TABLE_COUNT);          \
	     left_ -= now_)                                                                                            \
		for (const uint64_t *at_ = (table), *end_ = at_ + now_; at_ < end_ && ((entry) = *at_, 1); at_++)

/* Aligned loads, checked to lie inside one region. */
static __attribute__((noinline)) uint64_t load(const struct row *row, uint64_t count)
{
	uint64_t sum = 0, at;

	OVER(row->table, count, at)
	{
		uint64_t bytes = sizeof(uint64_t);
		uint64_t hva = rte_vhost_va_from_guest_pa(row->memory, at, &bytes);

		if (!hva || bytes < sizeof(uint64_t))
			fail("a load failed");
		sum += __atomic_load_n((uint64_t *)(uintptr_t)hva, __ATOMIC_RELAXED);
	}
	return sum;
}

/* There is no call that gives the region; the address that it gives has cost the same. */
static __attribute__((noinline)) uint64_t find(const struct row *row, uint64_t count)
{
	uint64_t sum = 0, at;

	OVER(row->table, count, at)
	{
		uint64_t bytes = 1;
		uint64_t hva = rte_vhost_va_from_guest_pa(row->memory, at, &bytes);

		if (!hva)
			fail("a lookup failed");
		sum += hva;
	}
	return sum;
}

static uint64_t repeat(const struct row *row, uint64_t count)
{
	uint64_t start = now_ns(), took;
	uint64_t sum = row->find ? find(row, count) : load(row, count);

	took = now_ns() - start;
	/* So that the compiler can't drop it. */
	__asm__ volatile("" : : "r"(sum));
	return took;
}

/* Equal regions of a page with gaps of a page behind; or with sizes of up to 256 KiB and gaps of up to 1 MiB. */
static size_t place_regions(struct rte_vhost_memory *memory, uint32_t count, bool irregular)
{
	uint64_t state = UINT64_C(88172645463325252), first = 0, offset = 0;

	memory->nregions = count;
	for (uint32_t i = 0; i < count; i++) {
		uint64_t bytes = PAGE_SIZE, gap = PAGE_SIZE;

		if (irregular) {
			bytes = (1 + random_next(&state) % 64) * PAGE_SIZE;
			gap = random_next(&state) % 3 == 0 ? 0 : random_next(&state) % 257 * PAGE_SIZE;
		}
		memory->regions[i] = (struct rte_vhost_mem_region){
			.guest_phys_addr = first,
			.host_user_addr = offset,
			.size = bytes,
			.fd = -1,
		};
		first += bytes + gap;
		offset += bytes;
	}
	return offset;
}

/* Gives the regions their bytes, of which the first page of each is there from the beginning. */
static bool map_regions(struct row *row)
{
	row->area = mmap(NULL, row->area_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			 0);
	if (row->area == MAP_FAILED)
		return false;
	for (uint32_t i = 0; i < row->memory->nregions; i++) {
		struct rte_vhost_mem_region *region = &row->memory->regions[i];

		row->area[region->host_user_addr] = 1;
		region->host_user_addr += (uintptr_t)row->area;
	}
	return true;
}

/* A random one of the region's eight words, in a line of its own lest all regions fall into few cache sets. */
static uint64_t word(const struct rte_vhost_memory *memory, uint64_t index, uint64_t random)
{
	return memory->regions[index].guest_phys_addr + index * 37 % 64 * 64 + random % 8 * 8;
}

static uint64_t hostile(const struct rte_vhost_memory *memory, uint64_t turn, uint64_t random)
{
	uint64_t count = memory->nregions, few = count < 4 ? count : 4, index = random >> 32;
	const struct rte_vhost_mem_region *region = &memory->regions[index % count];

	switch (turn % 4) {
	case 0:
		return region->guest_phys_addr;
	case 1:
		return region->guest_phys_addr + region->size - 8;
	case 2:
		return word(memory, index % few, random);
	default:
		return word(memory, count - 1 - index % few, random);
	}
}

static void fill_table(struct row *row, bool same, bool is_hostile)
{
	uint64_t state = UINT64_C(88172645463325252);

	for (uint64_t i = 0; i < TABLE_COUNT; i++) {
		uint64_t random = random_next(&state), count = row->memory->nregions;

		if (is_hostile)
			row->table[i] = hostile(row->memory, i, random);
		else
			row->table[i] = word(row->memory, same ? count / 2 : (random >> 32) % count, random);
	}
}

static void row_fini(struct row *row)
{
	if (row->area && row->area != MAP_FAILED)
		munmap(row->area, row->area_size);
	free(row->memory);
	free(row->table);
	memset(row, 0, sizeof(*row));
}

/* From a name such as "load_scattered/512/hostile" to a row that is ready; what is wrong with it, or NULL. */
static const char *row_init(struct row *row, const char *name)
{
	char kind[32], map[32] = "";
	unsigned int regions;
	int length = 0;

	if (sscanf(name, "%31[a-z_]/%u%n/%31[a-z]%n", kind, &regions, &length, map, &length) < 2 ||
	    name[length] != '\0')
		return "unknown name";
	bool same = strcmp(kind, "load_same") == 0;
	bool irregular = strcmp(map, "irregular") == 0, is_hostile = strcmp(map, "hostile") == 0;

	row->find = strcmp(kind, "find") == 0;
	if (!same && !row->find && strcmp(kind, "load_scattered") != 0 && strcmp(name, "load/1") != 0)
		return "unknown name";
	if (map[0] && !irregular && !is_hostile)
		return "unknown name";
	if (regions < 1 || regions > REGIONS_MAX)
		return "not a sensible number of regions for a walk";
	row->memory = calloc(1, sizeof(*row->memory) + regions * sizeof(row->memory->regions[0]));
	row->table = calloc(TABLE_COUNT, sizeof(*row->table));
	if (!row->memory || !row->table)
		return "no memory";
	row->area_size = place_regions(row->memory, regions, irregular);
	fill_table(row, same, is_hostile);
	return map_regions(row) ? NULL : "no memory for the regions";
}

/* Warms up, and finds how many operations a repetition has. */
static uint64_t calibrate(const struct row *row)
{
	uint64_t count = 1, took;

	while ((took = repeat(row, count)) < REPETITION_NS / 4)
		count *= 2;
	return REPETITION_NS * count / took ? REPETITION_NS * count / took : 1;
}

static void list(void)
{
	printf("load/1 load_same/8 load_same/512");
	for (unsigned int regions = 1; regions <= REGIONS_MAX; regions *= 2)
		printf(" load_scattered/%u find/%u", regions, regions);
	printf(" load_scattered/8/irregular load_scattered/512/irregular load_scattered/8/hostile "
	       "load_scattered/512/hostile");
	printf(" find/4096/irregular find/4096/hostile\n");
}

static void time_row(struct row *row, const char *name)
{
	if (row->count == 0 || strcmp(row->name, name) != 0) {
		const char *wrong;

		row_fini(row);
		wrong = strlen(name) < sizeof(row->name) ? row_init(row, name) : "unknown name";
		if (wrong) {
			row_fini(row);
			printf("error %s\n", wrong);
			return;
		}
		strcpy(row->name, name);
		row->count = calibrate(row);
	}
	printf("%.4f\n", (double)repeat(row, row->count) / (double)row->count);
}

int main(void)
{
	struct row row = { 0 };
	char line[256];

	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = '\0';
		if (strcmp(line, "list") == 0)
			list();
		else if (strncmp(line, "time ", 5) == 0)
			time_row(&row, line + 5);
		else
			printf("error unknown request\n");
		fflush(stdout);
	}
	row_fini(&row);
	return 0;
}
