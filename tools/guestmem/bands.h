/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * What both pictures draw: the address space cut into bands from the lowest address to the highest, an entry or a gap each,
 * with long rows of alike entries folded into one. Also the colours, so that terminal and SVG agree.
 */
#ifndef TOOL_BANDS_H
#define TOOL_BANDS_H

#include "machine.h"
#include "text.h"

/* Above this many bands rows of alike entries are folded: a picture is to be taken in at a glance. */
#define BANDS_UNFOLDED 40
/* The shortest row that is folded. */
#define BANDS_ROW_MIN 3

struct band {
	struct gm_range range;
	const struct entry *entry; /* the first one; NULL for a gap */
	const struct entry *last;  /* the last one */
	size_t count;              /* entries; 0 for a gap */
	const char *hole;          /* for a gap: the layout's hole around it, or NULL */
};

struct bands {
	struct band *bands;
	size_t count;
};

int bands_new(const struct machine *machine, struct bands *ret_bands, struct failure *failure);
void bands_fini(struct bands *bands);

/* How much room a band deserves: 0 for up to 1 MiB, 10 for 1 GiB, 20 for 1 TiB and more, by the logarithm. */
unsigned band_weight(const struct band *band);
/* Digits that all addresses of the machine fit into. */
int address_digits(const struct machine *machine);

/* Room for describe_...(). */
#define DESCRIPTION_MAX 192
/* "memfd, transparent huge pages, preallocated"; "" for a region without bytes. */
const char *describe_source(const struct entry *entry, char text[DESCRIPTION_MAX]);
/* "2 nodes, 8 vCPUs, 6 GiB of memory, 2 GiB hot-pluggable". */
const char *describe_machine(const struct machine *machine, char text[DESCRIPTION_MAX]);
/* "vCPUs 0-3, 8"; "" for none. */
const char *describe_vcpus(const struct machine_node *node, char text[DESCRIPTION_MAX]);
const char *describe_gap(const struct band *band, char text[DESCRIPTION_MAX]);

/* A kind's colours. */
struct ink {
	const char *fill, *line;    /* SVG */
	int background, foreground; /* terminal, of 256 */
};
const struct ink *ink_of_kind(enum gm_kind kind);
/* A guest NUMA node's, which repeat after eight. */
struct node_ink {
	const char *line;
	int color;
};
const struct node_ink *ink_of_node(int node);

#endif
