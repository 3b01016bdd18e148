/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Bands: a pure function of a machine. The array is the caller's; what it points to is the machine's. */
#include "bands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Told apart in black and white by lightness, and by readers who see red and green alike by hue. */
static const struct ink inks[GM_KINDS] = {
	[GM_RAM] = { "#dbe9f8", "#5b8fc9", 153, 17 },       [GM_FIRMWARE] = { "#fdeac6", "#d59b2d", 222, 52 },
	[GM_DEVICE] = { "#ecdff6", "#9a6cc4", 183, 54 },    [GM_DAX] = { "#d5f0dd", "#4fa56c", 151, 22 },
	[GM_RESERVED] = { "#e8e9ec", "#9095a0", 252, 238 },
};

static const struct node_ink node_inks[] = {
	{ "#2f6fb7", 33 },  { "#e07b39", 208 }, { "#2a9d8f", 37 },  { "#b8487f", 169 },
	{ "#7d6bc4", 105 }, { "#8a9a2b", 142 }, { "#b5463c", 167 }, { "#5f7d8c", 67 },
};

const struct ink *ink_of_kind(enum gm_kind kind)
{
	return &inks[kind];
}

const struct node_ink *ink_of_node(int node)
{
	return &node_inks[(unsigned)node % (sizeof(node_inks) / sizeof(node_inks[0]))];
}

/* The hole of the layout that holds all of @range. */
static const char *hole_around(const struct gm_layout *layout, struct gm_range range)
{
	for (size_t i = 0; i < layout->holes_count; i++)
		if (gm_range_covers(layout->holes[i].range, range))
			return layout->holes[i].name;
	return NULL;
}

static bool alike(const struct entry *a, const struct entry *b)
{
	return a->kind == b->kind && a->origin == b->origin && a->source == b->source &&
	       a->guest_node == b->guest_node && entry_bytes(a) == entry_bytes(b);
}

/* How many entries from @index on stand side by side and are alike. */
static size_t row_length(const struct machine *machine, size_t index)
{
	const struct entry *entries = machine->entries;
	size_t length = 1;

	while (index + length < machine->entries_count && alike(&entries[index], &entries[index + length]) &&
	       entries[index + length - 1].range.last.value + 1 == entries[index + length].range.first.value)
		length++;
	return length;
}

static void add_gap(struct bands *bands, const struct gm_layout *layout, uint64_t first, uint64_t last)
{
	struct band *band = &bands->bands[bands->count++];

	*band = (struct band){ .range = { gm_gpa(first), gm_gpa(last) } };
	band->hole = hole_around(layout, band->range);
}

int bands_new(const struct machine *machine, struct bands *ret_bands, struct failure *failure)
{
	const struct gm_layout *layout = &machine->layout;
	struct bands bands = { .bands = calloc(2 * machine->entries_count + 1, sizeof(struct band)) };
	uint64_t next = layout->physical.first.value;
	bool fold = machine->entries_count > BANDS_UNFOLDED, full = false;

	if (!bands.bands)
		return fail(failure, STATUS_MISSING, "no memory for the picture");
	for (size_t i = 0; i < machine->entries_count;) {
		const struct entry *entry = &machine->entries[i];
		size_t row = fold ? row_length(machine, i) : 1;

		if (row < BANDS_ROW_MIN)
			row = 1;
		if (entry->range.first.value > next)
			add_gap(&bands, layout, next, entry->range.first.value - 1);
		bands.bands[bands.count++] = (struct band){
			.range = { entry->range.first, entry[row - 1].range.last },
			.entry = entry,
			.last = &entry[row - 1],
			.count = row,
		};
		full = entry[row - 1].range.last.value == UINT64_MAX;
		next = entry[row - 1].range.last.value + 1;
		i += row;
	}
	if (!full && next <= layout->physical.last.value)
		add_gap(&bands, layout, next, layout->physical.last.value);
	*ret_bands = bands;
	return 0;
}

void bands_fini(struct bands *bands)
{
	free(bands->bands);
	*bands = (struct bands){ 0 };
}

