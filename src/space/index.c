/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#include "space/index.h"

#include <string.h>

#include "base/base.h"
#include "map/conflict.h"

static struct gmi_tree_links *links(const struct gmi_index *index, const struct gm_region *region)
{
	return (struct gmi_tree_links *)((char *)(uintptr_t)region + index->links);
}

static int compare_names(const struct gm_region *a, const struct gm_region *b)
{
	return strcmp(a->name, b->name);
}

void gmi_index_init_names(struct gmi_index *index)
{
	*index = (struct gmi_index){ NULL, offsetof(struct gm_region, by_name), compare_names };
}

void gmi_index_init_files(struct gmi_index *index)
{
	*index = (struct gmi_index){ NULL, offsetof(struct gm_region, by_file), gmi_region_compare_files };
}

/* Mixes the bits of an address (the finalizer of splitmix64): nobody who chooses names or offsets chooses priorities. */
static uint32_t priority_of(const struct gm_region *region)
{
	uint64_t x = (uint64_t)(uintptr_t)region;

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (uint32_t)(x >> 32);
}

/* Splits a tree into those below @region and those above. */
static void split(const struct gmi_index *index, struct gm_region *tree, const struct gm_region *region,
		  struct gm_region **ret_below, struct gm_region **ret_above)
{
	while (tree != NULL) {
		if (index->compare(tree, region) < 0) {
			*ret_below = tree;
			ret_below = &links(index, tree)->right;
			tree = *ret_below;
		} else {
			*ret_above = tree;
			ret_above = &links(index, tree)->left;
			tree = *ret_above;
		}
	}
	*ret_below = NULL;
	*ret_above = NULL;
}

void gmi_index_add(struct gmi_index *index, struct gm_region *region)
{
	struct gmi_tree_links *mine = links(index, region);
	struct gm_region **place = &index->root;

	mine->priority = priority_of(region);
	while (*place != NULL && links(index, *place)->priority >= mine->priority) {
		struct gmi_tree_links *there = links(index, *place);

		place = index->compare(region, *place) < 0 ? &there->left : &there->right;
	}
	split(index, *place, region, &mine->left, &mine->right);
	mine->linked = true;
	*place = region;
}

void gmi_index_remove(struct gmi_index *index, struct gm_region *region)
{
	struct gmi_tree_links *mine = links(index, region);
	struct gm_region **place = &index->root, *left = mine->left, *right = mine->right;

	if (!mine->linked)
		return;
	while (*place != region) {
		struct gmi_tree_links *there = links(index, *place);

		place = index->compare(region, *place) < 0 ? &there->left : &there->right;
	}
	/* Joins what hung below it: all of left is below all of right. */
	while (left != NULL && right != NULL) {
		if (links(index, left)->priority >= links(index, right)->priority) {
			*place = left;
			place = &links(index, left)->right;
			left = *place;
		} else {
			*place = right;
			place = &links(index, right)->left;
			right = *place;
		}
	}
	*place = left != NULL ? left : right;
	*mine = (struct gmi_tree_links){ 0 };
}

struct gm_region *gmi_index_find_name(const struct gmi_index *index, const char *name)
{
	struct gm_region *region = index->root;
	int order;

	while (region != NULL) {
		order = strcmp(name, region->name);
		if (order == 0)
			return region;
		region = order < 0 ? links(index, region)->left : links(index, region)->right;
	}
	return NULL;
}

struct gm_region *gmi_index_find_alias(const struct gmi_index *index, const struct gm_region *region)
{
	struct gm_region *there = index->root;

	/* Those in the index share no bytes among themselves, so order by offset is order by last byte too. */
	while (there != NULL) {
		if (gmi_region_shares_bytes(there, region))
			return there;
		there = index->compare(region, there) < 0 ? links(index, there)->left : links(index, there)->right;
	}
	return NULL;
}
