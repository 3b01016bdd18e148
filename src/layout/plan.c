/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Plans: the memory of a machine's NUMA nodes, laid out under a layout. A plan is built once and never changed, so it needs no
 * lock. Start reading at gm_plan_new().
 *
 * Invariants: pieces ascend and do not overlap; a node's pieces follow each other in the array, for nodes are placed one after
 * the other and never go back; each crossing of a hole makes one piece more at most, so nodes + GM_HOLES_MAX are enough.
 */
#include <guestmem/layout.h>

#include <string.h>

#include "base/base.h"
#include "layout/layout.h"
#include "sys/memory.h"

#define NO_NODE (-1)

/* One node of a plan: what was asked for, and where its pieces are in the plan's array. */
struct planned_node {
	int guest_node;
	int host_node;
	size_t vcpus_first, vcpus_count;
	size_t pieces_first, pieces_count;
};

struct gm_plan {
	struct planned_node *nodes;
	size_t nodes_count;
	struct gm_piece *pieces;
	size_t pieces_count;
	unsigned vcpus[GM_PLAN_VCPUS_MAX]; /* the nodes' lists, one after the other */
	size_t vcpus_count;
	short vcpu_nodes[GM_PLAN_VCPUS_MAX]; /* guest node by number; NO_NODE */
};

/* How far the placing has come: the next free address, and the gap between holes that it is in. */
struct cursor {
	struct gm_range gaps[GM_HOLES_MAX + 1];
	size_t gaps_count, gap;
	uint64_t next;
};

static void enter_gap(struct cursor *cursor, size_t gap)
{
	cursor->gap = gap;
	if (gap < cursor->gaps_count)
		cursor->next = cursor->gaps[gap].first.value;
}

static void add_piece(struct gm_plan *plan, struct planned_node *node, uint64_t first, uint64_t last)
{
	struct gm_piece *piece = &plan->pieces[plan->pieces_count++];

	piece->range.first = gm_gpa(first);
	piece->range.last = gm_gpa(last);
	piece->guest_node = node->guest_node;
	piece->host_node = node->host_node;
	node->pieces_count++;
}

/* Places one node; false when there is no room. Compares "bytes - 1", for a gap may have 2^64 bytes. */
static bool place_node(struct gm_plan *plan, struct planned_node *node, uint64_t bytes, struct cursor *cursor)
{
	node->pieces_first = plan->pieces_count;
	while (bytes > 0) {
		uint64_t last, room;

		if (cursor->gap == cursor->gaps_count)
			return false;
		last = cursor->gaps[cursor->gap].last.value;
		if (bytes - 1 < last - cursor->next) {
			add_piece(plan, node, cursor->next, cursor->next + (bytes - 1));
			cursor->next += bytes;
			return true;
		}
		/* It takes all of the gap, or not even that is enough. bytes - 1 >= last - next: room can't wrap to 0. */
		room = last - cursor->next + 1;
		if (room >= GM_PLAN_PIECE_MIN || room == bytes) {
			add_piece(plan, node, cursor->next, last);
			bytes -= room;
		}
		enter_gap(cursor, cursor->gap + 1);
	}
	return true;
}

static int check_node_vcpus(const struct gm_plan *plan, const struct gm_node *node, struct gm_error *error)
{
	if (node->vcpus_count > GM_PLAN_VCPUS_MAX - plan->vcpus_count)
		return gmi_error(error, -EINVAL, "plan: node %d brings the vcpus to more than %d", node->guest_node,
				 GM_PLAN_VCPUS_MAX);
	if (node->vcpus_count > 0 && node->vcpus == NULL)
		return gmi_error(error, -EINVAL, "plan: node %d has %zu vcpus, but no list of them", node->guest_node,
				 node->vcpus_count);
	return 0;
}

static int add_vcpus(struct gm_plan *plan, const struct gm_node *node, struct planned_node *planned,
		     struct gm_error *error)
{
	size_t i;
	int r = check_node_vcpus(plan, node, error);

