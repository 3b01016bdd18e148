/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Streams: between a file descriptor and guest memory. The range is checked first, then moved in batches: the kernel copies
 * from and to the mapped pieces itself; what is behind callbacks passes through a small buffer on the stack.
 *
 * Only what the kernel says it has written is marked dirty, batch by batch, before the next one is asked for. Start reading
 * at run(). State: struct stream, of one call.
 */
#include "access/access.h"

#include "access/iovec.h"
#include "access/walk.h"
#include "base/base.h"
#include "sys/stream.h"

/* Vectors of one batch: 1 KiB of stack. A range in more pieces takes more system calls. */
#define BATCH_MAX 64
_Static_assert(BATCH_MAX <= GMI_IOVECS_MAX, "the kernel takes a batch in one call");

struct stream {
	struct gm_view *view;
	uint64_t at;
	uint64_t bytes;
	uint64_t done;
	int64_t file_offset; /* negative: none */
	int fd;
	int fd_error;    /* why the descriptor ended the stream; 0 when it did not */
	unsigned access; /* GM_READ: guest to file; GM_WRITE: file to guest */
	bool over;       /* the descriptor took a part of what callbacks gave and failed then */
};

/*
 * One transfer, restarted when a signal came first. A host page that is gone shows as EFAULT, which as a code of ours would
 * mean a hole.
 */
static int64_t transfer(struct stream *stream, const struct iovec *iovecs, size_t count, uint64_t file_done)
{
	int64_t file_offset = stream->file_offset < 0 ? -1 : stream->file_offset + (int64_t)file_done, r;

	do {
		if (stream->access == GM_READ)
			r = gmi_writev(stream->fd, iovecs, (int)count, file_offset);
		else
			r = gmi_readv(stream->fd, iovecs, (int)count, file_offset);
	} while (r == -EINTR);
	if (r == -EFAULT)
		return -GM_EFAULTED;
	if (r < 0)
		stream->fd_error = (int)r;
	return r;
}

/*
 * The kernel raises no signal for memory that is gone, and stops there. So that it is known of, as after any other access: what it
 * stopped at is the first byte, for it did nothing.
 */
static void note(const struct stream *stream, const struct iovec *iovecs)
{
	const struct gm_region *region = gmi_map_region(stream->view->slot, stream->at + stream->done);

	if (region != NULL && region->guarded != NULL)
		gmi_guard_probe(region->guarded, iovecs[0].iov_base);
}

/*
 * Collects mapped pieces from where the stream is, up to one that was lost: its zeros are not the guest's. *ret_count is 0 when the
 * first one there is not mapped.
 */
static int collect(const struct stream *stream, struct iovec *iovecs, size_t *ret_count)
{
	uint64_t left = GMI_MIN(stream->bytes - stream->done, (uint64_t)GMI_TRANSFER_MAX);
	uint64_t at = stream->at + stream->done;
	struct gmi_piece piece;
	size_t count = 0;
	uint64_t good;
	int r;

	while (left != 0) {
		r = gmi_walk_piece(stream->view, at, left, stream->access, &piece);
		if (r)
			return r;
		if (piece.hva == NULL)
			break;
		good = piece.bytes;
		if (gmi_piece_check(&piece) != 0)
			good = gmi_guarded_good(piece.region->guarded, piece.hva, piece.bytes);
		if (good == 0 && count == 0)
			return -GM_EFAULTED;
		if (good == 0 || !gmi_iovec_add(iovecs, BATCH_MAX, &count, piece.hva, good) || good < piece.bytes)
			break;
		at += piece.bytes;
		left -= piece.bytes;
	}
	*ret_count = count;
	return 0;
}

/*
 * Writes all of the buffer, going on from where a short transfer stopped: callbacks are not asked for the same bytes twice,
 * registers would give others.
 */
static int64_t write_bounced(struct stream *stream, unsigned char *bounce, uint64_t bytes)
{
	uint64_t done = 0;
	int64_t r = 0;

	while (done < bytes) {
		struct iovec iovec = { .iov_base = bounce + done, .iov_len = bytes - done };

		r = transfer(stream, &iovec, 1, stream->done + done);
		if (r <= 0)
			break;
		done += (uint64_t)r;
	}
	stream->over = done < bytes;
	return done != 0 ? (int64_t)done : r;
}

/* Moves up to GMI_BOUNCE_BYTES of a piece behind callbacks. Return: as transfer(). */
static __attribute__((noinline)) int64_t bounce_some(struct stream *stream)
{
	unsigned char bounce[GMI_BOUNCE_BYTES];
	struct iovec iovec = { .iov_base = bounce };
	struct gmi_piece piece;
	int64_t got;
	int r;

	r = gmi_walk_piece(stream->view, stream->at + stream->done,
			   GMI_MIN(stream->bytes - stream->done, sizeof(bounce)), stream->access, &piece);
	if (r)
		return r;
	if (stream->access == GM_READ) {
		r = gmi_piece_read(&piece, bounce);
		return r ? r : write_bounced(stream, bounce, piece.bytes);
	}
	iovec.iov_len = piece.bytes;
	got = transfer(stream, &iovec, 1, stream->done);
	if (got <= 0)
		return got;
	piece.bytes = (uint64_t)got;
	r = gmi_piece_write(&piece, bounce);
	return r ? r : got;
}

