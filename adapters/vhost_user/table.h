/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The table of the front-end's memory: what is there, what is to be there, and where a user address stands. Pure: regions are numbers
 * here, and what is mapped for one is a pointer that is only carried along.
 *
 * Invariants of a table: no two entries have a guest address or a user address in common, so either leads to one entry at most;
 * at most VU_SLOTS_MAX entries.
 */
#ifndef VU_TABLE_H
#define VU_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "message.h"

#define VU_SLOTS_MAX 509
/* Guest memory is mapped in pages of at least so many bytes, and logged in such. */
#define VU_PAGE_BYTES 4096

/* Which file: two descriptors of one file are told from two of different ones. */
struct vu_file {
	uint64_t device, inode;
};

struct vu_entry {
	struct vu_region region;
	struct vu_file file;
	void *ram;   /* what is mapped for it; NULL: not yet */
	uint32_t fd; /* where @ram is NULL: which of the message's descriptors is its file */
};

struct vu_table {
	uint32_t count;
	struct vu_entry entries[VU_SLOTS_MAX];
};

/* A change. What @next has of @ram stays as it is; what it has without is to be mapped; @removed are to go. */
struct vu_plan {
	struct vu_table next;
	uint32_t removed_count;
	void *removed[VU_SLOTS_MAX];
};

/*
 * Each makes a plan from what is there. Return: 0, or a negative error number with *@ret_reason:
 *	-EINVAL		a region that is not made of pages; overlap, of guest or of user addresses
 *	-ENOSPC		more than VU_SLOTS_MAX
 *	-ENOENT		no such region is there
 */
int vu_plan_set(const struct vu_table *now, const struct vu_region *regions, const struct vu_file *files,
		uint32_t count, struct vu_plan *ret_plan, const char **ret_reason);
int vu_plan_add(const struct vu_table *now, const struct vu_region *region, const struct vu_file *file,
		struct vu_plan *ret_plan, const char **ret_reason);
/* Matched by guest address, user address and size. */
int vu_plan_remove(const struct vu_table *now, const struct vu_region *region, struct vu_plan *ret_plan,
		   const char **ret_reason);

/**
 * vu_translate - the guest address of a range of user addresses
 * @bytes: at least 1
 * @ret_settled: whether all of it stands in entries that are mapped already
 *
 * Return: 0; -EFAULT when a part of it is nowhere, or when it is not contiguous in guest addresses, or wraps.
 */
int vu_translate(const struct vu_table *table, uint64_t uva, uint64_t bytes, uint64_t *ret_gpa, bool *ret_settled);

#endif
