/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* What disks on raw images have in common: opening one, and going on with a transfer that was done in part. */
#ifndef DEVICES_DISK_IMAGE_H
#define DEVICES_DISK_IMAGE_H

#include "virtio_blk.h"

/**
 * disk_image_open - open an image
 * @flags: more of open(2): O_DIRECT
 *
 * Return: its descriptor; -EMEDIUMTYPE when it is neither a regular file nor a block device; the error number of open(2), fstat(2)
 * or lseek(2).
 */
GM_CHECKED int disk_image_open(const char *path, bool read_only, int flags, uint64_t *ret_bytes);

/* Take the first @bytes off the iovecs of a transfer, which has more than that or just as many. */
void disk_io_skip(struct vblk_io *io, uint64_t bytes);

/* Whether fallocate(2) says that the file system, or a block device with blocks larger than sectors, can't do it. */
bool disk_is_unable(int result);

#endif
