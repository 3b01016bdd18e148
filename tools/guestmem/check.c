/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * How the entries of a machine get along: with the layout, with each other, with the files and NUMA nodes of this host.
 * The library checks all of this again when a machine is built. It is done here as well so that a description can be checked
 * without its memory, and so that a complaint can name the line. Sorts the entries; otherwise changes nothing but the sizes
 * that were left to files.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "machine.h"
#include "text.h"

#define RANGE_FORMAT      "[0x%llx, 0x%llx]"
#define RANGE_ARGS(range) (unsigned long long)(range).first.value, (unsigned long long)(range).last.value

uint64_t entry_bytes(const struct entry *entry)
{
	return gm_range_bytes(entry->range);
}

struct gm_region_opts entry_options(const struct entry *entry)
{
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = entry->name,
		.kind = entry->kind,
		.source = entry->source,
		.first = entry->range.first,
		.bytes = entry_bytes(entry),
		.prot = entry->prot,
		.flags = entry->flags,
		.path = entry->path,
		.fd_offset = entry->offset,
		.huge = entry->huge,
		.huge_bytes = entry->huge_bytes,
		.dirty_page_bytes = entry->dirty_page_bytes,
		.tag = entry->guest_node < 0 ? 0 : (uint64_t)entry->guest_node,
	};

	if (entry->host_node >= 0 && entry->source != GM_SOURCE_NONE) {
		opts.numa_policy = GM_NUMA_BIND;
		opts.numa_nodes = &entry->host_node;
		opts.numa_nodes_count = 1;
	} else {
		opts.flags &= ~GM_REGION_NUMA_STRICT;
	}
	return opts;
}

const struct machine_node *machine_find_node(const struct machine *machine, int guest)
{
	for (size_t i = 0; i < machine->nodes_count; i++)
		if (machine->nodes[i].guest == guest)
			return &machine->nodes[i];
	return NULL;
}

bool machine_has(const struct machine *machine, enum gm_kind kind)
{
	for (size_t i = 0; i < machine->entries_count; i++)
		if (machine->entries[i].kind == kind && machine->entries[i].origin != ORIGIN_SLOT)
			return true;
	return false;
}

uint64_t machine_bytes(const struct machine *machine, enum gm_kind kind)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < machine->entries_count; i++)
		if (machine->entries[i].kind == kind && machine->entries[i].origin != ORIGIN_SLOT)
			bytes += entry_bytes(&machine->entries[i]);
	return bytes;
}

uint64_t machine_slot_bytes(const struct machine *machine)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < machine->entries_count; i++)
		if (machine->entries[i].origin == ORIGIN_SLOT)
			bytes += entry_bytes(&machine->entries[i]);
	return bytes;
}

size_t machine_vcpus(const struct machine *machine)
{
	size_t count = 0;

	for (size_t i = 0; i < machine->nodes_count; i++)
		count += machine->nodes[i].vcpus_count;
	return count;
}

