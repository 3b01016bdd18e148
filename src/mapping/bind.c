/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The NUMA policy of a mapping. Strict: the constructor fails. Best effort: the outcome is kept for
 * gm_region_numa_result().
 */
#include <string.h>

#include "base/base.h"
#include "mapping/mapping.h"

/*
 * mbind(2) takes any set that has one usable node and silently drops the others, so its success proves nothing: each
 * node is looked up first.
 */
static int first_absent(const struct gmi_nodes *nodes)
{
	for (unsigned node = 0; node < GM_NODES_MAX; node++) {
		if (gmi_nodes_has(nodes, node) && !gmi_numa_has_node(node))
			return (int)node;
	}
	return -1;
}

static int apply(const struct gmi_mapping *mapping, const struct gm_region_opts *opts, const struct gmi_nodes *nodes,
		 struct gm_error *error)
{
	int absent, r;

	r = gmi_numa_available();
	if (r != 0)
		return gmi_region_error(opts, error, r, "this kernel has no NUMA policies");
	absent = first_absent(nodes);
	if (absent >= 0)
		return gmi_region_error(opts, error, -ENODEV, "no memory to be had from host NUMA node %d", absent);
	if (!mapping->policed)
		return gmi_region_error(opts, error, -EOPNOTSUPP,
					"a shared file of this file system heeds no NUMA policy");
	r = gmi_numa_bind(mapping->hva, mapping->mapped_bytes, opts->numa_policy, nodes);
	if (r != 0)
		return gmi_region_error(opts, error, r, "binding to host NUMA nodes: %s", strerror(-r));
	return 0;
}

int gmi_bind(struct gmi_mapping *mapping, const struct gm_region_opts *opts, const struct gmi_nodes *nodes,
	     struct gm_error *error)
{
	bool strict = (opts->flags & GM_REGION_NUMA_STRICT) != 0;

	if (opts->numa_policy == GM_NUMA_DEFAULT)
		return 0;
	/* A call that succeeds leaves the caller's sentence alone. */
	mapping->numa_result = apply(mapping, opts, nodes, strict ? error : NULL);
	return strict ? mapping->numa_result : 0;
}
