/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Machine descriptions: the root object, its nodes, and the plan that places their memory. Start reading at machine_load(). */
#include "machine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const layout_names[] = { "x86-64-pc", "aarch64-virt", "open", NULL };

int entry_resolve_path(const struct machine *machine, const char *path, char **ret_path, struct failure *failure)
{
	const char *file = document_file(machine->document), *slash = strrchr(file, '/');
	size_t directory = path[0] == '/' || !slash ? 0 : (size_t)(slash - file) + 1;
	size_t room = directory + strlen(path) + 1;
	char *whole;

	if (room > MACHINE_PATH_MAX)
		return fail(failure, STATUS_INPUT, "%s: a path is longer than %d characters", file,
			    MACHINE_PATH_MAX - 1);
	whole = malloc(room);
	if (!whole)
		return fail(failure, STATUS_MISSING, "%s: no memory for its paths", file);
	snprintf(whole, room, "%.*s%s", (int)directory, file, path);
	*ret_path = whole;
	return 0;
}

static int read_layout(struct machine *machine, const struct place *root)
{
	int64_t bits = 0;
	unsigned choice = 0;
	int r = field_choice(root, "layout", layout_names, &choice);

	if (r == 0)
		return place_fail(root, NULL, "has no layout: x86-64-pc, aarch64-virt or open");
	if (r < 0)
		return r;
	r = field_integer(root, "physical_bits", 32, 52, &bits);
	if (r < 0)
		return r;
	machine->layout_name = layout_names[choice];
	if (choice == 2) {
		if (bits)
			return place_fail(root, "physical_bits", "the open layout has no bounds");
		gm_layout_open(&machine->layout);
		machine->physical_bits = 64;
		return 0;
	}
	r = choice == 0 ? gm_layout_x86_64_pc((unsigned)bits, &machine->layout)
			: gm_layout_aarch64_virt((unsigned)bits, &machine->layout);
	if (r < 0)
		return place_fail(root, "physical_bits", "layout %s can't have it: %s", layout_names[choice],
				  strerror(-r));
	machine->physical_bits = 64 - (unsigned)__builtin_clzll(machine->layout.physical.last.value);
	return 0;
}

/* The plan checks it too, but there is none when no node has memory, and it knows no line. */
static int check_vcpus(const struct machine *machine, const struct place *root)
{
	int guests[GM_PLAN_VCPUS_MAX];
	char path[PLACE_PATH_MAX];

	for (size_t i = 0; i < GM_PLAN_VCPUS_MAX; i++)
		guests[i] = -1;
	for (size_t i = 0; i < machine->nodes_count; i++) {
		const struct machine_node *node = &machine->nodes[i];

		for (size_t j = 0; j < node->vcpus_count; j++) {
			int *guest = &guests[node->vcpus[j]];

			snprintf(path, sizeof(path), "nodes[%zu].vcpus[%zu]", i, j);
			if (*guest >= 0)
				return document_fail(machine->document, path, root->failure,
						     "vcpu %u of node %d is in node %d already", node->vcpus[j],
						     node->guest, *guest);
			*guest = node->guest;
		}
	}
	return 0;
}

static int read_vcpus(const struct place *place, struct machine_node *node)
{
	if (field_array(place, "vcpus", GM_PLAN_VCPUS_MAX, &node->vcpus_count) < 0)
		return -1;
	node->vcpus = calloc(node->vcpus_count + 1, sizeof(*node->vcpus));
	if (!node->vcpus)
		return fail(place->failure, STATUS_MISSING, "no memory for the description");
	for (size_t i = 0; i < node->vcpus_count; i++) {
		int64_t vcpu = 0;

		if (field_element_integer(place, "vcpus", i, 0, GM_PLAN_VCPUS_MAX - 1, &vcpu) < 0)
			return -1;
		node->vcpus[i] = (unsigned)vcpu;
	}
	return 0;
}

