/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* mbind(2) and libnuma's view of the machine. Keeps no state of its own. */
#include "sys/numa.h"

#include <errno.h>
#include <numa.h>
#include <numaif.h>

#include "sys/fault.h"

#define WORD_BITS (8 * sizeof(unsigned long))

void gmi_nodes_add(struct gmi_nodes *nodes, unsigned node)
{
	nodes->words[node / WORD_BITS] |= 1ul << node % WORD_BITS;
}

bool gmi_nodes_has(const struct gmi_nodes *nodes, unsigned node)
{
	return node < GM_NODES_MAX && (nodes->words[node / WORD_BITS] >> node % WORD_BITS & 1) != 0;
}

int gmi_nodes_lowest(const struct gmi_nodes *nodes)
{
	for (unsigned i = 0; i < GMI_NODES_WORDS; i++) {
		if (nodes->words[i] != 0)
			return (int)(i * WORD_BITS) + __builtin_ctzl(nodes->words[i]);
	}
	return -1;
}

int gmi_numa_available(void)
{
	if (GMI_FAULT())
		return -ENOSYS;
	return numa_available() < 0 ? -ENOSYS : 0;
}

bool gmi_numa_has_node(unsigned node)
{
	return numa_bitmask_isbitset(numa_all_nodes_ptr, node) != 0;
}

static int kernel_policy(enum gm_numa_policy policy)
{
	switch (policy) {
	case GM_NUMA_BIND:
		return MPOL_BIND;
	case GM_NUMA_PREFERRED:
		return MPOL_PREFERRED;
	case GM_NUMA_INTERLEAVE:
		return MPOL_INTERLEAVE;
	case GM_NUMA_DEFAULT:
		break;
	}
	return MPOL_DEFAULT;
}

int gmi_numa_bind(void *start, size_t bytes, enum gm_numa_policy policy, const struct gmi_nodes *nodes)
{
	int fault = GMI_FAULT();

	if (fault)
		return -fault;
	/* The kernel counts one bit less than it is told. */
	return mbind(start, bytes, kernel_policy(policy), nodes->words, GM_NODES_MAX + 1, 0) ? -errno : 0;
}
