/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The device's side of a split virtqueue. Owns the scratch memory of one chain; everything else is the guest's.
 * Invariants: @fault once set stays; @available - @next is at most @size; no field of guest memory is read twice for one chain.
 * Start at virtq_pop().
 */
#include "virtq.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(struct virtq_desc) == 16, "layout of VIRTIO 1.2, 2.7.5");

/* A buffer's place, for finding overlaps. */
struct virtq_extent {
	uint64_t first, last;
	bool writable;
};

static const char *const fault_texts[VIRTQ_FAULTS] = {
	[VIRTQ_GOOD] = "good",
	[VIRTQ_UNREACHABLE] = "rings or indirect table not accessible",
	[VIRTQ_BAD_AVAIL_INDEX] = "available index moved by more than the queue's size",
	[VIRTQ_BAD_HEAD] = "head of a chain out of range",
	[VIRTQ_HEAD_IN_FLIGHT] = "chain offered again before it was used",
	[VIRTQ_BAD_NEXT] = "next descriptor out of range",
	[VIRTQ_TOO_LONG] = "chain loops or is longer than the queue",
	[VIRTQ_TOO_MANY_BYTES] = "chain of more than 4 GiB",
	[VIRTQ_BAD_TABLE] = "size of an indirect table",
	[VIRTQ_NESTED_TABLE] = "indirect table in an indirect table",
	[VIRTQ_TABLE_WITH_NEXT] = "indirect descriptor with a next one",
	[VIRTQ_NOT_NEGOTIATED] = "indirect descriptor without its feature",
	[VIRTQ_BAD_ORDER] = "device-readable buffer behind a device-writable one",
	[VIRTQ_BUFFER_WRAPS] = "buffer passes the last address",
	[VIRTQ_BUFFER_IN_RINGS] = "device-writable buffer in the queue's own rings",
	[VIRTQ_BAD_RECORD] = "record of what is in flight",
};

const char *virtq_fault_text(enum virtq_fault fault)
{
	return (unsigned)fault < VIRTQ_FAULTS ? fault_texts[fault] : "unknown";
}

int virtq_refuse(struct virtq *virtq, enum virtq_fault fault, int code)
{
	/* The first reason is the one that helps. */
	if (virtq->fault == VIRTQ_GOOD) {
		virtq->fault = fault;
		virtq->fault_code = code;
	}
	return -EBADMSG;
}

static int check_ring(const struct virtq_ring *ring, struct gm_range *rings)
{
	int r;

	if (ring->size > VIRTQ_SIZE_MAX || !gm_is_power_of_2(ring->size))
		return -EINVAL;
	if (!gm_gpa_is_aligned(ring->desc, 16) || !gm_gpa_is_aligned(ring->avail, 2) ||
	    !gm_gpa_is_aligned(ring->used, 4))
		return -EINVAL;
	r = gm_range_make(ring->desc, VIRTQ_DESC_TABLE_BYTES(ring->size), &rings[0]);
	if (r == 0)
		r = gm_range_make(ring->avail, VIRTQ_AVAIL_BYTES(ring->size), &rings[1]);
	if (r == 0)
		r = gm_range_make(ring->used, VIRTQ_USED_BYTES(ring->size), &rings[2]);
	if (r < 0)
		return r;
	if (gm_range_intersects(rings[0], rings[1]) || gm_range_intersects(rings[0], rings[2]) ||
	    gm_range_intersects(rings[1], rings[2]))
		return -EINVAL;
	return 0;
}

