/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* See stream.h. */
#include "sys/stream.h"

#include <errno.h>

#include "sys/fault.h"

int64_t gmi_readv(int fd, const struct iovec *iovecs, int count, int64_t file_offset)
{
	int fault = GMI_FAULT();
	ssize_t r;

	if (fault)
		return -fault;
	r = file_offset < 0 ? readv(fd, iovecs, count) : preadv(fd, iovecs, count, file_offset);
	return r < 0 ? -errno : r;
}

int64_t gmi_writev(int fd, const struct iovec *iovecs, int count, int64_t file_offset)
{
	int fault = GMI_FAULT();
	ssize_t r;

	if (fault)
		return -fault;
	r = file_offset < 0 ? writev(fd, iovecs, count) : pwritev(fd, iovecs, count, file_offset);
	return r < 0 ? -errno : r;
}
