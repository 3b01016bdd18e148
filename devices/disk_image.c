/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Raw images. No state. */
#include "disk_image.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

void disk_io_skip(struct vblk_io *io, uint64_t bytes)
{
	while (io->iovecs_count > 0 && bytes >= io->iovecs->iov_len) {
		bytes -= io->iovecs->iov_len;
		io->iovecs++;
		io->iovecs_count--;
	}
	if (bytes > 0) {
		io->iovecs->iov_base = (char *)io->iovecs->iov_base + bytes;
		io->iovecs->iov_len -= bytes;
	}
}

bool disk_is_unable(int result)
{
	return result == -EOPNOTSUPP || result == -EINVAL;
}

/* Its size. A block device's can't be had from fstat(2). */
static int64_t image_bytes(int fd)
{
	struct stat status;
	off_t bytes;

	if (fstat(fd, &status) < 0)
		return -errno;
	if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
		return -EMEDIUMTYPE;
	bytes = lseek(fd, 0, SEEK_END);
	return bytes < 0 ? -errno : bytes;
}

int disk_image_open(const char *path, bool read_only, int flags, uint64_t *ret_bytes)
{
	/* Non-blocking for the open alone: that of a FIFO would wait for its other side. */
	const int fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | flags);
	int64_t bytes = fd < 0 ? -errno : image_bytes(fd);

	/* An io_uring would fail what it can't do at once. */
	if (bytes >= 0 && fcntl(fd, F_SETFL, flags) < 0)
		bytes = -errno;
	if (bytes < 0) {
		if (fd >= 0)
			(void)close(fd);
		return (int)bytes;
	}
	*ret_bytes = (uint64_t)bytes;
	return fd;
}
