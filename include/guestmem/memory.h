/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * A memory is what a provider hands to a device: something opaque that views can be opened on. It comes from a map
 * that never changes (gm_map_memory()) or from a space (gm_space_memory()); the device can't tell.
 */
#ifndef GUESTMEM_MEMORY_H
#define GUESTMEM_MEMORY_H

#include <guestmem/inline.h>

GM_BEGIN_DECLS

struct gm_memory;

/**
 * gm_memory_ref, gm_memory_unref - take and drop a reference
 *
 * A view holds one of its own. Context: any thread; ref never blocks, the last unref may take down the map or space
 * behind it. unref accepts NULL.
 */
struct gm_memory *gm_memory_ref(struct gm_memory *memory);
void gm_memory_unref(struct gm_memory *memory);

GM_END_DECLS

#endif
