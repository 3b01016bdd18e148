/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#include "table.h"

#include <errno.h>
#include <stddef.h>

/* Ranges of at least a byte that do not wrap. */
static bool overlap(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
	return a <= b + (b_bytes - 1) && b <= a + (a_bytes - 1);
}

static const char *check_pages(const struct vu_region *region)
{
	if (region->gpa % VU_PAGE_BYTES != 0 || region->bytes % VU_PAGE_BYTES != 0 ||
	    region->offset % VU_PAGE_BYTES != 0)
		return "a region does not consist of whole pages of 4 KiB";
	return NULL;
}

static int append(struct vu_table *table, const struct vu_entry *entry, const char **ret_reason)
{
	const struct vu_region *region = &entry->region;

	if (table->count == VU_SLOTS_MAX) {
		*ret_reason = "there are as many regions already as can be";
		return -ENOSPC;
	}
	for (uint32_t i = 0; i < table->count; i++) {
		const struct vu_region *other = &table->entries[i].region;

		if (overlap(region->gpa, region->bytes, other->gpa, other->bytes)) {
			*ret_reason = "two regions have guest addresses in common";
			return -EINVAL;
		}
		if (overlap(region->uva, region->bytes, other->uva, other->bytes)) {
			*ret_reason = "two regions have user addresses in common";
			return -EINVAL;
		}
	}
	table->entries[table->count++] = *entry;
	return 0;
}

static bool is_same(const struct vu_entry *a, const struct vu_entry *b)
{
	return a->region.gpa == b->region.gpa && a->region.bytes == b->region.bytes && a->region.uva == b->region.uva &&
	       a->region.offset == b->region.offset && a->file.device == b->file.device &&
	       a->file.inode == b->file.inode;
}

static const struct vu_entry *find_same(const struct vu_table *table, const struct vu_entry *wanted)
{
	for (uint32_t i = 0; i < table->count; i++) {
		if (is_same(&table->entries[i], wanted))
			return &table->entries[i];
	}
	return NULL;
}

/* Entries of a table differ in their addresses, so the same in both means the same ram. */
static void list_removed(const struct vu_table *now, struct vu_plan *plan)
{
	plan->removed_count = 0;
	for (uint32_t i = 0; i < now->count; i++) {
		if (find_same(&plan->next, &now->entries[i]) == NULL)
			plan->removed[plan->removed_count++] = now->entries[i].ram;
	}
}

static int append_new(struct vu_table *table, const struct vu_region *region, const struct vu_file *file, uint32_t fd,
		      const struct vu_entry *same, const char **ret_reason)
{
	struct vu_entry entry = { *region, *file, same != NULL ? same->ram : NULL, fd };

	*ret_reason = check_pages(region);
	return *ret_reason != NULL ? -EINVAL : append(table, &entry, ret_reason);
}

int vu_plan_set(const struct vu_table *now, const struct vu_region *regions, const struct vu_file *files,
		uint32_t count, struct vu_plan *ret_plan, const char **ret_reason)
{
	int r = 0;

	ret_plan->next.count = 0;
	for (uint32_t i = 0; i < count && r == 0; i++) {
		struct vu_entry wanted = { regions[i], files[i], NULL, i };

		r = append_new(&ret_plan->next, &regions[i], &files[i], i, find_same(now, &wanted), ret_reason);
	}
	if (r == 0)
		list_removed(now, ret_plan);
	return r;
}

int vu_plan_add(const struct vu_table *now, const struct vu_region *region, const struct vu_file *file,
		struct vu_plan *ret_plan, const char **ret_reason)
{
	ret_plan->next = *now;
	ret_plan->removed_count = 0;
	return append_new(&ret_plan->next, region, file, 0, NULL, ret_reason);
}

int vu_plan_remove(const struct vu_table *now, const struct vu_region *region, struct vu_plan *ret_plan,
		   const char **ret_reason)
{
	struct vu_table *next = &ret_plan->next;

	next->count = 0;
	ret_plan->removed_count = 0;
	for (uint32_t i = 0; i < now->count; i++) {
		const struct vu_entry *entry = &now->entries[i];

		if (entry->region.gpa == region->gpa && entry->region.uva == region->uva &&
		    entry->region.bytes == region->bytes)
			ret_plan->removed[ret_plan->removed_count++] = entry->ram;
		else
			next->entries[next->count++] = *entry;
	}
	if (ret_plan->removed_count == 0) {
		*ret_reason = "there is no such region";
		return -ENOENT;
	}
	return 0;
}

static const struct vu_entry *find_uva(const struct vu_table *table, uint64_t uva)
{
	for (uint32_t i = 0; i < table->count; i++) {
		const struct vu_region *region = &table->entries[i].region;

		if (uva >= region->uva && uva - region->uva < region->bytes)
			return &table->entries[i];
	}
	return NULL;
}

int vu_translate(const struct vu_table *table, uint64_t uva, uint64_t bytes, uint64_t *ret_gpa, bool *ret_settled)
{
	uint64_t first = 0, done = 0;
	bool settled = true;

	if (bytes - 1 > UINT64_MAX - uva)
		return -EFAULT;
	/* Neighbours in user addresses may be neighbours in guest addresses: then it is one range all the same. */
	while (done < bytes) {
		const struct vu_entry *entry = find_uva(table, uva + done);
		uint64_t offset, gpa, room;

		if (entry == NULL)
			return -EFAULT;
		offset = uva + done - entry->region.uva;
		gpa = entry->region.gpa + offset;
		room = entry->region.bytes - offset;
		if (done == 0)
			first = gpa;
		else if (done > UINT64_MAX - first || gpa != first + done)
			return -EFAULT;
		settled = settled && entry->ram != NULL;
		done = room < bytes - done ? done + room : bytes;
	}
	*ret_gpa = first;
	*ret_settled = settled;
	return 0;
}
