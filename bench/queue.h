/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The queue of rows 18 and 19: a split virtqueue of 256 in region 0, its available ring full of chains, each of three descriptors:
 * 16 bytes to read, 4096 to write, 1 to write. The same in all workers.
 */
#ifndef BENCH_QUEUE_H
#define BENCH_QUEUE_H

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>

#include "places.h"

#define QUEUE_REGION_BYTES (16 * BENCH_PAGE)
#define QUEUE_SIZE         256u
/* In region 0. */
#define QUEUE_DESC  UINT64_C(0)
#define QUEUE_AVAIL UINT64_C(0x1000)
#define QUEUE_USED  UINT64_C(0x2000)
/* Of the indexes, and of the first entries, in their rings. */
#define QUEUE_INDEX   2
#define QUEUE_ENTRIES 4
#define QUEUE_NEXT    1 /* flags of a descriptor */
#define QUEUE_WRITE   2

#define QUEUE_PARTS      3
#define QUEUE_DATA_BYTES 4096u

/* As it lies in guest memory: little-endian. queue_desc_get() gives the machine's numbers. */
struct queue_desc {
	uint64_t address;
	uint32_t bytes;
	uint16_t flags;
	uint16_t next;
};

static inline struct queue_desc queue_desc_get(struct queue_desc raw)
{
	struct queue_desc desc = { le64toh(raw.address), le32toh(raw.bytes), le16toh(raw.flags), le16toh(raw.next) };

	return desc;
}

/* Writes rings and descriptors. @is_apart: each buffer in a random region of its own; @is_flat: addresses are offsets in the area. */
void queue_lay_out(unsigned char *area, const struct bench_places *places, bool is_apart, bool is_flat);

#endif
