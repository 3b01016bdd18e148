/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The record of what is in flight. Owns its view and the list of what is to be done again. Numbers are in the host's byte order, as
 * all of vhost-user. Stores release, so that the compiler keeps their order; a process that is killed has done all stores before the
 * last one that it did.
 */
#include "virtq_record.h"

#include <stdlib.h>
#include <string.h>

#define VERSION 1

/* QueueRegionSplit, */
#define FEATURES        0
#define HEAD_VERSION    8
#define COUNT           10
#define LAST_BATCH_HEAD 12
#define USED            14
#define STATES          16
/* and of it one DescStateSplit. */
#define STATE_BYTES UINT64_C(16)
#define IN_FLIGHT   0
#define NEXT        6
#define COUNTER     8

struct virtq_again {
	uint64_t counter;
	uint16_t head;
};

static struct gm_gpa head_at(const struct virtq_record *record, uint64_t offset)
{
	return gm_gpa_add_wrapping(record->at, offset);
}

static struct gm_gpa state_at(const struct virtq_record *record, uint32_t index, uint64_t offset)
{
	return gm_gpa_add_wrapping(record->at, STATES + index * STATE_BYTES + offset);
}

int virtq_record_init(struct virtq_record *record, struct gm_memory *memory, struct gm_gpa at, uint64_t bytes,
		      uint32_t size)
{
	struct gm_range range;
	int r;

	memset(record, 0, sizeof(*record));
	if (size == 0 || bytes < VIRTQ_RECORD_BYTES(size) || !gm_gpa_is_aligned(at, 8))
		return -EINVAL;
	r = gm_range_make(at, VIRTQ_RECORD_BYTES(size), &range);
	if (r < 0)
		return r;
	record->again = calloc(size, sizeof(*record->again));
	if (record->again == NULL)
		return -ENOMEM;
	r = gm_view_init(&record->view, memory, "record in flight", 0);
	if (r < 0) {
		free(record->again);
		memset(record, 0, sizeof(*record));
		return r;
	}
	record->at = at;
	record->size = size;
	return 0;
}

void virtq_record_fini(struct virtq_record *record)
{
	/* Neither in a section nor with pins: it can't be refused. */
	if (gm_view_fini(&record->view) < 0)
		abort();
	free(record->again);
	memset(record, 0, sizeof(*record));
}

static int set_in_flight(struct virtq_record *record, uint32_t head, uint8_t value)
{
	return gm_store_u8(&record->view, state_at(record, head, IN_FLIGHT), GM_RELEASE, value);
}

/* A record of zeros, but for what says that it is one, which comes last. */
static int begin(struct virtq_record *record, uint16_t used)
{
	struct gm_view *view = &record->view;
	uint32_t i;
	int r = 0;

	for (i = 0; i < record->size && r == 0; i++)
		r = set_in_flight(record, i, 0);
	if (r == 0)
		r = gm_store_u64(view, head_at(record, FEATURES), GM_RELEASE, 0);
	if (r == 0)
		r = gm_store_u16(view, head_at(record, COUNT), GM_RELEASE, (uint16_t)record->size);
	if (r == 0)
		r = gm_store_u16(view, head_at(record, LAST_BATCH_HEAD), GM_RELEASE, 0);
	if (r == 0)
		r = gm_store_u16(view, head_at(record, USED), GM_RELEASE, used);
	if (r == 0)
		r = gm_store_u16(view, head_at(record, HEAD_VERSION), GM_RELEASE, VERSION);
	return r;
}

/* The last batch was given back, as the used ring's index shows, but the record may not have it so. */
static int settle_batch(struct virtq_record *record, uint16_t batch)
{
	struct gm_view *view = &record->view;
	uint16_t head = 0;
	int r = gm_load_u16(view, head_at(record, LAST_BATCH_HEAD), GM_ACQUIRE, &head);

	for (; batch > 0 && r == 0; batch--) {
		if (head >= record->size)
			return -EINVAL;
		r = set_in_flight(record, head, 0);
		if (r == 0)
			r = gm_load_u16(view, state_at(record, head, NEXT), GM_ACQUIRE, &head);
	}
	return r;
}

