/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The record of what is in flight in a split virtqueue, in memory that outlives us: "Inflight I/O tracking" of the vhost-user
 * specification. Who serves the queue after we were killed finds there what we took and did not give back.
 *
 * Of each descriptor that is a head it has whether it is in flight, and a number that says in which order they were taken. The order of
 * the stores is what makes it hold whenever we are stopped:
 *
 *	taken		its number, then that it is in flight
 *	given back	that it is about to be; then the used ring's index, by virtq.c; then that it is not in flight, and what
 *			that index was. A record whose index is behind says which were given back at last
 *
 * It lies in memory of the front-end's: what is read from it is checked. Context: as a virtqueue's.
 */
#ifndef DEVICES_VIRTQ_RECORD_H
#define DEVICES_VIRTQ_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include <guestmem/access.h>

/* Of a record for a queue of @size entries. */
#define VIRTQ_RECORD_BYTES(size) (16 + UINT64_C(16) * (size))

struct virtq_again;

/* Fields are private but for reading. */
struct virtq_record {
	struct gm_view view;
	struct gm_gpa at;
	uint32_t size;     /* of the queue; 0: there is no record */
	uint64_t counter;  /* of the next that is taken */
	bool is_recovered; /* what was in it has been looked at */
	/* Taken before us and not given back, in that order. */
	struct virtq_again *again;
	uint32_t again_count, again_next;
};

/* Return: 0; -EINVAL when @bytes are not enough; -GM_EWRAP; -ENOMEM. After a failure it is all zeros. */
GM_CHECKED int virtq_record_init(struct virtq_record *record, struct gm_memory *memory, struct gm_gpa at,
				 uint64_t bytes, uint32_t size);
/* A record of zeros is left alone. */
void virtq_record_fini(struct virtq_record *record);

/**
 * virtq_record_recover - see what was in flight, or begin a new record
 * @used: the used ring's index as of now
 *
 * Return: 1 when somebody kept it before us: @again has what was in flight; 0 when it is new; -EINVAL when it does not belong to such
 * a queue; -EPROTONOSUPPORT for another version of it; or the access's code.
 */
GM_CHECKED int virtq_record_recover(struct virtq_record *record, uint16_t used);
/* The next to be done again. Return: false when there are none any more. */
bool virtq_record_next(struct virtq_record *record, uint16_t *ret_head);

/* All three return 0 or the access's code. */
int virtq_record_taken(struct virtq_record *record, uint16_t head);
int virtq_record_giving(struct virtq_record *record, uint16_t head);
int virtq_record_given(struct virtq_record *record, uint16_t head, uint16_t used);

#endif
