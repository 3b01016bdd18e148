/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Inside of the block device: the device (virtio_blk.c), its requests (vblk_request.c), and their data (vblk_data.c).
 *
 * A request lives in the slot of its head, so that it needs no search and a head that is in flight shows. It goes
 * through start, then transfer by transfer through submit and finish, until it is given back. Nothing recurses: vblk_io_done() puts
 * the request into the queue's list of finished ones, and one loop takes them out (settle() in virtio_blk.c).
 *
 * Locking: a queue belongs to its thread. Its counts are atomic, for others to read; @error is under @error_lock.
 */
#ifndef DEVICES_VBLK_PRIVATE_H
#define DEVICES_VBLK_PRIVATE_H

#include <pthread.h>

#include "virtio_blk.h"

#define VBLK_MIN(a, b) ((a) < (b) ? (a) : (b))

struct vblk_queue;

/* A place in a request's data. */
struct vblk_cursor {
	uint32_t buffer; /* index */
	uint32_t offset; /* in that buffer */
};

struct vblk_request {
	struct vblk_io io;
	struct vblk_queue *queue;
	struct vblk_request *next; /* in the list of finished transfers */
	int64_t result;            /* of the transfer */
	struct gm_pin pin;         /* of the transfer, while it is direct */
	bool busy;                 /* taken and not given back */
	bool in_transfer;
	bool pinned;
	bool is_bounced; /* the transfer goes through @bounce */
	bool must_flush; /* the write is to be durable, since the driver never flushes */
	uint16_t head;
	uint32_t type;
	uint8_t status;
	bool has_status; /* @status_at is a place for it */
	struct gm_gpa status_at;

	/* Data: @bytes, of which the disk has @disk_bytes, from @offset on; @done of these were transferred. */
	struct virtq_buffer *buffers; /* room for VBLK_SEGMENTS_MAX */
	uint32_t buffers_count;
	struct iovec *iovecs; /* room for VBLK_IOVECS_MAX */
	unsigned char *bounce;
	uint64_t offset, bytes, disk_bytes, done;
	struct vblk_cursor cursor; /* at @done */
	uint64_t writable_bytes;   /* of the chain, but for the status */
	uint64_t filled_bytes;     /* written of these, without a gap */

	/* Ranges of a discard or write-zeroes; copied in, checked, used. */
	struct vblk_range ranges[VBLK_RANGES_MAX];
	uint32_t ranges_count, range;
};

struct vblk_queue {
	struct vblk *vblk;
	unsigned index;
	bool is_set;
	bool is_running; /* settle() or run is on the stack: vblk_io_done() leaves the work to it */
	bool told_broken;
	uint32_t in_flight;
	struct gm_view view;
	struct virtq virtq;
	struct vblk_request *requests; /* one per head */
	struct virtq_buffer *buffers;
	struct iovec *iovecs;
	struct vblk_request *finished, **finished_tail;
	struct vblk_stats stats; /* atomic, written by the queue's thread */
	pthread_mutex_t error_lock;
	struct vblk_error error;
};

struct vblk {
	struct gm_memory *memory;
	struct vblk_disk disk;
	struct vblk_config config;
	uint64_t capacity; /* sectors */
	uint64_t offered, features;
	bool features_set;
	uint32_t queue_size_max;
	void (*interrupt)(void *opaque, unsigned queue);
	void (*broken)(void *opaque, unsigned queue);
	void *opaque;
	char name[VBLK_NAME_MAX];
	char id[VBLK_ID_BYTES];
	unsigned queues_count;
	struct vblk_queue queues[];
};

/* Both: inside a section. Return: true when @io is ready to be submitted, false when the request was given back. */
bool vblk_request_start(struct vblk_request *request, const struct virtq_chain *chain);
bool vblk_request_continue(struct vblk_request *request);

/* What vblk_data_each() does. */
enum vblk_action {
	VBLK_CHECK_READ,
	VBLK_CHECK_WRITE,
	VBLK_TO_HOST,
	VBLK_TO_GUEST,
	VBLK_ZERO_GUEST,
	VBLK_MARK_WRITTEN,
	VBLK_CHECK_REACHED, /* whether what the pointers reached was lost meanwhile */
};

/* The first byte. */
static const struct vblk_cursor vblk_data_start;

/* Make the data of a request: @bytes of the buffers of a chain, after the first @skip bytes. Both lie inside. Return: 0; -E2BIG. */
GM_CHECKED int vblk_data_set(struct vblk_request *request, const struct virtq_buffer *buffers, uint64_t skip,
			     uint64_t bytes);
/* The next piece of data at the cursor: at most @bytes, in one buffer. Moves on. Returns its size. */
uint32_t vblk_data_next(const struct vblk_request *request, struct vblk_cursor *cursor, uint64_t bytes,
			struct gm_gpa *ret_at);
struct vblk_cursor vblk_data_after(const struct vblk_request *request, struct vblk_cursor cursor, uint64_t bytes);
/* Do it to @bytes from @cursor on, piece by piece. @host: the other side of a copy. Return: 0, or the access's code. */
int vblk_data_each(struct vblk_request *request, struct vblk_cursor cursor, uint64_t bytes, enum vblk_action action,
		   void *host);

static inline void vblk_count(uint64_t *count, uint64_t more)
{
	__atomic_store_n(count, __atomic_load_n(count, __ATOMIC_RELAXED) + more, __ATOMIC_RELAXED);
}

#endif
