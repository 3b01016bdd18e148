/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* The table: every entry, none folded, in the columns' natural widths. */
#include <string.h>

#include "bands.h"
#include "show.h"

static size_t name_width(const struct machine *machine)
{
	size_t width = strlen("NAME");

	for (size_t i = 0; i < machine->entries_count; i++) {
		size_t length = strlen(machine->entries[i].name);

		width = length > width ? length : width;
	}
	return width;
}

static const char *prot_text(unsigned prot)
{
	static const char *const texts[] = { "---", "r--", "-w-", "rw-", "--x", "r-x", "-wx", "rwx" };

	return texts[prot & 7];
}

static void put_row(const struct entry *entry, int width, int digits, FILE *out, const struct terminal *terminal)
{
	const struct ink *ink = ink_of_kind(entry->kind);
	char bytes[BYTES_TEXT_MAX], source[DESCRIPTION_MAX], node[16] = "-";

	if (entry->guest_node >= 0)
		snprintf(node, sizeof(node), "%d", entry->guest_node);
	fprintf(out, "  0x%0*llx  0x%0*llx  %10s  ", digits, (unsigned long long)entry->range.first.value, digits,
		(unsigned long long)entry->range.last.value, format_range_bytes(bytes, entry_bytes(entry)));
	if (terminal->color)
		fprintf(out, "\033[48;5;%dm\033[38;5;%dm %-8s \033[0m", ink->background, ink->foreground,
			gm_kind_name(entry->kind));
	else
		fprintf(out, " %-8s ", gm_kind_name(entry->kind));
	fprintf(out, "  %-*s  %4s  ", width, entry->name, node);
	if (entry->source == GM_SOURCE_NONE)
		fputs(" -\n", out);
	else
		fprintf(out, "%s  %s%s\n", prot_text(entry->prot), describe_source(entry, source),
			entry->origin == ORIGIN_SLOT ? ", hot-plug slot" : "");
}

void show_table(const struct machine *machine, FILE *out, const struct terminal *terminal)
{
	int digits = address_digits(machine), width = (int)name_width(machine);

	fprintf(out, "%s  %-*s  %-*s  %10s   %-8s   %-*s  %4s  %-3s  %s%s\n", terminal->color ? "\033[1m" : "",
		digits + 2, "FIRST", digits + 2, "LAST", "SIZE", "KIND", width, "NAME", "NODE", "ACC", "SOURCE",
		terminal->color ? "\033[0m" : "");
	for (size_t i = 0; i < machine->entries_count; i++)
		put_row(&machine->entries[i], width, digits, out, terminal);
}
