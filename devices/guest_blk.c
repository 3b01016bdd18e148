/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * A driver's side of a virtio-blk queue. Owns a view and the record of which descriptors are in use, which is kept here and not in
 * guest memory, where the device could change it.
 *
 * In guest memory, from @at on: descriptors, available ring, used ring, then one slot per descriptor. A request uses the
 * slot of its head: header, ranges, status, indirect table. Invariant: the free descriptors are those on the list from
 * @free_head, @free_count of them.
 */
#include "guest_blk.h"

#include <stdlib.h>
#include <string.h>

/* Places in a slot. */
#define SLOT_HEADER 0
#define SLOT_STATUS 16
#define SLOT_RANGES 32
#define SLOT_TABLE  (SLOT_RANGES + VBLK_RANGES_MAX * 16)

/* What a status holds while the device has not written one: no status of VIRTIO. */
#define STATUS_NONE 0xff

struct slot {
	uint64_t cookie;
	uint16_t count; /* descriptors of the request whose head this is; 0: not a head */
	uint16_t next;  /* of its request, or of the free ones */
};

struct gblk {
	struct gm_view view;
	struct virtq_ring ring;
	struct gm_gpa slots_at;
	uint64_t slot_bytes;
	uint32_t segments_max;
	bool indirect, event_index;
	uint32_t free_count;
	uint16_t free_head;
	uint16_t added;  /* available index to be */
	uint16_t shown;  /* available index as the device sees it */
	uint16_t reaped; /* used entries taken */
	uint32_t in_flight;
	struct virtq_desc *chain; /* scratch: room for segments_max + 2 */
	struct slot slots[];
};

static uint64_t align_up(uint64_t bytes, uint64_t alignment)
{
	return (bytes + alignment - 1) & ~(alignment - 1);
}

static uint64_t slot_bytes(uint32_t segments_max)
{
	return SLOT_TABLE + (segments_max + UINT64_C(2)) * sizeof(struct virtq_desc);
}

static uint64_t avail_offset(uint32_t size)
{
	return VIRTQ_DESC_TABLE_BYTES(size);
}

static uint64_t used_offset(uint32_t size)
{
	return align_up(avail_offset(size) + VIRTQ_AVAIL_BYTES(size), 4);
}

static uint64_t slots_offset(uint32_t size)
{
	return align_up(used_offset(size) + VIRTQ_USED_BYTES(size), 16);
}

uint64_t gblk_bytes(uint32_t size, uint32_t segments_max)
{
	return slots_offset(size) + size * slot_bytes(segments_max);
}

static int clear(struct gblk *gblk, uint64_t bytes)
{
	int r;

	gm_view_enter(&gblk->view);
	r = gm_fill(&gblk->view, gblk->ring.desc, 0, bytes);
	gm_view_leave(&gblk->view);
	return r;
}

static void lay_out(struct gblk *gblk, const struct gblk_opts *opts)
{
	uint32_t i;

	gblk->ring.size = opts->size;
	gblk->ring.desc = opts->at;
	gblk->ring.avail = gm_gpa_add_wrapping(opts->at, avail_offset(opts->size));
	gblk->ring.used = gm_gpa_add_wrapping(opts->at, used_offset(opts->size));
	gblk->slots_at = gm_gpa_add_wrapping(opts->at, slots_offset(opts->size));
	gblk->slot_bytes = slot_bytes(opts->segments_max);
	gblk->segments_max = opts->segments_max;
	gblk->indirect = opts->indirect;
	gblk->event_index = opts->event_index;
	gblk->free_count = opts->size;
	for (i = 0; i < opts->size; i++)
		gblk->slots[i].next = (uint16_t)(i + 1);
}

