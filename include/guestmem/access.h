/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Access to guest memory through a view: the one header a consumer needs.
 *
 * Three tiers, by what a concurrent guest can do to them:
 *	bytes	gm_read(), gm_write(), ...: copies; may be torn between their words. Check the copy and use the copy
 *	objects	gm_load_*(), gm_store_*(): 1, 2, 4 or 8 bytes at a multiple of their size: one access, never torn, never twice
 *	atomics	gm_fetch_or_*(), ...: indivisible read-modify-write
 *
 * All of them: the range is checked as a whole first, so a call that fails has done nothing (but for -GM_EFAULTED, a
 * backing store that failed midway). Calls that end in _some do as much as there is up to the first place that can't be
 * accessed, the end of the address space among them, and fail only when there is nothing. Zero bytes succeed at any
 * address, in or out of a section. What is written is marked in the region's dirty log, if it has one, before the call
 * returns; after -GM_EFAULTED, what may have been written is marked.
 *
 * Registers are reached by views with GM_VIEW_DISPATCH: an object, or 1, 2, 4 or 8 bytes, at a multiple of its size is one
 * call of the device; anything else is taken apart into such. Memory behind callbacks is called once per region, or in
 * parts where a copy or stream passes through a buffer. A thread that is inside a call of a region can't call it again.
 *
 * Codes, for all calls here:
 *	-GM_EHOLE	nothing stands at some address of the range
 *	-GM_EACCESS	a region there does not permit it
 *	-GM_ENOTRAM	a region there is of a kind that this view does not reach
 *	-GM_EWRAP	the range passes 2^64-1
 *	-GM_EFAULTED	the backing store failed: callbacks said so, or memory faulted in a guarded region (<guestmem/guard.h>)
 *	-GM_EUNMAPPED	the bytes are not mapped in this process (spans, iovecs and atomics), or registers that nobody here
 *			answers for (all calls)
 *	-GM_EREENTRY	a device's access to its own registers, or a callback's to its own region
 *	-EINVAL		outside a section; an atomic that is not at a multiple of its size; an @access that is none
 * Context of all: the view's thread, inside a section; never block, but streams on their file descriptor and
 * regions behind callbacks on those.
 */
#ifndef GUESTMEM_ACCESS_H
#define GUESTMEM_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <guestmem/address.h>
#include <guestmem/byteorder.h>
#include <guestmem/dirty.h>
#include <guestmem/error.h>
#include <guestmem/inline.h>
#include <guestmem/view.h>

struct iovec; /* <sys/uio.h> */

GM_BEGIN_DECLS

/* What an access wants; a region's protection is made of the same bits. */
#define GM_READ  1u
#define GM_WRITE 2u

/* Memory orders, of C11. A load takes RELAXED, ACQUIRE, SEQ_CST; a store RELAXED, RELEASE, SEQ_CST; the rest any. */
#define GM_RELAXED __ATOMIC_RELAXED
#define GM_ACQUIRE __ATOMIC_ACQUIRE
#define GM_RELEASE __ATOMIC_RELEASE
#define GM_ACQ_REL __ATOMIC_ACQ_REL
#define GM_SEQ_CST __ATOMIC_SEQ_CST

/*
 * Bytes
 */

/*
 * Whether all of a range can be accessed so. @access: GM_READ, GM_WRITE or both. The answer holds until the section ends: after
 * a 0, reads and writes of the range in the same section can only fail by -GM_EFAULTED, and spans, iovecs and atomics also
 * by -GM_EUNMAPPED. So a device checks a whole request first, and then does it.
 */
GM_CHECKED int gm_check(struct gm_view *view, struct gm_gpa at, uint64_t bytes, unsigned access);

/*
 * Guest to caller; caller to guest; one byte all over; guest to guest, where the two ranges may overlap: the result is that
 * of reading all of it first. (But where two regions show the same bytes of a file, one is not known to overlap the other.)
 */
