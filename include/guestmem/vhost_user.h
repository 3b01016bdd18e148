/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The back-end's side of vhost-user (QEMU's docs/interop/vhost-user.rst): a front-end, such as QEMU, connects, sends its
 * guest's memory as file descriptors, says where its rings stand, and a device here serves them. This adapter keeps a space equal to
 * the memory that the front-end describes, and hands the device its rings; what the device does with them it does through views of the
 * space's memory, as any other consumer. It is built from public headers only, as a library of its own: guestmem-vhost-user.
 *
 *	accept a connection
 *	gm_vu_new(&opts, &vu, &error)
 *	loop, one thread:
 *		poll gm_vu_fd(), the kick descriptors of started queues, and the device's own
 *		gm_vu_run(vu)				messages; calls the device below
 *		work on kicked queues
 *		gm_vu_log_sync(vu)			what was written, into the front-end's log, if there is one
 *		gm_vu_notify() those whose driver wants it
 *	gm_vu_close(vu), and the loop until gm_vu_is_idle(vu); gm_vu_free(vu)
 *
 * What the front-end sends is hostile until checked: message.h, a pure function, turns bytes and a count of descriptors into a
 * checked message. A message that makes no sense is answered with an error where the protocol has an answer, and ends the connection
 * where it has none; nothing of it has happened then. Each descriptor received is closed, or has an owner, whatever happens.
 *
 * Memory: one region per memory region of the front-end, named "vu<number>", kind GM_RAM, shared, with a dirty log. One update
 * per message. A region that is removed stays mapped while the device has requests in flight in it; its removal is acknowledged
 * when it is released. The front-end's memory may shrink under us: gm_fault_guard_install() (<guestmem/guard.h>) before gm_vu_new()
 * makes errors of what else is a SIGBUS; that holds of its log and its in-flight record too, which are accessed through views as well.
 *
 * Rings: addresses are the front-end's own (user addresses). They are translated when a queue starts, and again after each change of
 * memory: a queue whose rings have moved is stopped and started anew, one whose rings have gone is stopped until they come back.
 *
 * Context of all calls: one thread at a time per connection. None blocks, but for mapping memory. Different connections are
 * independent.
 */
#ifndef GUESTMEM_VHOST_USER_H
#define GUESTMEM_VHOST_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <guestmem/space.h>

GM_BEGIN_DECLS

struct gm_vu;

/* Memory regions of a front-end: what GET_MAX_MEM_SLOTS answers. QEMU's own limit, 509 KVM slots for memory. */
#define GM_VU_SLOTS_MAX 509
/* Queues of a device. */
#define GM_VU_QUEUES_MAX 256
/* Entries of a split ring (VIRTIO 1.2, section 2.7). */
#define GM_VU_RING_MAX 32768
/* Configuration space: VHOST_USER_MAX_CONFIG_SIZE. */
#define GM_VU_CONFIG_MAX 256

/* Feature bits that the adapter itself offers, whatever the device does. */
#define GM_VU_F_LOG_ALL           (UINT64_C(1) << 26)
#define GM_VU_F_PROTOCOL_FEATURES (UINT64_C(1) << 30)

/**
 * struct gm_vu_ring - a queue that is to be started
 * @desc, @avail, @used: guest physical addresses, contiguous in the map as of now
 * @size: entries, a power of two up to the device's limit
 * @next: the index to go on at
 * @kick_fd: an eventfd that the driver kicks, borrowed until the queue is stopped; -1: it does not kick, poll the ring
 * @inflight: memory that holds the queue's record of requests in flight, in the layout of the specification (DescStateSplit); NULL
 *	when the front-end asked for none. Valid until the queue is stopped
 * @inflight_at, @inflight_bytes: where in it
 */
struct gm_vu_ring {
	struct gm_gpa desc, avail, used;
	uint32_t size;
	uint16_t next;
	int kick_fd;
	struct gm_memory *inflight;
	struct gm_gpa inflight_at;
	uint64_t inflight_bytes;
};

/**
 * struct gm_vu_device - the device behind a connection
 * @size: sizeof(struct gm_vu_device) as the caller was compiled
 * @features: what it offers; the adapter adds its own
 * @queues: 1 to GM_VU_QUEUES_MAX
 * @queue_size_max: a power of two up to GM_VU_RING_MAX
 * @config_bytes: of its configuration space, up to GM_VU_CONFIG_MAX; 0 for none
 *
 * @set_features: what the driver took, of what was offered, without the adapter's. Called while no queue runs.
 *	Return: 0, or a negative error number, which ends the connection
 * @config_read, @config_write: inside of @config_bytes. The latter may be NULL: writes are refused. Return: 0 or a negative error number
 * @queue_start: Return: 0, or a negative error number: the queue stays stopped, and its error descriptor says so
 * @queue_stop: take nothing more from the queue; when all that was taken is given back, now or later, call
 *	gm_vu_queue_stopped(). Called once per start
 *
 * Called from inside gm_vu_run() and gm_vu_close() only. They may call gm_vu_close(), and must not call gm_vu_free().
 */
