/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Rings of the front-end's side: started and stopped. Their addresses are told as addresses of this process. */
#include "front.h"

#include <errno.h>
#include <string.h>

#define F_PROTOCOL_FEATURES (UINT64_C(1) << 30)
#define RING_MAX            32768u
/* In the number of a ring that comes without a descriptor. */
#define NO_FD    (UINT64_C(1) << 8)
#define ADDR_LOG 1u

struct state {
	uint32_t index, number;
};

struct address {
	uint32_t index, flags;
	uint64_t desc, used, avail, log_gpa;
};

static int send_fd(struct gm_vu_front *front, enum vu_request request, unsigned queue, int fd)
{
	uint64_t number = queue | (fd < 0 ? NO_FD : 0);

	return front_tell(front, request, &number, sizeof(number), &fd, fd >= 0 ? 1 : 0);
}

int front_send_ring_address(struct gm_vu_front *front, unsigned queue)
{
	const struct front_queue *one = &front->queue[queue];
	struct address address = {
		.index = queue,
		.flags = front->is_logging ? ADDR_LOG : 0,
		.desc = one->desc,
		.used = one->used,
		.avail = one->avail,
		.log_gpa = one->ring.used.value,
	};

	return front_tell(front, VU_SET_VRING_ADDR, &address, sizeof(address), NULL, 0);
}

static int check_ring(const struct gm_vu_front *front, unsigned queue, const struct gm_vu_front_ring *ring,
		      struct gm_error *error)
{
	if (queue >= front->queues)
		return front_say(error, -EINVAL, "ring %u of a back-end that has %u", queue, front->queues);
	if (front->queue[queue].is_started)
		return front_say(error, -EBUSY, "ring %u is started already", queue);
	if (ring->size == 0 || ring->size > RING_MAX || (ring->size & (ring->size - 1)) != 0)
		return front_say(error, -EINVAL, "ring %u: a size of %u entries", queue, ring->size);
	if (ring->desc.value % 16 != 0 || ring->avail.value % 2 != 0 || ring->used.value % 4 != 0)
		return front_say(error, -EINVAL, "ring %u: its parts have to begin at multiples of 16, 2 and 4 bytes",
				 queue);
	return 0;
}

static int place(struct gm_vu_front *front, unsigned queue, struct gm_error *error)
{
	struct front_queue *one = &front->queue[queue];
	uint64_t size = one->ring.size;
	int r = front_translate(front, one->ring.desc, 16 * size, &one->desc);

	r = r ? r : front_translate(front, one->ring.avail, 6 + 2 * size, &one->avail);
	r = r ? r : front_translate(front, one->ring.used, 6 + 8 * size, &one->used);
	return r ? front_say(error, r, "ring %u does not stand in memory that the back-end was given", queue) : 0;
}

/* *@ret_may_run: the back-end has all that it needs. */
static int start(struct gm_vu_front *front, unsigned queue, bool *ret_may_run)
{
	const struct gm_vu_front_ring *ring = &front->queue[queue].ring;
	struct state size = { queue, ring->size }, base = { queue, ring->next }, enable = { queue, 1 };
	int r = front_tell(front, VU_SET_VRING_NUM, &size, sizeof(size), NULL, 0);

	r = r ? r : front_tell(front, VU_SET_VRING_BASE, &base, sizeof(base), NULL, 0);
	r = r ? r : front_send_ring_address(front, queue);
	if (r == 0 && ring->err_fd >= 0)
		r = send_fd(front, VU_SET_VRING_ERR, queue, ring->err_fd);
	r = r ? r : send_fd(front, VU_SET_VRING_CALL, queue, ring->call_fd);
	r = r ? r : send_fd(front, VU_SET_VRING_KICK, queue, ring->kick_fd);
	*ret_may_run = r == 0;
	if (r == 0 && (front->offered & F_PROTOCOL_FEATURES))
		r = front_tell(front, VU_SET_VRING_ENABLE, &enable, sizeof(enable), NULL, 0);
	return r;
}

static int stop(struct gm_vu_front *front, unsigned queue, uint16_t *ret_next)
{
	struct state disable = { queue, 0 }, base = { queue, 0 }, answer;
	int r = 0;

	if (front->offered & F_PROTOCOL_FEATURES)
		r = front_tell(front, VU_SET_VRING_ENABLE, &disable, sizeof(disable), NULL, 0);
	if (r == 0 || r == -EREMOTEIO)
		r = front_ask(front, VU_GET_VRING_BASE, &base, sizeof(base), &answer, sizeof(answer));
	if (r == 0 && (answer.index != queue || answer.number > UINT16_MAX))
		r = front_break(front, -ECONNABORTED, "the back-end stopped ring %u at %u when asked to stop ring %u",
				answer.index, answer.number, queue);
	if (r == 0)
		*ret_next = (uint16_t)answer.number;
	return r;
}

/* Whatever part of a ring was taken, when another was refused with @code. Memory is not taken from under one that may run. */
static int take_back(struct gm_vu_front *front, unsigned queue, int code, bool may_run, struct gm_error *error)
{
	uint16_t next;

	if (stop(front, queue, &next) == -EREMOTEIO && may_run)
		code = front_break(front, -ECONNABORTED, "the back-end neither starts ring %u nor stops it", queue);
	return front_failed(front, error) ? front->failure.code
					  : front_say(error, code, "the back-end refused ring %u", queue);
}

FRONT_PUBLIC int gm_vu_front_ring_start(struct gm_vu_front *front, unsigned queue, const struct gm_vu_front_ring *ring,
					struct gm_error *error)
{
	bool may_run = false;
	int r;

	pthread_mutex_lock(&front->mutex);
	r = front_failed(front, error);
	r = r ? r : check_ring(front, queue, ring, error);
	if (r == 0) {
		front->queue[queue].ring = *ring;
		r = place(front, queue, error);
	}
	if (r == 0) {
		r = start(front, queue, &may_run);
		if (r == 0)
			front->queue[queue].is_started = true;
		else if (front_failed(front, NULL) == 0)
			r = take_back(front, queue, r, may_run, error);
		else
			front_failed(front, error);
	}
	pthread_mutex_unlock(&front->mutex);
	return r;
}

FRONT_PUBLIC int gm_vu_front_ring_stop(struct gm_vu_front *front, unsigned queue, uint16_t *ret_next,
				       struct gm_error *error)
{
	int r;

	pthread_mutex_lock(&front->mutex);
	if (queue >= front->queues || !front->queue[queue].is_started) {
		r = front_say(error, -EINVAL, "ring %u is not started", queue);
	} else {
		r = stop(front, queue, ret_next);
		if (r == -EREMOTEIO)
			r = front_break(front, -ECONNABORTED, "the back-end does not stop ring %u", queue);
		if (r == 0)
			front->queue[queue].is_started = false;
		else
			front_failed(front, error);
	}
	pthread_mutex_unlock(&front->mutex);
	return r;
}
