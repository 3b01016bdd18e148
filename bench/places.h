/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Where regions stand in guest physical space, where their bytes are in one area of host memory, and tables of random addresses in
 * them. The same in all workers.
 */
#ifndef BENCH_PLACES_H
#define BENCH_PLACES_H

#include <stdint.h>

#include "worker.h"

#define BENCH_PAGE        UINT64_C(4096)
#define BENCH_REGIONS_MAX UINT64_C(262144)

struct bench_place {
	uint64_t first;
	uint64_t bytes;
	uint64_t offset; /* in the area */
};

struct bench_places {
	struct bench_place *place;
	uint64_t count;
	uint64_t area_bytes;
};

/* Equal regions, each with a gap of its own size behind it. */
struct bench_places bench_regular(uint64_t count, uint64_t bytes);
/* What a name's number and variant say: "irregular" for sizes and gaps at random; "guarded" and otherwise regular, of one page. */
struct bench_places bench_places_of(const struct bench_name *name);
void bench_places_free(struct bench_places *places);

/*
 * A table of addresses, by the name's variant: words of random regions; for "hostile", borders and ends of the map in turn. With
 * 8 words in one line of each region: what is measured is the map, not the memory behind it.
 */
void bench_addresses(const struct bench_name *name, const struct bench_places *places, uint64_t *table);
/* The same with all of them in the region in the middle. */
void bench_addresses_same(const struct bench_places *places, uint64_t *table);
/* Addresses to offsets in the area. */
void bench_to_offsets(const struct bench_places *places, uint64_t *table);
/* Touches the pages that a table of offsets names. */
void bench_touch(unsigned char *area, const uint64_t *table);

#endif
