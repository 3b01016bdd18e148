/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The machine as JSON. Addresses are strings in hexadecimal, as they pass the 2^53 that a JSON number is good for; sizes are
 * numbers where they are good for one, and strings else.
 */
#include <json-c/json.h>
#include <string.h>

#include "bands.h"
#include "show.h"

/* Adds and takes over @value. Return: whether there was memory for both. */
static bool add(struct json_object *object, const char *key, struct json_object *value)
{
	if (value && json_object_object_add(object, key, value) == 0)
		return true;
	json_object_put(value);
	return false;
}

static bool append(struct json_object *array, struct json_object *value)
{
	if (value && json_object_array_add(array, value) == 0)
		return true;
	json_object_put(value);
	return false;
}

static struct json_object *address(struct gm_gpa at)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%llx", (unsigned long long)at.value);
	return json_object_new_string(text);
}

static struct json_object *size(uint64_t bytes)
{
	char text[24];

	if (bytes <= UINT64_C(1) << 53)
		return json_object_new_int64((int64_t)bytes);
	snprintf(text, sizeof(text), "0x%llx", (unsigned long long)bytes);
	return json_object_new_string(text);
}

/* The size of something that is not empty: what looks like 0 bytes is 2^64. */
static struct json_object *whole_size(uint64_t bytes)
{
	return bytes ? size(bytes) : json_object_new_string("0x10000000000000000");
}

static bool add_range(struct json_object *object, struct gm_range range)
{
	return add(object, "first", address(range.first)) && add(object, "last", address(range.last)) &&
	       add(object, "bytes", whole_size(gm_range_bytes(range)));
}

static bool fill_region(struct json_object *region, const struct entry *entry)
{
	static const char *const huge_names[] = { "default", "transparent", "never" };
	char prot[4] = { entry->prot & GM_READ ? 'r' : '-', entry->prot & GM_WRITE ? 'w' : '-',
			 entry->prot & GM_EXEC ? 'x' : '-', '\0' };
	bool good = add(region, "name", json_object_new_string(entry->name)) &&
		    add(region, "kind", json_object_new_string(gm_kind_name(entry->kind))) &&
		    add_range(region, entry->range) && add(region, "from", json_object_new_string(entry->where)) &&
		    add(region, "hotplug", json_object_new_boolean(entry->origin == ORIGIN_SLOT)) &&
		    add(region, "source", json_object_new_string(gm_source_name(entry->source)));

	if (good && entry->guest_node >= 0)
		good = add(region, "node", json_object_new_int(entry->guest_node));
	if (good && entry->host_node >= 0)
		good = add(region, "host_node", json_object_new_int(entry->host_node));
	if (!good || entry->source == GM_SOURCE_NONE)
		return good;
	good = add(region, "prot", json_object_new_string(prot)) &&
	       add(region, "huge", json_object_new_string(huge_names[entry->huge])) &&
	       add(region, "prealloc", json_object_new_boolean((entry->flags & GM_REGION_PREALLOC) != 0)) &&
	       add(region, "cow", json_object_new_boolean((entry->flags & GM_REGION_COW) != 0)) &&
	       add(region, "dirty_page", json_object_new_int64((int64_t)entry->dirty_page_bytes));
	if (good && entry->huge_bytes)
		good = add(region, "huge_bytes", size(entry->huge_bytes));
	if (good && entry->path)
		good = add(region, "path", json_object_new_string(entry->path)) &&
		       add(region, "offset", size(entry->offset));
	return good;
}

static bool add_regions(struct json_object *root, const struct machine *machine)
{
	struct json_object *regions = json_object_new_array();

	if (!add(root, "regions", regions))
		return false;
	for (size_t i = 0; i < machine->entries_count; i++) {
		struct json_object *region = json_object_new_object();

		if (!append(regions, region) || !fill_region(region, &machine->entries[i]))
			return false;
	}
	return true;
}

