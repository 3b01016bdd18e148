/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The front-end's side of vhost-user (QEMU's docs/interop/vhost-user.rst): a VMM hands the memory of a space, and rings that stand
 * in it, to a device in another process. In the library guestmem-vhost-user, as the back-end's side.
 *
 *	connect
 *	gm_vu_front_new(fd, NULL, &front, &error)
 *	gm_vu_front_set_features(front, what the driver took of gm_vu_front_features(front), &error)
 *	gm_vu_front_attach(front, space, &error)	from now on the back-end has the space's memory
 *	gm_vu_front_ring_start(front, 0, &ring, &error)
 *	... updates of the space go on meanwhile ...
 *	gm_vu_front_ring_stop(front, 0, &next, &error)
 *	gm_vu_front_free(front)
 *
 * What is handed over: each region of kind GM_RAM that may be written, by its file descriptor. A space with such a region whose
 * bytes are private to this process (an anonymous or copy-on-write mapping) is refused, and so is an update that brings one: a device
 * that sees other bytes than the guest is worse than none. All other kinds stay unknown to the back-end.
 *
 * The front-end follows updates as a listener: regions are added before the new map is published, so that a back-end that refuses one
 * makes the update fail; and taken away when it is current. One message per region where the back-end takes these
 * (VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS), else the whole table. An update waits for the back-end's answers, as long as the
 * options say at most: a back-end that hangs makes the next update fail, and is not asked again.
 *
 * What a back-end answers is hostile until checked: sizes, numbers, descriptors that nobody asked for. An answer that makes no sense ends
 * the connection: all later calls return -ECONNABORTED, gm_vu_front_failure() says why. Memory that a back-end was given once, it can
 * access until it ends: nothing can be taken from a process that keeps a mapping.
 *
 * Context: one thread at a time, which may be another than that of the space's updates. All calls but the free one and the questions may block until
 * the back-end has answered, or the time is up.
 */
#ifndef GUESTMEM_VHOST_USER_FRONT_H
#define GUESTMEM_VHOST_USER_FRONT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <guestmem/space.h>

GM_BEGIN_DECLS

struct gm_vu_front;

/* How long an answer may take unless the options say: requests in flight end before memory is given up. */
#define GM_VU_FRONT_TIMEOUT_MS 10000

/**
 * struct gm_vu_front_opts - how to talk to a back-end
 * @size: sizeof(struct gm_vu_front_opts) as the caller was compiled
 * @name: of the listener and of what holds the map, 1 to GM_NAME_MAX-1 characters; NULL for "vhost-user"
 * @timeout_ms: for one answer; 0 for GM_VU_FRONT_TIMEOUT_MS
 * @without: protocol features that are not to be used although both sides know them (GM_VU_FRONT_...), for back-ends with bugs
 */
struct gm_vu_front_opts {
	size_t size;
	const char *name;
	int timeout_ms;
	uint64_t without;
};

/* Protocol features that this side knows. */
#define GM_VU_FRONT_MQ        (UINT64_C(1) << 0)
#define GM_VU_FRONT_LOG_SHMFD (UINT64_C(1) << 1)
#define GM_VU_FRONT_REPLY_ACK (UINT64_C(1) << 3)
#define GM_VU_FRONT_CONFIG    (UINT64_C(1) << 9)
#define GM_VU_FRONT_MEM_SLOTS (UINT64_C(1) << 15)

/**
 * gm_vu_front_new - take up a connection: ownership, features, protocol features, queues, slots
 * @fd: a connected stream socket of the family AF_UNIX; this side's when it succeeds
 * @opts: copied; NULL for the defaults
 *
 * Return: 0; -EINVAL; -ENOTSOCK; -ENOMEM; -ETIMEDOUT; -ECONNABORTED when the back-end went away or made no sense.
 */
GM_CHECKED int gm_vu_front_new(int fd, const struct gm_vu_front_opts *opts, struct gm_vu_front **ret_front,
			       struct gm_error *error);
/*
 * Rings are stopped and memory is taken away, as far as the back-end still answers; closes @fd. Accepts NULL. From a listener of the space it
 * does no more than to stop the rings: nothing is freed.
 */
