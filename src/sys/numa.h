/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* NUMA policy, through libnuma. Nothing here allocates: libnuma's allocators end the process when memory is short. */
#ifndef GMI_SYS_NUMA_H
#define GMI_SYS_NUMA_H

#include <stdbool.h>
#include <stddef.h>

#include <guestmem/region.h>

#define GMI_NODES_WORDS (GM_NODES_MAX / (8 * sizeof(unsigned long)))

/* A set of host nodes. */
struct gmi_nodes {
	unsigned long words[GMI_NODES_WORDS];
};

void gmi_nodes_add(struct gmi_nodes *nodes, unsigned node);
bool gmi_nodes_has(const struct gmi_nodes *nodes, unsigned node);
/* The lowest node; -1 for an empty set. */
int gmi_nodes_lowest(const struct gmi_nodes *nodes);

/* Return: 0; -ENOSYS when this kernel has no NUMA policies. */
int gmi_numa_available(void);
/* Whether this process may have memory from @node. */
bool gmi_numa_has_node(unsigned node);
/* mbind(2) of memory that is not populated yet. */
int gmi_numa_bind(void *start, size_t bytes, enum gm_numa_policy policy, const struct gmi_nodes *nodes);

#endif
