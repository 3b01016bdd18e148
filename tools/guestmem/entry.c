/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Entries: one element of "regions" or "hotplug", and the "memory" object that holds what the nodes' memory and the slots
 * have in common. Checked here is what one entry says of itself; how entries get along is in check.c.
 */
#include <stdlib.h>
#include <string.h>

#include "machine.h"

static const char *const huge_names[] = { "default", "transparent", "never", NULL };
static const char *const numa_names[] = { "prefer", "strict", NULL };
static const char *const prot_names[] = { "r", "rw", "rx", "rwx", NULL };
static const unsigned prots[] = { GM_READ, GM_READ | GM_WRITE, GM_READ | GM_EXEC, GM_READ | GM_WRITE | GM_EXEC };

static int read_source(const struct place *place, enum gm_source *source)
{
	const char *name;
	int r = field_text(place, "source", &name);

	if (r <= 0)
		return r;
	if (gm_source_from_name(name, source) < 0)
		return place_fail(place, "source",
				  "\"%.40s\" is no source; anon, memfd, hugeanon, hugememfd, hugetlbfs, file, none are",
				  name);
	if (*source == GM_SOURCE_FD || *source == GM_SOURCE_POINTER || *source == GM_SOURCE_CALLBACKS)
		return place_fail(place, "source", "\"%.40s\" is for programs: a file can't describe it", name);
	return 1;
}

static int read_flag(const struct place *place, const char *key, unsigned flag, unsigned *flags)
{
	bool set = *flags & flag;

	if (field_flag(place, key, &set) < 0)
		return -1;
	*flags = set ? *flags | flag : *flags & ~flag;
	return 0;
}

static int read_dirty_page(const struct place *place, uint64_t *page_bytes)
{
	if (field_bytes(place, "dirty_page", page_bytes) < 0)
		return -1;
	if (*page_bytes && (!gm_is_power_of_2(*page_bytes) || *page_bytes < GM_DIRTY_PAGE_BYTES_MIN ||
			    *page_bytes > GM_DIRTY_PAGE_BYTES_MAX))
		return place_fail(place, "dirty_page", "has to be a power of two from 4K to 1G, or 0 for no log");
	return 0;
}

static int read_huge(const struct place *place, enum gm_huge *huge, uint64_t *huge_bytes)
{
	unsigned choice = *huge;

	if (field_choice(place, "huge", huge_names, &choice) < 0 || field_bytes(place, "huge_bytes", huge_bytes) < 0)
		return -1;
	*huge = (enum gm_huge)choice;
	if (*huge_bytes && (!gm_is_power_of_2(*huge_bytes) || *huge_bytes <= GM_PAGE_BYTES))
		return place_fail(place, "huge_bytes", "has to be a power of two above 4K");
	return 0;
}

static bool takes_huge_bytes(enum gm_source source)
{
	return source == GM_SOURCE_HUGEANON || source == GM_SOURCE_HUGEMEMFD || source == GM_SOURCE_HUGETLBFS;
}

static int check_huge(const struct place *place, enum gm_source source, enum gm_huge huge, uint64_t huge_bytes)
{
	const char *name = gm_source_name(source);

	if (huge_bytes && !takes_huge_bytes(source))
		return place_fail(place, "huge_bytes", "source \"%s\" is not made of huge pages of the pool", name);
	if (huge != GM_HUGE_DEFAULT && source == GM_SOURCE_NONE)
		return place_fail(place, "huge", "is for regions with bytes");
	if (huge != GM_HUGE_DEFAULT && takes_huge_bytes(source))
		return place_fail(place, "huge",
				  "source \"%s\" is made of huge pages of the pool, not of transparent ones", name);
	return 0;
}

/* What the source needs, and what it has no use for. */
static int check_source(const struct place *place, enum gm_source source, const char *path)
{
	const char *name = gm_source_name(source);
	bool takes_path = source == GM_SOURCE_FILE || source == GM_SOURCE_HUGETLBFS;

	if (takes_path && !path)
		return place_fail(place, NULL, "source \"%s\" needs a path", name);
	if (!takes_path && path)
		return place_fail(place, "path", "source \"%s\" has no use for a path", name);
	return 0;
}

