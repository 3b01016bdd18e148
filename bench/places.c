/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#include "places.h"

#include <stdlib.h>
#include <string.h>

static struct bench_places places_new(uint64_t count)
{
	struct bench_places places = { .count = count };

	if (count == 0 || count > BENCH_REGIONS_MAX)
		bench_fail("from 1 to %u regions", (unsigned)BENCH_REGIONS_MAX);
	places.place = calloc(count, sizeof(*places.place));
	if (!places.place)
		bench_fail("no memory");
	return places;
}

void bench_places_free(struct bench_places *places)
{
	free(places->place);
	memset(places, 0, sizeof(*places));
}

struct bench_places bench_regular(uint64_t count, uint64_t bytes)
{
	struct bench_places places = places_new(count);
	uint64_t i;

	for (i = 0; i < count; i++) {
		places.place[i].first = 2 * i * bytes;
		places.place[i].bytes = bytes;
		places.place[i].offset = i * bytes;
	}
	places.area_bytes = count * bytes;
	return places;
}

/* Regions of 4 KiB to 256 KiB, and gaps of up to 1 MiB, a third of which are none. */
static struct bench_places irregular(uint64_t count)
{
	struct bench_places places = places_new(count);
	uint64_t seed = BENCH_SEED, first = 0, bytes, i;

	for (i = 0; i < count; i++) {
		bytes = (1 + bench_random(&seed) % 64) * BENCH_PAGE;
		places.place[i].first = first;
		places.place[i].bytes = bytes;
		places.place[i].offset = places.area_bytes;
		first += bytes;
		if (bench_random(&seed) % 3 != 0)
			first += bench_random(&seed) % 257 * BENCH_PAGE;
		places.area_bytes += bytes;
	}
	return places;
}

struct bench_places bench_places_of(const struct bench_name *name)
{
	if (strcmp(name->variant, "irregular") == 0)
		return irregular(name->number);
	if (name->variant[0] != '\0' && strcmp(name->variant, "hostile") != 0 && strcmp(name->variant, "guarded") != 0)
		bench_fail("unknown variant %s", name->variant);
	return bench_regular(name->number, BENCH_PAGE);
}

/* Each region has another line for its words, lest all fall into few sets of the caches. */
static uint64_t word(const struct bench_places *places, uint64_t region, uint64_t random)
{
	return places->place[region].first + region * 37 % 64 * 64 + random % 8 * 8;
}

/* Borders and ends in turn: a region's first word, a region's last, one of the first regions, one of the last. */
static uint64_t hostile(const struct bench_places *places, uint64_t turn, uint64_t random)
{
	uint64_t few = places->count < 4 ? places->count : 4;
	const struct bench_place *place = &places->place[(random >> 32) % places->count];

	switch (turn % 4) {
	case 0:
		return place->first;
	case 1:
		return place->first + place->bytes - 8;
	case 2:
		return word(places, (random >> 32) % few, random);
	default:
		return word(places, places->count - 1 - (random >> 32) % few, random);
	}
}

void bench_addresses(const struct bench_name *name, const struct bench_places *places, uint64_t *table)
{
	uint64_t seed = BENCH_SEED, random, i;

	for (i = 0; i < BENCH_TABLE; i++) {
		random = bench_random(&seed);
		if (strcmp(name->variant, "hostile") == 0)
			table[i] = hostile(places, i, random);
		else
			table[i] = word(places, (random >> 32) % places->count, random);
	}
}

void bench_addresses_same(const struct bench_places *places, uint64_t *table)
{
	uint64_t seed = BENCH_SEED, i;

	for (i = 0; i < BENCH_TABLE; i++)
		table[i] = word(places, places->count / 2, bench_random(&seed));
}

static const struct bench_place *find(const struct bench_places *places, uint64_t address)
{
	uint64_t low = 0, high = places->count, middle;

	while (high - low > 1) {
		middle = low + (high - low) / 2;
		if (places->place[middle].first <= address)
			low = middle;
		else
			high = middle;
	}
	return &places->place[low];
}

void bench_to_offsets(const struct bench_places *places, uint64_t *table)
{
	const struct bench_place *place;
	uint64_t i;

	for (i = 0; i < BENCH_TABLE; i++) {
		place = find(places, table[i]);
		table[i] = place->offset + (table[i] - place->first);
	}
}

void bench_touch(unsigned char *area, const uint64_t *table)
{
	uint64_t i;

	for (i = 0; i < BENCH_TABLE; i++)
		*(volatile unsigned char *)(area + table[i]) = 1;
}