int virtq_init(struct virtq *virtq, struct gm_view *view, const struct virtq_ring *ring, bool indirect,
	       bool event_index)
{
	struct gm_range rings[3];
	int r = check_ring(ring, rings);

	if (r < 0)
		return r;
	memset(virtq, 0, sizeof(*virtq));
	virtq->view = view;
	virtq->desc = ring->desc;
	virtq->avail = ring->avail;
	virtq->used = ring->used;
	memcpy(virtq->rings, rings, sizeof(rings));
	virtq->size = ring->size;
	virtq->indirect = indirect;
	virtq->event_index = event_index;
	virtq->next = virtq->available = virtq->done = virtq->signalled = ring->next;
	virtq->buffers = calloc(ring->size, sizeof(*virtq->buffers));
	virtq->table = calloc(ring->size, sizeof(*virtq->table));
	/* One more, for the place of an indirect table. */
	virtq->extents = calloc((size_t)ring->size + 1, sizeof(*virtq->extents));
	r = virtq->buffers != NULL && virtq->table != NULL && virtq->extents != NULL ? 0 : -ENOMEM;
	if (r == 0 && ring->record != NULL)
		r = virtq_record_init(&virtq->record, ring->record, ring->record_at, ring->record_bytes, ring->size);
	if (r < 0)
		virtq_fini(virtq);
	return r;
}

void virtq_fini(struct virtq *virtq)
{
	free(virtq->buffers);
	free(virtq->table);
	free(virtq->extents);
	virtq_record_fini(&virtq->record);
	memset(virtq, 0, sizeof(*virtq));
}

uint16_t virtq_next(const struct virtq *virtq)
{
	return virtq->next;
}

static struct gm_gpa avail_at(const struct virtq *virtq, uint64_t offset)
{
	return gm_gpa_add_wrapping(virtq->avail, offset);
}

static struct gm_gpa used_at(const struct virtq *virtq, uint64_t offset)
{
	return gm_gpa_add_wrapping(virtq->used, offset);
}

/* Look how far the driver is. The acquire pairs with its barrier between filling entries and moving the index. */
static int look(struct virtq *virtq)
{
	uint16_t available = 0;
	int r = gm_load_le16(virtq->view, avail_at(virtq, VIRTQ_INDEX), GM_ACQUIRE, &available);

	if (r < 0)
		return virtq_refuse(virtq, VIRTQ_UNREACHABLE, r);
	if ((uint16_t)(available - virtq->next) > virtq->size)
		return virtq_refuse(virtq, VIRTQ_BAD_AVAIL_INDEX, -EINVAL);
	virtq->available = available;
	return available != virtq->next;
}

static void note_extent(struct virtq *virtq, struct gm_range range, bool writable)
{
	virtq->extents[virtq->extents_count++] = (struct virtq_extent){
		.first = range.first.value,
		.last = range.last.value,
		.writable = writable,
	};
}

/* Add the buffer of a descriptor, which is a copy of ours, to the chain. */
static int add_buffer(struct virtq *virtq, struct virtq_chain *chain, const struct virtq_desc *desc)
{
	const bool writable = gm_le16_get(desc->flags) & VIRTQ_DESC_F_WRITE;
	const uint32_t bytes = gm_le32_get(desc->bytes);
	const struct gm_gpa at = gm_gpa_from_le64(desc->address);
	struct gm_range range;
	unsigned i;

	if (bytes == 0)
		return 0;
	if (!writable && chain->writable > 0)
		return virtq_refuse(virtq, VIRTQ_BAD_ORDER, -EINVAL);
	if (bytes > VIRTQ_CHAIN_BYTES_MAX - chain->readable_bytes - chain->writable_bytes)
		return virtq_refuse(virtq, VIRTQ_TOO_MANY_BYTES, -EINVAL);
	if (gm_range_make(at, bytes, &range) < 0)
		return virtq_refuse(virtq, VIRTQ_BUFFER_WRAPS, -GM_EWRAP);
	for (i = 0; writable && i < 3; i++) {
		if (gm_range_intersects(range, virtq->rings[i]))
			return virtq_refuse(virtq, VIRTQ_BUFFER_IN_RINGS, -EINVAL);
	}
	note_extent(virtq, range, writable);
	virtq->buffers[chain->readable + chain->writable] = (struct virtq_buffer){ .at = at, .bytes = bytes };
	if (writable) {
		chain->writable++;
		chain->writable_bytes += bytes;
	} else {
		chain->readable++;
		chain->readable_bytes += bytes;
	}
	return 0;
}

