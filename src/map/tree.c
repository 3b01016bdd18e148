/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The persistent B+tree: see tree.h. Start reading at gmi_builder_insert(); the search for an address is in search.h. A builder owns the nodes of
 * its generation and may change them in place; any other node is copied by own() before it is changed.
 */
#include "map/tree.h"

#include <string.h>

#include "map/search.h"
#include "sys/memory.h"

/* A node with fewer entries is merged with a neighbour where both fit into MERGED entries: room for inserts to come. */
#define MERGE_BELOW (GMI_NODE_SLOTS / 4)
#define MERGED_MAX  (GMI_NODE_SLOTS * 3 / 4)

void gmi_builder_begin(struct gmi_builder *builder, uint64_t generation, struct gmi_node *root, size_t count)
{
	*builder = (struct gmi_builder){ .generation = generation, .root = root, .count = count };
}

/* Its entries are the caller's to fill in. */
static struct gmi_node *make(struct gmi_builder *builder, unsigned height)
{
	struct gmi_node *node = gmi_alloc_line(sizeof(*node));

	if (node == NULL)
		return NULL;
	node->born = builder->generation;
	node->height = height;
	node->made_next = builder->made;
	builder->made = node;
	return node;
}

/* After a change of entries: what is derived from them. */
static void derive(struct gmi_node *node)
{
	unsigned i;

	for (i = 0; i < 7; i++)
		node->group[i] = node->first[8 * (i + 1)];
	node->before = node->height > 0 ? node->slot[0] : NULL;
}

/* One without entries. */
static struct gmi_node *make_empty(struct gmi_builder *builder, unsigned height)
{
	struct gmi_node *node = make(builder, height);

	if (node != NULL)
		memset(node, 0xff, offsetof(struct gmi_node, before));
	return node;
}

/* The tree in the making does without this node. */
static void drop(struct gmi_builder *builder, struct gmi_node *node)
{
	if (node->born == builder->generation) {
		node->dropped = 1;
		return;
	}
	node->died = builder->generation;
	node->dead_next = builder->superseded;
	builder->superseded = node;
}

/* The node itself if it is ours to change, else a copy that takes its place; NULL without memory. */
static struct gmi_node *own(struct gmi_builder *builder, struct gmi_node *node)
{
	struct gmi_node *copy;

	if (node->born == builder->generation)
		return node;
	copy = make(builder, node->height);
	if (copy == NULL)
		return NULL;
	copy->count = node->count;
	/* All of them: copies of a known size are short. */
	memcpy(copy->group, node->group, sizeof(node->group));
	memcpy(copy->first, node->first, sizeof(node->first));
	memcpy(copy->slot, node->slot, sizeof(node->slot));
	copy->before = node->before;
	drop(builder, node);
	return copy;
}

static void put(struct gmi_node *node, unsigned index, uint64_t first, void *slot)
{
	unsigned behind = node->count - index;

	memmove(&node->first[index + 1], &node->first[index], behind * sizeof(node->first[0]));
	memmove(&node->slot[index + 1], &node->slot[index], behind * sizeof(node->slot[0]));
	node->first[index] = first;
	node->slot[index] = slot;
	node->count++;
	derive(node);
}

static void take(struct gmi_node *node, unsigned index)
{
	unsigned behind = node->count - index - 1;

	memmove(&node->first[index], &node->first[index + 1], behind * sizeof(node->first[0]));
	memmove(&node->slot[index], &node->slot[index + 1], behind * sizeof(node->slot[0]));
	node->count--;
	node->first[node->count] = UINT64_MAX;
	derive(node);
}

/* Moves the entries from @from on to the end of @to, which has room. */
static void move_tail(struct gmi_node *to, struct gmi_node *node, unsigned from)
{
	unsigned moved = node->count - from;

	memcpy(&to->first[to->count], &node->first[from], moved * sizeof(node->first[0]));
	memcpy(&to->slot[to->count], &node->slot[from], moved * sizeof(node->slot[0]));
	to->count += moved;
	node->count = from;
	memset(&node->first[from], 0xff, moved * sizeof(node->first[0]));
	derive(to);
	derive(node);
}

