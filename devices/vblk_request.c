/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * One request of a block device, from its chain to its status. Owns a request's slot while it is taken. Everything that the guest
 * gave (header, ranges, buffers) is a copy in the slot by the time it is looked at.
 *
 * Invariants: a request without a place for its status does nothing; @done <= @disk_bytes <= @bytes, and @cursor is at @done;
 * a transfer is pinned unless it goes through the bounce buffer. Start at vblk_request_start().
 */
#include <stdlib.h>
#include <sys/uio.h>

#include "vblk_private.h"

_Static_assert(sizeof(struct vblk_header) == 16 && sizeof(struct vblk_range) == 16, "layout of VIRTIO 1.2, 5.2.6");

/* How vblk_stats tells failures apart. The disk's are noted with their place, by disk_failed(). */
enum failure {
	BAD_REQUEST,
	UNSUPPORTED,
	BAD_MEMORY,
	BAD_DISK,
};

static bool finish(struct vblk_request *request);

/* End a request without success. Whatever goes on with it now is its status. */
static bool fail(struct vblk_request *request, enum failure failure)
{
	struct vblk_stats *stats = &request->queue->stats;
	uint64_t *const counts[] = {
		[BAD_REQUEST] = &stats->failed_request,
		[UNSUPPORTED] = &stats->failed_unsupported,
		[BAD_MEMORY] = &stats->failed_memory,
		[BAD_DISK] = &stats->failed_disk,
	};

	vblk_count(counts[failure], 1);
	request->status = failure == UNSUPPORTED ? VBLK_S_UNSUPP : VBLK_S_IOERR;
	return finish(request);
}

static bool disk_failed(struct vblk_request *request, int code)
{
	struct vblk_queue *queue = request->queue;

	pthread_mutex_lock(&queue->error_lock);
	queue->error = (struct vblk_error){
		.code = code,
		.op = request->io.op,
		.offset = request->io.offset,
		.bytes = request->io.bytes,
	};
	pthread_mutex_unlock(&queue->error_lock);
	return fail(request, BAD_DISK);
}

/*
 * Transfers
 */

/* Pointers for as much of what is left as is mapped here and finds room. -GM_EUNMAPPED when not even its first byte is. */
static int map_pieces(struct vblk_request *request, unsigned access, uint64_t *ret_bytes)
{
	uint64_t left = request->disk_bytes - request->done, mapped = 0;
	struct vblk_cursor cursor = request->cursor, before;
	unsigned count = 0;
	struct gm_span span;
	struct gm_gpa at;
	uint32_t piece;
	int r;

	while (mapped < left) {
		before = cursor;
		piece = vblk_data_next(request, &cursor, left - mapped, &at);
		r = gm_span(&request->queue->view, at, piece, access, &span);
		if (r == -GM_EUNMAPPED && mapped > 0)
			break;
		if (r < 0)
			return r;
		if (count > 0 &&
		    (unsigned char *)request->iovecs[count - 1].iov_base + request->iovecs[count - 1].iov_len ==
			    span.hva) {
			request->iovecs[count - 1].iov_len += span.bytes;
		} else {
			if (count == VBLK_IOVECS_MAX)
				break;
			request->iovecs[count++] = (struct iovec){ .iov_base = span.hva, .iov_len = span.bytes };
		}
		mapped += span.bytes;
		if (span.bytes < piece)
			cursor = vblk_data_after(request, before, span.bytes);
	}
	request->io.iovecs_count = count;
	*ret_bytes = mapped;
	return 0;
}

/* The next transfer, straight between the disk and guest memory, which stays as it is by a pin until it is done. */
static int prepare_direct(struct vblk_request *request)
{
	uint64_t bytes = 0;
	int r = map_pieces(request, request->io.op == VBLK_READ ? GM_WRITE : GM_READ, &bytes);

	if (r == 0)
		r = gm_view_pin(&request->queue->view, &request->pin);
	if (r < 0)
		return r;
	request->pinned = true;
	request->is_bounced = false;
	request->io.bytes = bytes;
	return 0;
}