GM_CHECKED GM_DIRECT int gm_read(struct gm_view *view, struct gm_gpa at, void *data, size_t bytes);
GM_CHECKED GM_DIRECT int gm_write(struct gm_view *view, struct gm_gpa at, const void *data, size_t bytes);
GM_CHECKED int gm_fill(struct gm_view *view, struct gm_gpa at, unsigned char byte, uint64_t bytes);
GM_CHECKED int gm_copy(struct gm_view *view, struct gm_gpa to, struct gm_gpa from, uint64_t bytes);

/* As much as there is. Return: bytes done, less than @bytes at the first obstacle; or the obstacle's code when it is at once. */
GM_CHECKED int64_t gm_read_some(struct gm_view *view, struct gm_gpa at, void *data, size_t bytes);
GM_CHECKED int64_t gm_write_some(struct gm_view *view, struct gm_gpa at, const void *data, size_t bytes);
GM_CHECKED int64_t gm_fill_some(struct gm_view *view, struct gm_gpa at, unsigned char byte, uint64_t bytes);
GM_CHECKED int64_t gm_copy_some(struct gm_view *view, struct gm_gpa to, struct gm_gpa from, uint64_t bytes);

/*
 * Objects: gm_load_u8, _u16, _u32, _u64, _le16, _le32, _le64, _be16, _be32, _be64, and gm_store_ likewise. le and be give
 * and take the host's number. At an address that is not a multiple of the size they are copies, and may be torn; @order holds
 * there, and behind callbacks, too. An @order that makes no sense for the operation is taken for GM_SEQ_CST. As in C11, a store
 * and a later load of another object (used index, then flags of the available ring) keep their order if both are GM_SEQ_CST.
 */
/* gcc takes an order that makes no sense for SEQ_CST by itself; clang would take it for RELAXED. */
#ifdef __clang__
#define GMI_LOAD_ORDER(order)  ((order) == GM_RELAXED || (order) == GM_ACQUIRE ? (order) : GM_SEQ_CST)
#define GMI_STORE_ORDER(order) ((order) == GM_RELAXED || (order) == GM_RELEASE ? (order) : GM_SEQ_CST)
#else
#define GMI_LOAD_ORDER(order)  (order)
#define GMI_STORE_ORDER(order) (order)
#endif

/*
 * Whether a part of a guarded region was lost: asked behind the access. A plain load is enough, if the compiler leaves it there:
 * docs/concurrency.md, "Memory that faults".
 */
GM_INLINE bool gmi_is_hit(const struct gmi_guard_head *guard)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	return __atomic_load_n(&guard->hit, __ATOMIC_RELAXED) != 0;
}

/* Then: whether these bytes of the hot region were. */
GM_CHECKED int gmi_hot_verdict(const struct gm_view *view, struct gm_gpa at, uint64_t bytes);