/*
 * Puts an entry into an owned node. A full one is split: the upper part goes into *ret_right. An entry behind all others
 * gets a node of its own, so that regions added in ascending order leave full nodes behind.
 */
static int put_or_split(struct gmi_builder *builder, struct gmi_node *node, unsigned index, uint64_t first, void *slot,
			struct gmi_node **ret_right)
{
	struct gmi_node *right;
	unsigned cut = index == GMI_NODE_SLOTS ? GMI_NODE_SLOTS : GMI_NODE_SLOTS / 2;

	if (node->count < GMI_NODE_SLOTS) {
		put(node, index, first, slot);
		return 0;
	}
	right = make_empty(builder, node->height);
	if (right == NULL)
		return -ENOMEM;
	move_tail(right, node, cut);
	if (index > cut || right->count == 0)
		put(right, index - cut, first, slot);
	else
		put(node, index, first, slot);
	*ret_right = right;
	return 0;
}

static int insert_below(struct gmi_builder *builder, struct gmi_node **node, struct gm_region *region,
			struct gmi_node **ret_right)
{
	uint64_t first = region->range.first.value;
	struct gmi_node *mine = own(builder, *node), *child, *right = NULL;
	unsigned index;
	int r;

	if (mine == NULL)
		return -ENOMEM;
	*node = mine;
	index = gmi_rank(mine, first);
	if (mine->height == 0)
		return put_or_split(builder, mine, index, first, region, ret_right);
	index = index > 0 ? index - 1 : 0;
	child = mine->slot[index];
	r = insert_below(builder, &child, region, &right);
	mine->slot[index] = child;
	if (r < 0)
		return r;
	mine->first[index] = child->first[0];
	derive(mine);
	return right ? put_or_split(builder, mine, index + 1, right->first[0], right, ret_right) : 0;
}

int gmi_builder_insert(struct gmi_builder *builder, struct gm_region *region)
{
	struct gmi_node *right = NULL, *root;
	int r;

	if (builder->root == NULL) {
		builder->root = make_empty(builder, 0);
		if (builder->root == NULL)
			return -ENOMEM;
		put(builder->root, 0, region->range.first.value, region);
		builder->count++;
		return 0;
	}
	r = insert_below(builder, &builder->root, region, &right);
	if (r < 0)
		return r;
	builder->count++;
	if (right == NULL)
		return 0;
	root = make_empty(builder, builder->root->height + 1);
	if (root == NULL)
		return -ENOMEM;
	put(root, 0, builder->root->first[0], builder->root);
	put(root, 1, right->first[0], right);
	builder->root = root;
	return 0;
}

/* Merges the small child at @index with a neighbour where the two fit into one. */
static int merge(struct gmi_builder *builder, struct gmi_node *node, unsigned index)
{
	struct gmi_node *left, *right;

	if (index + 1 == node->count)
		index--;
	left = node->slot[index];
	right = node->slot[index + 1];
	if (left->count + right->count > MERGED_MAX)
		return 0;
	left = own(builder, left);
	if (left == NULL)
		return -ENOMEM;
	node->slot[index] = left;
	derive(node);
	memcpy(&left->first[left->count], right->first, right->count * sizeof(right->first[0]));
	memcpy(&left->slot[left->count], right->slot, right->count * sizeof(right->slot[0]));
	left->count += right->count;
	derive(left);
	drop(builder, right);
	take(node, index + 1);
	return 0;
}

static int remove_below(struct gmi_builder *builder, struct gmi_node **node, uint64_t first)
{
	struct gmi_node *mine = own(builder, *node), *child;
	unsigned index;
	int r;

	if (mine == NULL)
		return -ENOMEM;
	*node = mine;
	index = gmi_rank(mine, first) - 1;
	if (mine->height == 0) {
		take(mine, index);
		return 0;
	}
	child = mine->slot[index];
	r = remove_below(builder, &child, first);
	mine->slot[index] = child;
	if (r < 0)
		return r;
	if (child->count == 0) {
		drop(builder, child);
		take(mine, index);
		return 0;
	}
	mine->first[index] = child->first[0];
	derive(mine);
	return child->count < MERGE_BELOW && mine->count > 1 ? merge(builder, mine, index) : 0;
}

