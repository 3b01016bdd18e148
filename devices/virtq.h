/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * A split virtqueue, the device's side: VIRTIO 1.2, section 2.7, with indirect descriptors (2.7.5.3) and the event index
 * (2.7.7, 2.7.10). It knows nothing of what the chains are for, and of guest memory only its view.
 *
 * The guest may write anything anywhere at any time. Each field of the rings and of an indirect table is therefore fetched
 * once, into memory of ours; the copy is checked and the copy is used. What a chain is refused for:
 *
 *   the queue breaks	no driver that works can do it by accident of its users: an index or a next out of range, a loop, a
 *			chain of more than the queue's size or of more than 4 GiB, a table that is empty, no multiple of 16 or
 *			of more entries than the queue, a table in a table, a table with a next, a table that was not negotiated,
 *			readable behind writable, a buffer that passes 2^64, a writable buffer in the queue's own rings, a head
 *			that is in flight, an available index that jumps by more than the queue's size; or rings or a table that
 *			can't be accessed. No further chain is taken; @fault and @fault_code say why, until it is set up anew.
 *   the chain is marked @overlaps	two buffers share bytes of which the device writes some. A process in the guest can cause
 *			that (one page twice in a direct readv), and must not take its machine's disk down: the device refuses
 *			the request only.
 *
 * Whether buffers can be accessed is the device's to check (gm_check()), since it alone knows which of them it needs.
 *
 * Context: a queue belongs to one thread at a time. All calls but init and fini: inside a section of the view. None blocks.
 */
#ifndef DEVICES_VIRTQ_H
#define DEVICES_VIRTQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <guestmem/access.h>

#include "virtq_record.h"

/* Entries of a queue: a power of two, and the last one whose indexes fit 16 bits (2.7). */
#define VIRTQ_SIZE_MAX 32768
/* All bytes of one chain (2.7.5.1): so that every length fits the 32 bits of a used element. */
#define VIRTQ_CHAIN_BYTES_MAX (UINT64_C(1) << 32)

#define VIRTQ_DESC_F_NEXT          1
#define VIRTQ_DESC_F_WRITE         2
#define VIRTQ_DESC_F_INDIRECT      4
#define VIRTQ_AVAIL_F_NO_INTERRUPT 1
#define VIRTQ_USED_F_NO_NOTIFY     1

/* A descriptor as it lies in guest memory. */
struct virtq_desc {
	struct gm_le64 address;
	struct gm_le32 bytes;
	struct gm_le16 flags;
	struct gm_le16 next;
};

/* Sizes of the three parts, event fields included, and places in them. Driver and device share these. */
#define VIRTQ_DESC_TABLE_BYTES(size) (UINT64_C(16) * (size))
#define VIRTQ_AVAIL_BYTES(size)      (6 + UINT64_C(2) * (size))
#define VIRTQ_USED_BYTES(size)       (6 + UINT64_C(8) * (size))
#define VIRTQ_FLAGS                  UINT64_C(0)
#define VIRTQ_INDEX                  UINT64_C(2)
#define VIRTQ_AVAIL_ENTRY(slot)      (4 + UINT64_C(2) * (slot))
#define VIRTQ_USED_ENTRY(slot)       (4 + UINT64_C(8) * (slot))
#define VIRTQ_USED_EVENT(size)       VIRTQ_AVAIL_ENTRY(size) /* in the available ring: the driver's wish */
#define VIRTQ_AVAIL_EVENT(size)      VIRTQ_USED_ENTRY(size)  /* in the used ring: the device's wish */

/* Whether an index that went from @old to @now has passed @event (2.7.7.1, 2.7.10.1): all modulo 2^16. */
static inline bool virtq_event_passed(uint16_t event, uint16_t now, uint16_t old)
{
	return (uint16_t)(now - event - 1) < (uint16_t)(now - old);
}

/* Why a queue is broken. */
enum virtq_fault {
	VIRTQ_GOOD = 0,
	VIRTQ_UNREACHABLE,     /* the rings or an indirect table: @fault_code has the access's code */
	VIRTQ_BAD_AVAIL_INDEX, /* it moved by more than the queue's size */
	VIRTQ_BAD_HEAD,        /* not below the queue's size */
	VIRTQ_HEAD_IN_FLIGHT,  /* offered again before it was used: virtq_refuse() by the device */
	VIRTQ_BAD_NEXT,        /* not below the table's size */
	VIRTQ_TOO_LONG,        /* more descriptors than the queue has: a loop, or as bad */
	VIRTQ_TOO_MANY_BYTES,  /* more than VIRTQ_CHAIN_BYTES_MAX */
	VIRTQ_BAD_TABLE,    /* an indirect table that is empty, not a multiple of 16 bytes, or longer than the queue */
	VIRTQ_NESTED_TABLE, /* an indirect descriptor in an indirect table */
	VIRTQ_TABLE_WITH_NEXT, /* INDIRECT together with NEXT */
	VIRTQ_NOT_NEGOTIATED,  /* INDIRECT without VIRTIO_F_INDIRECT_DESC */
	VIRTQ_BAD_ORDER,       /* device-readable behind device-writable */
	VIRTQ_BUFFER_WRAPS,    /* a buffer passes 2^64-1 */
	VIRTQ_BUFFER_IN_RINGS, /* a device-writable buffer shares bytes with the queue itself */
	VIRTQ_BAD_RECORD,      /* the record of what is in flight: @fault_code has the reason */
	VIRTQ_FAULTS
};

