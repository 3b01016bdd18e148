/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * A machine description: what docs/machine.md says a file may hold, as checked values. A machine that machine_load() returns
 * can be built: everything stands where its layout admits it, nothing overlaps, all files are there and long enough.
 * Immutable once loaded.
 */
#ifndef TOOL_MACHINE_H
#define TOOL_MACHINE_H

#include <guestmem/guestmem.h>

#include "document.h"
#include "failure.h"

/* Entries of one description: more than any guest has memory slots in a test bench; bounds what a file can make us allocate. */
#define MACHINE_ENTRIES_MAX 65536
/* Longest path of a backing file, the zero included. */
#define MACHINE_PATH_MAX 4096

enum origin {
	ORIGIN_NODE,   /* a piece of a node's memory: the plan placed it */
	ORIGIN_REGION, /* listed under "regions" */
	ORIGIN_SLOT,   /* listed under "hotplug": empty until something is plugged */
};

/* One thing that stands, or can stand, in the address space. Nothing in it says "default" any more. */
struct entry {
	char name[GM_NAME_MAX];
	char where[PLACE_PATH_MAX]; /* in the description: "regions[2]" */
	enum origin origin;
	enum gm_kind kind;
	enum gm_source source;
	struct gm_range range;
	unsigned prot;
	unsigned flags;
	enum gm_huge huge;
	uint64_t huge_bytes;
	uint64_t dirty_page_bytes;
	uint64_t offset;
	char *path;       /* owned; NULL for none */
	uint64_t file[2]; /* device and inode of what @path names, where the region shows its very bytes */
	bool file_known;
	int guest_node, host_node; /* -1: none */
};

struct machine_node {
	uint64_t bytes;
	int guest, host; /* host -1: any */
	unsigned *vcpus; /* owned */
	size_t vcpus_count;
};

struct machine {
	struct document *document;
	char title[GM_NAME_MAX];
	const char *layout_name;
	unsigned physical_bits; /* of the layout; 64 for the open one */
	struct gm_layout layout;
	struct machine_node *nodes;
	size_t nodes_count;
	struct entry *entries; /* in ascending order, not overlapping */
	size_t entries_count;
	size_t slots_count;
	char note[256]; /* what is not an error but should be known; "" for none */
};

int machine_load(const char *file, struct machine **ret_machine, struct failure *failure);
void machine_free(struct machine *machine);

/* The options that make an entry's region. Lifetime of what they point to: the entry's. */
struct gm_region_opts entry_options(const struct entry *entry);
uint64_t entry_bytes(const struct entry *entry);
/* Whether entries of a kind stand from the beginning; the sum of their bytes; that of all slots. 0 is 2^64 where there are some. */
bool machine_has(const struct machine *machine, enum gm_kind kind);
uint64_t machine_bytes(const struct machine *machine, enum gm_kind kind);
uint64_t machine_slot_bytes(const struct machine *machine);
size_t machine_vcpus(const struct machine *machine);
const struct machine_node *machine_find_node(const struct machine *machine, int guest);

/* Private to machine.c, entry.c and check.c. */
struct entry_defaults {
	enum gm_source source;
	enum gm_huge huge;
	uint64_t huge_bytes;
	uint64_t dirty_page_bytes;
	unsigned flags;
	const char *path;
};
#define LOG_TOO_LONG "would have too many pages: choose a larger dirty_page"
/* What its size has to be a multiple of, when it has bytes. */
uint64_t entry_unit(const struct entry *entry);
bool entry_log_fits(const struct entry *entry);
int entry_read_defaults(const struct place *place, struct entry_defaults *ret_defaults);
int entry_read_region(const struct machine *machine, const struct place *place, struct entry *ret_entry);
int entry_read_slot(const struct machine *machine, const struct place *place, const struct entry_defaults *defaults,
		    struct entry *ret_entry);
int entry_resolve_path(const struct machine *machine, const char *path, char **ret_path, struct failure *failure);
int machine_check(struct machine *machine, struct failure *failure);

#endif
