/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The sorted set of regions inside a map: a persistent B+tree of wide nodes, keyed by the regions' first addresses.
 *
 * Nodes of a published map never change. An update copies the nodes on its path (a few) and shares the rest with the maps
 * before it. No node is counted: a node lives from the map that it was made for (born) to the last map before the one that
 * replaced it (died), and the space knows which maps are still there. So sharing costs nothing, neither when a path is
 * copied nor when a map goes.
 *
 * Invariants: a node has 1 to GMI_NODE_SLOTS entries; first[i] is the first address of the lowest region below slot[i], and
 * UINT64_MAX behind the last entry, so that a search need not know how many there are; group[i] is first[8 * (i + 1)],
 * where the next 8 begin, so that a search takes two looks at 8 of them, each a cache line; all leaves are at height 0;
 * the tree of an empty map is NULL.
 */
#ifndef GMI_TREE_H
#define GMI_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "region/region.h"

#define GMI_NODE_SLOTS 64

struct gmi_node {
	uint64_t group[8]; /* the last: UINT64_MAX */
	uint64_t first[GMI_NODE_SLOTS];
	void *before; /* slot[-1], for an address below all: the first child; NULL in a leaf */
	void *slot[GMI_NODE_SLOTS];
	uint16_t count;
	uint16_t height;            /* 0: slots are regions; else nodes */
	uint16_t dropped;           /* made and dropped again by the same builder */
	uint64_t born;              /* generation of the first map that has it */
	uint64_t died;              /* generation of the first map that has it no more */
	struct gmi_node *made_next; /* of the builder, until published */
	struct gmi_node *dead_next; /* of the builder's superseded nodes, then of a map's dead nodes */
};

/* A place in a tree: behind @rank entries of @leaf. */
struct gmi_place {
	const struct gmi_node *leaf;
	uint64_t rank;
};

/* A tree in the making. Plain data of one thread. */
struct gmi_builder {
	uint64_t generation; /* of the map in the making */
	struct gmi_node *root;
	size_t count;                /* regions */
	struct gmi_node *made;       /* nodes of this generation */
	struct gmi_node *superseded; /* nodes of older maps that the new one does without */
};

/* Starts from the tree of a map (root, count), which stays as it is. */
void gmi_builder_begin(struct gmi_builder *builder, uint64_t generation, struct gmi_node *root, size_t count);
/* The region overlaps none in the tree. Return: 0; -ENOMEM, after which only gmi_builder_abort() may follow. */
int gmi_builder_insert(struct gmi_builder *builder, struct gm_region *region);
/* The region is in the tree. Return: as insert. */
int gmi_builder_remove(struct gmi_builder *builder, const struct gm_region *region);
/* The tree is done: its nodes are immutable from here. Returns the superseded nodes, chained by dead_next, their died set. */
struct gmi_node *gmi_builder_finish(struct gmi_builder *builder);
/* Frees what was made. */
void gmi_builder_abort(struct gmi_builder *builder);

/* Frees all nodes of a tree that shares none. Regions are not touched. */
void gmi_tree_free(struct gmi_node *root);

/* The place behind all regions with first addresses <= address. There has to be a root. */
struct gmi_place gmi_tree_seek(const struct gmi_node *root, uint64_t address);
/* The region with the highest first address <= address (the only one that can hold it); NULL when there is none. */
struct gm_region *gmi_tree_floor(const struct gmi_node *root, uint64_t address);
/* The region with the lowest first address > address; NULL when there is none. */
struct gm_region *gmi_tree_above(const struct gmi_node *root, uint64_t address);

/* Walks all invariants. For tests and assertions. */
bool gmi_tree_is_sound(const struct gmi_node *root, size_t count);

#endif
