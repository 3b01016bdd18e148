/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Queues: what the front-end said of each, and whether the device runs it. A queue runs while all of this holds: features are taken,
 * its size and addresses are known, it was started and enabled, and its rings stand in memory that is there.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vu.h"

void vu_queues_init(struct gm_vu *vu)
{
	for (unsigned i = 0; i < GM_VU_QUEUES_MAX; i++) {
		struct vu_queue *queue = &vu->queues[i];

		queue->kick = queue->call = queue->err = -1;
	}
}

static void set_fd(int *fd, int new_fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = new_fd;
}

void vu_queues_fini(struct gm_vu *vu)
{
	for (unsigned i = 0; i < GM_VU_QUEUES_MAX; i++) {
		struct vu_queue *queue = &vu->queues[i];

		set_fd(&queue->kick, -1);
		set_fd(&queue->call, -1);
		set_fd(&queue->err, -1);
	}
}

bool vu_is_eventfd(int fd)
{
	static const char eventfd[] = "anon_inode:[eventfd]";
	char path[64], link[sizeof(eventfd)];
	ssize_t bytes;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	bytes = readlink(path, link, sizeof(link));
	/* Without /proc nobody can tell: then it is the front-end's word. */
	if (bytes < 0)
		return errno == ENOENT && access("/proc/self", F_OK) != 0;
	return bytes == sizeof(eventfd) - 1 && memcmp(link, eventfd, sizeof(eventfd) - 1) == 0;
}

/*
 * The front-end's own eventfd, whose flags are its own as well: so it is asked first whether it would block. It would with its
 * count near 2^64 only, and then somebody has been notified often enough.
 */
void vu_signal(int fd)
{
	struct pollfd waiting = { .fd = fd, .events = POLLOUT };
	uint64_t one = 1;
	ssize_t r;

	/* Of no descriptor it says nothing. */
	(void)poll(&waiting, 1, 0);
	if (!(waiting.revents & POLLOUT))
		return;
	do {
		r = write(fd, &one, sizeof(one));
	} while (r < 0 && errno == EINTR);
}

bool vu_queues_run(const struct gm_vu *vu)
{
	for (unsigned i = 0; i < vu->device.queues; i++) {
		if (vu->queues[i].state != VU_STOPPED)
			return true;
	}
	return false;
}

bool vu_queues_stop_now(const struct gm_vu *vu)
{
	for (unsigned i = 0; i < vu->device.queues; i++) {
		if (vu->queues[i].state == VU_STOPPING)
			return true;
	}
	return false;
}

void vu_queue_stop(struct gm_vu *vu, unsigned index)
{
	struct vu_queue *queue = &vu->queues[index];

	if (queue->state != VU_RUNNING)
		return;
	queue->state = VU_STOPPING;
	vu->device.queue_stop(vu->device.opaque, index);
}

void vu_queues_stop(struct gm_vu *vu)
{
	for (unsigned i = 0; i < vu->device.queues; i++)
		vu_queue_stop(vu, i);
}

/* Sizes of the parts of a split ring with their event fields: VIRTIO 1.2, 2.7. */
static uint64_t desc_bytes(uint32_t size)
{
	return UINT64_C(16) * size;
}

static uint64_t avail_bytes(uint32_t size)
{
	return 6 + UINT64_C(2) * size;
}

static uint64_t used_bytes(uint32_t size)
{
	return 6 + UINT64_C(8) * size;
}

struct place {
	uint64_t desc, avail, used;
	bool settled; /* all of it in memory that is mapped already */
};

static int locate(const struct vu_queue *queue, const struct vu_table *table, struct place *ret_place)
{
	bool desc, avail, used;

	if (vu_translate(table, queue->desc, desc_bytes(queue->size), &ret_place->desc, &desc) != 0 ||
	    vu_translate(table, queue->avail, avail_bytes(queue->size), &ret_place->avail, &avail) != 0 ||
	    vu_translate(table, queue->used, used_bytes(queue->size), &ret_place->used, &used) != 0)
		return -EFAULT;
	if (ret_place->desc % 16 != 0 || ret_place->avail % 2 != 0 || ret_place->used % 4 != 0)
		return -EINVAL;
	ret_place->settled = desc && avail && used;
	return 0;
}

void vu_queues_stop_moved(struct gm_vu *vu, const struct vu_table *next)
{
	for (unsigned i = 0; i < vu->device.queues; i++) {
		struct vu_queue *queue = &vu->queues[i];
		struct place place;

		queue->refused = false;
		if (queue->state != VU_RUNNING)
			continue;
		/* What is mapped already is where it was. */
		if (locate(queue, next, &place) != 0 || !place.settled)
			vu_queue_stop(vu, i);
	}
}

static bool may_run(const struct gm_vu *vu, const struct vu_queue *queue)
{
	/* Front-ends that do not know of protocol features do not know of enabling either. */
	bool enabled = queue->enabled || !(vu->features & GM_VU_F_PROTOCOL_FEATURES);

	return vu->has_features && queue->started && enabled && queue->size != 0 && queue->has_rings && !queue->refused;
}