/*
 * The rest of a chain, in an indirect table. Its WRITE flag means nothing (2.7.5.3.2). A chain is at most as long as the
 * queue in a table too (2.7.5.3.1), so a longer table has no use; @seen descriptors came before.
 */
static int walk_table(struct virtq *virtq, struct virtq_chain *chain, const struct virtq_desc *desc, uint32_t seen)
{
	const uint32_t bytes = gm_le32_get(desc->bytes), count = bytes / sizeof(*desc);
	struct gm_range range;
	uint32_t index = 0;
	int r;

	if (bytes == 0 || bytes % sizeof(*desc) != 0 || count > virtq->size)
		return virtq_refuse(virtq, VIRTQ_BAD_TABLE, -EINVAL);
	r = gm_range_make(gm_gpa_from_le64(desc->address), bytes, &range);
	if (r == 0)
		r = gm_read(virtq->view, range.first, virtq->table, bytes);
	if (r < 0)
		return virtq_refuse(virtq, VIRTQ_UNREACHABLE, r);
	note_extent(virtq, range, false);
	for (;;) {
		const struct virtq_desc *entry = &virtq->table[index];
		const uint16_t flags = gm_le16_get(entry->flags);

		if (seen++ == virtq->size)
			return virtq_refuse(virtq, VIRTQ_TOO_LONG, -EINVAL);
		if (flags & VIRTQ_DESC_F_INDIRECT)
			return virtq_refuse(virtq, VIRTQ_NESTED_TABLE, -EINVAL);
		r = add_buffer(virtq, chain, entry);
		if (r < 0 || !(flags & VIRTQ_DESC_F_NEXT))
			return r;
		index = gm_le16_get(entry->next);
		if (index >= count)
			return virtq_refuse(virtq, VIRTQ_BAD_NEXT, -EINVAL);
	}
}

static int walk(struct virtq *virtq, struct virtq_chain *chain)
{
	uint32_t index = chain->head, seen = 0;
	struct virtq_desc desc;
	uint16_t flags;
	int r;

	for (;;) {
		if (seen == virtq->size)
			return virtq_refuse(virtq, VIRTQ_TOO_LONG, -EINVAL);
		r = gm_read(virtq->view, gm_gpa_add_wrapping(virtq->desc, VIRTQ_DESC_TABLE_BYTES(index)), &desc,
			    sizeof(desc));
		if (r < 0)
			return virtq_refuse(virtq, VIRTQ_UNREACHABLE, r);
		flags = gm_le16_get(desc.flags);
		if (flags & VIRTQ_DESC_F_INDIRECT) {
			if (!virtq->indirect)
				return virtq_refuse(virtq, VIRTQ_NOT_NEGOTIATED, -EINVAL);
			if (flags & VIRTQ_DESC_F_NEXT)
				return virtq_refuse(virtq, VIRTQ_TABLE_WITH_NEXT, -EINVAL);
			return walk_table(virtq, chain, &desc, seen);
		}
		seen++;
		r = add_buffer(virtq, chain, &desc);
		if (r < 0 || !(flags & VIRTQ_DESC_F_NEXT))
			return r;
		index = gm_le16_get(desc.next);
		if (index >= virtq->size)
			return virtq_refuse(virtq, VIRTQ_BAD_NEXT, -EINVAL);
	}
}

static void sift_down(struct virtq_extent *extents, size_t root, size_t count)
{
	const struct virtq_extent moving = extents[root];
	size_t child;

	while ((child = 2 * root + 1) < count) {
		if (child + 1 < count && extents[child].first < extents[child + 1].first)
			child++;
		if (extents[child].first <= moving.first)
			break;
		extents[root] = extents[child];
		root = child;
	}
	extents[root] = moving;
}

