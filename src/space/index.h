/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Indexes of the regions that stand in a space: by name, and by the bytes of the file that they show. A treap (a binary
 * search tree kept balanced by random priorities) whose links are in the regions: so neither adding nor removing allocates,
 * and an update that fails can always be taken back. Guarded by the space's mutex.
 */
#ifndef GMI_INDEX_H
#define GMI_INDEX_H

#include <stddef.h>

#include "region/region.h"

struct gmi_index {
	struct gm_region *root;
	size_t links; /* offset of its struct gmi_tree_links in struct gm_region */
	int (*compare)(const struct gm_region *a, const struct gm_region *b);
};

void gmi_index_init_names(struct gmi_index *index);
void gmi_index_init_files(struct gmi_index *index);

/* No region that compares equal is there. */
void gmi_index_add(struct gmi_index *index, struct gm_region *region);
void gmi_index_remove(struct gmi_index *index, struct gm_region *region);
/* The region of that name; NULL when there is none. Index of names only. */
struct gm_region *gmi_index_find_name(const struct gmi_index *index, const char *name);
/* A region that shows a byte that @region shows too; NULL when there is none. Index of files only. */
struct gm_region *gmi_index_find_alias(const struct gmi_index *index, const struct gm_region *region);

#endif
