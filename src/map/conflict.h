/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* When two regions can't stand in one map, and the sentence that says so. */
#ifndef GMI_CONFLICT_H
#define GMI_CONFLICT_H

#include <stdbool.h>

#include "region/region.h"

/* Order by file, then offset; regions without a known file come last. */
int gmi_region_compare_files(const struct gm_region *a, const struct gm_region *b);
/* Whether both show some byte of one file. */
bool gmi_region_shares_bytes(const struct gm_region *a, const struct gm_region *b);

/* All return -EEXIST. @there stands already, @region was to join it. */
int gmi_region_overlap_error(const struct gm_region *region, const struct gm_region *there, struct gm_error *error);
int gmi_region_name_error(const struct gm_region *region, const struct gm_region *there, struct gm_error *error);
int gmi_region_alias_error(const struct gm_region *region, const struct gm_region *there, struct gm_error *error);

#endif
