/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Inside of access: every call that misses the inlined path takes its range apart into pieces, one region each, first to
 * check all of them, then to do them. The bytes themselves are touched by the routines of bytes.h only.
 */
#ifndef GMI_ACCESS_H
#define GMI_ACCESS_H

#include <guestmem/access.h>

#include "map/map.h"

/* One region's part of an access. */
struct gmi_piece {
	struct gm_region *region;
	uint64_t offset; /* in the region */
	uint64_t bytes;
	unsigned char *hva; /* NULL: by callbacks */
};

/*
 * The first piece of [at, at + bytes), bytes at least 1 and not wrapping, if it may be accessed so. Makes its region the hot
 * one when it can be. Return: 0; -GM_EHOLE, -GM_ENOTRAM, -GM_EACCESS, -GM_EREENTRY, -EINVAL outside a section.
 */
int gmi_view_piece(struct gm_view *view, uint64_t at, uint64_t bytes, unsigned access, struct gmi_piece *ret_piece);

#endif
