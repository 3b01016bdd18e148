/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Memory that faults (provider side). Whoever shares memory with us may truncate it, a pool of huge pages may be empty, and hardware
 * loses pages: the next access raises SIGBUS, and a process without a handler dies of it. With the guard installed it lives:
 *
 *	- the access, if it is one of <guestmem/access.h>, returns -GM_EFAULTED; through a bare pointer it reads zeros, and
 *	  gm_span_check() tells it afterwards;
 *	- the page that is gone is private memory of zeros from then on, for good: each later access to it returns -GM_EFAULTED too, even
 *	  when the file grows again. After GM_FAULT_PAGES_MAX pages of a region, or when GM_FAULT_PAGES_ALL_MAX of all regions are gone, that
 *	  becomes of the whole region: the address space of the process does not run out of mappings;
 *	- an event tells which region it was, and where; gm_region_faults() counts;
 *	- everything else goes on: other pages, other regions, other spaces. To heal, remove the region and insert a new one.
 *
 * Guarded is what is mapped by the library (any source but POINTER and CALLBACKS) in regions that are made while the guard is
 * installed: install it first. An inlined load or store in a guarded region costs half a nanosecond more, in others nothing.
 *
 * Nothing is seen of what raises no signal: a hole that is punched into a memfd reads as zeros, and so does what is left of the last page
 * of a truncated file.
 *
 * The handler is of the process. What it does not answer for goes to the handler that stood there before, or kills the process
 * as ever. Threads that access guest memory must not block SIGBUS: the kernel ends a process whose thread does, and faults. A filter of
 * system calls has to permit membarrier(2), mmap(2), madvise(2), write(2) and sched_yield(2).
 *
 * A child of fork() keeps the guard for its regions with GM_REGION_FORK, and for those that it makes; the descriptor is then that of both.
 */
#ifndef GUESTMEM_GUARD_H
#define GUESTMEM_GUARD_H

#include <stdint.h>

#include <guestmem/address.h>
#include <guestmem/error.h>
#include <guestmem/region.h>

GM_BEGIN_DECLS

/* Pages that are replaced one by one: each costs up to two mappings, of the 65 530 that Linux gives a process by default. */
#define GM_FAULT_PAGES_MAX     64
#define GM_FAULT_PAGES_ALL_MAX 1024
/* Events that are kept until they are asked for; what comes then is counted only. */
#define GM_FAULT_EVENTS_MAX 256

/* Why bytes are gone. */
enum gm_fault_kind {
	GM_FAULT_GONE,     /* no file, or no huge page, stands behind them any more */
	GM_FAULT_POISONED, /* the hardware lost them */
};

/**
 * struct gm_fault - some bytes of guest memory are gone
 * @region, @tag: whose they were, by name and by the user's own number
 * @at: the guest address that was touched; the first of its page, where the hardware does not say more
 * @lost: what is gone by it: a page (a huge page of the pool is one), or all of the region
 * @kind: why
 */
struct gm_fault {
	char region[GM_NAME_MAX];
	uint64_t tag;
	struct gm_gpa at;
	struct gm_range lost;
	enum gm_fault_kind kind;
};

/**
 * gm_fault_guard_install - from here on, memory that faults is an error and not a signal
 *
 * Context: any thread; allocates. Installs a handler for SIGBUS, and a descriptor for events.
 * Return: 0; -EALREADY when it is installed; -ENOSYS when the kernel, or a filter, has no membarrier(2); -ENOMEM; -EMFILE and other
 * error numbers of eventfd(2) and sigaction(2).
 */
GM_CHECKED int gm_fault_guard_install(struct gm_error *error);

/**
 * gm_fault_guard_remove - put back the handler that stood there before
 *
 * Events that were not taken are lost, and the descriptor is closed. Context: any thread.
 * Return: 0; -ENOENT when it is not installed; -EBUSY, and it stays, while there are guarded regions, or when somebody else has
 * put a handler on top of it.
 */
GM_CHECKED int gm_fault_guard_remove(void);

/* A descriptor that poll(2) finds readable while there are events. Borrowed, until the guard is removed. -ENOENT without a guard. */
GM_CHECKED int gm_fault_guard_fd(void);

/**
 * gm_fault_guard_next - take the oldest event
 * @ret_missed: may be NULL. Receives how many events were lost before this one, for nobody took them in time
 *
 * Context: any thread, but no signal handler; never blocks. Return: 0; -EAGAIN when there is none; -ENOENT without a guard.
 */
GM_CHECKED int gm_fault_guard_next(struct gm_fault *ret_fault, uint64_t *ret_missed);

GM_END_DECLS

#endif
