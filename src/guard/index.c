/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Guarded mappings by host address: a treap whose links are in them, so that adding can't fail. They don't overlap, for they are mapped
 * at once. Under the guard's lock, in the handler too: no recursion, no allocation.
 */
#include "guard/guard.h"

/* Mixes the bits of an address (the finalizer of splitmix64): mappings come in order, and their order must not be that of the treap. */
static uint32_t priority_of(const struct gmi_guarded *guarded)
{
	uint64_t x = (uint64_t)(uintptr_t)guarded->hva;

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (uint32_t)(x >> 32);
}

/* Splits a tree into those below @hva and those above. */
static void split(struct gmi_guarded *tree, const unsigned char *hva, struct gmi_guarded **ret_below,
		  struct gmi_guarded **ret_above)
{
	while (tree != NULL) {
		if (tree->hva < hva) {
			*ret_below = tree;
			ret_below = &tree->right;
			tree = *ret_below;
		} else {
			*ret_above = tree;
			ret_above = &tree->left;
			tree = *ret_above;
		}
	}
	*ret_below = NULL;
	*ret_above = NULL;
}

void gmi_guarded_index_add(struct gmi_guarded **root, struct gmi_guarded *guarded)
{
	struct gmi_guarded **place = root;

	guarded->priority = priority_of(guarded);
	while (*place != NULL && (*place)->priority >= guarded->priority)
		place = guarded->hva < (*place)->hva ? &(*place)->left : &(*place)->right;
	split(*place, guarded->hva, &guarded->left, &guarded->right);
	guarded->linked = true;
	*place = guarded;
}

void gmi_guarded_index_remove(struct gmi_guarded **root, struct gmi_guarded *guarded)
{
	struct gmi_guarded **place = root, *left = guarded->left, *right = guarded->right;

	if (!guarded->linked)
		return;
	guarded->linked = false;
	while (*place != guarded)
		place = guarded->hva < (*place)->hva ? &(*place)->left : &(*place)->right;
	/* Joins what hung below it: all of left is below all of right. */
	while (left != NULL && right != NULL) {
		if (left->priority >= right->priority) {
			*place = left;
			place = &left->right;
			left = *place;
		} else {
			*place = right;
			place = &right->left;
			right = *place;
		}
	}
	*place = left != NULL ? left : right;
}

struct gmi_guarded *gmi_guarded_index_find(struct gmi_guarded *root, const unsigned char *hva)
{
	while (root != NULL) {
		if (hva < root->hva)
			root = root->left;
		else if ((uint64_t)(hva - root->hva) < root->bytes)
			return root;
		else
			root = root->right;
	}
	return NULL;
}
