/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#include "sys/event.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "sys/fault.h"

int gmi_event_new(void)
{
	int fault = GMI_FAULT(), fd;

	if (fault)
		return -fault;
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

void gmi_event_raise(int fd)
{
	uint64_t one = 1;
	ssize_t ignored = write(fd, &one, sizeof(one));

	/* Refused only while 2^64 - 2 raises were not cleared: it is raised then. */
	(void)ignored;
}

void gmi_event_clear(int fd)
{
	uint64_t count;
	ssize_t ignored = read(fd, &count, sizeof(count));

	/* Refused only when it is clear. */
	(void)ignored;
}