static int read_node(const struct place *place, size_t index, struct machine_node *node)
{
	static const char *const keys[] = { "guest", "host", "bytes", "vcpus", NULL };
	int64_t guest = (int64_t)index, host = -1;
	int r;

	if (place_only(place, keys) < 0 || field_integer(place, "guest", 0, GM_NODES_MAX - 1, &guest) < 0 ||
	    field_integer(place, "host", 0, GM_NODES_MAX - 1, &host) < 0)
		return -1;
	r = field_bytes(place, "bytes", &node->bytes);
	if (r == 0)
		return place_fail(place, NULL, "has no size in bytes");
	if (r < 0)
		return r;
	if (node->bytes % GM_PAGE_BYTES)
		return place_fail(place, "bytes", "is not a multiple of 4 KiB, as memory has to be");
	node->guest = (int)guest;
	node->host = (int)host;
	return read_vcpus(place, node);
}

static int read_nodes(struct machine *machine, const struct place *root)
{
	size_t count;

	if (field_array(root, "nodes", GM_PLAN_NODES_MAX, &count) < 0)
		return -1;
	machine->nodes = calloc(count + 1, sizeof(*machine->nodes));
	if (!machine->nodes)
		return fail(root->failure, STATUS_MISSING, "no memory for the description");
	machine->nodes_count = count;
	for (size_t i = 0; i < count; i++) {
		struct place place;

		if (field_element(root, "nodes", i, &place) < 0 || read_node(&place, i, &machine->nodes[i]) < 0)
			return -1;
		for (size_t j = 0; j < i; j++)
			if (machine->nodes[j].guest == machine->nodes[i].guest)
				return place_fail(&place, "guest", "nodes[%zu] is guest node %d already", j,
						  machine->nodes[j].guest);
	}
	return check_vcpus(machine, root);
}

static struct entry *add_entry(struct machine *machine, size_t *room)
{
	if (machine->entries_count == *room) {
		size_t more = *room ? 2 * *room : 32;
		struct entry *entries = realloc(machine->entries, more * sizeof(*entries));

		if (!entries)
			return NULL;
		machine->entries = entries;
		*room = more;
	}
	memset(&machine->entries[machine->entries_count], 0, sizeof(struct entry));
	return &machine->entries[machine->entries_count++];
}

/* A piece of the plan as an entry, named as gm_plan_regions() would. */
static int add_piece(struct machine *machine, const struct gm_piece *piece, size_t index,
		     const struct entry_defaults *defaults, size_t *room, struct failure *failure)
{
	struct entry *entry = add_entry(machine, room);

	if (!entry)
		return fail(failure, STATUS_MISSING, "no memory for the description");
	snprintf(entry->name, sizeof(entry->name), "ram%zu", index);
	for (size_t i = 0; i < machine->nodes_count; i++)
		if (machine->nodes[i].guest == piece->guest_node)
			snprintf(entry->where, sizeof(entry->where), "nodes[%zu]", i);
	entry->origin = ORIGIN_NODE;
	entry->kind = GM_RAM;
	entry->source = defaults->source;
	entry->range = piece->range;
	entry->prot = GM_READ | GM_WRITE;
	entry->flags = defaults->flags;
	entry->huge = defaults->huge;
	entry->huge_bytes = defaults->huge_bytes;
	entry->dirty_page_bytes = defaults->dirty_page_bytes;
	entry->guest_node = piece->guest_node;
	entry->host_node = piece->host_node;
	if (gm_range_bytes(piece->range) % entry_unit(entry))
		return document_fail(machine->document, entry->where, failure,
				     "its piece from 0x%llx on has 0x%llx bytes, not a multiple of its huge pages",
				     (unsigned long long)piece->range.first.value,
				     (unsigned long long)gm_range_bytes(piece->range));
	if (!entry_log_fits(entry))
		return document_fail(machine->document, entry->where, failure,
				     "the dirty log of its piece from 0x%llx on " LOG_TOO_LONG,
				     (unsigned long long)piece->range.first.value);
	return defaults->path ? entry_resolve_path(machine, defaults->path, &entry->path, failure) : 0;
}

static int place_nodes(struct machine *machine, const struct entry_defaults *defaults, size_t *room,
		       struct failure *failure)
{
	struct gm_node nodes[GM_PLAN_NODES_MAX];
	const struct gm_piece *pieces;
	struct gm_error error;
	struct gm_plan *plan;
	bool has_memory = false;
	size_t count;
	int r;

