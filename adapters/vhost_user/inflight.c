/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The record of requests in flight: memory that the front-end keeps while a back-end is replaced. Made here, of zeros, which
 * stands for "no record yet"; what is written there is the device's business. One part per queue, one after the other, each beginning
 * at a cache line: where they stand follows from the size of queues alone, so that the next back-end finds them.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vu.h"

/* The head of a part and the state of one descriptor: QueueRegionSplit and DescStateSplit. */
#define HEAD_BYTES  16
#define STATE_BYTES 16
#define PART_ALIGN  64

static uint64_t part_bytes(uint16_t queue_size)
{
	uint64_t bytes = HEAD_BYTES + (uint64_t)STATE_BYTES * queue_size;

	return (bytes + PART_ALIGN - 1) / PART_ALIGN * PART_ALIGN;
}

/* A memfd that nobody can take bytes from again. Return: it, or a negative error number. */
static int new_file(uint64_t bytes)
{
	int fd = memfd_create("vhost-user-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING), r;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)bytes) != 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

int vu_inflight_answer(struct gm_vu *vu)
{
	const struct vu_message *message = &vu->message;
	uint64_t bytes = part_bytes(message->inflight.queue_size) * message->inflight.queues;
	struct {
		uint64_t bytes, offset;
		uint16_t queues, queue_size, padding[2];
	} answer = { 0 };
	int fd, r;

	bytes = (bytes + VU_PAGE_BYTES - 1) / VU_PAGE_BYTES * VU_PAGE_BYTES;
	fd = new_file(bytes);
	if (fd < 0)
		return vu_refuse(vu, fd, "no memory for the record");
	answer.bytes = bytes;
	answer.queues = message->inflight.queues;
	answer.queue_size = message->inflight.queue_size;
	/* As long as the question: front-ends differ in whether the padding counts. */
	r = vu_wire_send(&vu->wire, message->request, &answer, message->bytes, fd);
	close(fd);
	return r;
}

int vu_inflight_begin(struct gm_vu *vu)
{
	const struct vu_message *message = &vu->message;

	if (vu_queues_run(vu))
		return vu_refuse(vu, -EBUSY, "queues run");
	if (message->inflight.bytes < part_bytes(message->inflight.queue_size) * message->inflight.queues)
		return vu_refuse(vu, -EINVAL, "the record is shorter than its queues need");
	return 0;
}

int vu_inflight_apply(struct gm_vu *vu)
{
	const struct vu_message *message = &vu->message;
	struct vu_window window;
	int r = vu_window_open(&window, "inflight", vu->wire.fds[0], message->inflight.offset, message->inflight.bytes);

	if (r != 0)
		return vu_refuse(vu, r, "the record can't be mapped");
	vu_window_close(&vu->inflight);
	vu->inflight = window;
	vu->inflight_queues = message->inflight.queues;
	vu->inflight_queue_size = message->inflight.queue_size;
	for (unsigned i = 0; i < vu->device.queues; i++)
		vu->queues[i].refused = false;
	return 0;
}

int vu_inflight_of(struct gm_vu *vu, unsigned index, struct gm_vu_ring *ring)
{
	uint64_t bytes = part_bytes(vu->inflight_queue_size);

	if (vu->inflight.memory == NULL)
		return 0;
	/* Without a place for it, requests would be lost that the front-end believes to be safe. */
	if (index >= vu->inflight_queues || ring->size > vu->inflight_queue_size)
		return -EINVAL;
	ring->inflight = vu->inflight.memory;
	ring->inflight_at = gm_gpa_add_wrapping(vu->inflight.at, bytes * index);
	ring->inflight_bytes = bytes;
	return 0;
}