/* The next transfer, through a buffer of ours. What is written to the disk is read from the guest once, here. */
static int prepare_bounce(struct vblk_request *request)
{
	const uint64_t bytes = VBLK_MIN(request->disk_bytes - request->done, (uint64_t)VBLK_BOUNCE_BYTES_MAX);
	int r = 0;

	/* The first step is the largest. */
	if (request->bounce == NULL)
		request->bounce = malloc(bytes);
	if (request->bounce == NULL)
		return -ENOMEM;
	if (request->io.op == VBLK_WRITE)
		r = vblk_data_each(request, request->cursor, bytes, VBLK_TO_HOST, request->bounce);
	if (r < 0)
		return r;
	request->is_bounced = true;
	request->iovecs[0] = (struct iovec){ .iov_base = request->bounce, .iov_len = bytes };
	request->io.iovecs_count = 1;
	request->io.bytes = bytes;
	vblk_count(&request->queue->stats.bounced, 1);
	return 0;
}

static bool prepare_data(struct vblk_request *request)
{
	int r;

	request->io.op = request->type == VBLK_T_IN ? VBLK_READ : VBLK_WRITE;
	request->io.offset = request->offset + request->done;
	request->io.iovecs = request->iovecs;
	r = prepare_direct(request);
	if (r == -GM_EUNMAPPED)
		r = prepare_bounce(request);
	return r < 0 ? fail(request, BAD_MEMORY) : true;
}

/* Discard and write-zeroes: what of a range the disk has; the rest of the last sector is zeros anyhow. */
static bool prepare_range(struct vblk_request *request)
{
	const struct vblk_range *range = &request->ranges[request->range++];
	const uint64_t disk_bytes = request->queue->vblk->disk.bytes;
	const uint64_t bytes = (uint64_t)gm_le32_get(range->sectors) * VBLK_SECTOR_BYTES;

	request->io.op = request->type == VBLK_T_DISCARD ? VBLK_DISCARD : VBLK_ZERO;
	request->io.may_unmap = gm_le32_get(range->flags) & VBLK_RANGE_F_UNMAP;
	request->io.offset = gm_le64_get(range->sector) * VBLK_SECTOR_BYTES;
	request->io.bytes = VBLK_MIN(bytes, disk_bytes - request->io.offset);
	return true;
}

static bool prepare_flush(struct vblk_request *request)
{
	request->must_flush = false;
	request->io.op = VBLK_FLUSH;
	request->io.offset = 0;
	request->io.bytes = 0;
	vblk_count(&request->queue->stats.flushes, 1);
	return true;
}

/* What is to be done next. */
static bool proceed(struct vblk_request *request)
{
	uint64_t tail = request->bytes - request->disk_bytes;

	if (request->done < request->disk_bytes)
		return prepare_data(request);
	while (request->range < request->ranges_count) {
		if (gm_le32_get(request->ranges[request->range].sectors) > 0)
			return prepare_range(request);
		request->range++;
	}
	if (request->must_flush)
		return prepare_flush(request);
	if (request->type == VBLK_T_IN) {
		/* Behind the image's end, in its last sector. */
		if (vblk_data_each(request, request->cursor, tail, VBLK_ZERO_GUEST, NULL) < 0)
			return fail(request, BAD_MEMORY);
		request->filled_bytes = request->bytes;
	}
	request->status = VBLK_S_OK;
	return finish(request);
}

bool vblk_request_continue(struct vblk_request *request)
{
	const bool is_read = request->io.op == VBLK_READ, has_data = is_read || request->io.op == VBLK_WRITE;
	const uint64_t bytes = request->io.bytes;
	int64_t result = request->result;
	int r = 0;

	if (request->pinned) {
		/* All of it, whatever the result: a read that failed may have written a part. */
		if (is_read)
			(void)vblk_data_each(request, request->cursor, bytes, VBLK_MARK_WRITTEN, NULL);
		/* Memory that is gone is zeros to whoever reads it by a pointer, and takes what is written nowhere. */
		r = vblk_data_each(request, request->cursor, bytes, VBLK_CHECK_REACHED, NULL);
		gm_view_unpin(&request->pin);
		request->pinned = false;
	}
	if (r < 0)
		return fail(request, BAD_MEMORY);
	if (has_data && result >= 0 && (uint64_t)result < bytes)
		result = is_read ? -ENODATA : -EIO;
	if (result < 0)
		return disk_failed(request, (int)result);
	if (has_data) {
		if (is_read && request->is_bounced)
			r = vblk_data_each(request, request->cursor, bytes, VBLK_TO_GUEST, request->bounce);
		if (r < 0)
			return fail(request, BAD_MEMORY);
		vblk_count(is_read ? &request->queue->stats.bytes_read : &request->queue->stats.bytes_written, bytes);
		request->cursor = vblk_data_after(request, request->cursor, bytes);
		request->done += bytes;
	}
	return proceed(request);
}

