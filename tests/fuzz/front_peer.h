/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * A back-end for the fuzzed front-end: it lives on the same thread, inside of sendmsg(2), which the linker leads to it (--wrap): whatever the
 * front-end sends is read, checked and answered before that call returns. So an input does the same each time, and nobody waits.
 *
 * What it is sent has to be right, by the parser of the back-end's side. It answers well, but where the input says otherwise; after an answer that
 * is none it closes, so that the front-end never waits for the rest. It keeps what a back-end keeps: a table of memory, rings, a log.
 */
#ifndef FUZZ_FRONT_PEER_H
#define FUZZ_FRONT_PEER_H

#include "fuzz.h"

#include <guestmem/guestmem.h>

#include "message.h"

#define PEER_QUEUES  2
#define PEER_REGIONS 64

struct peer_region {
	struct vu_region region;
	uint64_t inode;
};

struct peer_ring {
	bool runs;
	uint32_t size;
	uint64_t desc, used, avail;
};

struct peer {
	int front, socket; /* the two ends */
	struct fuzz_input *input;
	bool is_closed; /* it answers no more */
	struct vu_terms terms;
	uint64_t slots;
	unsigned features_answers;
	struct peer_region regions[PEER_REGIONS];
	unsigned count;
	struct peer_ring rings[256];
	uint64_t features;
	int log; /* -1: none */
	uint64_t log_bytes;
};

/* One at a time in the process. */
void peer_open(struct peer *peer, int front, int socket, struct fuzz_input *input);
void peer_close(struct peer *peer);

#endif