#define GM_DEFINE_OBJECT(bits)                                                                                         \
	GM_DIRECT int gmi_load_u##bits(struct gm_view *view, struct gm_gpa at, int order, uint##bits##_t *ret_number); \
	GM_DIRECT int gmi_store_u##bits(struct gm_view *view, struct gm_gpa at, int order, uint##bits##_t number);     \
	GM_CHECKED GM_INLINE int gm_load_u##bits(struct gm_view *view, struct gm_gpa at, int order,                    \
						 uint##bits##_t *ret_number)                                           \
	{                                                                                                              \
		uint64_t offset = at.value - view->hot_first;                                                          \
                                                                                                                       \
		if (GM_LIKELY(offset < view->hot_room && (at.value & (bits / 8 - 1)) == 0)) {                          \
			*ret_number = __atomic_load_n((const uint##bits##_t *)(view->hot_hva + offset),                \
						      GMI_LOAD_ORDER(order));                                          \
			return 0;                                                                                      \
		}                                                                                                      \
		if (GM_UNLIKELY(offset < view->guarded_room) && (at.value & (bits / 8 - 1)) == 0 && view->slot) {      \
			uint##bits##_t number = __atomic_load_n((const uint##bits##_t *)(view->hot_hva + offset),      \
								GMI_LOAD_ORDER(order));                                \
                                                                                                                       \
			if (GM_UNLIKELY(gmi_is_hit(view->hot_guard)) && gmi_hot_verdict(view, at, bits / 8) != 0)      \
				return -GM_EFAULTED;                                                                   \
			*ret_number = number;                                                                          \
			return 0;                                                                                      \
		}                                                                                                      \
		return gmi_load_u##bits(view, at, order, ret_number);                                                  \
	}                                                                                                              \
	GM_CHECKED GM_INLINE int gm_store_u##bits(struct gm_view *view, struct gm_gpa at, int order,                   \
						  uint##bits##_t number)                                               \
	{                                                                                                              \
		uint64_t offset = at.value - view->hot_first;                                                          \
                                                                                                                       \
		if (GM_LIKELY(offset < view->hot_room && view->hot_writable && (at.value & (bits / 8 - 1)) == 0)) {    \
			__atomic_store_n((uint##bits##_t *)(view->hot_hva + offset), number, GMI_STORE_ORDER(order));  \
			if (view->hot_dirty)                                                                           \
				gmi_dirty_mark_at(view->hot_dirty, offset);                                            \
			return 0;                                                                                      \
		}                                                                                                      \
		if (GM_UNLIKELY(offset < view->guarded_room) && view->hot_writable &&                                  \
		    (at.value & (bits / 8 - 1)) == 0 && view->slot) {                                                  \
			__atomic_store_n((uint##bits##_t *)(view->hot_hva + offset), number, GMI_STORE_ORDER(order));  \
			if (view->hot_dirty)                                                                           \
				gmi_dirty_mark_at(view->hot_dirty, offset);                                            \
			return GM_UNLIKELY(gmi_is_hit(view->hot_guard)) ? gmi_hot_verdict(view, at, bits / 8) : 0;     \
		}                                                                                                      \
		return gmi_store_u##bits(view, at, order, number);                                                     \
	}

#define GM_DEFINE_ORDERED_OBJECT(kind, bits)                                                                           \
	GM_CHECKED GM_INLINE int gm_load_##kind##bits(struct gm_view *view, struct gm_gpa at, int order,               \
						      uint##bits##_t *ret_number)                                      \
	{                                                                                                              \
		struct gm_##kind##bits ordered;                                                                        \
		int r = gm_load_u##bits(view, at, order, &ordered.raw);                                                \
                                                                                                                       \
		if (GM_LIKELY(r == 0))                                                                                 \
			*ret_number = gm_##kind##bits##_get(ordered);                                                  \
		return r;                                                                                              \
	}                                                                                                              \
	GM_CHECKED GM_INLINE int gm_store_##kind##bits(struct gm_view *view, struct gm_gpa at, int order,              \
						       uint##bits##_t number)                                          \
	{                                                                                                              \
		return gm_store_u##bits(view, at, order, gm_##kind##bits(number).raw);                                 \
	}

GM_DEFINE_OBJECT(8)
GM_DEFINE_OBJECT(16)
GM_DEFINE_OBJECT(32)
GM_DEFINE_OBJECT(64)
GM_DEFINE_ORDERED_OBJECT(le, 16)
GM_DEFINE_ORDERED_OBJECT(le, 32)
GM_DEFINE_ORDERED_OBJECT(le, 64)
GM_DEFINE_ORDERED_OBJECT(be, 16)
GM_DEFINE_ORDERED_OBJECT(be, 32)
GM_DEFINE_ORDERED_OBJECT(be, 64)

#undef GM_DEFINE_OBJECT
#undef GM_DEFINE_ORDERED_OBJECT

/*
 * Atomics, on host byte order, of 8, 16, 32 and 64 bits, at a multiple of their size (else -EINVAL), where the guest's memory
 * may be read and written. ret_old receives what was there. A compare-exchange that found something else writes nothing.
 *
 *	gm_exchange_uN(view, at, order, number, &ret_old)
 *	gm_compare_exchange_uN(view, at, order, expected, desired, &ret_old)   desired was stored if ret_old == expected
 *	gm_fetch_or_uN, gm_fetch_and_uN, gm_fetch_add_uN(view, at, order, operand, &ret_old)
 */
#define GM_DECLARE_ATOMIC(bits)                                                                                        \
	GM_CHECKED int gm_exchange_u##bits(struct gm_view *view, struct gm_gpa at, int order, uint##bits##_t number,   \
					   uint##bits##_t *ret_old);                                                   \
	GM_CHECKED int gm_compare_exchange_u##bits(struct gm_view *view, struct gm_gpa at, int order,                  \
						   uint##bits##_t expected, uint##bits##_t desired,                    \
						   uint##bits##_t *ret_old);                                           \
	GM_CHECKED int gm_fetch_or_u##bits(struct gm_view *view, struct gm_gpa at, int order, uint##bits##_t operand,  \
					   uint##bits##_t *ret_old);                                                   \
	GM_CHECKED int gm_fetch_and_u##bits(struct gm_view *view, struct gm_gpa at, int order, uint##bits##_t operand, \
					    uint##bits##_t *ret_old);                                                  \
	GM_CHECKED int gm_fetch_add_u##bits(struct gm_view *view, struct gm_gpa at, int order, uint##bits##_t operand, \
					    uint##bits##_t *ret_old);
GM_DECLARE_ATOMIC(8)
GM_DECLARE_ATOMIC(16)
GM_DECLARE_ATOMIC(32)
GM_DECLARE_ATOMIC(64)
#undef GM_DECLARE_ATOMIC

/*
 * Pieces: pointers into guest memory. Never across a region's border; good until the section ends, or the pin that was taken in it.
 */

/**
 * struct gm_span - one contiguous piece of guest memory
 * @first: its guest physical address
 * @hva: where it is mapped. The guest may write there at any time: read a value once
 * @bytes: its size
 */
struct gm_span {
	struct gm_gpa first;
	void *hva;
	uint64_t bytes;
};

/* Whether bytes from an offset on are all in the near region. No sum, so nothing wraps; zero bytes are not. */
GM_INLINE bool gmi_is_near(const struct gm_view *view, uint64_t offset, uint64_t bytes)
{
	return offset < view->near_bytes && bytes - 1 < view->near_bytes - offset && view->slot;
}

GM_CHECKED GM_DIRECT int gmi_span(struct gm_view *view, struct gm_gpa at, uint64_t bytes, unsigned access,
				  struct gm_span *ret_span);
GM_DIRECT void gmi_written(struct gm_view *view, struct gm_gpa at, uint64_t bytes);

/**
 * gm_span - the piece of a range that begins at @at
 * @bytes: how much is wanted, at least 1 (else -EINVAL)
 * @access: GM_READ, GM_WRITE or both
 * @ret_span: 1 to @bytes bytes; less where the region ends. What stands behind is not looked at
 *
 * For GM_WRITE: call gm_written() for what was written, after the write and before the section (or the pin) ends. Without it
 * the pages count as clean.
 * -GM_EUNMAPPED: there is no pointer to this memory; use gm_read() and gm_write() on a buffer of your own.
 */
GM_CHECKED GM_INLINE int gm_span(struct gm_view *view, struct gm_gpa at, uint64_t bytes, unsigned access,
				 struct gm_span *ret_span)
{
	uint64_t offset = at.value - view->near_first;

	if (GM_LIKELY(gmi_is_near(view, offset, bytes) && access != 0 && (access & ~view->near_access) == 0)) {
		ret_span->first = at;
		ret_span->hva = view->near_hva + offset;
		ret_span->bytes = bytes;
		return 0;
	}
	return gmi_span(view, at, bytes, access, ret_span);
}

/**
 * gm_iovecs - all pieces of a range, for readv(2), io_uring and the like
 * @iovecs: receives the pieces in order; adjacent ones that are contiguous in this process are joined
 * @iovecs_max: room
 * @ret_count: how many were stored; several calls may fill one array
 *
 * Return: as all calls here, and -ENOBUFS when @iovecs_max is too small. After a failure the room may have been scribbled on.
 */
GM_CHECKED int gm_iovecs(struct gm_view *view, struct gm_gpa at, uint64_t bytes, unsigned access, struct iovec *iovecs,
			 size_t iovecs_max, size_t *ret_count);

/*
 * Give back what was written through spans or iovecs of this section: marks it dirty. Any part of the range where no region
 * with a dirty log stands is left out.
 */
GM_INLINE void gm_written(struct gm_view *view, struct gm_gpa at, uint64_t bytes)
{
	uint64_t offset = at.value - view->near_first;

	if (GM_UNLIKELY(!gmi_is_near(view, offset, bytes)))
		gmi_written(view, at, bytes);
	else if (view->near_dirty)
		gm_dirty_mark((struct gm_dirty *)(uintptr_t)view->near_dirty, gm_offset(offset), bytes);
}

/**
 * gm_span_check - whether what spans or iovecs of this section reached was lost meanwhile
 *
 * To be asked after the bytes were used, for memory that faults: what was read there may be zeros, what was written is nowhere.
 * Any part of the range where no guarded region (<guestmem/guard.h>) stands is left out.
 * Return: 0; -GM_EFAULTED; -EINVAL outside a section.
 */
GM_CHECKED int gm_span_check(const struct gm_view *view, struct gm_gpa at, uint64_t bytes);

/*
 * Streams: between a file descriptor and guest memory, without a buffer in between (where the memory is mapped).
 * gm_read_to_fd() reads the guest, gm_write_from_fd() writes it.
 * @file_offset: where in the file; negative: at its current position, as for a pipe or a socket
 * @ret_fd_error: may be NULL. Receives why the descriptor ended the stream early: the negative error number of readv(2) or
 *	writev(2); 0 when it did not, or when the file ended. So it tells a failing disk (-EIO) from guest memory whose
 *	backing store failed (-GM_EFAULTED, the same number), and the end of a file from an error after a part
 *
 * They go on after EINTR and short transfers until all is done. Return: bytes moved, less than @bytes at the end of the file
 * or when something failed or would block after a part; when nothing was moved, a code of above, or *@ret_fd_error;
 * -EINVAL when @bytes, or @file_offset plus @bytes, passes 2^63-1. A host page that is gone (EFAULT) is -GM_EFAULTED.
 * A pipe or socket that nobody reads raises SIGPIPE, as it does for writev(2).
 * Bytes that were taken from a pipe for memory behind callbacks are lost when the callback fails; bytes that registers gave,
 * when the descriptor fails.
 */
GM_CHECKED int64_t gm_read_to_fd(struct gm_view *view, struct gm_gpa at, uint64_t bytes, int fd, int64_t file_offset,
				 int *ret_fd_error);
GM_CHECKED int64_t gm_write_from_fd(struct gm_view *view, struct gm_gpa at, uint64_t bytes, int fd, int64_t file_offset,
				    int *ret_fd_error);
/* The same as far as the guest's memory goes, up to the first obstacle. */
GM_CHECKED int64_t gm_read_to_fd_some(struct gm_view *view, struct gm_gpa at, uint64_t bytes, int fd,
				      int64_t file_offset, int *ret_fd_error);
GM_CHECKED int64_t gm_write_from_fd_some(struct gm_view *view, struct gm_gpa at, uint64_t bytes, int fd,
					 int64_t file_offset, int *ret_fd_error);

GM_END_DECLS

#endif