	if (r != 0)
		return r;
	planned->vcpus_first = plan->vcpus_count;
	planned->vcpus_count = node->vcpus_count;
	for (i = 0; i < node->vcpus_count; i++) {
		unsigned vcpu = node->vcpus[i];

		if (vcpu >= GM_PLAN_VCPUS_MAX)
			return gmi_error(error, -EINVAL, "plan: vcpu %u of node %d is not below %d", vcpu,
					 node->guest_node, GM_PLAN_VCPUS_MAX);
		if (plan->vcpu_nodes[vcpu] != NO_NODE)
			return gmi_error(error, -EINVAL, "plan: vcpu %u of node %d is in node %d already", vcpu,
					 node->guest_node, plan->vcpu_nodes[vcpu]);
		plan->vcpu_nodes[vcpu] = (short)node->guest_node;
		plan->vcpus[plan->vcpus_count++] = vcpu;
	}
	return 0;
}

static const struct planned_node *find_node(const struct gm_plan *plan, int guest_node)
{
	size_t i;

	for (i = 0; i < plan->nodes_count; i++) {
		if (plan->nodes[i].guest_node == guest_node)
			return &plan->nodes[i];
	}
	return NULL;
}

static int check_node(const struct gm_plan *plan, const struct gm_node *node, struct gm_error *error)
{
	if (node->guest_node < 0 || node->guest_node >= GM_NODES_MAX)
		return gmi_error(error, -EINVAL,
				 "plan: node %zu of the list has the number %d, which is not from 0 to %d",
				 plan->nodes_count, node->guest_node, GM_NODES_MAX - 1);
	if (find_node(plan, node->guest_node) != NULL)
		return gmi_error(error, -EINVAL, "plan: node %d comes twice", node->guest_node);
	if (node->host_node < -1 || node->host_node >= GM_NODES_MAX)
		return gmi_error(error, -EINVAL,
				 "plan: node %d asks for host node %d, which is not from 0 to %d, or -1",
				 node->guest_node, node->host_node, GM_NODES_MAX - 1);
	if (node->bytes % GM_PAGE_BYTES != 0)
		return gmi_error(error, -EINVAL, "plan: the 0x%llx bytes of node %d are no multiple of %d",
				 (unsigned long long)node->bytes, node->guest_node, GM_PAGE_BYTES);
	return 0;
}

static int add_node(struct gm_plan *plan, const struct gm_node *node, struct cursor *cursor, struct gm_error *error)
{
	struct planned_node *planned = &plan->nodes[plan->nodes_count];
	int r = check_node(plan, node, error);

	if (r != 0)
		return r;
	planned->guest_node = node->guest_node;
	planned->host_node = node->host_node;
	r = add_vcpus(plan, node, planned, error);
	if (r != 0)
		return r;
	if (!place_node(plan, planned, node->bytes, cursor))
		return gmi_error(error, -ENOSPC,
				 "plan: the 0x%llx bytes of node %d do not fit into what the layout leaves for memory",
				 (unsigned long long)node->bytes, node->guest_node);
	plan->nodes_count++;
	return 0;
}

static struct gm_plan *plan_alloc(size_t nodes_max)
{
	struct gm_plan *plan = gmi_alloc(sizeof(*plan));
	size_t i;

	if (plan == NULL)
		return NULL;
	plan->nodes = gmi_alloc_array(nodes_max, sizeof(*plan->nodes));
	plan->pieces = gmi_alloc_array(nodes_max + GM_HOLES_MAX, sizeof(*plan->pieces));
	if (plan->nodes == NULL || plan->pieces == NULL) {
		gm_plan_free(plan);
		return NULL;
	}
	for (i = 0; i < GMI_COUNT(plan->vcpu_nodes); i++)
		plan->vcpu_nodes[i] = NO_NODE;
	return plan;
}

