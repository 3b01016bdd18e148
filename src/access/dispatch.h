/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Access by call: registers, and memory that is not mapped here. Of a callback only its result is believed: 0, or failed.
 *
 * A thread that is inside a call of a region may not call the same region again, through any view: a device whose DMA
 * arrives at its own registers would run into its own half-changed state, or recurse until the stack is gone. Each thread
 * keeps a chain of the regions that it is inside of; no locks.
 */
#ifndef GMI_DISPATCH_H
#define GMI_DISPATCH_H

#include <stdint.h>

#include "access/access.h"

/* Whether a region may be called from where this thread is. Return: 0; -GM_EREENTRY. */
int gmi_call_check(const struct gm_region *region);

/*
 * Registers take accesses of 1, 2, 4 or 8 bytes at a multiple of their size; what is none is taken apart into such. Memory
 * takes all in one call. Return: 0; -GM_EFAULTED, a part of it may have been done.
 */
int gmi_call_read(const struct gmi_piece *piece, void *data);
int gmi_call_write(const struct gmi_piece *piece, const void *data);

#endif
