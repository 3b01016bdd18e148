/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Lists of iovecs in the making. No state. */
#ifndef GMI_IOVEC_H
#define GMI_IOVEC_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#include "access/access.h"

/* Puts a piece at the end of a list, joined with the last one where they are contiguous. False: there is no room. */
bool gmi_iovec_add(struct iovec *iovecs, size_t iovecs_max, size_t *count, unsigned char *hva, size_t bytes);

#endif
