/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Rows 18 and 19: a chain of three descriptors, as a device works on it: in the order of devices/virtq.c. */
#include "ours_world.h"

#include "queue.h"

#include <errno.h>
#include <string.h>

static unsigned char *buffer;

static void set_up(const struct bench_name *name)
{
	struct bench_places places = bench_regular(name->number, QUEUE_REGION_BYTES);

	world_build(places, 0);
	queue_lay_out(world.area, &places, strcmp(name->variant, "apart") == 0, false);
	buffer = bench_area(QUEUE_DATA_BYTES);
}

static void tear_down(void)
{
	bench_area_free(buffer, QUEUE_DATA_BYTES);
	world_free();
}

/*
 * The descriptors of the chain that begins at @head. Each is two objects of 8 bytes, which is what it is in the specification's layout:
 * the address; bytes, flags and next. Return: 0; -EINVAL: not such a chain; or the access's code.
 */
static inline int fetch(struct gm_view *view, uint16_t head, struct queue_desc *desc)
{
	uint16_t index = head;
	uint64_t rest;
	int r, i;

	for (i = 0; i < QUEUE_PARTS; i++) {
		uint64_t at = QUEUE_DESC + sizeof(*desc) * index;

		if (index >= QUEUE_SIZE)
			return -EINVAL;
		r = gm_load_le64(view, gm_gpa(at), GM_RELAXED, &desc[i].address);
		if (r == 0)
			r = gm_load_le64(view, gm_gpa(at + 8), GM_RELAXED, &rest);
		if (r != 0)
			return r;
		desc[i].bytes = (uint32_t)rest;
		desc[i].flags = (uint16_t)(rest >> 32);
		desc[i].next = index = (uint16_t)(rest >> 48);
		if (i + 1 < QUEUE_PARTS && !(desc[i].flags & QUEUE_NEXT))
			return -EINVAL;
	}
	return 0;
}

/* Looks at each buffer's place; reads the data where it is to be copied. */
static inline int look(struct gm_view *view, const struct queue_desc *desc, bool is_copy, uint64_t *sum)
{
	struct gm_span span;
	int r, i;

	for (i = 0; i < QUEUE_PARTS; i++) {
		r = gm_span(view, gm_gpa(desc[i].address), desc[i].bytes,
			    desc[i].flags & QUEUE_WRITE ? GM_WRITE : GM_READ, &span);
		if (r < 0)
			return r;
		if (span.bytes != desc[i].bytes)
			return -GM_EHOLE;
		*sum += (uintptr_t)span.hva;
		if (is_copy && desc[i].bytes == QUEUE_DATA_BYTES)
			memcpy(buffer, span.hva, bench_hide(span.bytes));
	}
	return 0;
}

static inline int finish(struct gm_view *view, const struct queue_desc *desc, uint16_t head, uint16_t slot)
{
	uint64_t written = 0;
	int r, i;

	for (i = 0; i < QUEUE_PARTS; i++) {
		if (desc[i].flags & QUEUE_WRITE) {
			gm_written(view, gm_gpa(desc[i].address), desc[i].bytes);
			written += desc[i].bytes;
		}
	}
	/* An entry is 8 bytes at 4 above a multiple of 8: two objects. */
	r = gm_store_le32(view, gm_gpa(QUEUE_USED + QUEUE_ENTRIES + 8 * slot), GM_RELAXED, head);
	if (r == 0)
		r = gm_store_le32(view, gm_gpa(QUEUE_USED + QUEUE_ENTRIES + 8 * slot + 4), GM_RELAXED,
				  (uint32_t)written);
	if (r == 0)
		r = gm_store_le16(view, gm_gpa(QUEUE_USED + QUEUE_INDEX), GM_RELEASE, (uint16_t)(slot + 1));
	return r;
}

static inline int one_chain(struct gm_view *view, uint16_t slot, bool is_copy, uint64_t *sum)
{
	struct queue_desc desc[QUEUE_PARTS];
	uint16_t available, head;
	int r;

	gm_view_enter(view);
	r = gm_load_le16(view, gm_gpa(QUEUE_AVAIL + QUEUE_INDEX), GM_ACQUIRE, &available);
	if (r == 0 && available == slot)
		r = -EAGAIN;
	if (r == 0)
		r = gm_load_le16(view, gm_gpa(QUEUE_AVAIL + QUEUE_ENTRIES + 2 * slot), GM_RELAXED, &head);
	if (r == 0)
		r = fetch(view, head, desc);
	if (r == 0)
		r = look(view, desc, is_copy, sum);
	if (r == 0)
		r = finish(view, desc, head, slot);
	gm_view_leave(view);
	return r;
}

static inline void chains(uint64_t count, bool is_copy)
{
	uint64_t sum = 0, i;
	int r = 0;

	for (i = 0; i < count; i++) {
		r |= one_chain(&world.view, (uint16_t)(i % QUEUE_SIZE), is_copy, &sum);
		if (is_copy)
			bench_keep_memory(buffer);
	}
	bench_must(r, "chain");
	bench_keep(sum);
}

static void chain(uint64_t count)
{
	chains(count, false);
}

static void chain_copy(uint64_t count)
{
	chains(count, true);
}

const struct bench_row ours_queue_rows[] = {
	{
		.base = "chain",
		.listed = "/1 /8 /512 /8/apart /512/apart",
		.set_up = set_up,
		.run = chain,
		.tear_down = tear_down,
	},
	{ .base = "chain_copy", .listed = "/1 /8 /512", .set_up = set_up, .run = chain_copy, .tear_down = tear_down },
	{ .base = NULL },
};