/* For people: "indirect table in an indirect table". */
const char *virtq_fault_text(enum virtq_fault fault);

/*
 * Where a queue stands. @next: the index to go on at, for both rings; 0 for a new one, else what virtq_next() said.
 * @record: of what is in flight, in @record_bytes of that memory at @record_at; NULL for none. When somebody kept it before us, the queue
 * goes on by it and not by @next: virtq_pop() gives first what was taken and not given back, in the order in which it was taken.
 */
struct virtq_ring {
	struct gm_gpa desc;  /* multiple of 16 */
	struct gm_gpa avail; /* multiple of 2 */
	struct gm_gpa used;  /* multiple of 4 */
	uint32_t size;
	uint16_t next;
	struct gm_memory *record;
	struct gm_gpa record_at;
	uint64_t record_bytes;
};

struct virtq_buffer {
	struct gm_gpa at;
	uint32_t bytes; /* at least 1 */
};

/*
 * A chain that was taken: @readable buffers, then @writable ones. Buffers of no bytes are left out.
 * @buffers is good until the next virtq_pop().
 */
struct virtq_chain {
	const struct virtq_buffer *buffers;
	uint64_t readable_bytes, writable_bytes;
	uint32_t readable, writable;
	uint16_t head;
	bool overlaps;
};

struct virtq_extent;

/* Fields are private but for reading @fault, @fault_code and @size. */
struct virtq {
	struct gm_view *view;
	struct gm_gpa desc, avail, used;
	struct gm_range rings[3];
	uint32_t size;
	bool indirect, event_index;
	uint16_t next;      /* the next available entry to take */
	uint16_t available; /* the driver's index as last seen; next <= available <= next + size, modulo 2^16 */
	uint16_t done;      /* our used index */
	uint16_t signalled; /* our used index when notification was last considered */
	bool owes_notice;   /* who was here before us may have given back something and not said so */
	struct virtq_record record;
	enum virtq_fault fault;
	int fault_code;
	/* Scratch of one chain, by the queue's size: nothing is allocated later. */
	struct virtq_buffer *buffers;
	struct virtq_desc *table;
	struct virtq_extent *extents;
	uint32_t extents_count;
};

/**
 * virtq_init - set up a queue that the driver has made known
 * @view: open, and so for as long as the queue is
 * @indirect, @event_index: whether VIRTIO_F_INDIRECT_DESC and VIRTIO_F_EVENT_IDX were negotiated
 *
 * Whether the rings can be accessed shows when they are: the memory they are in may come and go.
 * Return: 0; -EINVAL for a size that is none, addresses not aligned, parts that overlap, a record too short; -GM_EWRAP; -ENOMEM.
 */
GM_CHECKED int virtq_init(struct virtq *virtq, struct gm_view *view, const struct virtq_ring *ring, bool indirect,
			  bool event_index);
void virtq_fini(struct virtq *virtq);

/* Take the next chain. Return: 1; 0 when none is available; -EBADMSG when the queue is broken. */
GM_CHECKED int virtq_pop(struct virtq *virtq, struct virtq_chain *ret_chain);
/* Break the queue. Return: -EBADMSG. */
int virtq_refuse(struct virtq *virtq, enum virtq_fault fault, int code);
/* Give a chain back, with @bytes written from its first writable byte on without a gap. Return: 0; -EBADMSG. */
int virtq_push(struct virtq *virtq, uint16_t head, uint32_t bytes);

/* Whether the driver wants to be notified of what was pushed since this was last asked. Its answer must be acted upon. */
GM_CHECKED bool virtq_notify(struct virtq *virtq);
/* Tell the driver that it need not notify, for the queue is being worked on. */
void virtq_quiet(struct virtq *virtq);
/* Ask for a notification again. Return: 1 when more came meanwhile, which was possibly not notified of; 0; -EBADMSG. */
GM_CHECKED int virtq_listen(struct virtq *virtq);
/* The index to go on at, after everything taken was given back. */
uint16_t virtq_next(const struct virtq *virtq);

#endif