static int entry_fail(const struct machine *machine, const struct entry *entry, const char *key,
		      struct failure *failure, const char *sentence)
{
	char path[PLACE_PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s%s%s", entry->where, key ? "." : "", key ? key : "");
	return document_fail(machine->document, path, failure, "%s", sentence);
}

/*
 * Which file it is, whatever it is called here: the library tells files apart in the same way. Copy-on-write shows a copy, and
 * what the memory devices (major number 1: /dev/zero) give to each mapping is its own.
 */
static void identify_file(struct entry *entry, const struct stat *stat_)
{
	bool device = S_ISCHR(stat_->st_mode);

	if ((entry->flags & GM_REGION_COW) || (device && major(stat_->st_rdev) == 1))
		return;
	entry->file_known = true;
	entry->file[0] = device ? stat_->st_rdev : stat_->st_dev;
	entry->file[1] = device ? 0 : stat_->st_ino;
}

/* The file of a "file" entry: there, regular or mappable, long enough. Settles a size that was left to it. */
static int check_file(struct machine *machine, struct entry *entry, struct failure *failure)
{
	uint64_t bytes = entry_bytes(entry);
	char text[MACHINE_PATH_MAX + 256];
	struct stat stat_;

	if (stat(entry->path, &stat_) < 0) {
		snprintf(text, sizeof(text), "file %s: %s", entry->path, strerror(errno));
		return entry_fail(machine, entry, "path", failure, text);
	}
	identify_file(entry, &stat_);
	if (!S_ISREG(stat_.st_mode)) {
		/* A character device such as /dev/dax0.0 has no size to check. */
		if (S_ISCHR(stat_.st_mode) && bytes > 1)
			return 0;
		snprintf(text, sizeof(text), "%s is not a regular file", entry->path);
		return entry_fail(machine, entry, "path", failure, text);
	}
	if (bytes == 1 && (uint64_t)stat_.st_size > entry->offset) {
		bytes = (uint64_t)stat_.st_size - entry->offset;
		if (bytes % GM_PAGE_BYTES == 0 && gm_range_make(entry->range.first, bytes, &entry->range) < 0) {
			snprintf(text, sizeof(text), "%s has 0x%llx bytes, which passes the end of the address space",
				 entry->path, (unsigned long long)bytes);
			return entry_fail(machine, entry, "path", failure, text);
		}
		if (bytes % GM_PAGE_BYTES) {
			snprintf(text, sizeof(text), "%s has 0x%llx bytes there, which is not a multiple of 4 KiB",
				 entry->path, (unsigned long long)bytes);
			return entry_fail(machine, entry, "path", failure, text);
		}
	}
	if (!entry_log_fits(entry))
		return entry_fail(machine, entry, NULL, failure, "its dirty log " LOG_TOO_LONG);
	if (entry->offset > (uint64_t)stat_.st_size || bytes > (uint64_t)stat_.st_size - entry->offset) {
		snprintf(text, sizeof(text), "file %s has 0x%llx bytes, too few for 0x%llx from 0x%llx on", entry->path,
			 (unsigned long long)stat_.st_size, (unsigned long long)bytes,
			 (unsigned long long)entry->offset);
		return entry_fail(machine, entry, "path", failure, text);
	}
	if (!(entry->flags & GM_REGION_COW) && (entry->prot & GM_WRITE) && access(entry->path, W_OK) < 0) {
		snprintf(text, sizeof(text), "file %s can't be written: %s", entry->path, strerror(errno));
		return entry_fail(machine, entry, "path", failure, text);
	}
	return 0;
}

static int check_files(struct machine *machine, struct failure *failure)
{
	for (size_t i = 0; i < machine->entries_count; i++)
		if (machine->entries[i].source == GM_SOURCE_FILE &&
		    check_file(machine, &machine->entries[i], failure) < 0)
			return -1;
	return 0;
}

static int check_layout(const struct machine *machine, struct failure *failure)
{
	for (size_t i = 0; i < machine->entries_count; i++) {
		const struct entry *entry = &machine->entries[i];
		struct gm_error error;

		if (gm_layout_admits(&machine->layout, entry->kind, entry->range, entry->name, &error) < 0)
			return entry_fail(machine, entry, NULL, failure, error.text);
	}
	return 0;
}

static int by_address(const void *a, const void *b)
{
	const struct entry *one = a, *other = b;

	return gm_gpa_compare(one->range.first, other->range.first);
}

/* After sorting by first address an overlap, if there is any, is between neighbours. */
static int check_overlaps(const struct machine *machine, struct failure *failure)
{
	for (size_t i = 1; i < machine->entries_count; i++) {
		const struct entry *low = &machine->entries[i - 1], *high = &machine->entries[i];
		char text[512];

		if (!gm_range_intersects(low->range, high->range))
			continue;
		snprintf(text, sizeof(text),
			 "%s region '%s' " RANGE_FORMAT " overlaps %s region '%s' " RANGE_FORMAT " of %s",
			 gm_kind_name(high->kind), high->name, RANGE_ARGS(high->range), gm_kind_name(low->kind),
			 low->name, RANGE_ARGS(low->range), low->where);
		return entry_fail(machine, high, NULL, failure, text);
	}
	return 0;
}

static int by_name(const void *a, const void *b)
{
	const struct entry *const *one = a, *const *other = b;

	return strcmp((*one)->name, (*other)->name);
}

static int check_names(const struct machine *machine, struct failure *failure)
{
	const struct entry **entries = calloc(machine->entries_count, sizeof(*entries));
	int r = 0;

	if (!entries)
		return fail(failure, STATUS_MISSING, "no memory for the description");
	for (size_t i = 0; i < machine->entries_count; i++)
		entries[i] = &machine->entries[i];
	qsort(entries, machine->entries_count, sizeof(*entries), by_name);
	for (size_t i = 1; i < machine->entries_count && r == 0; i++) {
		char text[512];

		if (strcmp(entries[i - 1]->name, entries[i]->name) != 0)
			continue;
		snprintf(text, sizeof(text), "name '%s' is that of %s already", entries[i]->name,
			 entries[i - 1]->where);
		r = entry_fail(machine, entries[i], NULL, failure, text);
	}
	free(entries);
	return r;
}

static int compare(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static int by_file(const void *a, const void *b)
{
	const struct entry *one = *(const struct entry *const *)a, *other = *(const struct entry *const *)b;
	int r = compare(one->file[0], other->file[0]);

	r = r ? r : compare(one->file[1], other->file[1]);
	r = r ? r : compare(one->offset, other->offset);
	/* Of equals it is the later one that is complained about. */
	return r ? r : compare(one->range.first.value, other->range.first.value);
}

static bool shows_same_bytes(const struct entry *low, const struct entry *high)
{
	return low->file[0] == high->file[0] && low->file[1] == high->file[1] &&
	       high->offset - low->offset < entry_bytes(low);
}

/* Of two that show the same bytes one has to allow it. So those that do not allow it must not share any, as in the library. */
static int check_aliases(const struct machine *machine, struct failure *failure)
{
	const struct entry **entries = calloc(machine->entries_count, sizeof(*entries));
	size_t count = 0;
	int r = 0;

	if (!entries)
		return fail(failure, STATUS_MISSING, "no memory for the description");
	for (size_t i = 0; i < machine->entries_count; i++)
		if (machine->entries[i].file_known && !(machine->entries[i].flags & GM_REGION_ALIAS))
			entries[count++] = &machine->entries[i];
	qsort(entries, count, sizeof(*entries), by_file);
	for (size_t i = 1; i < count && r == 0; i++) {
		char text[MACHINE_PATH_MAX + 256];

		if (!shows_same_bytes(entries[i - 1], entries[i]))
			continue;
		snprintf(text, sizeof(text),
			 "shows bytes of %s from 0x%llx on, which '%s' of %s shows too; one of them has to say that it "
			 "is an alias",
			 entries[i]->path, (unsigned long long)entries[i]->offset, entries[i - 1]->name,
			 entries[i - 1]->where);
		r = entry_fail(machine, entries[i], NULL, failure, text);
	}
	free(entries);
	return r;
}

/* Host nodes that this host does not have: refused where memory.numa is "strict", noted otherwise. */
static int check_host_nodes(struct machine *machine, struct failure *failure)
{
	for (size_t i = 0; i < machine->entries_count; i++) {
		const struct entry *entry = &machine->entries[i];
		char path[64];

		if (entry->host_node < 0 || entry->source == GM_SOURCE_NONE)
			continue;
		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d", entry->host_node);
		if (access(path, F_OK) == 0 || (entry->host_node == 0 && access("/sys/devices/system/node", F_OK) != 0))
			continue;
		if (entry->flags & GM_REGION_NUMA_STRICT) {
			char text[256];

			snprintf(text, sizeof(text),
				 "'%s' is bound to host NUMA node %d, which this host does not have", entry->name,
				 entry->host_node);
			entry_fail(machine, entry, NULL, failure, text);
			failure->status = STATUS_MISSING;
			return -1;
		}
		if (!machine->note[0])
			snprintf(machine->note, sizeof(machine->note),
				 "this host has no NUMA node %d: '%s' will take memory from wherever there is some",
				 entry->host_node, entry->name);
	}
	return 0;
}

int machine_check(struct machine *machine, struct failure *failure)
{
	if (check_files(machine, failure) < 0 || check_layout(machine, failure) < 0)
		return -1;
	qsort(machine->entries, machine->entries_count, sizeof(*machine->entries), by_address);
	if (check_overlaps(machine, failure) < 0 || check_names(machine, failure) < 0 ||
	    check_aliases(machine, failure) < 0)
		return -1;
	return check_host_nodes(machine, failure);
}
