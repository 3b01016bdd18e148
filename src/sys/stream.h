/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Vectors of bytes from and to file descriptors. One system call each; no state. */
#ifndef GMI_SYS_STREAM_H
#define GMI_SYS_STREAM_H

#include <stdint.h>
#include <sys/uio.h>

/* Vectors of one call: the kernel's UIO_MAXIOV. */
#define GMI_IOVECS_MAX 1024
/* Bytes of one call: the kernel's MAX_RW_COUNT, with the largest page size in use (64 KiB). It does no more at once. */
#define GMI_TRANSFER_MAX 0x7fff0000

/*
 * @file_offset: where in the file; negative: at its current position.
 * Return: bytes transferred, which may be less than asked for; or the negative error number, -EINTR among them.
 */
int64_t gmi_readv(int fd, const struct iovec *iovecs, int count, int64_t file_offset);
int64_t gmi_writev(int fd, const struct iovec *iovecs, int count, int64_t file_offset);

#endif