void gm_vu_front_free(struct gm_vu_front *front);

/* What the back-end offers; queues that it has; regions that it takes. */
uint64_t gm_vu_front_features(const struct gm_vu_front *front);
uint64_t gm_vu_front_protocol_features(const struct gm_vu_front *front);
unsigned gm_vu_front_queues(const struct gm_vu_front *front);
unsigned gm_vu_front_slots(const struct gm_vu_front *front);
/* 0 while the connection is good; else the code, and the sentence in @error, which may be NULL. Any thread. */
int gm_vu_front_failure(struct gm_vu_front *front, struct gm_error *error);

/* What the driver took. Return: 0; -EINVAL for what was not offered; -EBUSY while a ring is started; and as gm_vu_front_new(). */
GM_CHECKED int gm_vu_front_set_features(struct gm_vu_front *front, uint64_t features, struct gm_error *error);

/* The device's configuration space, up to 256 bytes. Return: 0; -EINVAL; -EOPNOTSUPP without that protocol feature; as gm_vu_front_new(). */
GM_CHECKED int gm_vu_front_config_read(struct gm_vu_front *front, uint32_t offset, void *data, uint32_t bytes,
				       struct gm_error *error);
GM_CHECKED int gm_vu_front_config_write(struct gm_vu_front *front, uint32_t offset, const void *data, uint32_t bytes,
					struct gm_error *error);

/**
 * gm_vu_front_attach - hand over a space's memory, and what becomes of it
 *
 * Return: 0; -EALREADY; -EPERM for a region that can't be shared; -ENOSPC for more than the back-end has slots; -EREMOTEIO when it refused
 * one; as gm_space_add_listener() and gm_vu_front_new(). Updates that these concern return the same.
 */
GM_CHECKED int gm_vu_front_attach(struct gm_vu_front *front, struct gm_space *space, struct gm_error *error);
/* Take it all away. Return: 0; -ENOENT when none is attached; -EBUSY while a ring is started; -ENOMEM; -EDEADLK from a listener. */
GM_CHECKED int gm_vu_front_detach(struct gm_vu_front *front);

/**
 * struct gm_vu_front_ring - a split ring (VIRTIO 1.2, section 2.7)
 * @desc, @avail, @used: guest physical addresses; each of the three in one region that was handed over
 * @size: entries: a power of two up to 32768
 * @next: the index to begin at
 * @kick_fd, @call_fd: eventfds: driver to device and device to driver; borrowed during the call; -1: polled
 * @err_fd: signalled when the ring breaks; -1 for none
 */
struct gm_vu_front_ring {
	struct gm_gpa desc, avail, used;
	uint32_t size;
	uint16_t next;
	int kick_fd, call_fd, err_fd;
};

/* Return: 0; -EINVAL; -GM_EHOLE when a part does not stand in memory that was handed over; -EBUSY when started; as gm_vu_front_new(). */
GM_CHECKED int gm_vu_front_ring_start(struct gm_vu_front *front, unsigned queue, const struct gm_vu_front_ring *ring,
				      struct gm_error *error);
/* When it returns 0, the back-end takes no more from it and has nothing in flight. *@ret_next: where to go on. */
GM_CHECKED int gm_vu_front_ring_stop(struct gm_vu_front *front, unsigned queue, uint16_t *ret_next,
				     struct gm_error *error);

/**
 * gm_vu_front_log - have the back-end log its writes, or end that
 *
 * gm_vu_front_log_sync() then marks in the regions' dirty logs what the back-end has written since the last time; regions without one are
 * left out. To be called before each collect, and after the rings were stopped: only then the last writes are certain to be there. Memory
 * that comes while it is on is logged too.
 * Return: 0; -EOPNOTSUPP without VHOST_F_LOG_ALL or LOG_SHMFD; -ENOENT without a space; -ENOMEM; as gm_vu_front_new().
 */
GM_CHECKED int gm_vu_front_log(struct gm_vu_front *front, bool on, struct gm_error *error);
/* Context: does not talk to the back-end. Return: 0; -EINVAL while it is off. */
GM_CHECKED int gm_vu_front_log_sync(struct gm_vu_front *front);

GM_END_DECLS

#endif