static int start(struct gm_vu *vu, unsigned index)
{
	struct vu_queue *queue = &vu->queues[index];
	struct place place;
	int r = locate(queue, &vu->table, &place);

	if (r != 0)
		return r;
	queue->ring = (struct gm_vu_ring){
		.desc = gm_gpa(place.desc),
		.avail = gm_gpa(place.avail),
		.used = gm_gpa(place.used),
		.size = queue->size,
		.next = queue->next,
		.kick_fd = queue->kick,
	};
	r = vu_inflight_of(vu, index, &queue->ring);
	return r != 0 ? r : vu->device.queue_start(vu->device.opaque, index, &queue->ring);
}

void vu_queues_start(struct gm_vu *vu)
{
	/* One of the device's calls may close the connection. */
	for (unsigned i = 0; i < vu->device.queues && !vu->is_closed; i++) {
		struct vu_queue *queue = &vu->queues[i];

		if (queue->state != VU_STOPPED || !may_run(vu, queue))
			continue;
		/* Before the call, in which the device may find out already that the queue is broken. */
		queue->state = VU_RUNNING;
		if (start(vu, i) != 0) {
			queue->state = VU_STOPPED;
			queue->refused = true;
			vu_signal(queue->err);
		}
	}
}

static bool has_same_rings(const struct vu_queue *queue, const struct vu_message *message)
{
	return queue->has_rings && queue->desc == message->rings.desc && queue->used == message->rings.used &&
	       queue->avail == message->rings.avail;
}

int vu_queue_begin(struct gm_vu *vu)
{
	struct vu_message *message = &vu->message;
	struct vu_queue *queue = &vu->queues[message->index];

	queue->refused = false;
	switch (message->request) {
	case VU_SET_VRING_NUM:
	case VU_SET_VRING_BASE:
		return queue->state != VU_STOPPED ? vu_refuse(vu, -EBUSY, "the queue runs") : 0;
	case VU_SET_VRING_ADDR:
		/* The same again says whether writes to the used ring are to be logged, and disturbs nobody. */
		if (has_same_rings(queue, message))
			return 0;
		break;
	case VU_SET_VRING_ENABLE:
		if (message->number == 1)
			return 0;
		break;
	case VU_SET_VRING_KICK:
	case VU_SET_VRING_CALL:
	case VU_SET_VRING_ERR:
		if (message->has_fd && !vu_is_eventfd(vu->wire.fds[0]))
			return vu_refuse(vu, -EINVAL, "the descriptor is not an eventfd");
		/* The device has the kick descriptor while it runs. */
		if (message->request != VU_SET_VRING_KICK)
			return 0;
		break;
	default:
		break;
	}
	vu_queue_stop(vu, message->index);
	return 0;
}

static void set_rings(struct vu_queue *queue, const struct vu_message *message)
{
	queue->has_rings = true;
	queue->desc = message->rings.desc;
	queue->used = message->rings.used;
	queue->avail = message->rings.avail;
	queue->logs_used = message->rings.log;
	queue->log_gpa = message->rings.log_gpa;
}

int vu_queue_apply(struct gm_vu *vu)
{
	const struct vu_message *message = &vu->message;
	struct vu_queue *queue = &vu->queues[message->index];

	switch (message->request) {
	case VU_SET_VRING_NUM:
		queue->size = message->number;
		break;
	case VU_SET_VRING_BASE:
		queue->next = (uint16_t)message->number;
		break;
	case VU_SET_VRING_ADDR:
		set_rings(queue, message);
		break;
	case VU_SET_VRING_ENABLE:
		queue->enabled = message->number == 1;
		break;
	case VU_SET_VRING_KICK:
		set_fd(&queue->kick, message->has_fd ? vu_wire_take(&vu->wire, 0) : -1);
		queue->started = true;
		break;
	case VU_SET_VRING_CALL:
		set_fd(&queue->call, message->has_fd ? vu_wire_take(&vu->wire, 0) : -1);
		break;
	case VU_SET_VRING_ERR:
		set_fd(&queue->err, message->has_fd ? vu_wire_take(&vu->wire, 0) : -1);
		break;
	case VU_GET_VRING_BASE:
		queue->started = false;
		set_fd(&queue->kick, -1);
		break;
	default:
		break;
	}
	return 0;
}

VU_PUBLIC void gm_vu_queue_stopped(struct gm_vu *vu, unsigned index, uint16_t next)
{
	if (index >= vu->device.queues || vu->queues[index].state != VU_STOPPING)
		return;
	vu->queues[index].state = VU_STOPPED;
	vu->queues[index].next = next;
}

VU_PUBLIC int gm_vu_notify(struct gm_vu *vu, unsigned index)
{
	if (index >= vu->device.queues || vu->queues[index].state == VU_STOPPED)
		return -EINVAL;
	vu_signal(vu->queues[index].call);
	return 0;
}

VU_PUBLIC void gm_vu_queue_broken(struct gm_vu *vu, unsigned index)
{
	if (index < vu->device.queues)
		vu_signal(vu->queues[index].err);
}