int gblk_new(const struct gblk_opts *opts, struct gblk **ret_gblk)
{
	struct gm_range range;
	struct gblk *gblk;
	int r;

	if (opts->size > VIRTQ_SIZE_MAX || !gm_is_power_of_2(opts->size) || opts->segments_max == 0 ||
	    opts->segments_max > VBLK_SEGMENTS_MAX || !gm_gpa_is_aligned(opts->at, 16))
		return -EINVAL;
	r = gm_range_make(opts->at, gblk_bytes(opts->size, opts->segments_max), &range);
	if (r < 0)
		return r;
	gblk = calloc(1, sizeof(*gblk) + opts->size * sizeof(gblk->slots[0]));
	if (gblk == NULL)
		return -ENOMEM;
	lay_out(gblk, opts);
	gblk->chain = calloc(opts->segments_max + 2, sizeof(*gblk->chain));
	r = gblk->chain == NULL ? -ENOMEM : gm_view_init(&gblk->view, opts->memory, "guest_blk", 0);
	if (r == 0)
		r = clear(gblk, gm_range_bytes(range));
	if (r < 0) {
		gblk_free(gblk);
		return r;
	}
	*ret_gblk = gblk;
	return 0;
}

void gblk_free(struct gblk *gblk)
{
	if (gblk == NULL)
		return;
	/* Neither in a section nor with pins: it can't be refused. */
	if (gm_view_fini(&gblk->view) < 0)
		abort();
	free(gblk->chain);
	free(gblk);
}

struct virtq_ring gblk_ring(const struct gblk *gblk)
{
	return gblk->ring;
}

uint32_t gblk_in_flight(const struct gblk *gblk)
{
	return gblk->in_flight;
}

static struct gm_gpa slot_at(const struct gblk *gblk, uint16_t slot, uint64_t offset)
{
	return gm_gpa_add_wrapping(gblk->slots_at, slot * gblk->slot_bytes + offset);
}

static void put(struct gblk *gblk, uint32_t index, struct gm_gpa at, uint32_t bytes, bool writable)
{
	gblk->chain[index].address = gm_le64(at.value);
	gblk->chain[index].bytes = gm_le32(bytes);
	gblk->chain[index].flags = gm_le16(writable ? VIRTQ_DESC_F_WRITE : 0);
}

/* Make the chain in our scratch; what it refers to in the slot is written. Returns its length. */
static int make_chain(struct gblk *gblk, const struct gblk_request *request, uint16_t slot)
{
	const struct vblk_header header = { .type = gm_le32(request->type), .sector = gm_le64(request->sector) };
	const bool is_written = request->type == VBLK_T_IN || request->type == VBLK_T_GET_ID;
	const uint32_t ranges_bytes = (uint32_t)(request->ranges_count * sizeof(*request->ranges));
	uint8_t none = STATUS_NONE;
	uint32_t count = 0, i;
	int r;

	r = gm_write(&gblk->view, slot_at(gblk, slot, SLOT_HEADER), &header, sizeof(header));
	if (r == 0)
		r = gm_write(&gblk->view, slot_at(gblk, slot, SLOT_STATUS), &none, 1);
	if (r == 0 && ranges_bytes > 0)
		r = gm_write(&gblk->view, slot_at(gblk, slot, SLOT_RANGES), request->ranges, ranges_bytes);
	if (r < 0)
		return r;
	put(gblk, count++, slot_at(gblk, slot, SLOT_HEADER), sizeof(header), false);
	if (ranges_bytes > 0)
		put(gblk, count++, slot_at(gblk, slot, SLOT_RANGES), ranges_bytes, false);
	for (i = 0; i < request->segments_count; i++)
		put(gblk, count++, request->segments[i].at, request->segments[i].bytes, is_written);
	put(gblk, count++, slot_at(gblk, slot, SLOT_STATUS), 1, true);
	return (int)count;
}

static struct gm_le16 with_next(struct gm_le16 flags)
{
	return gm_le16(gm_le16_get(flags) | VIRTQ_DESC_F_NEXT);
}

static int write_desc(struct gblk *gblk, uint16_t index, const struct virtq_desc *desc)
{
	return gm_write(&gblk->view, gm_gpa_add_wrapping(gblk->ring.desc, VIRTQ_DESC_TABLE_BYTES(index)), desc,
			sizeof(*desc));
}

