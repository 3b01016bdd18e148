/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * For tests of "guestmem blk": a front-end of vhost-user with memory of its own in a memfd, and drivers that keep the rings in it. It
 * keeps the record of what is in flight too, so that a server that was killed can be followed by another. Numbers of the protocol are
 * written down here once more, on purpose: the server's own can't vouch for themselves.
 */
#ifndef BLK_FRONT_H
#define BLK_FRONT_H

#include <guestmem/guestmem.h>
#include <stdbool.h>
#include <stdint.h>

#include "guest_blk.h"

#define FRONT_QUEUES_MAX 8
/* Two regions of one file: at 0, with the rings; and at 4 GiB. */
#define FRONT_REGION_BYTES (64 * GM_MIB)
#define FRONT_HIGH         (4 * GM_GIB)
#define FRONT_QUEUE_BYTES  GM_MIB
/* Where data may be in the lower region. */
#define FRONT_DATA (FRONT_QUEUES_MAX * FRONT_QUEUE_BYTES)

struct front_queue {
	struct gblk *gblk;
	int kick, call;
};

struct front {
	const char *path;
	int socket; /* -1: not connected */
	int memfd;
	struct gm_map *map;
	struct gm_memory *memory;
	struct gm_view view;
	unsigned queues_count;
	uint32_t queue_size;
	uint64_t refuse; /* features not to take */
	uint64_t features;
	bool is_plain; /* neither slots nor acknowledgements: as old front-ends are */
	struct vblk_config config;
	int record; /* -1: none yet */
	uint64_t record_bytes, record_offset;
	bool has_drivers;
	struct front_queue queues[FRONT_QUEUES_MAX];
};

/* All end the program with a sentence when something is not as it should be. */
void front_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void front_init(struct front *front, const char *path, unsigned queues, uint32_t queue_size);
/* Waits for a server to be there. Starts the queues. */
void front_connect(struct front *front);
/* Stop the queues, and say goodbye. */
void front_disconnect(struct front *front);
/* Be gone without a word. */
void front_drop(struct front *front);
void front_fini(struct front *front);

/* Stop one queue: where it would go on. */
uint16_t front_stop(struct front *front, unsigned queue);
/* Start it and stop it before the server, which is halted meanwhile, could take anything from it. */
uint16_t front_start_and_stop(struct front *front, unsigned queue);
/* Start it and stop it, for some seconds, without waiting for answers. */
void front_flood(struct front *front, unsigned queue, unsigned seconds);
/* As if the last request that was added had been taken by a server that was killed then. */
void front_record_last(struct front *front, unsigned queue);
/* Show the device what was added. */
void front_kick(struct front *front, unsigned queue);
/*
 * Sleep until something may have come. Return: false when the server has gone.
 */
bool front_wait(struct front *front, int timeout_ms);
/* One request of up to some segments, and its status. */
uint8_t front_do(struct front *front, unsigned queue, const struct gblk_request *request);
void front_put(struct front *front, uint64_t at, const void *data, size_t bytes);
void front_get(struct front *front, uint64_t at, void *data, size_t bytes);

#endif
