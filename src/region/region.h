/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Inside of a region. Written by its constructor, then immutable, but for the count of references and the part that
 * belongs to the space it stands in (that space's mutex).
 */
#ifndef GMI_REGION_H
#define GMI_REGION_H

#include <stdint.h>

#include <guestmem/region.h>

#include "base/base.h"

struct gmi_guarded;
struct gmi_mapping;
struct gmi_nodes;

struct gmi_tree_links {
	struct gm_region *left, *right;
	uint32_t priority;
	bool linked;
};

struct gm_region {
	/* What lookup and access read, in one cache line. */
	struct gm_range range;
	unsigned char *hva; /* NULL: not mapped here */
	struct gm_dirty *dirty;
	/* Offsets at which 8 bytes fit, and the kind's GM_KIND_BIT() where its bytes may be read, and written, with nothing else to
	 * ask; 0 where they are not mapped, or are registers. */
	uint64_t room;
	uint8_t readable, writable;
	uint8_t kind;   /* enum gm_kind */
	uint8_t source; /* enum gm_source */
	uint16_t prot;
	uint64_t guarded_room;       /* takes the place of room, which is 0, where the region is guarded */
	struct gmi_guarded *guarded; /* its guard against memory that faults; NULL: none */

	uint32_t flags;
	struct gm_region_io io; /* read == NULL and write == NULL: no callbacks */
	void *opaque;
	uint32_t references; /* atomic */
	char name[GM_NAME_MAX];
	uint64_t tag;
	void (*release)(void *opaque, void *hva, uint64_t bytes); /* of callbacks; a pointer's is in its mapping */
	struct gmi_mapping *mapping; /* fd, host mapping and what belongs to it; NULL without */
	struct gmi_nodes *nodes;     /* host NUMA nodes asked for; NULL: none */
	uint8_t numa_policy;         /* enum gm_numa_policy */

	/* The file whose bytes it shows, for finding aliases; file_known == 0 for private memory and copy-on-write. */
	uint64_t file_device, file_inode, file_offset;
	uint32_t file_known;

	/* Owned by the space that the region stands in. */
	struct gm_space *space;        /* atomic: claimed by an update, given up when released */
	uint64_t born;                 /* generation of the first map that it stands in */
	uint64_t died;                 /* generation of the first map that it does not stand in any more */
	struct gm_region *dead_next;   /* list of removed regions that some map still has */
	struct gm_removal *removal;    /* who waits for the release */
	struct gmi_tree_links by_name; /* index of the current map's names */
	struct gmi_tree_links by_file; /* index of the current map's file ranges */
};

/* Offsets at which 8 bytes fit, guarded or not. */
static inline uint64_t gmi_region_room(const struct gm_region *region)
{
	return region->room + region->guarded_room;
}

/*
 * Completes @opts (kind's and source's defaults) and refuses every contradiction in them. Return: as gm_region_new().
 */
int gmi_region_check(struct gm_region_opts *opts, struct gm_error *error);

#endif