static bool fill_node(struct json_object *object, const struct machine *machine, const struct machine_node *node)
{
	struct json_object *vcpus = json_object_new_array(), *pieces = json_object_new_array();
	bool good = add(object, "vcpus", vcpus);

	good = add(object, "regions", pieces) && good && add(object, "guest", json_object_new_int(node->guest)) &&
	       add(object, "bytes", size(node->bytes));
	if (good && node->host >= 0)
		good = add(object, "host", json_object_new_int(node->host));
	for (size_t i = 0; good && i < node->vcpus_count; i++)
		good = append(vcpus, json_object_new_int((int)node->vcpus[i]));
	for (size_t i = 0; good && i < machine->entries_count; i++)
		if (machine->entries[i].origin == ORIGIN_NODE && machine->entries[i].guest_node == node->guest)
			good = append(pieces, json_object_new_string(machine->entries[i].name));
	return good;
}

static bool add_nodes(struct json_object *root, const struct machine *machine)
{
	struct json_object *nodes = json_object_new_array();

	if (!add(root, "nodes", nodes))
		return false;
	for (size_t i = 0; i < machine->nodes_count; i++) {
		struct json_object *node = json_object_new_object();

		if (!append(nodes, node) || !fill_node(node, machine, &machine->nodes[i]))
			return false;
	}
	return true;
}

static bool add_holes(struct json_object *root, const struct gm_layout *layout)
{
	struct json_object *holes = json_object_new_array();

	if (!add(root, "holes", holes))
		return false;
	for (size_t i = 0; i < layout->holes_count; i++) {
		struct json_object *hole = json_object_new_object();

		if (!append(holes, hole) || !add(hole, "name", json_object_new_string(layout->holes[i].name)) ||
		    !add_range(hole, layout->holes[i].range))
			return false;
	}
	return true;
}

/* What no entry covers, as the pictures fold it. */
static bool add_gaps(struct json_object *root, const struct machine *machine, struct failure *failure)
{
	struct json_object *gaps = json_object_new_array();
	struct bands bands;
	bool good = add(root, "gaps", gaps);

	if (!good || bands_new(machine, &bands, failure) < 0)
		return false;
	for (size_t i = 0; i < bands.count && good; i++) {
		struct json_object *gap;

		if (bands.bands[i].entry)
			continue;
		gap = json_object_new_object();
		good = append(gaps, gap) && add_range(gap, bands.bands[i].range);
		if (good && bands.bands[i].hole)
			good = add(gap, "hole", json_object_new_string(bands.bands[i].hole));
	}
	bands_fini(&bands);
	return good;
}

static bool add_layout(struct json_object *root, const struct machine *machine)
{
	const struct gm_layout *layout = &machine->layout;
	struct json_object *physical = json_object_new_object();

	return add(root, "physical", physical) && add_range(physical, layout->physical) &&
	       add(root, "usable_last", address(layout->usable_last)) && add_holes(root, layout);
}

int show_json(const struct machine *machine, FILE *out, struct failure *failure)
{
	struct json_object *root = json_object_new_object();
	uint64_t memory = machine_bytes(machine, GM_RAM), slots = machine_slot_bytes(machine);
	const char *text = NULL;

	if (root && add(root, "name", json_object_new_string(machine->title)) &&
	    add(root, "layout", json_object_new_string(machine->layout_name)) &&
	    add(root, "physical_bits", json_object_new_int((int)machine->physical_bits)) && add_layout(root, machine) &&
	    add(root, "memory_bytes", machine_has(machine, GM_RAM) ? whole_size(memory) : size(0)) &&
	    add(root, "hotplug_bytes", machine->slots_count ? whole_size(slots) : size(0)) &&
	    add_nodes(root, machine) && add_regions(root, machine) && add_gaps(root, machine, failure) &&
	    (!machine->note[0] || add(root, "note", json_object_new_string(machine->note))))
		text = json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
								    JSON_C_TO_STRING_NOSLASHESCAPE);
	if (text)
		fprintf(out, "%s\n", text);
	json_object_put(root);
	return text ? 0 : fail(failure, STATUS_MISSING, "no memory for the report");
}