int entry_read_defaults(const struct place *place, struct entry_defaults *ret_defaults)
{
	static const char *const keys[] = { "source",   "path",       "huge", "huge_bytes", "prealloc",
					    "dontdump", "dirty_page", "numa", NULL };
	struct entry_defaults defaults = { .source = GM_SOURCE_MEMFD };
	unsigned numa = 0;

	if (place_only(place, keys) < 0 || read_source(place, &defaults.source) < 0 ||
	    field_text(place, "path", &defaults.path) < 0 ||
	    read_huge(place, &defaults.huge, &defaults.huge_bytes) < 0 ||
	    read_flag(place, "prealloc", GM_REGION_PREALLOC, &defaults.flags) < 0 ||
	    read_flag(place, "dontdump", GM_REGION_DONTDUMP, &defaults.flags) < 0 ||
	    read_dirty_page(place, &defaults.dirty_page_bytes) < 0 ||
	    field_choice(place, "numa", numa_names, &numa) < 0)
		return -1;
	if (numa)
		defaults.flags |= GM_REGION_NUMA_STRICT;
	if (defaults.source == GM_SOURCE_NONE || defaults.source == GM_SOURCE_FILE)
		return place_fail(place, "source", "\"%s\" can't be what all nodes' memory comes from",
				  gm_source_name(defaults.source));
	*ret_defaults = defaults;
	if (check_source(place, defaults.source, defaults.path) < 0)
		return -1;
	return check_huge(place, defaults.source, defaults.huge, defaults.huge_bytes);
}

static int read_name(const struct place *place, char name[GM_NAME_MAX])
{
	const char *text;
	int r = field_text(place, "name", &text);

	if (r < 0)
		return r;
	if (r == 0)
		return place_fail(place, NULL, "has no name");
	if (strlen(text) >= GM_NAME_MAX)
		return place_fail(place, "name", "is longer than %d characters", GM_NAME_MAX - 1);
	for (const char *c = text; *c; c++)
		if (*c < ' ' || *c > '~')
			return place_fail(place, "name", "has a character that is not printable ASCII");
	memcpy(name, text, strlen(text) + 1);
	return 0;
}

/* first and bytes; @bytes_optional: absent bytes are 0 and are settled later. */
static int read_range(const struct place *place, bool bytes_optional, uint64_t *ret_first, uint64_t *ret_bytes)
{
	int r = field_bytes(place, "first", ret_first);

	if (r < 0)
		return r;
	if (r == 0)
		return place_fail(place, NULL, "has no first address");
	*ret_bytes = 0;
	r = field_bytes(place, "bytes", ret_bytes);
	if (r < 0)
		return r;
	if (r == 0 && !bytes_optional)
		return place_fail(place, NULL, "has no size in bytes");
	if (r > 0 && *ret_bytes == 0)
		return place_fail(place, "bytes", "is 0; the smallest region has one byte");
	return 0;
}

/* Mapped memory begins at a page; so it does where the size is not known yet. */
static int check_first(const struct place *place, uint64_t first, const struct entry *entry)
{
	if (entry->source != GM_SOURCE_NONE && first % GM_PAGE_BYTES)
		return place_fail(place, "first", "0x%llx is not a multiple of 4 KiB, as memory has to be",
				  (unsigned long long)first);
	return 0;
}

static int set_range(const struct place *place, uint64_t first, uint64_t bytes, struct entry *entry)
{
	uint64_t unit = entry_unit(entry);

	if (gm_range_make(gm_gpa(first), bytes, &entry->range) < 0)
		return place_fail(place, "bytes", "0x%llx bytes from 0x%llx on pass the end of the address space, 2^64",
				  (unsigned long long)bytes, (unsigned long long)first);
	if (entry->source == GM_SOURCE_NONE)
		return 0;
	if (bytes % unit)
		return place_fail(place, "bytes", "0x%llx is not a multiple of 0x%llx, a page",
				  (unsigned long long)bytes, (unsigned long long)unit);
	if (bytes - 1 > UINT64_MAX - entry->offset)
		return place_fail(place, "offset", "0x%llx bytes from there pass 2^64", (unsigned long long)bytes);
	if (!entry_log_fits(entry))
		return place_fail(place, NULL, "its dirty log " LOG_TOO_LONG);
	return check_first(place, first, entry);
}

static int read_node(const struct machine *machine, const struct place *place, struct entry *entry)
{
	const struct machine_node *node;
	int64_t guest = -1;

	if (field_integer(place, "node", 0, GM_NODES_MAX - 1, &guest) < 0)
		return -1;
	entry->guest_node = (int)guest;
	entry->host_node = -1;
	if (guest < 0)
		return 0;
	node = machine_find_node(machine, (int)guest);
	if (!node)
		return place_fail(place, "node", "nodes has no guest node %d", (int)guest);
	entry->host_node = node->host;
	return 0;
}