static int by_counter(const void *a, const void *b)
{
	const struct virtq_again *one = a, *other = b;

	return (one->counter > other->counter) - (one->counter < other->counter);
}

static int find_again(struct virtq_record *record)
{
	struct gm_view *view = &record->view;
	struct virtq_again *again;
	uint8_t in_flight = 0;
	uint32_t i;
	int r;

	record->again_count = 0;
	for (i = 0; i < record->size; i++) {
		r = gm_load_u8(view, state_at(record, i, IN_FLIGHT), GM_ACQUIRE, &in_flight);
		if (r < 0)
			return r;
		if (in_flight == 0)
			continue;
		again = &record->again[record->again_count];
		r = gm_load_u64(view, state_at(record, i, COUNTER), GM_ACQUIRE, &again->counter);
		if (r < 0)
			return r;
		again->head = (uint16_t)i;
		record->again_count++;
	}
	return 0;
}

static int recover(struct virtq_record *record, uint16_t used)
{
	struct gm_view *view = &record->view;
	uint16_t version = 0, recorded = 0, batch;
	int r = gm_load_u16(view, head_at(record, HEAD_VERSION), GM_ACQUIRE, &version);

	if (r == 0 && version == 0)
		return begin(record, used);
	if (r == 0 && version != VERSION)
		return -EPROTONOSUPPORT;
	if (r == 0)
		r = gm_load_u16(view, head_at(record, USED), GM_ACQUIRE, &recorded);
	if (r == 0)
		r = find_again(record);
	if (r < 0)
		return r;
	batch = (uint16_t)(used - recorded);
	/* With nothing in flight it tells nothing, so it may be of a driver before this one. */
	if (batch > 0 && record->again_count > 0) {
		if (batch > record->size)
			return -EINVAL;
		r = settle_batch(record, batch);
		if (r == 0)
			r = find_again(record);
	}
	if (r == 0)
		r = gm_store_u16(view, head_at(record, USED), GM_RELEASE, used);
	return r < 0 ? r : 1;
}

int virtq_record_recover(struct virtq_record *record, uint16_t used)
{
	int r;

	gm_view_enter(&record->view);
	r = recover(record, used);
	gm_view_leave(&record->view);
	if (r < 0)
		return r;
	record->is_recovered = true;
	if (record->again_count == 0)
		return r;
	qsort(record->again, record->again_count, sizeof(*record->again), by_counter);
	record->counter = record->again[record->again_count - 1].counter + 1;
	return r;
}

bool virtq_record_next(struct virtq_record *record, uint16_t *ret_head)
{
	if (record->again_next == record->again_count)
		return false;
	*ret_head = record->again[record->again_next++].head;
	return true;
}

int virtq_record_taken(struct virtq_record *record, uint16_t head)
{
	int r;

	gm_view_enter(&record->view);
	r = gm_store_u64(&record->view, state_at(record, head, COUNTER), GM_RELEASE, record->counter++);
	if (r == 0)
		r = set_in_flight(record, head, 1);
	gm_view_leave(&record->view);
	return r;
}

int virtq_record_giving(struct virtq_record *record, uint16_t head)
{
	uint16_t last = 0;
	int r;

	gm_view_enter(&record->view);
	r = gm_load_u16(&record->view, head_at(record, LAST_BATCH_HEAD), GM_ACQUIRE, &last);
	if (r == 0)
		r = gm_store_u16(&record->view, state_at(record, head, NEXT), GM_RELEASE, last);
	if (r == 0)
		r = gm_store_u16(&record->view, head_at(record, LAST_BATCH_HEAD), GM_RELEASE, head);
	gm_view_leave(&record->view);
	return r;
}

int virtq_record_given(struct virtq_record *record, uint16_t head, uint16_t used)
{
	int r;

	gm_view_enter(&record->view);
	r = set_in_flight(record, head, 0);
	if (r == 0)
		r = gm_store_u16(&record->view, head_at(record, USED), GM_RELEASE, used);
	gm_view_leave(&record->view);
	return r;
}