/* By first address. A heap sort, since the guest picks order and count: qsort(3) may allocate, or take quadratic time. */
static void sort_extents(struct virtq_extent *extents, size_t count)
{
	struct virtq_extent highest;
	size_t i;

	for (i = count / 2; i > 0; i--)
		sift_down(extents, i - 1, count);
	for (i = count; i > 1; i--) {
		highest = extents[0];
		extents[0] = extents[i - 1];
		extents[i - 1] = highest;
		sift_down(extents, 0, i - 1);
	}
}

/* Whether any two extents share bytes of which one is writable. */
static bool extents_overlap(struct virtq_extent *extents, size_t count)
{
	const struct virtq_extent *seen = NULL, *written = NULL; /* those that reach farthest so far */
	size_t i;

	sort_extents(extents, count);
	for (i = 0; i < count; i++) {
		const struct virtq_extent *extent = &extents[i];

		if (written != NULL && extent->first <= written->last)
			return true;
		if (extent->writable && seen != NULL && extent->first <= seen->last)
			return true;
		if (seen == NULL || extent->last > seen->last)
			seen = extent;
		if (extent->writable && (written == NULL || extent->last > written->last))
			written = extent;
	}
	return false;
}

/*
 * Go on where somebody was stopped: in the used ring where its index is, in the available ring behind what was taken, since all
 * that was taken is either given back or in flight. What it gave back last it may not have told the driver of.
 */
static int recover(struct virtq *virtq)
{
	uint16_t used = 0;
	int r = gm_load_le16(virtq->view, used_at(virtq, VIRTQ_INDEX), GM_ACQUIRE, &used);

	if (r < 0)
		return virtq_refuse(virtq, VIRTQ_UNREACHABLE, r);
	r = virtq_record_recover(&virtq->record, used);
	if (r < 0)
		return virtq_refuse(virtq, VIRTQ_BAD_RECORD, r);
	if (r > 0) {
		virtq->done = virtq->signalled = used;
		virtq->next = virtq->available = (uint16_t)(used + virtq->record.again_count);
		virtq->owes_notice = true;
	}
	return 0;
}

/* The head of the next chain. Return: 1; 0 when there is none; -EBADMSG. */
static int pop_head(struct virtq *virtq, uint16_t *ret_head)
{
	int r;

	if (virtq->available == virtq->next) {
		r = look(virtq);
		if (r <= 0)
			return r;
		/*
		 * What the index promises may lie in memory that was plugged after this section began: the driver knew of
		 * it before it wrote the index. So go on with a map that is no older than the index.
		 */
		gm_view_enter(virtq->view);
	}
	r = gm_load_le16(virtq->view, avail_at(virtq, VIRTQ_AVAIL_ENTRY(virtq->next & (virtq->size - 1))), GM_RELAXED,
			 ret_head);
	if (r < 0)
		return virtq_refuse(virtq, VIRTQ_UNREACHABLE, r);
	if (*ret_head >= virtq->size)
		return virtq_refuse(virtq, VIRTQ_BAD_HEAD, -EINVAL);
	return 1;
}

int virtq_pop(struct virtq *virtq, struct virtq_chain *ret_chain)
{
	struct virtq_chain chain = { .buffers = virtq->buffers };
	bool is_again;
	int r;

	if (virtq->fault != VIRTQ_GOOD)
		return -EBADMSG;
	if (virtq->record.size > 0 && !virtq->record.is_recovered) {
		r = recover(virtq);
		if (r < 0)
			return r;
	}
	is_again = virtq_record_next(&virtq->record, &chain.head);
	if (!is_again) {
		r = pop_head(virtq, &chain.head);
		if (r <= 0)
			return r;
	}
	virtq->extents_count = 0;
	r = walk(virtq, &chain);
	if (r < 0)
		return r;
	chain.overlaps = chain.writable > 0 && extents_overlap(virtq->extents, virtq->extents_count);
	/* What is done again keeps its place in the record, and is behind @next already. */
	if (!is_again) {
		r = virtq->record.size > 0 ? virtq_record_taken(&virtq->record, chain.head) : 0;
		if (r < 0)
			return virtq_refuse(virtq, VIRTQ_BAD_RECORD, r);
		virtq->next++;
	}
	*ret_chain = chain;
	return 1;
}

