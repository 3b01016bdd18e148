/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* A plan's regions: one for each piece, all of them or none. No state, no locks. */
#include <guestmem/layout.h>

#include <stdio.h>
#include <string.h>

#include <guestmem/region.h>

#include "base/base.h"

#define PIECES_MAX (GM_PLAN_NODES_MAX + GM_HOLES_MAX)

static int check_template(const struct gm_region_opts *opts, struct gm_error *error)
{
	if (opts->kind != GM_RAM)
		return gmi_error(error, -EINVAL, "plan: the regions of a plan are ram, and not of kind %d",
				 (int)opts->kind);
	/*
	 * Each piece would need a pointer, a release, or an opaque of its own. With a shared one, releasing what was made of a
	 * plan that failed later would give the caller's memory back behind its back.
	 */
	if (opts->source == GM_SOURCE_POINTER || opts->source == GM_SOURCE_CALLBACKS)
		return gmi_error(error, -EINVAL,
				 "plan: memory of a pointer or behind callbacks can't be cut into pieces");
	return 0;
}

static int make_region(const struct gm_region_opts *template_, const struct gm_piece *piece, size_t index,
		       uint64_t done, struct gm_region **ret_region, struct gm_error *error)
{
	struct gm_region_opts opts = *template_;
	const char *prefix = opts.name != NULL ? opts.name : "ram";
	char name[GM_NAME_MAX];

	if (snprintf(name, sizeof(name), "%s%zu", prefix, index) >= (int)sizeof(name))
		return gmi_error(error, -ENAMETOOLONG,
				 "plan: the name '%.64s' and a number are longer than %d characters", prefix,
				 GM_NAME_MAX - 1);
	opts.name = name;
	opts.first = piece->range.first;
	opts.bytes = gm_range_bytes(piece->range);
	opts.tag = (uint64_t)piece->guest_node;
	if (piece->host_node >= 0) {
		opts.numa_nodes = &piece->host_node;
		opts.numa_nodes_count = 1;
		if (opts.numa_policy == GM_NUMA_DEFAULT)
			opts.numa_policy = GM_NUMA_BIND;
	}
	if (opts.source == GM_SOURCE_FILE || opts.source == GM_SOURCE_FD) {
		if (__builtin_add_overflow(opts.fd_offset, done, &opts.fd_offset))
			return gmi_error(error, -GM_EWRAP, "plan: piece %zu would stand past 2^64 in its file", index);
	}
	return gm_region_new(&opts, ret_region, error);
}

GMI_PUBLIC int gm_plan_regions(const struct gm_plan *plan, const struct gm_region_opts *template_,
			       struct gm_region **regions, size_t max, struct gm_error *error)
{
	struct gm_region *made[PIECES_MAX];
	struct gm_region_opts opts;
	const struct gm_piece *pieces;
	size_t count = gm_plan_pieces(plan, &pieces), i;
	uint64_t done = 0;
	int r = gmi_copy_options(&opts, sizeof(opts), template_);

	if (r != 0)
		return gmi_error(error, r, "plan: the template is %s",
				 r == -E2BIG ? "of a newer library and sets what this one does not know"
					     : "too short for its own size");
	opts.size = sizeof(opts);
	r = check_template(&opts, error);
	if (r != 0)
		return r;
	if (count > max)
		return gmi_error(error, -ENOSPC, "plan: room for %zu regions, but there are %zu pieces", max, count);
	for (i = 0; i < count; i++) {
		r = make_region(&opts, &pieces[i], i, done, &made[i], error);
		if (r != 0)
			break;
		/* Pieces do not overlap, and a node has less than 2^64 bytes: the sum of those before the last can not wrap. */
		done += gm_range_bytes(pieces[i].range);
	}
	if (r != 0) {
		while (i-- > 0)
			gm_region_unref(made[i]);
		return r;
	}
	memcpy(regions, made, count * sizeof(made[0]));
	return 0;
}
