/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * A disk for a block device: a raw image in a file or on a block device, with plain system calls. Each transfer is over before
 * its submit returns. Any number of queues and threads at once.
 */
#ifndef DEVICES_FILE_DISK_H
#define DEVICES_FILE_DISK_H

#include "virtio_blk.h"

struct file_disk;

/**
 * file_disk_new - open an image
 * @path: a regular file or a block device
 * @read_only: open it so
 * @ret_disk: for vblk_opts; no @id
 *
 * Return: 0; -EMEDIUMTYPE when it is something else; -ENOMEM; the error number of open(2), fstat(2) or lseek(2).
 */
GM_CHECKED int file_disk_new(const char *path, bool read_only, struct file_disk **ret_file, struct vblk_disk *ret_disk);
/* After the devices that use it. Accepts NULL. */
void file_disk_free(struct file_disk *file);

#endif
