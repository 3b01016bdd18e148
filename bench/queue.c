/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#include "queue.h"

#include <endian.h>
#include <string.h>

#define CHAINS (QUEUE_SIZE / QUEUE_PARTS)

/* In any region: a header, data, a status. */
static const struct {
	uint64_t offset;
	uint32_t bytes;
	uint16_t flags;
} parts[QUEUE_PARTS] = {
	{ 0x4000, 16, QUEUE_NEXT },
	{ 0x5000, QUEUE_DATA_BYTES, QUEUE_NEXT | QUEUE_WRITE },
	{ 0x6000, 1, QUEUE_WRITE },
};

static uint64_t random_below(uint64_t *seed, uint64_t limit)
{
	return (bench_random(seed) >> 32) % limit;
}

static void put_16(unsigned char *at, uint16_t number)
{
	number = htole16(number);
	memcpy(at, &number, sizeof(number));
}

static void put_chain(unsigned char *area, const struct bench_places *places, uint64_t chain, uint64_t *seed,
		      bool is_apart, bool is_flat)
{
	const struct bench_place *place = &places->place[random_below(seed, places->count)];
	uint64_t part, index, line;
	struct queue_desc desc;

	for (part = 0; part < QUEUE_PARTS; part++) {
		if (is_apart && part > 0)
			place = &places->place[random_below(seed, places->count)];
		/* A line of its own for each small buffer. */
		line = parts[part].bytes == QUEUE_DATA_BYTES ? 0 : chain * 37 % 64 * 64;
		index = QUEUE_PARTS * chain + part;
		desc.address = htole64((is_flat ? place->offset : place->first) + parts[part].offset + line);
		desc.bytes = htole32(parts[part].bytes);
		desc.flags = htole16(parts[part].flags);
		desc.next = htole16((uint16_t)(parts[part].flags & QUEUE_NEXT ? index + 1 : 0));
		memcpy(area + QUEUE_DESC + sizeof(desc) * index, &desc, sizeof(desc));
		area[place->offset + parts[part].offset] = 1;
	}
}

void queue_lay_out(unsigned char *area, const struct bench_places *places, bool is_apart, bool is_flat)
{
	uint64_t seed = BENCH_SEED, chain, slot;

	for (chain = 0; chain < CHAINS; chain++)
		put_chain(area, places, chain, &seed, is_apart, is_flat);
	for (slot = 0; slot < QUEUE_SIZE; slot++)
		put_16(area + QUEUE_AVAIL + QUEUE_ENTRIES + 2 * slot,
		       (uint16_t)(QUEUE_PARTS * random_below(&seed, CHAINS)));
	put_16(area + QUEUE_AVAIL + QUEUE_INDEX, QUEUE_SIZE);
}
