/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * A copy engine: a device that copies guest memory where the guest tells it to, by requests in a ring in guest memory.
 * The guest fills requests[produced % COPY_REQUESTS] and moves produced; the device copies, says how it went, and moves
 * consumed. Both numbers only grow, and wrap at 2^32.
 */
#ifndef EXAMPLE_DEVICE_H
#define EXAMPLE_DEVICE_H

#include <guestmem/access.h>

#define COPY_REQUESTS 16

enum copy_status { COPY_PENDING = 0, COPY_DONE = 1, COPY_BAD_ADDRESS = 2 };

/* As they lie in guest memory, on a big-endian host too. */
struct copy_request {
	struct gm_le64 to;
	struct gm_le64 from;
	struct gm_le32 bytes;
	struct gm_le32 status;
};

struct copy_ring {
	struct gm_le32 produced;
	struct gm_le32 consumed;
	struct copy_request requests[COPY_REQUESTS];
};

struct copy_engine {
	struct gm_view view;
	struct gm_gpa ring;
	uint32_t consumed;
};

/* @ring: where the guest says its ring is. Return: as gm_view_init(). */
int copy_engine_init(struct copy_engine *engine, struct gm_memory *memory, struct gm_gpa ring);
int copy_engine_fini(struct copy_engine *engine);

/* Serves what was requested. Return: how many requests; -EPROTO when the guest's ring is nonsense; codes of <guestmem/access.h>. */
int copy_engine_run(struct copy_engine *engine);

#endif
