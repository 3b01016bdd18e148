/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * A request's data: the buffers of it in guest memory, and walking along them. Owns nothing; the buffers are copies in the
 * request's slot. Invariant: whoever walks stays within the bytes that vblk_data_set() was given.
 */
#include "vblk_private.h"

static int act(struct vblk_request *request, enum vblk_action action, struct gm_gpa at, uint32_t bytes, void *host)
{
	struct gm_view *view = &request->queue->view;

	switch (action) {
	case VBLK_CHECK_READ:
		return gm_check(view, at, bytes, GM_READ);
	case VBLK_CHECK_WRITE:
		return gm_check(view, at, bytes, GM_WRITE);
	case VBLK_TO_HOST:
		return gm_read(view, at, host, bytes);
	case VBLK_TO_GUEST:
		return gm_write(view, at, host, bytes);
	case VBLK_ZERO_GUEST:
		return gm_fill(view, at, 0, bytes);
	case VBLK_MARK_WRITTEN:
		gm_pin_written(&request->pin, at, bytes);
		return 0;
	case VBLK_CHECK_REACHED:
		return gm_pin_check(&request->pin, at, bytes);
	}
	return -EINVAL;
}

uint32_t vblk_data_next(const struct vblk_request *request, struct vblk_cursor *cursor, uint64_t bytes,
			struct gm_gpa *ret_at)
{
	const struct virtq_buffer *buffer = &request->buffers[cursor->buffer];
	const uint32_t piece = (uint32_t)VBLK_MIN(bytes, (uint64_t)(buffer->bytes - cursor->offset));

	*ret_at = gm_gpa_add_wrapping(buffer->at, cursor->offset);
	cursor->offset += piece;
	if (cursor->offset == buffer->bytes) {
		cursor->buffer++;
		cursor->offset = 0;
	}
	return piece;
}

int vblk_data_each(struct vblk_request *request, struct vblk_cursor cursor, uint64_t bytes, enum vblk_action action,
		   void *host)
{
	unsigned char *data = host;
	struct gm_gpa at;
	uint32_t piece;
	int r;

	while (bytes > 0) {
		piece = vblk_data_next(request, &cursor, bytes, &at);
		r = act(request, action, at, piece, data);
		if (r < 0)
			return r;
		if (data != NULL)
			data += piece;
		bytes -= piece;
	}
	return 0;
}

struct vblk_cursor vblk_data_after(const struct vblk_request *request, struct vblk_cursor cursor, uint64_t bytes)
{
	struct gm_gpa at;

	while (bytes > 0)
		bytes -= vblk_data_next(request, &cursor, bytes, &at);
	return cursor;
}

int vblk_data_set(struct vblk_request *request, const struct virtq_buffer *buffers, uint64_t skip, uint64_t bytes)
{
	uint32_t count = 0, piece;

	request->bytes = bytes;
	request->buffers_count = 0;
	for (; bytes > 0; buffers++) {
		if (skip >= buffers->bytes) {
			skip -= buffers->bytes;
			continue;
		}
		if (count == VBLK_SEGMENTS_MAX)
			return -E2BIG;
		piece = (uint32_t)VBLK_MIN(bytes, buffers->bytes - skip);
		request->buffers[count].at = gm_gpa_add_wrapping(buffers->at, skip);
		request->buffers[count++].bytes = piece;
		skip = 0;
		bytes -= piece;
	}
	request->buffers_count = count;
	return 0;
}
