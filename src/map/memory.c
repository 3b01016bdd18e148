/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Memories: the pair of a publisher and the kinds of regions that its devices may reach. */
#include <guestmem/memory.h>

#include "base/base.h"
#include "map/map.h"
#include "sys/memory.h"

int gmi_memory_new(unsigned kinds, const struct gm_map *const *current, const struct gm_map *fixed,
		   struct gmi_domain *domain, void *owner, void (*owner_unref)(void *owner),
		   struct gm_memory **ret_memory)
{
	struct gm_memory *memory;

	if (kinds == 0 || (kinds & ~GM_ALL_KINDS) != 0)
		return -EINVAL;
	memory = gmi_alloc(sizeof(*memory));
	if (memory == NULL)
		return -ENOMEM;
	memory->references = 1;
	memory->kinds = kinds;
	memory->fixed = fixed;
	memory->current = fixed ? &memory->fixed : current;
	memory->domain = domain;
	memory->owner = owner;
	memory->owner_unref = owner_unref;
	*ret_memory = memory;
	return 0;
}

GMI_PUBLIC struct gm_memory *gm_memory_ref(struct gm_memory *memory)
{
	__atomic_fetch_add(&memory->references, 1, __ATOMIC_RELAXED);
	return memory;
}

GMI_PUBLIC void gm_memory_unref(struct gm_memory *memory)
{
	if (memory == NULL || __atomic_fetch_sub(&memory->references, 1, __ATOMIC_ACQ_REL) != 1)
		return;
	memory->owner_unref(memory->owner);
	gmi_free(memory);
}