uint64_t entry_unit(const struct entry *entry)
{
	return entry->huge_bytes > GM_PAGE_BYTES ? entry->huge_bytes : GM_PAGE_BYTES;
}

bool entry_log_fits(const struct entry *entry)
{
	uint64_t page = entry->dirty_page_bytes;

	return page == 0 || (entry->range.last.value - entry->range.first.value) / page < GM_DIRTY_PAGES_MAX;
}

/* What memory says holds for a slot as far as the slot's own source can have it. What the slot says itself has to hold. */
static int read_slot_source(const struct place *place, const struct entry_defaults *defaults, struct entry *entry)
{
	enum gm_huge huge = GM_HUGE_DEFAULT;
	uint64_t huge_bytes = 0;

	entry->source = defaults->source;
	entry->huge = defaults->huge;
	entry->huge_bytes = defaults->huge_bytes;
	if (read_source(place, &entry->source) < 0 || read_huge(place, &huge, &huge_bytes) < 0 ||
	    read_huge(place, &entry->huge, &entry->huge_bytes) < 0)
		return -1;
	if (entry->source == GM_SOURCE_NONE || entry->source == GM_SOURCE_FILE)
		return place_fail(place, "source", "\"%s\" can't be what hot-plugged memory comes from",
				  gm_source_name(entry->source));
	if (entry->source == GM_SOURCE_HUGETLBFS && !defaults->path)
		return place_fail(place, "source", "\"hugetlbfs\" needs the path that memory has");
	if (takes_huge_bytes(entry->source))
		entry->huge = GM_HUGE_DEFAULT;
	else
		entry->huge_bytes = 0;
	return check_huge(place, entry->source, huge, huge_bytes);
}

int entry_read_slot(const struct machine *machine, const struct place *place, const struct entry_defaults *defaults,
		    struct entry *ret_entry)
{
	static const char *const keys[] = { "name", "first",      "bytes",    "node",       "source",
					    "huge", "huge_bytes", "prealloc", "dirty_page", NULL };
	uint64_t first, bytes;

	ret_entry->origin = ORIGIN_SLOT;
	ret_entry->kind = GM_RAM;
	ret_entry->prot = GM_READ | GM_WRITE;
	ret_entry->dirty_page_bytes = defaults->dirty_page_bytes;
	ret_entry->flags = defaults->flags | GM_REGION_HOTPLUG;
	if (place_only(place, keys) < 0 || read_name(place, ret_entry->name) < 0 ||
	    read_slot_source(place, defaults, ret_entry) < 0 ||
	    read_flag(place, "prealloc", GM_REGION_PREALLOC, &ret_entry->flags) < 0 ||
	    read_dirty_page(place, &ret_entry->dirty_page_bytes) < 0 || read_node(machine, place, ret_entry) < 0 ||
	    read_range(place, false, &first, &bytes) < 0)
		return -1;
	if (ret_entry->source == GM_SOURCE_HUGETLBFS &&
	    entry_resolve_path(machine, defaults->path, &ret_entry->path, place->failure) < 0)
		return -1;
	return set_range(place, first, bytes, ret_entry);
}

static enum gm_source default_source(enum gm_kind kind, bool has_path)
{
	switch (kind) {
	case GM_RAM:
	case GM_FIRMWARE:
		return has_path ? GM_SOURCE_FILE : GM_SOURCE_MEMFD;
	case GM_DAX:
		return has_path ? GM_SOURCE_FILE : GM_SOURCE_ANON;
	default:
		return GM_SOURCE_NONE;
	}
}

static int read_kind(const struct place *place, enum gm_kind *ret_kind)
{
	const char *name;
	int r = field_text(place, "kind", &name);

	if (r < 0)
		return r;
	if (r == 0)
		return place_fail(place, NULL, "has no kind");
	if (gm_kind_from_name(name, ret_kind) < 0)
		return place_fail(place, "kind", "\"%.40s\" is none of ram, firmware, device, dax, reserved", name);
	return 0;
}

static int read_prot(const struct place *place, struct entry *entry)
{
	unsigned choice = entry->kind == GM_FIRMWARE ? 0 : 1;

	if (field_choice(place, "prot", prot_names, &choice) < 0)
		return -1;
	entry->prot = prots[choice];
	return 0;
}

