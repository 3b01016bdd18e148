/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Layouts (provider side): the rules for what may stand where in a machine's physical address space, and the plan that
 * lays a machine's memory out under them. A layout is a plain value; nothing here allocates, blocks or keeps state
 * but where it says so. Context of all functions: any thread.
 *
 * The rules, by kind:
 *	ram		inside @memory, at most at @usable_last, outside every hole
 *	device		inside @device, or inside one hole
 *	dax		where ram may stand or where a device may stand, and at most at @usable_last
 *	firmware	inside @physical
 *	reserved	inside @physical
 *
 * @memory and @device may overlap: there both may stand. A hole is the other way round: cut out of @memory, and given to
 * devices. Where not even those may stand (addresses that the host's bus keeps for itself), a reserved region in the
 * hole says so.
 */
#ifndef GUESTMEM_LAYOUT_H
#define GUESTMEM_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#include <guestmem/address.h>
#include <guestmem/error.h>
#include <guestmem/region.h>

GM_BEGIN_DECLS

/* Holes of a layout: real machines have one to three. */
#define GM_HOLES_MAX 16
/* Guest NUMA nodes of a plan: ACPI and the device tree have no such limit; Linux's largest is GM_NODES_MAX. */
#define GM_PLAN_NODES_MAX 256
/* vCPUs that one plan speaks of: KVM's largest KVM_MAX_VCPUS. */
#define GM_PLAN_VCPUS_MAX 4096
/* A piece of memory below a hole that would be smaller than this is not made: it would cost a slot and a page-table
 * split for next to nothing. */
#define GM_PLAN_PIECE_MIN (128 * GM_MIB)

/**
 * struct gm_hole - a part of @memory where no memory may stand, but devices may
 * @range: the addresses
 * @name: for messages, may be NULL; points to storage that outlives the layout
 */
struct gm_hole {
	struct gm_range range;
	const char *name;
};

/**
 * struct gm_layout - bounds and holes
 * @physical: all that the guest's processors can address
 * @memory: where memory may stand; inside @physical
 * @device: where registers may stand, other than in holes; inside @physical
 * @usable_last: the last address that the host can back: see gm_host_physical_bits()
 * @holes: inside @memory, in ascending order, not overlapping
 * @holes_count: how many of them are set
 */
struct gm_layout {
	struct gm_range physical;
	struct gm_range memory;
	struct gm_range device;
	struct gm_gpa usable_last;
	struct gm_hole holes[GM_HOLES_MAX];
	size_t holes_count;
};

/*
 * Width in bits of the guest's physical addresses that this host's processor can map, 32 to 52; 36 (the least that 64-bit
 * processors have) when unknown. Context: on x86 reads /proc/cpuinfo, each time.
 */
unsigned gm_host_physical_bits(void);

/**
 * gm_layout_x86_64_pc - a PC: memory from 0, a hole [3 GiB, 4 GiB) for PCI, flash, APICs; memory again from 4 GiB
 * gm_layout_aarch64_virt - QEMU's "virt": a hole for devices below 1 GiB, memory from there
 * @physical_bits: width of guest physical addresses, 32 to 52; 0 for gm_host_physical_bits()
 *
 * Both keep the upper half of the physical addresses for 64-bit device windows and dax; a PC of 32 bits keeps the upper
 * quarter, where the hole would be. @usable_last is the host's last address, whatever @physical_bits is.
 * Context: as gm_host_physical_bits(). Return: 0; -EINVAL for @physical_bits.
 */
GM_CHECKED int gm_layout_x86_64_pc(unsigned physical_bits, struct gm_layout *ret_layout);
GM_CHECKED int gm_layout_aarch64_virt(unsigned physical_bits, struct gm_layout *ret_layout);
/* Everything may stand everywhere. */
void gm_layout_open(struct gm_layout *ret_layout);

/* Whether a layout makes sense. Return: 0; -EINVAL, with the first contradiction in @error. */
GM_CHECKED int gm_layout_check(const struct gm_layout *layout, struct gm_error *error);

/**
 * gm_layout_admits - may a region of @kind stand at @range?
 * @layout: one that gm_layout_check() is content with
 * @name: of the region, for the sentence; may be NULL
 *
 * Return: 0; -EINVAL for a kind or range that is none; -ERANGE, with the rule that forbids it in @error.
 */
GM_CHECKED int gm_layout_admits(const struct gm_layout *layout, enum gm_kind kind, struct gm_range range,
				const char *name, struct gm_error *error);

/**
 * struct gm_node - one guest NUMA node, as asked for
 * @bytes: its memory, a multiple of GM_PAGE_BYTES; 0 for a node without memory
 * @guest_node: the guest's number for it, below GM_NODES_MAX; unique in a plan
 * @host_node: host node that should back it; -1 for any
 * @vcpus: the numbers of the virtual CPUs in it, below GM_PLAN_VCPUS_MAX; each CPU is in one node only, and once
 * @vcpus_count: how many
 */
struct gm_node {
	uint64_t bytes;
	int guest_node;
	int host_node;
	const unsigned *vcpus;
	size_t vcpus_count;
};

/* A piece of memory of a plan: it becomes one region. */
struct gm_piece {
	struct gm_range range;
	int guest_node;
	int host_node;
};

struct gm_plan;

/**
 * gm_plan_new - lay out the memory of nodes, in the order given, from the first address that memory may have
 * @layout: the rules; copied
 * @nodes, @nodes_count: 1 to GM_PLAN_NODES_MAX, at least one of them with memory; copied, the vCPU lists too
 *
 * A node that meets a hole goes on behind it. Where less than GM_PLAN_PIECE_MIN of a node would stand before the hole, and
 * not all of the node fits there, the node starts behind the hole; where less than that would be left over behind the hole
 * it stands there none the less, for memory that was asked for is never dropped. Nodes never go back to what was left
 * free. Pieces begin and end at multiples of GM_PAGE_BYTES, also where the layout's bounds do not.
 *
 * Context: allocates. Return: 0; -EINVAL (the sentence says which node); -ENOSPC when @memory or the host's usable end
 * leave no room; -ENOMEM.
 */
GM_CHECKED int gm_plan_new(const struct gm_layout *layout, const struct gm_node *nodes, size_t nodes_count,
			   struct gm_plan **ret_plan, struct gm_error *error);
/* Accepts NULL. */
void gm_plan_free(struct gm_plan *plan);

/* Pieces, in ascending order; @ret_pieces may be NULL. Lifetime: the plan's. */
size_t gm_plan_pieces(const struct gm_plan *plan, const struct gm_piece **ret_pieces);
/* The pieces of one guest node: stores up to @max of them, in ascending order, and returns how many there are. */
size_t gm_plan_node_pieces(const struct gm_plan *plan, int guest_node, struct gm_piece *pieces, size_t max);
/* The vCPUs of one guest node; 0 for a node that the plan does not have; @ret_vcpus may be NULL.
 * Lifetime: the plan's. */
size_t gm_plan_node_vcpus(const struct gm_plan *plan, int guest_node, const unsigned **ret_vcpus);
/* The guest node of a vCPU or of an address; -1 when it is in none. */
int gm_plan_vcpu_node(const struct gm_plan *plan, unsigned vcpu);
int gm_plan_address_node(const struct gm_plan *plan, struct gm_gpa address);
/* The last address of the plan's memory: where hot-plugged memory may begin behind. */
struct gm_gpa gm_plan_last(const struct gm_plan *plan);

/**
 * gm_plan_regions - make the plan's regions
 * @template_: what they have in common; name, first, bytes, tag and NUMA node are filled in. The name becomes the template's
 *	name (NULL: "ram") and the piece's number, "ram0"; the tag becomes the guest node. A piece with a host node is on
 *	that node alone, by the template's policy, GM_NUMA_BIND for GM_NUMA_DEFAULT. Pieces of a file (FILE, FD) follow each
 *	other in it, from the template's offset on
 * @regions: receives one reference each, in ascending order
 * @max: room; gm_plan_pieces() says how many
 *
 * All or none, and @regions untouched when none. Context: may block.
 * Return: 0; -ENOSPC when @max is too small; -EINVAL as well for a template that is not of kind ram, or whose source is
 * POINTER or CALLBACKS (those can't be cut into pieces); otherwise as gm_region_new().
 */
GM_CHECKED int gm_plan_regions(const struct gm_plan *plan, const struct gm_region_opts *template_,
			       struct gm_region **regions, size_t max, struct gm_error *error);

GM_END_DECLS

#endif
