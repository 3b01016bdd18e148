/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The guest's side of a virtio-blk queue: a small driver that lays a queue out in guest memory and builds requests there, through a
 * view of its own. For tests, and for trying out a device without a guest. It trusts the device as little as the device trusts it.
 *
 * Context: a driver belongs to one thread. No call blocks.
 */
#ifndef DEVICES_GUEST_BLK_H
#define DEVICES_GUEST_BLK_H

#include <stdbool.h>
#include <stdint.h>

#include <guestmem/access.h>

#include "virtio_blk.h"

struct gblk;

/**
 * struct gblk_opts - what to make
 * @memory: a reference is taken
 * @at: gblk_bytes() of guest memory that are the driver's own, at a multiple of 16
 * @size: of the queue: a power of two
 * @segments_max: data segments of one request, 1 to VBLK_SEGMENTS_MAX
 * @indirect, @event_index: as negotiated. With @indirect every request is in a table of its own
 */
struct gblk_opts {
	struct gm_memory *memory;
	struct gm_gpa at;
	uint32_t size;
	uint32_t segments_max;
	bool indirect;
	bool event_index;
};

/* How much guest memory a driver needs. Rings come first, in the order of VIRTIO 1.2, 2.7. */
uint64_t gblk_bytes(uint32_t size, uint32_t segments_max);

/* Clears and lays out the queue. Return: 0; -EINVAL; -GM_EWRAP; -ENOMEM; or the access's code. */
GM_CHECKED int gblk_new(const struct gblk_opts *opts, struct gblk **ret_gblk);
/* Accepts NULL. */
void gblk_free(struct gblk *gblk);

/* What the device has to be told. */
struct virtq_ring gblk_ring(const struct gblk *gblk);

struct gblk_segment {
	struct gm_gpa at;
	uint32_t bytes;
};

/**
 * struct gblk_request - one request
 * @type: VBLK_T_...
 * @sector: for IN and OUT
 * @segments, @segments_count: data in guest memory: written by the device for IN and GET_ID, read by it for others
 * @ranges, @ranges_count: for DISCARD and WRITE_ZEROES in place of segments, up to VBLK_RANGES_MAX
 * @cookie: comes back with the result
 */
struct gblk_request {
	uint32_t type;
	uint64_t sector;
	const struct gblk_segment *segments;
	uint32_t segments_count;
	const struct vblk_range *ranges;
	uint32_t ranges_count;
	uint64_t cookie;
};

/**
 * gblk_add - put a request into the queue; the device does not see it before gblk_kick()
 *
 * Return: 0; -E2BIG for too many segments or ranges; -EINVAL for both; -ENOSPC while too few descriptors are free; or the access's code.
 */
GM_CHECKED int gblk_add(struct gblk *gblk, const struct gblk_request *request);
/* Show the device what was added. Return: 1 when it wants to be notified; 0; or the access's code. */
GM_CHECKED int gblk_kick(struct gblk *gblk);

/* @status: of the request. @bytes: what the device says that it wrote. */
struct gblk_result {
	uint64_t cookie;
	uint32_t bytes;
	uint8_t status;
};

/**
 * gblk_reap - take a request that is done
 *
 * Return: 1; 0 when there is none; -EBADMSG when the device gave back what it did not have; or the access's code.
 */
GM_CHECKED int gblk_reap(struct gblk *gblk, struct gblk_result *ret_result);
/**
 * gblk_listen - say when to be notified
 * @after: with the event index: when so many more requests than were reaped are done, at least 1. 0: not at all, as well as can be
 *	said; without the event index anything else is 1
 *
 * Return: 1 when as many are done already, which the device may not notify of; 0; or the access's code.
 */
GM_CHECKED int gblk_listen(struct gblk *gblk, uint32_t after);

/* Requests added and not reaped. */
uint32_t gblk_in_flight(const struct gblk *gblk);

#endif