	for (size_t i = 0; i < machine->nodes_count; i++) {
		nodes[i] = (struct gm_node){
			.bytes = machine->nodes[i].bytes,
			.guest_node = machine->nodes[i].guest,
			.host_node = machine->nodes[i].host,
		};
		has_memory |= nodes[i].bytes > 0;
	}
	/* Nodes may have all their memory at fixed addresses, or in slots. */
	if (!has_memory)
		return 0;
	r = gm_plan_new(&machine->layout, nodes, machine->nodes_count, &plan, &error);
	if (r == -ENOMEM)
		return fail(failure, STATUS_MISSING, "no memory for the plan");
	if (r < 0)
		return document_fail(machine->document, "nodes", failure, "%s", error.text);
	count = gm_plan_pieces(plan, &pieces);
	for (size_t i = 0; i < count && r == 0; i++)
		r = add_piece(machine, &pieces[i], i, defaults, room, failure);
	gm_plan_free(plan);
	return r;
}

static int read_list(struct machine *machine, const struct place *root, const char *key,
		     const struct entry_defaults *defaults, size_t *room)
{
	size_t count;

	if (field_array(root, key, MACHINE_ENTRIES_MAX - machine->entries_count, &count) < 0)
		return -1;
	for (size_t i = 0; i < count; i++) {
		struct entry *entry;
		struct place place;
		int r;

		if (field_element(root, key, i, &place) < 0)
			return -1;
		entry = add_entry(machine, room);
		if (!entry)
			return fail(root->failure, STATUS_MISSING, "no memory for the description");
		snprintf(entry->where, sizeof(entry->where), "%s", place.path);
		r = defaults ? entry_read_slot(machine, &place, defaults, entry)
			     : entry_read_region(machine, &place, entry);
		if (r < 0)
			return -1;
		machine->slots_count += defaults != NULL;
	}
	return 0;
}

static int read_title(struct machine *machine, const struct place *root)
{
	const char *text = NULL, *file = document_file(machine->document), *slash = strrchr(file, '/');
	size_t length;
	int r = field_text(root, "name", &text);

	if (r < 0)
		return -1;
	if (!text)
		text = slash ? slash + 1 : file;
	length = strlen(text);
	if (r == 0 && length > 5 && strcmp(text + length - 5, ".json") == 0)
		length -= 5;
	snprintf(machine->title, sizeof(machine->title), "%.*s", (int)length, text);
	for (char *c = machine->title; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	return 0;
}

static int read_machine(struct machine *machine, struct failure *failure)
{
	static const char *const keys[] = { "name",   "layout",  "physical_bits", "nodes",
					    "memory", "regions", "hotplug",       NULL };
	struct entry_defaults defaults = { .source = GM_SOURCE_MEMFD };
	struct place root, memory;
	size_t room = 0;
	int r;

	if (document_root(machine->document, &root, failure) < 0 || place_only(&root, keys) < 0 ||
	    read_title(machine, &root) < 0 || read_layout(machine, &root) < 0 || read_nodes(machine, &root) < 0)
		return -1;
	r = field_object(&root, "memory", &memory);
	if (r > 0)
		r = entry_read_defaults(&memory, &defaults);
	if (r < 0 || place_nodes(machine, &defaults, &room, failure) < 0 ||
	    read_list(machine, &root, "regions", NULL, &room) < 0 ||
	    read_list(machine, &root, "hotplug", &defaults, &room) < 0)
		return -1;
	if (machine->entries_count == 0)
		return document_fail(machine->document, "", failure, "describes nothing: no nodes, regions or hotplug");
	return machine_check(machine, failure);
}

int machine_load(const char *file, struct machine **ret_machine, struct failure *failure)
{
	struct machine *machine = calloc(1, sizeof(*machine));

	if (!machine)
		return fail(failure, STATUS_MISSING, "%s: no memory to read it", file);
	if (document_open(file, &machine->document, failure) < 0 || read_machine(machine, failure) < 0) {
		machine_free(machine);
		return -1;
	}
	*ret_machine = machine;
	return 0;
}

void machine_free(struct machine *machine)
{
	if (!machine)
		return;
	for (size_t i = 0; i < machine->entries_count; i++)
		free(machine->entries[i].path);
	for (size_t i = 0; machine->nodes && i < machine->nodes_count; i++)
		free(machine->nodes[i].vcpus);
	free(machine->entries);
	free(machine->nodes);
	document_free(machine->document);
	free(machine);
}
