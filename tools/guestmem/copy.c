/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Opening a disk image, and making the private copy: a clone where the filesystem can, else of the data only, holes left out. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image.h"

/* An extent is never larger, so that leases stay many. */
#define EXTENT_SECTORS_MAX (2 * REQUEST_SECTORS_MAX)

/* A file without a name, next to the image if that can be (where it may be a clone), else where temporary files go. */
static int open_nameless(const char *path, struct failure *failure)
{
	const char *slash = strrchr(path, '/'), *tmp = getenv("TMPDIR");
	const char *places[] = { NULL, tmp && tmp[0] == '/' ? tmp : "/var/tmp", "/tmp" };
	char beside[4096];
	int fd = -1;

	snprintf(beside, sizeof(beside), "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
	places[0] = beside;
	for (unsigned i = 0; i < 3 && fd < 0; i++)
		fd = open(places[i], O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return fail(failure, STATUS_MISSING,
			    "no place for a private copy of %s (set TMPDIR to a directory on a filesystem that has "
			    "O_TMPFILE): %s",
			    path, strerror(errno));
	return fd;
}

static int copy_range(int from, int to, uint64_t offset, uint64_t bytes, bool (*stop)(void))
{
	unsigned char buffer[128 << 10];

	while (bytes) {
		ssize_t got = pread(from, buffer, bytes < sizeof(buffer) ? bytes : sizeof(buffer), (off_t)offset);
		ssize_t put = got > 0 ? pwrite(to, buffer, (size_t)got, (off_t)offset) : got;

		/* A large image takes minutes. */
		if (stop())
			return -EINTR;
		if (got < 0 || put < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (put == 0)
			return -ENODATA;
		offset += (uint64_t)put;
		bytes -= (uint64_t)put;
	}
	return 0;
}

static int copy_data(int from, int to, uint64_t bytes, bool (*stop)(void))
{
	uint64_t at = 0;
	int r = 0;

	while (r == 0 && at < bytes) {
		off_t data = lseek(from, (off_t)at, SEEK_DATA), hole;

		if (data < 0 && errno == ENXIO)
			return 0; /* only a hole is left */
		if (data < 0)
			data = (off_t)at;
		hole = lseek(from, data, SEEK_HOLE);
		if (hole <= data || (uint64_t)hole > bytes)
			hole = (off_t)bytes;
		r = copy_range(from, to, (uint64_t)data, (uint64_t)(hole - data), stop);
		at = (uint64_t)hole;
	}
	return r;
}

static int make_copy(const struct image *image, int from, bool (*stop)(void), struct failure *failure)
{
	int to = open_nameless(image->path, failure), r = 0;

	if (to < 0)
		return -1;
	if (!image->is_file || ioctl(to, FICLONE, from) < 0) {
		if (ftruncate(to, (off_t)image->bytes) < 0)
			r = -errno;
		if (r == 0)
			r = copy_data(from, to, image->bytes, stop);
	}
	if (r == 0)
		return to;
	close(to);
	if (r == -EINTR)
		return fail(failure, STATUS_INTERRUPTED, "interrupted while %s was copied", image->path);
	return fail(failure, STATUS_MISSING, "no private copy of %s could be made: %s", image->path, strerror(-r));
}

static int look_at(struct image *image, int fd, struct failure *failure)
{
	struct stat status;
	off_t bytes;

	if (fstat(fd, &status) < 0)
		return fail(failure, STATUS_INPUT, "disk image %s: %s", image->path, strerror(errno));
	if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
		return fail(failure, STATUS_INPUT, "disk image %s is neither a file nor a block device", image->path);
	bytes = lseek(fd, 0, SEEK_END);
	if (bytes <= 0)
		return fail(failure, STATUS_INPUT, "disk image %s is empty", image->path);
	image->is_file = S_ISREG(status.st_mode);
	image->device = status.st_dev;
	image->inode = status.st_ino;
	image->bytes = (uint64_t)bytes;
	image->sectors = (image->bytes - 1) / SECTOR_BYTES + 1;
	return 0;
}

static int cut_extents(struct image *image, uint64_t wanted, struct failure *failure)
{
	uint64_t sectors = image->sectors / (2 * wanted);

	image->extent_sectors = sectors > EXTENT_SECTORS_MAX ? EXTENT_SECTORS_MAX : sectors ? (uint32_t)sectors : 1;
	image->extents = (image->sectors - 1) / image->extent_sectors + 1;
	image->versions = calloc(image->sectors, sizeof(*image->versions));
	image->busy = calloc(image->extents, sizeof(*image->busy));
	return image->versions && image->busy ? 0
					      : fail(failure, STATUS_MISSING, "no memory to record what is written");
}

int image_open(const char *path, enum image_mode mode, uint64_t seed, uint64_t extents_wanted, bool (*stop)(void),
	       struct image *image, struct failure *failure)
{
	int fd, copy;

	*image = (struct image){ .path = path, .mode = mode, .seed = seed, .pristine = -1, .working = -1 };
	/* Non-blocking for the open alone: that of a FIFO would wait for its other side. */
	fd = open(path, (mode == IMAGE_IN_PLACE ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return fail(failure, STATUS_INPUT, "disk image %s can't be opened: %s", path, strerror(errno));
	image->pristine = fd;
	if (look_at(image, fd, failure) < 0 || cut_extents(image, extents_wanted, failure) < 0)
		return -1;
	if (mode == IMAGE_READ_ONLY) {
		image->working = fd;
	} else {
		copy = make_copy(image, fd, stop, failure);
		if (copy < 0)
			return -1;
		image->working = mode == IMAGE_COPY ? copy : fd;
		image->pristine = mode == IMAGE_COPY ? fd : copy;
	}
	snprintf(image->working_path, sizeof(image->working_path), "/proc/self/fd/%d", image->working);
	return 0;
}

void image_close(struct image *image)
{
	if (image->working >= 0 && image->working != image->pristine)
		close(image->working);
	if (image->pristine >= 0)
		close(image->pristine);
	free(image->versions);
	free(image->busy);
	*image = (struct image){ .pristine = -1, .working = -1 };
}