int gmi_builder_remove(struct gmi_builder *builder, const struct gm_region *region)
{
	struct gmi_node *root;
	int r = remove_below(builder, &builder->root, region->range.first.value);

	if (r < 0)
		return r;
	builder->count--;
	while (builder->root->count == 1 && builder->root->height > 0) {
		root = builder->root;
		builder->root = root->slot[0];
		drop(builder, root);
	}
	if (builder->root->count == 0) {
		drop(builder, builder->root);
		builder->root = NULL;
	}
	return 0;
}

/* Frees the nodes that were made: all of them, or only those that were dropped again. */
static void free_made(struct gmi_builder *builder, bool all)
{
	struct gmi_node *node, *next;

	for (node = builder->made; node != NULL; node = next) {
		next = node->made_next;
		node->made_next = NULL;
		if (all || node->dropped)
			gmi_free_line(node);
	}
	builder->made = NULL;
}

struct gmi_node *gmi_builder_finish(struct gmi_builder *builder)
{
	free_made(builder, false);
	return builder->superseded;
}

void gmi_builder_abort(struct gmi_builder *builder)
{
	free_made(builder, true);
	builder->root = NULL;
	builder->superseded = NULL;
}

void gmi_tree_free(struct gmi_node *root)
{
	unsigned i;

	if (root == NULL)
		return;
	for (i = 0; root->height > 0 && i < root->count; i++)
		gmi_tree_free(root->slot[i]);
	gmi_free_line(root);
}

struct gmi_place gmi_tree_seek(const struct gmi_node *root, uint64_t address)
{
	const struct gmi_node *node = root;

	while (node->height > 0)
		node = gmi_slot_before(node, gmi_rank(node, address));
	return (struct gmi_place){ node, gmi_rank(node, address) };
}

struct gm_region *gmi_tree_floor(const struct gmi_node *root, uint64_t address)
{
	return root != NULL ? gmi_place_region(gmi_tree_seek(root, address)) : NULL;
}

struct gm_region *gmi_tree_above(const struct gmi_node *root, uint64_t address)
{
	const struct gmi_node *node = root, *behind = NULL;
	unsigned index;

	if (node == NULL)
		return NULL;
	for (; node->height > 0; node = node->slot[index]) {
		index = gmi_rank(node, address);
		if (index < node->count)
			behind = node->slot[index];
		index = index > 0 ? index - 1 : 0;
	}
	index = gmi_rank(node, address);
	if (index < node->count)
		return node->slot[index];
	for (; behind != NULL && behind->height > 0; behind = behind->slot[0])
		;
	return behind != NULL ? behind->slot[0] : NULL;
}

/* Regions below @node; -1 when something is out of order. *previous_last runs along. */
static int64_t check(const struct gmi_node *node, const struct gm_region **previous)
{
	int64_t below, count = 0;
	unsigned i;

	if (node->count == 0 || node->count > GMI_NODE_SLOTS)
		return -1;
	for (i = node->count; i < GMI_NODE_SLOTS; i++) {
		if (node->first[i] != UINT64_MAX)
			return -1;
	}
	for (i = 0; i < 8; i++) {
		if (node->group[i] != (i < 7 ? node->first[8 * (i + 1)] : UINT64_MAX))
			return -1;
	}
	if (node->before != (node->height > 0 ? node->slot[0] : NULL))
		return -1;
	for (i = 0; i < node->count; i++) {
		if (node->height > 0) {
			const struct gmi_node *child = node->slot[i];

			below = child->height + 1 == node->height && child->first[0] == node->first[i]
					? check(child, previous)
					: -1;
			if (below < 0)
				return -1;
			count += below;
			continue;
		}
		if (((const struct gm_region *)node->slot[i])->range.first.value != node->first[i])
			return -1;
		if (*previous != NULL && (*previous)->range.last.value >= node->first[i])
			return -1;
		*previous = node->slot[i];
		count++;
	}
	return count;
}

bool gmi_tree_is_sound(const struct gmi_node *root, size_t count)
{
	const struct gm_region *previous = NULL;

	return root == NULL ? count == 0 : check(root, &previous) == (int64_t)count;
}