static int read_file(const struct machine *machine, const struct place *place, struct entry *entry, const char *path)
{
	if (path && entry_resolve_path(machine, path, &entry->path, place->failure) < 0)
		return -1;
	if (field_bytes(place, "offset", &entry->offset) < 0)
		return -1;
	if (entry->offset && entry->source != GM_SOURCE_FILE)
		return place_fail(place, "offset", "source \"%s\" has no offset", gm_source_name(entry->source));
	if (entry->offset % GM_PAGE_BYTES)
		return place_fail(place, "offset", "is not a multiple of 4 KiB");
	return 0;
}

static int check_kind(const struct place *place, const struct entry *entry)
{
	bool bytes_here = entry->source != GM_SOURCE_NONE;

	if ((entry->kind == GM_DEVICE || entry->kind == GM_RESERVED) && bytes_here)
		return place_fail(place, "source", "a %s region has no bytes: leave the source out",
				  gm_kind_name(entry->kind));
	if (entry->kind != GM_DEVICE && entry->kind != GM_RESERVED && !bytes_here)
		return place_fail(place, "source", "a %s region needs bytes: \"none\" is for device and reserved",
				  gm_kind_name(entry->kind));
	return 0;
}

int entry_read_region(const struct machine *machine, const struct place *place, struct entry *ret_entry)
{
	static const char *const keys[] = { "name",   "kind",  "first",    "bytes",    "source",     "path",
					    "offset", "prot",  "node",     "huge",     "huge_bytes", "dirty_page",
					    "cow",    "alias", "prealloc", "dontdump", NULL };
	uint64_t first, bytes;
	const char *path = NULL;

	ret_entry->origin = ORIGIN_REGION;
	if (place_only(place, keys) < 0 || read_name(place, ret_entry->name) < 0 ||
	    read_kind(place, &ret_entry->kind) < 0 || field_text(place, "path", &path) < 0)
		return -1;
	ret_entry->source = default_source(ret_entry->kind, path);
	if (read_source(place, &ret_entry->source) < 0 || check_kind(place, ret_entry) < 0 ||
	    read_huge(place, &ret_entry->huge, &ret_entry->huge_bytes) < 0 ||
	    check_source(place, ret_entry->source, path) < 0 ||
	    check_huge(place, ret_entry->source, ret_entry->huge, ret_entry->huge_bytes) < 0 ||
	    read_flag(place, "cow", GM_REGION_COW, &ret_entry->flags) < 0 ||
	    read_flag(place, "alias", GM_REGION_ALIAS, &ret_entry->flags) < 0 ||
	    read_flag(place, "prealloc", GM_REGION_PREALLOC, &ret_entry->flags) < 0 ||
	    read_flag(place, "dontdump", GM_REGION_DONTDUMP, &ret_entry->flags) < 0 ||
	    read_dirty_page(place, &ret_entry->dirty_page_bytes) < 0 || read_prot(place, ret_entry) < 0 ||
	    read_node(machine, place, ret_entry) < 0 || read_file(machine, place, ret_entry, path) < 0 ||
	    read_range(place, ret_entry->source == GM_SOURCE_FILE, &first, &bytes) < 0)
		return -1;
	if (ret_entry->source == GM_SOURCE_NONE && (ret_entry->dirty_page_bytes || ret_entry->flags))
		return place_fail(place, NULL,
				  "dirty_page, cow, alias, prealloc and dontdump are for regions with bytes");
	if (ret_entry->source != GM_SOURCE_FILE && (ret_entry->flags & GM_REGION_COW))
		return place_fail(place, "cow", "only a file can be mapped copy-on-write");
	if ((ret_entry->source == GM_SOURCE_ANON || ret_entry->source == GM_SOURCE_HUGEANON) &&
	    (ret_entry->flags & GM_REGION_ALIAS))
		return place_fail(place, "alias", "anonymous memory shows no bytes of a file");
	/* Whatever "cow" says: no guest may change what others boot from. */
	if (ret_entry->source == GM_SOURCE_FILE && ret_entry->kind == GM_FIRMWARE)
		ret_entry->flags |= GM_REGION_COW;
	/* No size given: that of the file, which check_files() finds. Until then one page, so that the range is valid. */
	if (bytes == 0) {
		ret_entry->range.first = ret_entry->range.last = gm_gpa(first);
		return check_first(place, first, ret_entry);
	}
	return set_range(place, first, bytes, ret_entry);
}