/*
 * Marks what a transfer to the guest has written, or may have: what failed in the middle (memory gone, or a disk that reads
 * straight into it) is not counted by the kernel but may be there all the same.
 */
static void mark(const struct stream *stream, const struct iovec *iovecs, size_t count, int64_t result)
{
	uint64_t bytes = result > 0 ? (uint64_t)result : 0;

	if (result == -GM_EFAULTED) {
		for (size_t i = 0; i < count; i++)
			bytes += iovecs[i].iov_len;
	}
	gmi_mark_range(stream->view->slot, stream->at + stream->done, bytes);
}

/* Moves what one system call moves. Return: bytes; 0 at the end of the file; or the code. */
static int64_t move_some(struct stream *stream)
{
	struct iovec iovecs[BATCH_MAX];
	size_t count;
	int64_t r;

	r = collect(stream, iovecs, &count);
	if (r)
		return r;
	if (count == 0)
		return bounce_some(stream);
	r = transfer(stream, iovecs, count, stream->done);
	if (stream->access == GM_WRITE)
		mark(stream, iovecs, count, r);
	if (r == -GM_EFAULTED)
		note(stream, iovecs);
	/* Lost meanwhile, on another thread: the kernel met its zeros. */
	if (r > 0 && gmi_check_range(stream->view->slot, stream->at + stream->done, (uint64_t)r) != 0)
		return -GM_EFAULTED;
	return r;
}

static int64_t run(struct stream *stream)
{
	int64_t r = 0;

	while (stream->done < stream->bytes && !stream->over) {
		r = move_some(stream);
		if (r <= 0)
			break;
		stream->done += (uint64_t)r;
	}
	return stream->done != 0 ? (int64_t)stream->done : r;
}

/* Only the check of a walk is of use here: what is done goes in batches, by however much the kernel takes. */
static int64_t stream_whole(struct stream *stream)
{
	struct gmi_walk walk;
	int r;

	if (stream->bytes == 0)
		return 0;
	/* What is moved has to fit the result, and the file's last byte an offset. */
	if (stream->bytes > INT64_MAX - (stream->file_offset > 0 ? (uint64_t)stream->file_offset : 0))
		return stream->bytes - 1 > UINT64_MAX - stream->at ? -GM_EWRAP : -EINVAL;
	r = gmi_walk_begin(&walk, stream->view, stream->at, stream->bytes, stream->access);
	return r ? r : run(stream);
}

static int64_t stream_some(struct stream *stream)
{
	struct gmi_walk walk;
	int r;

	if (stream->bytes == 0)
		return 0;
	if (stream->file_offset > 0 && stream->bytes > (uint64_t)(INT64_MAX - stream->file_offset))
		return -EINVAL;
	r = gmi_walk_begin_some(&walk, stream->view, stream->at, &stream->bytes, stream->access);
	return r ? r : run(stream);
}

static int64_t end(const struct stream *stream, int64_t result, int *ret_fd_error)
{
	if (ret_fd_error != NULL)
		*ret_fd_error = stream->fd_error;
	return result;
}

GMI_PUBLIC int64_t gm_read_to_fd(struct gm_view *view, struct gm_gpa at, uint64_t bytes, int fd, int64_t file_offset,
				 int *ret_fd_error)
{
	struct stream stream = {
		.view = view, .at = at.value, .bytes = bytes, .file_offset = file_offset, .fd = fd, .access = GM_READ
	};

	return end(&stream, stream_whole(&stream), ret_fd_error);
}

GMI_PUBLIC int64_t gm_write_from_fd(struct gm_view *view, struct gm_gpa at, uint64_t bytes, int fd, int64_t file_offset,
				    int *ret_fd_error)
{
	struct stream stream = {
		.view = view, .at = at.value, .bytes = bytes, .file_offset = file_offset, .fd = fd, .access = GM_WRITE
	};

	return end(&stream, stream_whole(&stream), ret_fd_error);
}

GMI_PUBLIC int64_t gm_read_to_fd_some(struct gm_view *view, struct gm_gpa at, uint64_t bytes, int fd,
				      int64_t file_offset, int *ret_fd_error)
{
	struct stream stream = {
		.view = view, .at = at.value, .bytes = bytes, .file_offset = file_offset, .fd = fd, .access = GM_READ
	};

	return end(&stream, stream_some(&stream), ret_fd_error);
}

GMI_PUBLIC int64_t gm_write_from_fd_some(struct gm_view *view, struct gm_gpa at, uint64_t bytes, int fd,
					 int64_t file_offset, int *ret_fd_error)
{
	struct stream stream = {
		.view = view, .at = at.value, .bytes = bytes, .file_offset = file_offset, .fd = fd, .access = GM_WRITE
	};

	return end(&stream, stream_some(&stream), ret_fd_error);
}
