/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* What the files of this layer share, and what tests look at. */
#ifndef GMI_LAYOUT_H
#define GMI_LAYOUT_H

#include <guestmem/layout.h>

/*
 * The width of physical addresses in a text like /proc/cpuinfo, from its first "address sizes" line; 0 when it has none, or
 * when the line does not say a number of bits from 32 up. Pure.
 */
unsigned gmi_parse_physical_bits(const char *cpuinfo);

/*
 * The parts of a layout where memory may stand, in ascending order, cut to whole pages: at most GM_HOLES_MAX + 1. @layout is
 * one that gm_layout_check() is content with.
 */
size_t gmi_layout_gaps(const struct gm_layout *layout, struct gm_range gaps[GM_HOLES_MAX + 1]);

#endif
