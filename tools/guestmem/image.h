/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The disk image of a run, and what it has to hold at every moment. There are always two files: the pristine one, which nobody
 * writes, and the working one, which the device has. By default the working one is a private copy without a name; with
 * --in-place the copy is the pristine one; with --read-only they are the same file, opened twice.
 *
 * What a sector holds is said by its version: 0 is the pristine file's content, ZEROED is zeros, and any other number is a
 * pattern made of seed, sector and version. A request leases the extent of sectors that it works in, so nobody else changes
 * versions there meanwhile.
 */
#ifndef TOOL_IMAGE_H
#define TOOL_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "failure.h"
#include "random.h"

#define SECTOR_BYTES 512u
/* Sectors that a request may have: 256 KiB, as much as a guest's block layer usually sends at once. */
#define REQUEST_SECTORS_MAX 512u
#define VERSION_PRISTINE    UINT32_C(0)
#define VERSION_ZEROED      UINT32_MAX

enum image_mode { IMAGE_COPY, IMAGE_IN_PLACE, IMAGE_READ_ONLY };

struct image {
	const char *path;
	enum image_mode mode;
	uint64_t bytes;
	uint64_t sectors; /* rounded up */
	uint64_t seed;
	int pristine; /* file descriptors */
	int working;
	char working_path[64]; /* what the device opens */
	dev_t device;          /* of the user's file, to see whether it is still there */
	ino_t inode;
	bool is_file;
	uint32_t *versions; /* one per sector; allocated as it is written */
	bool *busy;         /* one per extent */
	uint64_t extents;
	uint32_t extent_sectors;
	uint32_t next_version;
	uint64_t written_sectors; /* found by image_verify() */
};

/* @extents_wanted: at least so many should be leased at once. @stop: asked while it copies, whether to give up. */
int image_open(const char *path, enum image_mode mode, uint64_t seed, uint64_t extents_wanted, bool (*stop)(void),
	       struct image *image, struct failure *failure);
void image_close(struct image *image);

/* Leases a random extent. Return: its number, or -1 when none was found free. */
int64_t image_lease(struct image *image, struct random *random);
void image_release(struct image *image, uint64_t extent);
/* A version that no sector had. */
uint32_t image_new_version(struct image *image);

/* What @count sectors from @sector on have to hold; behind the image's end: zeros. Any thread with the lease. */
int image_expect(const struct image *image, uint64_t sector, uint32_t count, unsigned char *data,
		 struct failure *failure);
/* The pattern of one version. */
void image_pattern(const struct image *image, uint64_t sector, uint32_t version, unsigned char data[SECTOR_BYTES]);
/* Whether the user's file is still there, and as large. Return: 0; -1. */
int image_watch(const struct image *image, struct failure *failure);
/* The whole working file against what it has to hold, byte by byte; calls @tick now and then, which may say to stop. */
int image_verify(struct image *image, bool (*tick)(void *opaque), void *opaque, struct failure *failure);

#endif