/* Give the chain back. Always false, for its callers' sake: nothing is to be submitted. */
static bool finish(struct vblk_request *request)
{
	struct vblk_queue *queue = request->queue;
	uint32_t used_bytes = 0;

	if (request->has_status && gm_write(&queue->view, request->status_at, &request->status, 1) == 0) {
		/* At most 2^32 with the status, of a chain without a header; 2^32-1 says as much as can be said. */
		if (request->filled_bytes == request->writable_bytes)
			request->filled_bytes++;
		used_bytes = (uint32_t)VBLK_MIN(request->filled_bytes, (uint64_t)UINT32_MAX);
	} else {
		vblk_count(&queue->stats.failed_lost, 1);
	}
	free(request->bounce);
	request->bounce = NULL;
	request->busy = false;
	queue->in_flight--;
	/* A queue that broke meanwhile shows in the run's return. */
	(void)virtq_push(&queue->virtq, request->head, used_bytes);
	return false;
}

/*
 * Types
 */

static bool start_data(struct vblk_request *request, const struct virtq_chain *chain, uint64_t sector)
{
	const struct vblk *vblk = request->queue->vblk;
	const bool is_read = request->type == VBLK_T_IN;
	int r;

	if (is_read)
		r = vblk_data_set(request, chain->buffers + chain->readable, 0, request->writable_bytes);
	else
		r = vblk_data_set(request, chain->buffers, sizeof(struct vblk_header),
				  chain->readable_bytes - sizeof(struct vblk_header));
	if (r < 0 || request->bytes % VBLK_SECTOR_BYTES != 0 || sector > vblk->capacity ||
	    request->bytes / VBLK_SECTOR_BYTES > vblk->capacity - sector)
		return fail(request, BAD_REQUEST);
	if (!is_read && (vblk->offered & VBLK_F_RO))
		return fail(request, BAD_REQUEST);
	if (vblk_data_each(request, vblk_data_start, request->bytes, is_read ? VBLK_CHECK_WRITE : VBLK_CHECK_READ,
			   NULL) < 0)
		return fail(request, BAD_MEMORY);
	request->offset = sector * VBLK_SECTOR_BYTES;
	request->disk_bytes = 0;
	if (request->offset < vblk->disk.bytes)
		request->disk_bytes = VBLK_MIN(request->bytes, vblk->disk.bytes - request->offset);
	request->must_flush = !is_read && !(vblk->features & VBLK_F_FLUSH);
	return proceed(request);
}

static bool start_id(struct vblk_request *request, const struct virtq_chain *chain)
{
	struct vblk *vblk = request->queue->vblk;
	const uint64_t bytes = VBLK_MIN(request->writable_bytes, (uint64_t)VBLK_ID_BYTES);

	if (vblk_data_set(request, chain->buffers + chain->readable, 0, bytes) < 0)
		return fail(request, BAD_REQUEST);
	if (vblk_data_each(request, vblk_data_start, bytes, VBLK_CHECK_WRITE, NULL) < 0 ||
	    vblk_data_each(request, vblk_data_start, bytes, VBLK_TO_GUEST, vblk->id) < 0)
		return fail(request, BAD_MEMORY);
	request->filled_bytes = bytes;
	request->disk_bytes = request->bytes;
	request->done = request->bytes;
	return proceed(request);
}

static bool start_flush(struct vblk_request *request)
{
	if (!(request->queue->vblk->features & VBLK_F_FLUSH))
		return fail(request, UNSUPPORTED);
	request->must_flush = true;
	return proceed(request);
}

