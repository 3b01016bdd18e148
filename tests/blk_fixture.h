/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * What the tests of the block device share: the memories it is to run over unchanged, a disk in memory whose transfers can be
 * held back, and a machine of both with a device and a driver.
 */
#ifndef BLK_FIXTURE_H
#define BLK_FIXTURE_H

#include "support.h"

#include "guest_blk.h"
#include "virtio_blk.h"

/* What the device's memory is made of. All of them show the same bytes at the same addresses. */
enum blk_world {
	BLK_FIXED,     /* a fixed map of one region */
	BLK_SPACE,     /* a space of BLK_REGIONS regions side by side, no two of which are mapped side by side */
	BLK_CALLBACKS, /* one region that is not mapped in this process */
	BLK_WORLDS
};

#define BLK_BASE         UINT64_C(0x100000)
#define BLK_REGION_BYTES UINT64_C(16384)
#define BLK_REGIONS      500
#define BLK_BYTES        (BLK_REGION_BYTES * BLK_REGIONS)
/* Where the driver's own things are, and data behind it. */
#define BLK_DRIVER BLK_BASE
#define BLK_DATA   (BLK_BASE + UINT64_C(0x200000))

#define BLK_PENDING_MAX 64

/* A disk in memory. Not more than one thread. */
struct blk_disk {
	unsigned char *bytes;
	uint64_t size;                     /* as it is now; a test may shrink it */
	int fail;                          /* error number to fail the next transfers with */
	bool is_held;                      /* transfers wait for blk_disk_release() */
	unsigned ops[5];                   /* by enum vblk_op */
	unsigned iovecs_max;               /* most of any transfer */
	bool may_unmap;                    /* of the last one */
	void (*on_transfer)(void *opaque); /* may be NULL: called before each one is done */
	void *opaque;
	struct vblk_io *pending[BLK_PENDING_MAX];
	unsigned pending_count;
};

struct blk_machine {
	enum blk_world world;
	unsigned char *host; /* the guest's memory, in an order of the world's own */
	int shared_fd;       /* -1: the memory is not a file */
	struct gm_space *space;
	struct gm_region *regions[BLK_REGIONS];
	struct gm_map *map;
	struct gm_memory *memory;
	struct gm_view view; /* the test's own */
	/* May be NULL: called after each write that a region of callbacks sees. */
	void (*on_write)(struct blk_machine *machine, uint64_t at, size_t bytes);

	struct blk_disk disk;
	struct vblk *vblk;
	struct gblk *gblk;
	unsigned interrupts, breaks;
};

/* What a test wants; zeros are a driver that takes all features, with a queue of 64. */
struct blk_opts {
	enum blk_world world;
	uint64_t disk_bytes; /* 0: 1 MiB */
	uint64_t refuse;     /* features that the driver does not take */
	bool read_only;
	uint32_t size;
	uint32_t segments_max;
	uint64_t dirty_page_bytes; /* of the regions */
	bool shared;               /* the fixed region is a file, shared_fd, that may be truncated */
};

void blk_machine_init(struct blk_machine *machine, const struct blk_opts *opts);
void blk_machine_fini(struct blk_machine *machine);

/* The test's own access to guest memory. */
void blk_put(struct blk_machine *machine, uint64_t at, const void *data, size_t bytes);
void blk_get(struct blk_machine *machine, uint64_t at, void *data, size_t bytes);

void blk_disk_submit(void *opaque, struct vblk_io *io);
/* Do what was held back, in order; what comes meanwhile too. */
void blk_disk_release(struct blk_disk *disk);

/* Add one request, show it, run the device. */
void blk_submit(struct blk_machine *machine, const struct gblk_request *request);
/* The same, and take the result, which must be there. */
struct gblk_result blk_do(struct blk_machine *machine, const struct gblk_request *request);
/* A request of one segment; returns its status. */
uint8_t blk_one(struct blk_machine *machine, uint32_t type, uint64_t sector, uint64_t at, uint32_t bytes);

/* Bytes that depend on place and seed. */
void blk_pattern(unsigned char *data, size_t bytes, uint32_t seed);

#endif
