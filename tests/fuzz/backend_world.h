/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * What the fuzzed back-end runs in: one connection over a socketpair, the block device behind it with a disk in a memfd, and the files that a
 * front-end might send. All on one thread, so that an input does the same each time.
 */
#ifndef FUZZ_BACKEND_WORLD_H
#define FUZZ_BACKEND_WORLD_H

#include "fuzz.h"

#include <guestmem/access.h>
#include <guestmem/guard.h>
#include <guestmem/vhost_user.h>

#include "virtio_blk.h"

#define WORLD_QUEUES  2
#define WORLD_PENDING 64
#define DISK_BYTES    (8 * 512 + 77)

/* Descriptors to send. Made when first used; most inputs need few. */
enum world_file {
	FILE_RAM,     /* 16 pages */
	FILE_RAM_TOO, /* 16 pages */
	FILE_ODD,     /* 3 pages and 100 bytes */
	FILE_EMPTY,
	FILE_LOG, /* 2 pages */
	FILE_SEALED,
	FILE_READ_ONLY,
	FILE_EVENT,
	FILE_EVENT_BLOCKING,
	FILE_PIPE,
	FILE_PIPE_WRITE,
	FILE_NULL,
	FILE_FOLDER,
	FILE_SOCKET,
	FILES
};

struct world_queue {
	bool is_set, is_stopping, is_interrupt;
};

struct world {
	int socket; /* the front-end's end; -1: closed */
	struct gm_space *space;
	struct gm_memory *memory;
	struct vblk *vblk;
	struct gm_vu *vu;
	bool is_over;      /* the connection is, for whatever reason */
	bool is_legacy;    /* the driver did not take VERSION_1 */
	bool is_disk_held; /* transfers wait */
	struct world_queue queues[WORLD_QUEUES];
	struct vblk_io *pending[WORLD_PENDING];
	unsigned pending_count;
	const struct gm_map *held; /* somebody else is in the memory; NULL: nobody */
	int files[FILES];          /* -1: not made yet */
};

/* Return: false when the machine has no more of something; nothing is left then. */
bool world_open(struct world *world);
/* Ends the connection as its users do, and looks whether all that it had is given back. */
void world_close(struct world *world);

int world_file(struct world *world, enum world_file which);
/* What the loop of a server does between messages. */
void world_turn(struct world *world);
/* Transfers that wait are done, nobody is in the memory any more: whatever waits can go on. */
void world_let_go(struct world *world);
void world_hold(struct world *world);

#endif
