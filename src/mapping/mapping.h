/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * A mapping: a source's bytes in this process, what it was opened from, and what is to be undone when it goes. Made
 * from options that the region layer has checked and completed; immutable afterwards. Start reading at
 * gmi_mapping_new().
 *
 *	reservation           hva                            hva + mapped_bytes
 *	| guard, >= one page  | lead | the source's bytes    | guard, >= one page |
 *
 * The lead is what a huge page has before the bytes that are wanted of it: of a file of huge pages whole ones are mapped.
 *
 * The guards belong to the mapping for as long as it lives, so an overrun never lands in someone else's memory.
 */
#ifndef GMI_MAPPING_H
#define GMI_MAPPING_H

#include <stdbool.h>
#include <stdint.h>

#include <guestmem/region.h>

#include "sys/files.h"
#include "sys/numa.h"

/* What f_type of statfs(2) says for memfds and tmpfs, and for the huge-page pool's files. */
#define GMI_TMPFS_TYPE     UINT64_C(0x01021994)
#define GMI_HUGETLBFS_TYPE UINT64_C(0x958458f6)

struct gmi_mapping {
	unsigned char *hva;    /* of what is mapped; the region begins at hva + lead */
	uint64_t lead;         /* less than a page */
	uint64_t bytes;        /* of the region */
	uint64_t mapped_bytes; /* lead and bytes, in whole pages; 0 for memory that is the caller's */
	void *reservation;     /* with both guards */
	uint64_t reservation_bytes;

	int fd;             /* -1: none */
	uint64_t fd_offset; /* of the region's first byte */
	char *path;
	uint64_t page_bytes; /* of the source */
	bool hugetlb;        /* from the huge-page pool */
	bool policed;        /* the source heeds a NUMA policy: a shared file does on tmpfs and hugetlbfs only */
	int mmap_flags;
	enum gm_huge huge;
	int numa_result;

	/* Shared bytes of a file, as other mappings of it would find them. */
	bool shared;
	bool file_known;
	uint64_t file_device, file_inode;

	/* The caller's memory. */
	void (*release)(void *opaque, void *hva, uint64_t bytes);
	void *opaque;
};

/* Folders made for a file, to be taken away again if what they were made for fails. */
struct gmi_folders {
	char *path;
	unsigned char *made; /* by index of the '/' that ends the folder's path */
};

/* gmi_error() with the region's kind, name and range in front. */
int gmi_region_error(const struct gm_region_opts *opts, struct gm_error *error, int code, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Opens, maps, advises, binds, populates. @nodes: of @opts->numa_nodes. Return: as gm_region_new(). */
int gmi_mapping_new(const struct gm_region_opts *opts, const struct gmi_nodes *nodes, struct gmi_mapping **ret_mapping,
		    struct gm_error *error);
/* Unmaps, closes, releases. Accepts NULL. */
void gmi_mapping_free(struct gmi_mapping *mapping);

/* The steps, for mapping.c only. A step that fails leaves what the earlier ones did to gmi_mapping_undo(). */
int gmi_source_open(struct gmi_mapping *mapping, const struct gm_region_opts *opts, struct gmi_folders *folders,
		    struct gm_error *error);
int gmi_file_open(struct gmi_mapping *mapping, const struct gm_region_opts *opts, struct gm_error *error);
int gmi_file_has_bytes(const struct gmi_mapping *mapping, const struct gm_region_opts *opts, struct gm_error *error);
void gmi_file_identify(struct gmi_mapping *mapping, const struct stat *status);
int gmi_hugetlbfs_open(struct gmi_mapping *mapping, const struct gm_region_opts *opts, struct gmi_folders *folders,
		       struct gm_error *error);
int gmi_hugepages_are_multiple(const struct gmi_mapping *mapping, const struct gm_region_opts *opts,
			       struct gm_error *error);
/* The sentence for a pool that has not enough pages, with its numbers. Returns -ENOMEM. */
int gmi_hugepages_short(const struct gmi_mapping *mapping, const struct gm_region_opts *opts, struct gm_error *error);
int gmi_place(struct gmi_mapping *mapping, const struct gm_region_opts *opts, struct gm_error *error);
int gmi_bind(struct gmi_mapping *mapping, const struct gm_region_opts *opts, const struct gmi_nodes *nodes,
	     struct gm_error *error);
int gmi_populate(const struct gmi_mapping *mapping, const struct gm_region_opts *opts, struct gm_error *error);

/* hugetlbfs.c: makes the folders that @path stands in. */
int gmi_folders_make(struct gmi_folders *folders, const char *path);
/* Takes the made ones away again (@undo), and frees. */
void gmi_folders_end(struct gmi_folders *folders, bool undo);

#endif