static int plan_fill(struct gm_plan *plan, const struct gm_layout *layout, const struct gm_node *nodes,
		     size_t nodes_count, struct gm_error *error)
{
	struct cursor cursor;
	size_t i;
	int r;

	cursor.gaps_count = gmi_layout_gaps(layout, cursor.gaps);
	enter_gap(&cursor, 0);
	for (i = 0; i < nodes_count; i++) {
		r = add_node(plan, &nodes[i], &cursor, error);
		if (r != 0)
			return r;
	}
	/* Without it there would be no answer to gm_plan_last(). */
	if (plan->pieces_count == 0)
		return gmi_error(error, -EINVAL, "plan: none of the %zu nodes has memory", nodes_count);
	return 0;
}

GMI_PUBLIC int gm_plan_new(const struct gm_layout *layout, const struct gm_node *nodes, size_t nodes_count,
			   struct gm_plan **ret_plan, struct gm_error *error)
{
	struct gm_plan *plan;
	int r = gm_layout_check(layout, error);

	if (r != 0)
		return r;
	if (nodes_count == 0 || nodes_count > GM_PLAN_NODES_MAX)
		return gmi_error(error, -EINVAL, "plan: %zu nodes, which is not from 1 to %d", nodes_count,
				 GM_PLAN_NODES_MAX);
	plan = plan_alloc(nodes_count);
	if (plan == NULL)
		return gmi_error(error, -ENOMEM, "plan: no memory for %zu nodes", nodes_count);
	r = plan_fill(plan, layout, nodes, nodes_count, error);
	if (r != 0) {
		gm_plan_free(plan);
		return r;
	}
	*ret_plan = plan;
	return 0;
}

GMI_PUBLIC void gm_plan_free(struct gm_plan *plan)
{
	if (plan == NULL)
		return;
	gmi_free(plan->nodes);
	gmi_free(plan->pieces);
	gmi_free(plan);
}

GMI_PUBLIC size_t gm_plan_pieces(const struct gm_plan *plan, const struct gm_piece **ret_pieces)
{
	if (ret_pieces != NULL)
		*ret_pieces = plan->pieces;
	return plan->pieces_count;
}

GMI_PUBLIC size_t gm_plan_node_pieces(const struct gm_plan *plan, int guest_node, struct gm_piece *pieces, size_t max)
{
	const struct planned_node *node = find_node(plan, guest_node);
	size_t count;

	if (node == NULL)
		return 0;
	count = GMI_MIN(node->pieces_count, max);
	if (count > 0)
		memcpy(pieces, plan->pieces + node->pieces_first, count * sizeof(*pieces));
	return node->pieces_count;
}

GMI_PUBLIC size_t gm_plan_node_vcpus(const struct gm_plan *plan, int guest_node, const unsigned **ret_vcpus)
{
	const struct planned_node *node = find_node(plan, guest_node);

	if (node == NULL)
		return 0;
	if (ret_vcpus != NULL)
		*ret_vcpus = plan->vcpus + node->vcpus_first;
	return node->vcpus_count;
}

GMI_PUBLIC int gm_plan_vcpu_node(const struct gm_plan *plan, unsigned vcpu)
{
	return vcpu < GM_PLAN_VCPUS_MAX ? plan->vcpu_nodes[vcpu] : NO_NODE;
}

GMI_PUBLIC int gm_plan_address_node(const struct gm_plan *plan, struct gm_gpa address)
{
	size_t low = 0, high = plan->pieces_count;

	/* The first piece that reaches to @address or beyond. */
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (plan->pieces[middle].range.last.value < address.value)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == plan->pieces_count || !gm_range_contains(plan->pieces[low].range, address))
		return NO_NODE;
	return plan->pieces[low].guest_node;
}

GMI_PUBLIC struct gm_gpa gm_plan_last(const struct gm_plan *plan)
{
	return plan->pieces[plan->pieces_count - 1].range.last;
}