static int write_table(struct gblk *gblk, uint16_t slot, uint32_t count)
{
	const struct gm_gpa at = slot_at(gblk, slot, SLOT_TABLE);
	const struct virtq_desc desc = {
		.address = gm_le64(at.value),
		.bytes = gm_le32((uint32_t)(count * sizeof(struct virtq_desc))),
		.flags = gm_le16(VIRTQ_DESC_F_INDIRECT),
	};
	uint32_t i;
	int r;

	for (i = 0; i + 1 < count; i++) {
		gblk->chain[i].flags = with_next(gblk->chain[i].flags);
		gblk->chain[i].next = gm_le16((uint16_t)(i + 1));
	}
	r = gm_write(&gblk->view, at, gblk->chain, count * sizeof(struct virtq_desc));
	return r < 0 ? r : write_desc(gblk, slot, &desc);
}

static int write_chain(struct gblk *gblk, uint16_t slot, uint32_t count)
{
	uint16_t index = slot;
	uint32_t i;
	int r;

	for (i = 0; i < count; i++) {
		const uint16_t next = gblk->slots[index].next;

		if (i + 1 < count) {
			gblk->chain[i].flags = with_next(gblk->chain[i].flags);
			gblk->chain[i].next = gm_le16(next);
		}
		r = write_desc(gblk, index, &gblk->chain[i]);
		if (r < 0)
			return r;
		index = next;
	}
	return 0;
}

/* Everything that can fail, before anything is counted. */
static int write_request(struct gblk *gblk, const struct gblk_request *request, uint16_t slot)
{
	int count = make_chain(gblk, request, slot), r;

	if (count < 0)
		return count;
	r = gblk->indirect ? write_table(gblk, slot, (uint32_t)count) : write_chain(gblk, slot, (uint32_t)count);
	if (r < 0)
		return r;
	return gm_store_le16(
		&gblk->view,
		gm_gpa_add_wrapping(gblk->ring.avail, VIRTQ_AVAIL_ENTRY(gblk->added & (gblk->ring.size - 1))),
		GM_RELAXED, slot);
}

int gblk_add(struct gblk *gblk, const struct gblk_request *request)
{
	const uint32_t length = 2 + (request->ranges_count > 0) + request->segments_count;
	const uint32_t descs = gblk->indirect ? 1 : length;
	const uint16_t head = gblk->free_head;
	uint16_t last = head;
	uint32_t i;
	int r;

	if (request->segments_count > gblk->segments_max || request->ranges_count > VBLK_RANGES_MAX)
		return -E2BIG;
	if (request->ranges_count > 0 && request->segments_count > 0)
		return -EINVAL;
	if (length > gblk->ring.size)
		return -E2BIG;
	if (descs > gblk->free_count)
		return -ENOSPC;
	gm_view_enter(&gblk->view);
	r = write_request(gblk, request, head);
	gm_view_leave(&gblk->view);
	if (r < 0)
		return r;
	for (i = 1; i < descs; i++)
		last = gblk->slots[last].next;
	gblk->free_head = gblk->slots[last].next;
	gblk->free_count -= descs;
	gblk->slots[head].cookie = request->cookie;
	gblk->slots[head].count = (uint16_t)descs;
	gblk->added++;
	gblk->in_flight++;
	return 0;
}

/* Publish, then see whether the device sleeps: the full fence in between is what virtq_listen() has on its side. */
static int show(struct gblk *gblk)
{
	const uint16_t old = gblk->shown;
	uint16_t wish = 0;
	int r;

	r = gm_store_le16(&gblk->view, gm_gpa_add_wrapping(gblk->ring.avail, VIRTQ_INDEX), GM_RELEASE, gblk->added);
	if (r < 0)
		return r;
	gblk->shown = gblk->added;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	r = gm_load_le16(&gblk->view,
			 gm_gpa_add_wrapping(gblk->ring.used,
					     gblk->event_index ? VIRTQ_AVAIL_EVENT(gblk->ring.size) : VIRTQ_FLAGS),
			 GM_RELAXED, &wish);
	if (r < 0)
		return r;
	if (gblk->event_index)
		return virtq_event_passed(wish, gblk->shown, old);
	return !(wish & VIRTQ_USED_F_NO_NOTIFY);
}