/* All ranges are good, or none is touched. Return: 0; -EINVAL; -EOPNOTSUPP for flags. */
static int check_ranges(const struct vblk_request *request)
{
	const uint64_t capacity = request->queue->vblk->capacity;
	const uint32_t allowed = request->type == VBLK_T_WRITE_ZEROES ? VBLK_RANGE_F_UNMAP : 0;
	uint32_t i;

	for (i = 0; i < request->ranges_count; i++) {
		const uint64_t sector = gm_le64_get(request->ranges[i].sector);
		const uint32_t sectors = gm_le32_get(request->ranges[i].sectors);

		if (gm_le32_get(request->ranges[i].flags) & ~allowed)
			return -EOPNOTSUPP;
		if (sectors > VBLK_RANGE_SECTORS_MAX || sector > capacity || sectors > capacity - sector)
			return -EINVAL;
	}
	return 0;
}

static bool start_ranges(struct vblk_request *request, const struct virtq_chain *chain)
{
	const uint64_t feature = request->type == VBLK_T_DISCARD ? VBLK_F_DISCARD : VBLK_F_WRITE_ZEROES;
	const uint64_t bytes = chain->readable_bytes - sizeof(struct vblk_header);
	const struct vblk *vblk = request->queue->vblk;
	int r;

	if (!(vblk->features & feature))
		return fail(request, UNSUPPORTED);
	if (bytes == 0 || bytes % sizeof(struct vblk_range) != 0 || bytes > sizeof(request->ranges) ||
	    vblk_data_set(request, chain->buffers, sizeof(struct vblk_header), bytes) < 0)
		return fail(request, BAD_REQUEST);
	if (vblk_data_each(request, vblk_data_start, bytes, VBLK_TO_HOST, request->ranges) < 0)
		return fail(request, BAD_MEMORY);
	request->bytes = 0;
	request->ranges_count = (uint32_t)(bytes / sizeof(struct vblk_range));
	r = check_ranges(request);
	if (r < 0)
		return fail(request, r == -EOPNOTSUPP ? UNSUPPORTED : BAD_REQUEST);
	request->must_flush = request->type == VBLK_T_WRITE_ZEROES && !(vblk->features & VBLK_F_FLUSH);
	return proceed(request);
}

static void reset(struct vblk_request *request, const struct virtq_chain *chain)
{
	request->busy = true;
	request->head = chain->head;
	request->status = VBLK_S_IOERR;
	request->has_status = chain->writable_bytes > 0;
	request->offset = request->bytes = request->disk_bytes = request->done = 0;
	request->cursor = vblk_data_start;
	request->writable_bytes = request->filled_bytes = 0;
	request->ranges_count = request->range = 0;
	request->must_flush = request->io.may_unmap = false;
	if (request->has_status) {
		const struct virtq_buffer *last = &chain->buffers[chain->readable + chain->writable - 1];

		request->status_at = gm_gpa_add_wrapping(last->at, last->bytes - 1);
		request->writable_bytes = chain->writable_bytes - 1;
	}
}

bool vblk_request_start(struct vblk_request *request, const struct virtq_chain *chain)
{
	struct vblk_queue *queue = request->queue;
	struct vblk_header header;

	reset(request, chain);
	queue->in_flight++;
	vblk_count(&queue->stats.requests, 1);
	if (!request->has_status || gm_check(&queue->view, request->status_at, 1, GM_WRITE) < 0) {
		request->has_status = false;
		return finish(request);
	}
	if (chain->overlaps || chain->readable_bytes < sizeof(header) ||
	    vblk_data_set(request, chain->buffers, 0, sizeof(header)) < 0)
		return fail(request, BAD_REQUEST);
	if (vblk_data_each(request, vblk_data_start, sizeof(header), VBLK_TO_HOST, &header) < 0)
		return fail(request, BAD_MEMORY);
	request->bytes = 0;
	request->type = gm_le32_get(header.type);
	switch (request->type) {
	case VBLK_T_IN:
	case VBLK_T_OUT:
		return start_data(request, chain, gm_le64_get(header.sector));
	case VBLK_T_FLUSH:
		return start_flush(request);
	case VBLK_T_GET_ID:
		return start_id(request, chain);
	case VBLK_T_DISCARD:
	case VBLK_T_WRITE_ZEROES:
		return start_ranges(request, chain);
	default:
		return fail(request, UNSUPPORTED);
	}
}
