/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * A raw image as a disk. Owns the file descriptor; immutable after it is made, so it needs no lock. A transfer goes on after
 * EINTR and after a part, until all is done, the file ends, or the system refuses.
 */
#include "file_disk.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "disk_image.h"

struct file_disk {
	int fd;
};

/* What one preadv(2) takes at most. */
#define IOVECS_PER_CALL IOV_MAX
/* Zeros for files whose filesystem can't make any by itself. */
#define ZEROS_BYTES (64 * 1024)

/* A write that stopped midway is tried again, so that the system says why. Only a read at the file's end returns 0. */
static int64_t transfer(int fd, struct vblk_io *io)
{
	uint64_t done = 0;
	ssize_t r;

	while (done < io->bytes) {
		const int count = (int)(io->iovecs_count < IOVECS_PER_CALL ? io->iovecs_count : IOVECS_PER_CALL);
		const off_t at = (off_t)(io->offset + done);

		r = io->op == VBLK_READ ? preadv(fd, io->iovecs, count, at) : pwritev(fd, io->iovecs, count, at);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			break;
		done += (uint64_t)r;
		disk_io_skip(io, (uint64_t)r);
	}
	return (int64_t)done;
}

static int write_zeros(int fd, uint64_t offset, uint64_t bytes)
{
	static const unsigned char zeros[ZEROS_BYTES];
	ssize_t r;

	while (bytes > 0) {
		r = pwrite(fd, zeros, bytes < sizeof(zeros) ? (size_t)bytes : sizeof(zeros), (off_t)offset);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			return -EIO;
		offset += (uint64_t)r;
		bytes -= (uint64_t)r;
	}
	return 0;
}

static int allocate(int fd, int mode, const struct vblk_io *io)
{
	int r;

	do {
		r = fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)io->offset, (off_t)io->bytes);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

static int discard(int fd, const struct vblk_io *io)
{
	int r = allocate(fd, FALLOC_FL_PUNCH_HOLE, io);

	/* A hint: who can't do it has done enough. */
	return disk_is_unable(r) ? 0 : r;
}

static int zero(int fd, const struct vblk_io *io)
{
	int r = allocate(fd, io->may_unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE, io);

	return disk_is_unable(r) ? write_zeros(fd, io->offset, io->bytes) : r;
}

static void submit(void *opaque, struct vblk_io *io)
{
	const struct file_disk *file = opaque;
	int64_t result = -EINVAL;

	switch (io->op) {
	case VBLK_READ:
	case VBLK_WRITE:
		result = transfer(file->fd, io);
		break;
	case VBLK_FLUSH:
		result = fdatasync(file->fd) < 0 ? -errno : 0;
		break;
	case VBLK_DISCARD:
		result = discard(file->fd, io);
		break;
	case VBLK_ZERO:
		result = zero(file->fd, io);
		break;
	}
	vblk_io_done(io, result);
}

int file_disk_new(const char *path, bool read_only, struct file_disk **ret_file, struct vblk_disk *ret_disk)
{
	struct file_disk *file = malloc(sizeof(*file));
	uint64_t bytes = 0;

	if (file == NULL)
		return -ENOMEM;
	file->fd = disk_image_open(path, read_only, 0, &bytes);
	if (file->fd < 0) {
		int r = file->fd;

		free(file);
		return r;
	}
	*ret_disk = (struct vblk_disk){
		.bytes = bytes,
		.read_only = read_only,
		.can_discard = !read_only,
		.can_zero = !read_only,
		.submit = submit,
		.opaque = file,
	};
	*ret_file = file;
	return 0;
}

void file_disk_free(struct file_disk *file)
{
	if (file == NULL)
		return;
	(void)close(file->fd);
	free(file);
}