int gblk_kick(struct gblk *gblk)
{
	int r;

	if (gblk->shown == gblk->added)
		return 0;
	gm_view_enter(&gblk->view);
	r = show(gblk);
	gm_view_leave(&gblk->view);
	return r;
}

static int used_index(struct gblk *gblk, uint16_t *ret_index)
{
	return gm_load_le16(&gblk->view, gm_gpa_add_wrapping(gblk->ring.used, VIRTQ_INDEX), GM_ACQUIRE, ret_index);
}

/* Return: 1 and the head that was given back; 0; -EBADMSG; or the access's code. */
static int read_used(struct gblk *gblk, uint16_t *ret_head, struct gblk_result *result)
{
	struct {
		struct gm_le32 head, bytes;
	} entry;
	uint16_t index = 0;
	uint32_t head;
	int r = used_index(gblk, &index);

	if (r < 0 || index == gblk->reaped)
		return r;
	if ((uint16_t)(index - gblk->reaped) > gblk->in_flight)
		return -EBADMSG;
	r = gm_read(&gblk->view,
		    gm_gpa_add_wrapping(gblk->ring.used, VIRTQ_USED_ENTRY(gblk->reaped & (gblk->ring.size - 1))),
		    &entry, sizeof(entry));
	if (r < 0)
		return r;
	head = gm_le32_get(entry.head);
	if (head >= gblk->ring.size || gblk->slots[head].count == 0)
		return -EBADMSG;
	result->cookie = gblk->slots[head].cookie;
	result->bytes = gm_le32_get(entry.bytes);
	r = gm_read(&gblk->view, slot_at(gblk, (uint16_t)head, SLOT_STATUS), &result->status, 1);
	*ret_head = (uint16_t)head;
	return r < 0 ? r : 1;
}

int gblk_reap(struct gblk *gblk, struct gblk_result *ret_result)
{
	struct gblk_result result;
	uint16_t head = 0, last;
	uint32_t i, count;
	int r;

	gm_view_enter(&gblk->view);
	r = read_used(gblk, &head, &result);
	gm_view_leave(&gblk->view);
	if (r <= 0)
		return r;
	count = gblk->slots[head].count;
	gblk->slots[head].count = 0;
	for (last = head, i = 1; i < count; i++)
		last = gblk->slots[last].next;
	gblk->slots[last].next = gblk->free_head;
	gblk->free_head = head;
	gblk->free_count += count;
	gblk->in_flight--;
	gblk->reaped++;
	*ret_result = result;
	return 1;
}

/* Where the event is put for "not at all": just behind, which is passed last of all. */
static int store_wish(struct gblk *gblk, uint32_t after)
{
	if (gblk->event_index)
		return gm_store_le16(&gblk->view,
				     gm_gpa_add_wrapping(gblk->ring.avail, VIRTQ_USED_EVENT(gblk->ring.size)),
				     GM_RELAXED, (uint16_t)(gblk->reaped + after - 1));
	return gm_store_le16(&gblk->view, gm_gpa_add_wrapping(gblk->ring.avail, VIRTQ_FLAGS), GM_RELAXED,
			     after ? 0 : VIRTQ_AVAIL_F_NO_INTERRUPT);
}

int gblk_listen(struct gblk *gblk, uint32_t after)
{
	uint16_t index = 0;
	int r;

	gm_view_enter(&gblk->view);
	r = store_wish(gblk, after);
	/* Our wish before our look: see virtq_notify(). */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (r == 0)
		r = used_index(gblk, &index);
	gm_view_leave(&gblk->view);
	if (r < 0)
		return r;
	if (!gblk->event_index && after > 1)
		after = 1;
	return after > 0 && (uint16_t)(index - gblk->reaped) >= after;
}
