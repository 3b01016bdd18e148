/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * A virtio-blk device: VIRTIO 1.2, section 5.2, without the transport. Of guest memory it knows what <guestmem/access.h> says, so
 * it runs unchanged over a fixed map, over a space whose regions come and go, and over memory that is not mapped here.
 *
 * The transport (MMIO, PCI, vhost-user) offers vblk_features() and vblk_config_read() to the driver, hands what the driver chose to
 * vblk_set_features() and vblk_queue_set(), calls vblk_queue_run() when the driver notifies, and delivers what @interrupt asks for.
 * The disk behind it is a struct vblk_disk: it gets transfers with iovecs that point into guest memory, and finishes each one with
 * vblk_io_done(), at once or later.
 *
 * What happens to a request that is wrong:
 *	- a chain whose structure is broken breaks its queue: virtq.h lists the reasons. @broken is called, for the transport to say
 *	  DEVICE_NEEDS_RESET; transfers in flight finish, nothing more is taken; vblk_queue_unset() and _set() make it work again.
 *	- a well-formed chain with a bad request (range beyond the disk, not in sectors, header too short, buffers that overlap or
 *	  that can't be accessed, more than VBLK_SEGMENTS_MAX of them) ends with the status IOERR; a type or flag that is unknown or
 *	  was not negotiated, with UNSUPP. All buffers are checked before any byte moves.
 *	- where the status byte itself can't be written, or there is none, nothing is done and the chain is given back with length 0.
 *	The other requests, and the other queues, go on in each of these cases but the first.
 *
 * The length in a used element counts what was written from the first writable byte on without a gap, as 2.7.8.2 wants: a driver
 * may believe it. So a read that failed has 0, though its status byte was written.
 *
 * Hot-unplug: a transfer holds its snapshot of memory by a pin, named after disk and queue, until it is done. A region that
 * is removed meanwhile stays mapped until then. Where a request needs several transfers, each looks at the memory of its time.
 *
 * An image need not be a multiple of 512 bytes: the capacity is rounded up, what lies in the last sector behind the image's end
 * reads as zeros, and writes to there are dropped: the image never grows beyond the size that it had at first. A read of
 * what an image lost that shrank meanwhile fails with IOERR, and vblk_queue_error() has the reason; a write makes it long again.
 */
#ifndef DEVICES_VIRTIO_BLK_H
#define DEVICES_VIRTIO_BLK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <guestmem/access.h>

#include "virtq.h"

struct vblk;

#define VBLK_SECTOR_BYTES 512
/* Data buffers of one request: 128, the usual queue's size, less header and status. Offered as seg_max, or less for a smaller queue. */
#define VBLK_SEGMENTS_MAX 126
/* Pieces of guest memory in one transfer; a request whose buffers lie in more regions takes several. */
#define VBLK_IOVECS_MAX 128
/* Ranges of one discard or write-zeroes request. */
#define VBLK_RANGES_MAX 16
/* Sectors of one such range: 2 GiB, so that a filesystem that writes zeros in earnest is not busy with it for minutes. */
#define VBLK_RANGE_SECTORS_MAX (UINT32_C(1) << 22)
/* Queues of one device: as many as Linux makes for a large guest; each takes a view and its slots. */
#define VBLK_QUEUES_MAX 64
/* Size of a queue. Each entry costs a slot of about 5 KiB. */
#define VBLK_QUEUE_SIZE_MAX     1024
#define VBLK_QUEUE_SIZE_DEFAULT 128
/* Where guest memory is not mapped, data goes through a buffer of at most so many bytes per request; longer ones in steps. */
#define VBLK_BOUNCE_BYTES_MAX (64 * 1024)
/* Of a device, its terminating zero included: a queue's number still has to fit behind it in a view's name. */
#define VBLK_NAME_MAX 48
#define VBLK_ID_BYTES 20

/* Feature bits (5.2.3, 6). */
#define VBLK_F_SEG_MAX       (UINT64_C(1) << 2)
#define VBLK_F_RO            (UINT64_C(1) << 5)
#define VBLK_F_BLK_SIZE      (UINT64_C(1) << 6)
#define VBLK_F_FLUSH         (UINT64_C(1) << 9)
#define VBLK_F_MQ            (UINT64_C(1) << 12)
#define VBLK_F_DISCARD       (UINT64_C(1) << 13)
#define VBLK_F_WRITE_ZEROES  (UINT64_C(1) << 14)
#define VBLK_F_INDIRECT_DESC (UINT64_C(1) << 28)
#define VBLK_F_EVENT_IDX     (UINT64_C(1) << 29)
#define VBLK_F_VERSION_1     (UINT64_C(1) << 32)

/* Request types and statuses (5.2.6). */
enum {
	VBLK_T_IN = 0,
	VBLK_T_OUT = 1,
	VBLK_T_FLUSH = 4,
	VBLK_T_GET_ID = 8,
	VBLK_T_DISCARD = 11,
	VBLK_T_WRITE_ZEROES = 13,
};
enum {
	VBLK_S_OK = 0,
	VBLK_S_IOERR = 1,
	VBLK_S_UNSUPP = 2,
};

/* What a request begins with. */
struct vblk_header {
	struct gm_le32 type;
	struct gm_le32 reserved;
	struct gm_le64 sector;
};

/* One range of a discard or write-zeroes request. */
struct vblk_range {
	struct gm_le64 sector;
	struct gm_le32 sectors;
	struct gm_le32 flags;
};
#define VBLK_RANGE_F_UNMAP 1

/* The configuration space (5.2.4), as the driver reads it. */
struct vblk_config {
	struct gm_le64 capacity;
	struct gm_le32 size_max;
	struct gm_le32 seg_max;
	struct gm_le16 cylinders;
	uint8_t heads;
	uint8_t sectors;
	struct gm_le32 blk_size;
	uint8_t physical_block_exp;
	uint8_t alignment_offset;
	struct gm_le16 min_io_size;
	struct gm_le32 opt_io_size;
	uint8_t writeback;
	uint8_t unused0;
	struct gm_le16 num_queues;
	struct gm_le32 max_discard_sectors;
	struct gm_le32 max_discard_seg;
	struct gm_le32 discard_sector_alignment;
	struct gm_le32 max_write_zeroes_sectors;
	struct gm_le32 max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap;
	uint8_t unused1[3];
};
/* The struct is padded behind. */
#define VBLK_CONFIG_BYTES 60

/*
 * The disk
 */

enum vblk_op {
	VBLK_READ,    /* the disk to @iovecs */
	VBLK_WRITE,   /* @iovecs to the disk */
	VBLK_FLUSH,   /* all writes that were done are to be durable */
	VBLK_DISCARD, /* the range's contents are not needed any more: may do nothing */
	VBLK_ZERO,    /* the range is to read as zeros; with @may_unmap its space may be given up */
};

/**
 * struct vblk_io - one transfer, between submit and vblk_io_done()
 * @op, @may_unmap: what to do
 * @offset, @bytes: where, inside the disk's size
 * @iovecs, @iovecs_count: @bytes bytes together, for READ and WRITE. The back-end may change them as it goes
 * @backend: the back-end's own
 */
struct vblk_io {
	enum vblk_op op;
	bool may_unmap;
	uint64_t offset;
	uint64_t bytes;
	struct iovec *iovecs;
	unsigned iovecs_count;
	void *backend;
};

/**
 * struct vblk_disk - what is behind the device
 * @bytes: its size, which need not be a multiple of a sector
 * @id: for GET_ID, at most VBLK_ID_BYTES characters; NULL for none
 * @read_only: no writes
 * @can_discard, @can_zero: which of these operations submit takes
 * @submit: begin a transfer and finish it with vblk_io_done(), inside this call or later. Called on the queue's thread, outside
 *	any section; several queues may call at once
 * @opaque: given to @submit
 */
struct vblk_disk {
	uint64_t bytes;
	const char *id;
	bool read_only;
	bool can_discard;
	bool can_zero;
	void (*submit)(void *opaque, struct vblk_io *io);
	void *opaque;
};

/**
 * vblk_io_done - a transfer is over
 * @result: READ and WRITE: bytes moved, less than asked for is a failure; others: 0. Or a negative error number
 *
 * The memory behind the iovecs must not be touched any more. Context: the thread of the queue; from inside submit, also for other
 * transfers of the queue, or outside of vblk_queue_run(), when it finishes the request, which may submit its next transfer
 * and call @interrupt.
 */
void vblk_io_done(struct vblk_io *io, int64_t result);

/*
 * The device
 */

/**
 * struct vblk_opts - what to make
 * @name: 1 to VBLK_NAME_MAX-1 characters; its queues are named "disk0/queue1" in gm_space_holders()
 * @disk: copied, but what it points to has to outlive the device
 * @queues: 1 to VBLK_QUEUES_MAX; 0 for 1
 * @queue_size_max: a power of two up to VBLK_QUEUE_SIZE_MAX; 0 for VBLK_QUEUE_SIZE_DEFAULT
 * @block_bytes: block size that the driver is told: a power of two, 512 to 64 KiB; 0 for 512. It has no other effect
 * @read_only: no writes, whatever the disk could
 * @interrupt: the driver wants to be notified of what @queue gave back
 * @broken: @queue broke
 *	Both are called on the queue's thread, and must neither run nor unset a queue nor free the device
 * @opaque: given to these two. They are called on the queue's thread outside any section
 */
struct vblk_opts {
	const char *name;
	const struct vblk_disk *disk;
	unsigned queues;
	uint32_t queue_size_max;
	uint32_t block_bytes;
	bool read_only;
	void (*interrupt)(void *opaque, unsigned queue);
	void (*broken)(void *opaque, unsigned queue);
	void *opaque;
};

/* Takes a reference on @memory. Return: 0; -EINVAL; -ENOMEM. */
GM_CHECKED int vblk_new(struct gm_memory *memory, const struct vblk_opts *opts, struct vblk **ret_vblk);
/* Its queues are unset too. Nothing may be in flight. Accepts NULL. */
void vblk_free(struct vblk *vblk);

/* What the device offers. */
uint64_t vblk_features(const struct vblk *vblk);
/* What the driver took of it. Return: 0; -EINVAL for more than was offered, or no VERSION_1; -EBUSY while a queue is set. */
GM_CHECKED int vblk_set_features(struct vblk *vblk, uint64_t features);
/* Return: 0; -EINVAL for a range that is not inside the VBLK_CONFIG_BYTES of struct vblk_config. */
GM_CHECKED int vblk_config_read(const struct vblk *vblk, size_t offset, void *data, size_t bytes);

/**
 * vblk_queue_set - the driver made a queue known
 *
 * Allocates all that its requests need, but bounce buffers. Run it once then: the driver may have been first.
 * Return: 0; -EINVAL for @queue, a ring that makes no sense, or without vblk_set_features(); -GM_EWRAP; -EBUSY when it is set; -ENOMEM.
 */
GM_CHECKED int vblk_queue_set(struct vblk *vblk, unsigned queue, const struct virtq_ring *ring);
/* Return: 0, also when it was not set; -EINVAL for @queue; -EBUSY while transfers are in flight. @ret_next may be NULL. */
int vblk_queue_unset(struct vblk *vblk, unsigned queue, uint16_t *ret_next);

/**
 * vblk_queue_run - take what the driver made available, and give back what is done
 *
 * Bounded, so that a driver that adds as fast as we take can't hold the thread.
 * Context: the queue's thread; not from a callback of the device. Blocks as the disk's submit does.
 * Return: how many chains were taken, at most the queue's size, and when that many, there may be more: call again;
 * -EINVAL for @queue or one that is not set; -EBADMSG when it is broken, vblk_queue_fault() says why.
 */
GM_CHECKED int vblk_queue_run(struct vblk *vblk, unsigned queue);

/* Why it is broken; VIRTQ_GOOD when it is not. @ret_code, unless NULL, receives the code behind it. Context: the queue's thread. */
enum virtq_fault vblk_queue_fault(const struct vblk *vblk, unsigned queue, int *ret_code);
/* Requests that were taken and not given back yet. Context: the queue's thread. */
unsigned vblk_queue_in_flight(const struct vblk *vblk, unsigned queue);

/**
 * struct vblk_stats - counts of one queue, since it was made
 * @bounced: transfers that went through a buffer, memory not being mapped here
 * @failed_request: refused: the request made no sense
 * @failed_unsupported: refused: type or flags
 * @failed_memory: guest memory could not be accessed, or there was no memory for a buffer
 * @failed_disk: the disk said so, or was too short
 * @failed_lost: there was no place for a status
 */
struct vblk_stats {
	uint64_t requests;
	uint64_t bytes_read;
	uint64_t bytes_written;
	uint64_t flushes;
	uint64_t bounced;
	uint64_t interrupts;
	uint64_t failed_request;
	uint64_t failed_unsupported;
	uint64_t failed_memory;
	uint64_t failed_disk;
	uint64_t failed_lost;
};

/* Zeros for a queue that the device does not have. Context: any thread. */
void vblk_queue_stats(const struct vblk *vblk, unsigned queue, struct vblk_stats *ret_stats);

/**
 * struct vblk_error - the last transfer that the disk failed
 * @code: the back-end's own; -ENODATA when the disk ended early, -EIO when it took less than it was given. 0: none failed yet
 */
struct vblk_error {
	int code;
	enum vblk_op op;
	uint64_t offset;
	uint64_t bytes;
};

/* Context: any thread. */
void vblk_queue_error(struct vblk *vblk, unsigned queue, struct vblk_error *ret_error);

#endif