int virtq_push(struct virtq *virtq, uint16_t head, uint32_t bytes)
{
	struct {
		struct gm_le32 head, bytes;
	} entry = { gm_le32(head), gm_le32(bytes) };
	int r;

	if (virtq->fault != VIRTQ_GOOD)
		return -EBADMSG;
	r = gm_write(virtq->view, used_at(virtq, VIRTQ_USED_ENTRY(virtq->done & (virtq->size - 1))), &entry,
		     sizeof(entry));
	if (r < 0)
		return virtq_refuse(virtq, VIRTQ_UNREACHABLE, r);
	if (virtq->record.size > 0 && (r = virtq_record_giving(&virtq->record, head)) < 0)
		return virtq_refuse(virtq, VIRTQ_BAD_RECORD, r);
	/* Pairs with the driver's barrier between reading the index and reading the entry, and what the device wrote. */
	r = gm_store_le16(virtq->view, used_at(virtq, VIRTQ_INDEX), GM_RELEASE, (uint16_t)(virtq->done + 1));
	if (r < 0)
		return virtq_refuse(virtq, VIRTQ_UNREACHABLE, r);
	virtq->done++;
	if (virtq->record.size > 0 && (r = virtq_record_given(&virtq->record, head, virtq->done)) < 0)
		return virtq_refuse(virtq, VIRTQ_BAD_RECORD, r);
	return 0;
}

/*
 * Both sides store one thing and then load what the other stores: here our used index, then the driver's wish; there the
 * wish, then our index. Only a full fence between the two, on both sides, keeps both loads from being early at once, in which
 * case the notification would be lost and the driver would sleep for ever. Release and acquire do not order a store before a load.
 */
bool virtq_notify(struct virtq *virtq)
{
	const uint16_t old = virtq->signalled, now = virtq->done;
	uint16_t wish = 0;
	int r;

	if (now == old && !virtq->owes_notice)
		return false;
	virtq->signalled = now;
	if (virtq->owes_notice) {
		virtq->owes_notice = false;
		return true;
	}
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	r = gm_load_le16(virtq->view, avail_at(virtq, virtq->event_index ? VIRTQ_USED_EVENT(virtq->size) : VIRTQ_FLAGS),
			 GM_RELAXED, &wish);
	if (r < 0) {
		/* One notification too many does no harm. */
		(void)virtq_refuse(virtq, VIRTQ_UNREACHABLE, r);
		return true;
	}
	if (virtq->event_index)
		return virtq_event_passed(wish, now, old);
	return !(wish & VIRTQ_AVAIL_F_NO_INTERRUPT);
}

void virtq_quiet(struct virtq *virtq)
{
	int r;

	/* With the event index nothing is to be done: the driver has passed the event, and notifies of passing it only. */
	if (virtq->event_index || virtq->fault != VIRTQ_GOOD)
		return;
	r = gm_store_le16(virtq->view, used_at(virtq, VIRTQ_FLAGS), GM_RELAXED, VIRTQ_USED_F_NO_NOTIFY);
	if (r < 0)
		(void)virtq_refuse(virtq, VIRTQ_UNREACHABLE, r);
}

int virtq_listen(struct virtq *virtq)
{
	int r;

	if (virtq->fault != VIRTQ_GOOD)
		return -EBADMSG;
	if (virtq->event_index)
		r = gm_store_le16(virtq->view, used_at(virtq, VIRTQ_AVAIL_EVENT(virtq->size)), GM_RELAXED, virtq->next);
	else
		r = gm_store_le16(virtq->view, used_at(virtq, VIRTQ_FLAGS), GM_RELAXED, 0);
	if (r < 0)
		return virtq_refuse(virtq, VIRTQ_UNREACHABLE, r);
	/* Our wish before our look at the index: see virtq_notify(), with the parts swapped. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return look(virtq);
}
