/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * A disk for a block device: a raw image in a file or on a block device, by io_uring. Transfers go straight between the image and the
 * iovecs, any number at once, and finish in the turns of the ring that they were given; but for short ones to and from the page
 * cache, which are done at once. One thread: that of the ring.
 *
 * With @direct the host's page cache is not used. What O_DIRECT does not take as it is:
 *	memory that is not aligned	goes through a buffer of ours, copied by the kernel: guest memory that goes away under it is
 *					an error then, and no signal
 *	a place or size that is not	goes through the page cache. The blocks of an image whose size is no multiple of a block, and of
 *					one whose blocks are larger than a sector. The kernel keeps both ways coherent page by page, and
 *					no page sees both ways but by requests that overlap: blocks are counted as 4 KiB unless they
 *					are 512 bytes, in which case all requests are aligned
 */
#ifndef DEVICES_URING_DISK_H
#define DEVICES_URING_DISK_H

#include "uring.h"
#include "virtio_blk.h"

/*
 * A guest decides whether its memory is aligned as O_DIRECT wants it, and can have thousands of requests in flight: further ones wait. So
 * many bytes at once keep any disk busy.
 */
#define URING_DISK_BOUNCES_BYTES_MAX (UINT64_C(32) << 20)

struct uring_disk;

/**
 * uring_disk_new - open an image
 * @uring: has to outlive the disk
 * @path: a regular file or a block device
 * @ret_disk: for vblk_opts; no @id
 *
 * Return: 0; -EMEDIUMTYPE when it is something else; -ENODATA for @direct and an image that is no multiple of 512 bytes; -ENOMEM; the
 * error number of open(2), of which -EINVAL says that there is no O_DIRECT, fstat(2), lseek(2) or io_uring_register(2).
 */
GM_CHECKED int uring_disk_new(struct uring *uring, const char *path, bool read_only, bool direct,
			      struct uring_disk **ret_disk, struct vblk_disk *ret_vblk_disk);
/* After the devices that use it. Accepts NULL. */
void uring_disk_free(struct uring_disk *disk);
/* Submit what the ring had no room for. To be called before each turn. */
void uring_disk_push(struct uring_disk *disk);
/* Of all buffers for memory that O_DIRECT does not take, at once. */
uint64_t uring_disk_bounces_bytes(const struct uring_disk *disk);
/* Transfers that were begun and not finished. */
unsigned uring_disk_in_flight(const struct uring_disk *disk);

#endif