struct gm_vu_device {
	size_t size;
	void *opaque;
	uint64_t features;
	unsigned queues;
	uint32_t queue_size_max;
	uint32_t config_bytes;
	int (*set_features)(void *opaque, uint64_t features);
	int (*config_read)(void *opaque, uint32_t offset, void *data, uint32_t bytes);
	int (*config_write)(void *opaque, uint32_t offset, const void *data, uint32_t bytes);
	int (*queue_start)(void *opaque, unsigned queue, const struct gm_vu_ring *ring);
	void (*queue_stop)(void *opaque, unsigned queue);
};

/**
 * gm_vu_new - serve a connection
 * @fd: a connected stream socket of the family AF_UNIX; the adapter's when it succeeds, who makes it non-blocking
 * @space: empty, and changed by nobody else while the connection lives; a reference is taken
 * @device: copied
 *
 * Return: 0; -EINVAL; -ENOTSOCK; -EBUSY when @space is not empty; -ENOMEM.
 */
GM_CHECKED int gm_vu_new(int fd, struct gm_space *space, const struct gm_vu_device *device, struct gm_vu **ret_vu,
			 struct gm_error *error);

/* To be polled for input while gm_vu_is_waiting() is false. */
int gm_vu_fd(const struct gm_vu *vu);
/*
 * Whether a message is being worked on that can't be answered yet: a queue is to stop, or memory to be released. gm_vu_run() goes
 * on with it; nothing is read until then.
 */
bool gm_vu_is_waiting(const struct gm_vu *vu);

/**
 * gm_vu_run - do what the front-end asks
 * @error: filled when the connection is over for a reason
 *
 * Bounded: a few messages at most, so that the queues have their turn.
 * Return: 0 go on (call again when gm_vu_fd() is readable, or after anything happened while gm_vu_is_waiting()); 1: the front-end closed
 * the connection; a negative error number: it has to be ended, @error says why. After 1 or an error: gm_vu_close().
 */
GM_CHECKED int gm_vu_run(struct gm_vu *vu, struct gm_error *error);

/* The queue that was asked to stop has: nothing of it is in flight any more, and it would go on at @next. */
void gm_vu_queue_stopped(struct gm_vu *vu, unsigned queue, uint16_t next);
/* Notify the driver. Return: 0; -EINVAL for a queue that does not run. A driver without a descriptor polls: that is 0 too. */
int gm_vu_notify(struct gm_vu *vu, unsigned queue);
/* The queue broke: tell the front-end by its error descriptor, if it gave one. */
void gm_vu_queue_broken(struct gm_vu *vu, unsigned queue);

/*
 * Put what was written since the last time into the front-end's log, while it has one. To be called after work on queues,
 * before drivers are notified and before the next poll; also after gm_vu_close(). The adapter does it by itself before it answers what ends a log or a queue, and in
 * gm_vu_free(). Costs what is dirty; nothing without a log. Return: 0; -GM_EFAULTED when the log's memory has gone, after which there is none.
 */
int gm_vu_log_sync(struct gm_vu *vu);

/* Stop all queues. gm_vu_run() does nothing any more. */
void gm_vu_close(struct gm_vu *vu);
/* Whether all queues are stopped. */
bool gm_vu_is_idle(const struct gm_vu *vu);
/* The connection has to be closed and idle. Takes its regions out of the space, closes all descriptors. Accepts NULL. */
void gm_vu_free(struct gm_vu *vu);

/* What was negotiated, for people. */
uint64_t gm_vu_features(const struct gm_vu *vu);
uint64_t gm_vu_protocol_features(const struct gm_vu *vu);
/* Whether writes go to a log now. */
bool gm_vu_is_logging(const struct gm_vu *vu);
/* Pages that were written and stand beyond the end of the front-end's log, which is then too short; each time that they were collected. */
uint64_t gm_vu_log_dropped(const struct gm_vu *vu);
/* Whether there is memory now whose file is not sealed against shrinking: without a guard (<guestmem/guard.h>), the front-end can
 * kill this process. */
bool gm_vu_may_shrink(const struct gm_vu *vu);

GM_END_DECLS

#endif