unsigned band_weight(const struct band *band)
{
	uint64_t bytes = gm_range_bytes(band->range);
	unsigned log = bytes ? 63 - (unsigned)__builtin_clzll(bytes) : 64;

	return log < 20 ? 0 : log > 40 ? 20 : log - 20;
}

int address_digits(const struct machine *machine)
{
	int digits = ((int)machine->physical_bits + 3) / 4;

	return digits < 8 ? 8 : digits;
}

const char *describe_source(const struct entry *entry, char text[DESCRIPTION_MAX])
{
	char bytes[BYTES_TEXT_MAX];
	size_t length;

	text[0] = '\0';
	if (entry->source == GM_SOURCE_NONE)
		return text;
	snprintf(text, DESCRIPTION_MAX, "%s", gm_source_name(entry->source));
	if (entry->path && entry->source == GM_SOURCE_FILE) {
		const char *slash = strrchr(entry->path, '/');

		snprintf(text, DESCRIPTION_MAX, "%.60s", slash ? slash + 1 : entry->path);
		printable(text);
	}
	length = strlen(text);
	if (entry->huge_bytes) {
		snprintf(text + length, DESCRIPTION_MAX - length, ", %s pages", format_bytes(bytes, entry->huge_bytes));
		length = strlen(text);
	}
	snprintf(text + length, DESCRIPTION_MAX - length, "%s%s%s%s",
		 entry->huge == GM_HUGE_TRANSPARENT ? ", transparent huge pages" : "",
		 entry->flags & GM_REGION_COW ? ", copy-on-write" : "",
		 entry->flags & GM_REGION_PREALLOC ? ", preallocated" : "",
		 entry->prot & GM_WRITE ? "" : ", read-only");
	return text;
}

const char *describe_machine(const struct machine *machine, char text[DESCRIPTION_MAX])
{
	char memory[BYTES_TEXT_MAX], slots[BYTES_TEXT_MAX];
	size_t length = 0, vcpus = machine_vcpus(machine);

	if (machine->nodes_count)
		length += (size_t)snprintf(text, DESCRIPTION_MAX, "%zu NUMA node%s, ", machine->nodes_count,
					   machine->nodes_count == 1 ? "" : "s");
	if (vcpus)
		length += (size_t)snprintf(text + length, DESCRIPTION_MAX - length, "%zu vCPU%s, ", vcpus,
					   vcpus == 1 ? "" : "s");
	length += (size_t)snprintf(
		text + length, DESCRIPTION_MAX - length, "%s of memory",
		machine_has(machine, GM_RAM) ? format_range_bytes(memory, machine_bytes(machine, GM_RAM)) : "0 B");
	if (machine->slots_count)
		snprintf(text + length, DESCRIPTION_MAX - length, ", %s more in %zu hot-plug slot%s",
			 format_range_bytes(slots, machine_slot_bytes(machine)), machine->slots_count,
			 machine->slots_count == 1 ? "" : "s");
	return text;
}

const char *describe_vcpus(const struct machine_node *node, char text[DESCRIPTION_MAX])
{
	size_t length = 0;

	text[0] = '\0';
	for (size_t i = 0, run; i < node->vcpus_count && length < DESCRIPTION_MAX - 40; i += run) {
		for (run = 1; i + run < node->vcpus_count && node->vcpus[i + run] == node->vcpus[i] + run;)
			run++;
		length += (size_t)snprintf(text + length, DESCRIPTION_MAX - length, "%s%u",
					   i                        ? ", "
					   : node->vcpus_count == 1 ? "vCPU "
								    : "vCPUs ",
					   node->vcpus[i]);
		if (run > 1)
			length += (size_t)snprintf(text + length, DESCRIPTION_MAX - length, "-%u",
						   node->vcpus[i + run - 1]);
	}
	return text;
}

const char *describe_gap(const struct band *band, char text[DESCRIPTION_MAX])
{
	char bytes[BYTES_TEXT_MAX];

	snprintf(text, DESCRIPTION_MAX, "%s free%s%.60s%s", format_range_bytes(bytes, gm_range_bytes(band->range)),
		 band->hole ? ", in the hole \"" : "", band->hole ? band->hole : "", band->hole ? "\"" : "");
	return text;
}
